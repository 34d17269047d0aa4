"""The servers that the destinations deliver to: real ones where a machine can have them, elsewhere stand-ins that hold
callers to the documented limits. Each knows what has arrived.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet
from confluent_kafka import Consumer, Producer, TopicPartition
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.pool import NullPool

from demos.endpoints import SIGNING_SECRET, segment, signed_endpoint
from tests.adobe_stub import MAX_REQUEST_BYTES, AdobeStub
from tests.integration.analytics_stubs import APIS, KEY, AnalyticsStub, Api
from tests.integration.postgresql import PASSWORD, programs, running_postgresql
from tests.stubs import RudderStub
from tests.xdm import OPTIONS as XDM_OPTIONS
from tests.xdm import entity_validator

MESSAGES, ROWS, LINES = "messages", "rows", "lines"
S3_KEYS = {"key": "made-up-key", "secret": "made-up-secret"}
BUCKET, TOPIC = "lake", "customerio"
READ_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One destination and what stands in for its service."""

    name: str  # of the destination
    server: str
    unit: str
    settings: Mapping[str, Any]  # its part of connector.yaml
    arrived: Callable[[], Sequence[str]]  # the id of each message, row or line that is there, repeats included
    faults: Callable[[], Sequence[str]] = field(default=lambda: [])  # what a real service would have refused


class MissingServer(Exception):
    """A server that this machine lacks; the text names the package."""


Opening = Callable[[Path], AbstractContextManager[Stage]]


@contextmanager
def rudderstack(folder: Path) -> Iterator[Stage]:
    stub = RudderStub().start()
    settings = {"type": "rudderstack", "url": stub.url, "write_key": KEY, "identify": True}
    yield Stage(
        "rudderstack", "stand-in", MESSAGES, settings, lambda: list(stub.message_ids.elements()), lambda: stub.faults
    )
    stub.stop()


def analytics(name: str, api: Api, read: Callable[[AnalyticsStub], Sequence[str]], **settings: Any) -> Opening:
    """A destination with a stand-in that speaks its HTTP API."""

    @contextmanager
    def opened(folder: Path) -> Iterator[Stage]:
        stub = AnalyticsStub(api)
        given = {"type": name, "url": stub.url, **settings}
        yield Stage(name, "stand-in", MESSAGES, given, lambda: read(stub), lambda: _faults(stub))
        stub.stop()

    return opened


def _faults(stub: AnalyticsStub) -> Sequence[str]:
    refused = [f"answered {status}" for status in stub.taken.statuses if status != 200]
    return [*stub.faults, *refused]


def _ids(*path: str) -> Callable[[AnalyticsStub], Sequence[str]]:
    """Of events by what stands at the path; updates of people have no ids and are numbered."""

    def read(stub: AnalyticsStub) -> Sequence[str]:
        ids = []
        for event in stub.taken.events:
            value: Any = event
            for name in path:
                value = value[name]
            ids.append(str(value))
        return ids + [f"person {number}" for number, _ in enumerate(stub.taken.people)]

    return read


def adobe(mode: str) -> Opening:
    @contextmanager
    def opened(folder: Path) -> Iterator[Stage]:
        validator = entity_validator()

        def fault_of(entity: Any) -> str:
            return "; ".join(f"{error.json_path}: {error.message}" for error in validator.iter_errors(entity))

        stub = (
            AdobeStub(fault_of=fault_of) if mode == "xdm" else AdobeStub(max_record_bytes=MAX_REQUEST_BYTES)
        ).start()
        settings = {"type": "adobe", "mode": mode, "flow_id": XDM_OPTIONS["flow_id"], "url": stub.url}
        if mode == "xdm":
            settings |= {name: XDM_OPTIONS[name] for name in ("org_id", "dataset_id", "schema_id", "tenant")}
        key = "_id" if mode == "xdm" else "event_id"

        def arrived() -> Sequence[str]:
            return [str(one.get(key) or json.dumps(one)) for one in stub.taken]

        yield Stage(f"adobe-{mode}", "stand-in", MESSAGES, settings, arrived, lambda: stub.faults)
        stub.stop()

    return opened


@contextmanager
def warehouse_postgresql(folder: Path) -> Iterator[Stage]:
    bin_folder = programs()
    if bin_folder is None:
        raise MissingServer("PostgreSQL is not installed (Debian: apt install postgresql)")
    with running_postgresql(bin_folder) as server:
        database = server.create_database("warehouse")
        settings = {"type": "warehouse", "url": database.url(), "password": PASSWORD, "identify": True}
        yield Stage("warehouse-postgresql", "PostgreSQL", ROWS, settings, lambda: _warehouse_ids(database.engine))
        database.close()


@contextmanager
def warehouse_duckdb(folder: Path) -> Iterator[Stage]:
    url = f"duckdb:///{folder / 'warehouse.duckdb'}"

    def arrived() -> Sequence[str]:
        engine = create_engine(url, poolclass=NullPool)
        try:
            return _warehouse_ids(engine)
        finally:
            engine.dispose()

    yield Stage("warehouse-duckdb", "DuckDB", ROWS, {"type": "warehouse", "url": url, "identify": True}, arrived)


def _warehouse_ids(engine: Engine) -> Sequence[str]:
    """Of `tracks` and `identifies`; the tables of the single events must hold as many rows as `tracks`."""
    schema = "production"
    names = [name for name in inspect(engine).get_table_names(schema=schema) if not name.startswith("_")]
    with engine.connect() as connection:
        rows = {
            name: [
                str(row[0])
                for row in connection.exec_driver_sql(f'SELECT message_id FROM "{schema}"."{name}"')  # noqa: S608
            ]
            for name in names
            if name != "users"
        }
    tracks, identifies = rows.pop("tracks", []), rows.pop("identifies", [])
    single = sum(map(len, rows.values()))
    if single != len(tracks):
        return [*tracks, *identifies, f"{single} rows in the tables of single events, {len(tracks)} in tracks"]
    return [*tracks, *identifies]


@contextmanager
def file_folder(folder: Path) -> Iterator[Stage]:
    place = folder / "events"

    def arrived() -> Sequence[str]:
        lines = [line for path in sorted(place.rglob("*.ndjson")) for line in path.read_text("utf-8").splitlines()]
        return [json.loads(line)["messageId"] for line in lines]

    yield Stage("file-ndjson", "a folder", LINES, {"type": "file", "path": str(place), "identify": True}, arrived)


@contextmanager
def file_s3(folder: Path) -> Iterator[Stage]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's server tells of each request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    session = boto3.session.Session(S3_KEYS["key"], S3_KEYS["secret"], region_name="us-east-1")
    bucket = session.resource("s3", endpoint_url=endpoint).Bucket(BUCKET)
    bucket.create()
    settings = {
        "type": "file", "path": f"s3://{BUCKET}/events", "format": "parquet", "endpoint_url": endpoint,
        "region": "us-east-1", "credentials": S3_KEYS, "identify": True, "batch": {"max_wait": 1},
    }  # fmt: skip

    def arrived() -> Sequence[str]:
        ids: list[str] = []
        for number, found in enumerate(bucket.objects.all()):
            path = folder / f"object-{number}.parquet"
            path.write_bytes(found.get()["Body"].read())
            ids += pyarrow.parquet.ParquetFile(path).read(columns=["message_id"])["message_id"].to_pylist()
        return ids

    yield Stage("file-s3-parquet", "S3 (moto)", ROWS, settings, arrived)
    server.stop()


@contextmanager
def kafka(folder: Path) -> Iterator[Stage]:
    host = Producer({"test.mock.num.brokers": 3, "log_level": 0})
    brokers = ",".join(f"{one.host}:{one.port}" for one in host.list_topics(timeout=READ_SECONDS).brokers.values())
    settings = {"type": "kafka", "brokers": brokers, "topic": TOPIC, "tls": False, "identify": True}
    yield Stage("kafka", "librdkafka's mock", MESSAGES, settings, lambda: _topic_ids(brokers))
    host.flush(1)


def _topic_ids(brokers: str) -> Sequence[str]:
    """Of all messages from the first to the last that is there now."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "demo", "log_level": 0})
    numbers = consumer.list_topics(TOPIC, timeout=READ_SECONDS).topics[TOPIC].partitions
    ends = {number: consumer.get_watermark_offsets(TopicPartition(TOPIC, number))[1] for number in numbers}
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in numbers])
    ids: list[str] = []
    while len(ids) < sum(ends.values()):
        found = consumer.consume(500, timeout=READ_SECONDS)
        if not found:
            break
        named = (dict(message.headers() or [])["messageId"] for message in found)
        ids += [value.decode() if isinstance(value, bytes) else str(value) for value in named]
    consumer.close()
    return ids


OPENINGS: Mapping[str, Opening] = {
    "rudderstack": rudderstack,
    "segment": analytics("segment", segment, _ids("messageId"), write_key=KEY, identify=True),
    "http": analytics(
        "http", signed_endpoint, _ids("messageId"), signing_secret=SIGNING_SECRET, identify=True,
        batch={"max_events": 1},
    ),
    "adobe-xdm": adobe("xdm"),
    "adobe-raw": adobe("raw"),
    "customerio": analytics(
        "customerio", APIS["customerio"], _ids("messageId"), api_key=KEY, workspace="other", identify=True,
        event_prefix="Brand A",
    ),
    "amplitude": analytics("amplitude", APIS["amplitude"], _ids("insert_id"), api_key=KEY, identify=True),
    "mixpanel": analytics(
        "mixpanel", APIS["mixpanel"], _ids("properties", "$insert_id"), token=KEY, identify=True
    ),
    "posthog": analytics("posthog", APIS["posthog"], _ids("uuid"), api_key=KEY, identify=True),
    "warehouse-postgresql": warehouse_postgresql,
    "warehouse-duckdb": warehouse_duckdb,
    "file-ndjson": file_folder,
    "file-s3-parquet": file_s3,
    "kafka": kafka,
}  # fmt: skip

"""ObjectTransport against an S3-speaking server on loopback, and through the other clients as far as they go without
their clouds.
"""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

import boto3
import duckdb
import fsspec
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from connector.clock import SystemClock
from connector.deliver import attempt, pack
from connector.destinations import build_destination
from connector.errors import TransportError
from connector.model import Attempt, Connection, OutcomeKind, Request
from connector.transports.objects import ObjectTransport, credentials_of, status_of, store_options, told
from tests.fixture_files import NAMES, normalized_fixture
from tests.request_fixtures import deliveries_of

LOOPBACK = [ip_network("127.0.0.0/8")]
SECRETS = {"key": "made-up-key", "secret": "made-up-secret"}
ACCOUNT_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Iterator[Any]:
    """An empty bucket, as another client of the same server sees it."""
    session = boto3.session.Session(SECRETS["key"], SECRETS["secret"], region_name="us-east-1")
    made = session.resource("s3", endpoint_url=endpoint).Bucket("lake")
    made.create()
    yield made
    made.objects.all().delete()
    made.delete()


@pytest.fixture
def transport() -> Iterator[ObjectTransport]:
    made = ObjectTransport(LOOPBACK)
    yield made
    made.close()


def lake(endpoint: str, **options: Any) -> Connection:
    given = {"path": "s3://lake/events", "endpoint_url": endpoint, "region": "us-east-1", "credentials": SECRETS}
    return Connection("lake", "file", {**given, **options}, timeout_seconds=5)


def deliver(connection: Connection, transport: ObjectTransport, bodies: list[Any]) -> list[Attempt]:
    """As the worker does it: a request for each lane."""
    destination = build_destination(connection)
    packed = pack(deliveries_of(destination, bodies), connection.batch, destination.envelope_bytes(), destination.lane)
    return [attempt(destination, transport, part, SystemClock()) for part in packed]


def outcomes(attempts: list[Attempt]) -> set[OutcomeKind]:
    return {outcome.kind for made in attempts for outcome in made.outcomes}


def reasons(attempts: list[Attempt]) -> str:
    return " ".join(outcome.reason for made in attempts for outcome in made.outcomes)


def bodies() -> list[Any]:
    return [body for name in NAMES for body in normalized_fixture("rudderstack", name)]


def test_every_event_is_in_the_bucket_once_as_parquet_that_another_engine_reads(
    endpoint: str, bucket: Any, transport: ObjectTransport, tmp_path: Path
) -> None:
    sent = bodies()

    attempts = deliver(lake(endpoint, format="parquet"), transport, sent)

    assert outcomes(attempts) == {OutcomeKind.DELIVERED}
    for found in bucket.objects.all():
        place = tmp_path / found.key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(found.get()["Body"].read())
    with duckdb.connect() as engine:
        query = f"SELECT count(*), count(DISTINCT message_id), count(DISTINCT date) FROM '{tmp_path}/**/*.parquet'"  # noqa: S608  a folder of ours
        assert engine.sql(query).fetchall()[0] == (
            len(sent),
            len({body["messageId"] for body in sent}),
            len({made.request.url.split("/")[4] for made in attempts}),
        )


def test_a_second_try_of_the_same_events_doubles_nothing(
    endpoint: str, bucket: Any, transport: ObjectTransport
) -> None:
    connection = lake(endpoint, compression="gzip")
    deliver(connection, transport, bodies()[:20])
    first = sorted(found.key for found in bucket.objects.all())

    deliver(connection, transport, bodies()[:20])

    assert first
    assert sorted(found.key for found in bucket.objects.all()) == first


def test_a_bucket_that_is_not_there_is_a_matter_of_the_settings(endpoint: str, transport: ObjectTransport) -> None:
    attempts = deliver(lake(endpoint), transport, bodies()[:1])

    assert outcomes(attempts) == {OutcomeKind.MISCONFIGURED}
    assert "check its path" in reasons(attempts)


def test_without_credentials_it_is_held(
    endpoint: str, bucket: Any, transport: ObjectTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ACCOUNT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    attempts = deliver(lake(endpoint, credentials={}), transport, bodies()[:1])

    assert outcomes(attempts) == {OutcomeKind.UNAUTHORIZED}


class GoogleLike(BaseHTTPRequestHandler):
    """Answers uploads as Google Cloud Storage does."""

    status: ClassVar[int] = 200
    uploads: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/upload/storage/v1/b/lake/o?uploadType=multipart"
        self.uploads.append(body)
        answer = b'{"name": "x", "bucket": "lake", "error": {"code": %d, "message": "no"}}' % self.status
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, OutcomeKind.DELIVERED),
        (401, OutcomeKind.UNAUTHORIZED),
        (403, OutcomeKind.UNAUTHORIZED),
        (404, OutcomeKind.MISCONFIGURED),
    ],
)
def test_google_cloud_storage_gets_an_object_in_one_upload(
    transport: ObjectTransport, status: int, kind: OutcomeKind
) -> None:
    handler = type("Answering", (GoogleLike,), {"status": status, "uploads": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"path": "gs://lake", "region": None, "credentials": {"token": "anon"}}

        attempts = deliver(lake(f"http://127.0.0.1:{server.server_port}", **options), transport, bodies()[:1])

        server.shutdown()
    assert outcomes(attempts) == {kind}
    name = attempts[0].request.url.removeprefix("gs://lake/")
    assert len(handler.uploads) == 1
    assert b'{"name": "' + name.encode() + b'"}' in handler.uploads[0]
    assert attempts[0].request.body in handler.uploads[0]


def test_nobody_at_the_address_is_no_answer(transport: ObjectTransport) -> None:
    attempts = deliver(lake("http://127.0.0.1:9"), transport, bodies()[:1])

    assert outcomes(attempts) == {OutcomeKind.TRANSIENT}
    assert attempts[0].response is None
    assert "made-up" not in attempts[0].error
    assert "127.0.0.1:9" in attempts[0].error


def test_an_inner_endpoint_is_not_called_unless_it_is_allowed(endpoint: str) -> None:
    attempts = deliver(lake(endpoint), ObjectTransport(), bodies()[:1])

    assert "stands for an inner address (127.0.0.1)" in attempts[0].error


def test_another_store_is_written_through_the_same_door(transport: ObjectTransport) -> None:
    request = Request("PUT", "memory://lake/date=2026-08-31/lake-1.ndjson", {}, b"{}\n")

    assert transport.send(request, 5).status == 200

    assert fsspec.filesystem("memory").cat("/lake/date=2026-08-31/lake-1.ndjson") == b"{}\n"


def test_a_store_without_a_client_is_no_answer(transport: ObjectTransport) -> None:
    with pytest.raises(TransportError, match="Protocol not known"):
        transport.send(Request("PUT", "carrier-pigeon://lake/a", {}, b""), 5)


def test_each_kind_of_store_gets_what_its_client_takes() -> None:
    token = "Credentials eyJ0b2tlbiI6IntcInR5cGVcIjpcInNlcnZpY2VfYWNjb3VudFwifSJ9"  # {"token": "{\"type\":…}"}

    assert store_options("gs", {"Authorization": token}, 5) == {"token": {"type": "service_account"}}
    assert store_options("az", {}, 5) == {"anon": False}
    assert store_options("s3", {"region": "eu-west-1", "endpoint": "https://e.example"}, 5) == {
        "endpoint_url": "https://e.example",
        "config_kwargs": {"connect_timeout": 5, "read_timeout": 5, "retries": {"total_max_attempts": 1}},
        "client_kwargs": {"region_name": "eu-west-1"},
    }
    assert credentials_of({}) == {}


class AzureLikeError(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__("no")
        self.status_code = status_code


class DefaultCredentialsError(Exception):
    """Named as Google's."""


def wrapped(inner: Exception) -> Exception:
    outer = OSError("wrapped")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AzureLikeError(403), 403),
        (wrapped(AzureLikeError(503)), 503),
        (DefaultCredentialsError("no"), 401),
        (PermissionError("no"), 403),
        (FileNotFoundError("no"), 404),
        (OSError("no"), None),
        (OSError("Forbidden: no"), 403),
        (AzureLikeError(7), None),
    ],
)
def test_what_a_client_raises_is_read_as_the_answer_that_it_stands_for(error: Exception, status: int | None) -> None:
    assert status_of(error) == status


def test_no_error_shows_a_secret() -> None:
    text = told(OSError("https://x/?sig=made-up-token\n and more"), {"sas_token": "made-up-token", "short": "and"})

    assert text == "https://x/?sig=••• and more"
    assert told(TimeoutError(), {}) == "no answer in time"

"""Whole files: which options ask for them, where an event's file stands, what is in it."""

import gzip
import json
import sys
from io import BytesIO
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from connector.destinations import build_destination
from connector.destinations.arrow import COLUMNS
from connector.destinations.base import Destination
from connector.destinations.file import FileDestination
from connector.destinations.objects import ObjectsDestination
from connector.errors import SettingsError
from connector.model import Batch, Connection, Delivery, Event, EventType, OutcomeKind, Reader, Refused, Response
from tests.fixture_files import NAMES, normalized_fixture
from tests.request_fixtures import SENT_AT, deliveries_of, sample_event

BODY: dict[str, Any] = {
    "type": "track",
    "messageId": "m-1",
    "userId": "u-1",
    "event": "Email Opened",
    "timestamp": "2026-08-31T23:59:59.000Z",
    "properties": {"subject": "two\nlines"},
}
S3 = {"path": "s3://lake/events", "credentials": {"key": "AKIAMADEUP", "secret": "made-up-secret"}}


def made(name: str = "lake", **options: Any) -> Destination:
    return build_destination(Connection(name, "file", options, batch=ObjectsDestination.default_batch))


def rows(destination: Destination, deliveries: list[Delivery]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(BytesIO(destination.prepare(deliveries, SENT_AT).body)).to_pylist()
    return found


# ── which options ──


@pytest.mark.parametrize(
    "options",
    [
        {"format": "parquet"},
        {"compression": "gzip"},
        {"partition": "{date}"},
        {"path": "s3://lake"},
        {"path": "gs://lake/events"},
        {"path": "az://lake/events", "credentials": {"account_name": "madeup"}},
    ],
)
def test_parquet_compression_partitions_and_stores_are_written_as_whole_files(options: dict[str, Any]) -> None:
    assert made(**options).transport == "objects"


@pytest.mark.parametrize("options", [{}, {"path": "/data"}, {"format": "ndjson", "compression": "none"}])
def test_lines_in_a_folder_are_appended(options: dict[str, Any]) -> None:
    assert made(**options).transport == "file"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"path": "ftp://lake"}, "path: ftp:// is not one of s3, gs, az, abfs"),
        ({"path": "s3://"}, "path must be like s3://bucket/folder"),
        ({"path": "s3://user:key@lake"}, "path must be like s3://bucket/folder"),
        ({"path": "s3://lake/../other"}, "path must be like s3://bucket/folder"),
        ({**S3, "credentials": {"secret_key": "x"}}, "credentials: secret_key is not one of key, profile, secret"),
        ({"path": "az://lake"}, "must have the account_name"),
        ({"path": "az://lake", "credentials": {"account_name": "evil.example/"}}, "must have the account_name"),
        (
            {"path": "az://lake", "credentials": {"account_name": "madeup"}, "endpoint_url": "https://e.example"},
            "endpoint_url is for s3",
        ),
        ({**S3, "endpoint_url": "localhost"}, "url must be an address"),
        ({"partition": "{day_of_week}"}, "partition: {day_of_week} is not one of {date}"),
        ({"partition": "{event.__class__}"}, "is not one of {date}"),
        ({"partition": "{}"}, "is not one of {date}"),
        ({"partition": "{event!r}"}, "cannot be a name"),
        ({"partition": "../{event}"}, "cannot be a name"),
        ({"partition": "{event"}, "cannot be a name"),
        ({"partition": "a//b"}, "cannot be a name"),
        ({"partition": "/"}, "cannot be a name"),
        ({"partition": "a b"}, "cannot be a name"),
    ],
)
def test_what_cannot_work_is_refused_when_the_settings_are_read(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        made(**options)

    assert problem in str(refusal.value)
    assert "made-up" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "package"),
    [({"format": "parquet"}, "pyarrow"), ({"compression": "zstd"}, "pyarrow"), (S3, "s3fs")],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(SettingsError, match=f"needs {package}.*: pip install -r requirements-files.txt"):
        made(**options)


def test_waiting_and_sending_must_end_before_others_take_the_events() -> None:
    batch = Batch(10_000, 20_000_000, 300.0)

    with pytest.raises(SettingsError, match="max_wait and timeout together must not be above 450 s"):
        build_destination(Connection("lake", "file", {"format": "parquet"}, batch=batch, timeout_seconds=200))


def test_a_type_that_works_in_several_ways_has_a_batch_for_each() -> None:
    assert FileDestination.variant({"format": "parquet"}).default_batch.max_events == 5_000
    assert FileDestination.variant({}).default_batch.max_events == 500


# ── where ──


def lane_of(body: dict[str, Any], partition: str | None = None, source: str = "production") -> str:
    event = Event(EventType.TRACK, source, "e-1", "email", "opened", False, body)
    return made(format="parquet", partition=partition).lane(event)


@pytest.mark.parametrize(
    ("timestamp", "day"),
    [
        ("2026-08-31T23:59:59.000Z", "2026-08-31"),
        ("2026-09-01T01:00:00+02:00", "2026-08-31"),
        ("2026-08-31T10:00:00", "2026-08-31"),
        (1_788_220_799, "2026-08-31"),
        (1_788_220_799_000, "2026-08-31"),
        ("yesterday", "unknown"),
        (None, "unknown"),
        (True, "unknown"),
        (-(10**30), "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_day_is_that_of_the_event_in_utc(timestamp: Any, day: str) -> None:
    assert lane_of({**BODY, "timestamp": timestamp}) == f"date={day}/event=email_opened"


def test_a_partition_of_ones_own_is_made_of_what_is_known() -> None:
    partition = "/{source}/{object_type}-{metric}/{year}/{month}/{day}/{hour}/{type}/"

    assert lane_of(BODY, partition, "EU/../prod") == "EU-..-prod/email-opened/2026/08/31/23/track"


@pytest.mark.parametrize(("source", "folder"), [("..", "unknown"), (".git", "git"), ("ü", "-"), ("a" * 300, "a" * 100)])
def test_no_name_leads_out_of_the_folder(source: str, folder: str) -> None:
    assert lane_of(BODY, "x/{source}", source) == f"x/{folder}"


def test_the_same_deliveries_make_the_same_name_in_whatever_order() -> None:
    destination = made(**S3, compression="gzip")
    first, second = (
        Delivery(Reader("lake", "production"), seq, "all", sample_event(BODY, f"e-{seq}"), b"{}") for seq in (1, 2)
    )

    both = destination.prepare([first, second], SENT_AT).url

    assert both.startswith("s3://lake/events/date=2026-08-31/event=email_opened/lake-")
    assert both.endswith(".ndjson.gz")
    assert destination.prepare([second, first], SENT_AT).url == both
    assert destination.prepare([first], SENT_AT).url != both


# ── what ──


def test_compressed_lines_can_be_read_again() -> None:
    deliveries = deliveries_of(made(compression="gzip"), [BODY, BODY])
    gzipped = made(compression="gzip").prepare(deliveries, SENT_AT)
    zipped = made(compression="zstd").prepare(deliveries, SENT_AT)

    lines = gzip.decompress(gzipped.body)
    assert [json.loads(line)["properties"] for line in lines.splitlines()] == [BODY["properties"]] * 2
    assert zipped.url.endswith(".ndjson.zst")
    with pyarrow.CompressedInputStream(pyarrow.BufferReader(zipped.body), "zstd") as stream:
        assert stream.read() == lines


@pytest.mark.parametrize("profile", ["rudderstack", "segment", "customerio", "raw"])
def test_a_row_has_all_that_the_event_has(profile: str) -> None:
    destination = made(format="parquet", partition="all")
    bodies: list[Any] = [body for name in NAMES for body in normalized_fixture(profile, name)]

    for body, row in zip(bodies, rows(destination, deliveries_of(destination, bodies)), strict=True):
        again = json.loads(row["other"] or "{}")
        for key, column in (("messageId", "message_id"), ("userId", "user_id"), ("anonymousId", "anonymous_id")):
            again |= {key: row[column]} if key in body else {}
        again |= {key: json.loads(row[key]) for key in ("properties", "context", "traits") if row[key] is not None}
        again |= {"type": row["type"]} if "type" not in again and "type" in body else {}
        again |= {"event": row["event_text"]} if "event" in body else {}
        if "timestamp" not in again and row["timestamp"]:
            again["timestamp"] = row["timestamp"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert {**again, "sentAt": 0} == {**body, "sentAt": 0}


def test_the_columns_are_those_that_are_documented() -> None:
    row = rows(made(format="parquet", partition="all"), deliveries_of(made(format="parquet"), [BODY]))[0]

    assert list(row) == list(COLUMNS)
    assert row["timestamp"].isoformat() == "2026-08-31T23:59:59+00:00"
    assert row["machine"] is False
    assert row["event"] == "email_opened"


def test_a_column_that_the_folders_say_is_left_out() -> None:
    row = rows(made(format="parquet"), deliveries_of(made(format="parquet"), [BODY]))[0]

    assert set(COLUMNS) - set(row) == {"event"}


def test_odd_values_find_a_place() -> None:
    body = {**BODY, "userId": 7, "anonymousId": "\ud800", "event": ["x"], "messageId": None, "traits": {}}

    row = rows(made(format="parquet"), deliveries_of(made(format="parquet"), [body]))[0]

    assert (row["user_id"], row["anonymous_id"], row["event_text"]) == ("7", "\\ud800", '["x"]')
    assert row["message_id"] == "01KND30RQSPPWRPQN804FE7M60"
    assert row["traits"] == "{}"


def test_an_event_that_is_too_large_is_refused() -> None:
    assert isinstance(made(format="parquet").encode(sample_event({**BODY, "userId": "u" * 5_000_000})), Refused)


# ── answers and secrets ──


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (200, OutcomeKind.DELIVERED, ""),
        (401, OutcomeKind.UNAUTHORIZED, "check its credentials"),
        (403, OutcomeKind.UNAUTHORIZED, "check its credentials"),
        (404, OutcomeKind.MISCONFIGURED, "check its path"),
        (503, OutcomeKind.TRANSIENT, "503"),
        (429, OutcomeKind.THROTTLED, "429"),
    ],
)
def test_an_answer_of_a_store_is_judged_as_over_any_http(status: int, kind: OutcomeKind, words: str) -> None:
    destination = made(**S3)

    outcome = destination.judge(Response(status, {}, b"no, made-up-secret"), deliveries_of(destination, [BODY]))[0]

    assert outcome.kind is kind
    assert words in outcome.reason
    assert "made-up" not in outcome.reason


def test_the_secrets_stand_in_a_header_that_is_never_shown() -> None:
    request = made(**S3, endpoint_url="https://s3.example.com", region="eu-west-1").prepare([], SENT_AT)

    assert set(request.headers) == {"Authorization", "endpoint", "region"}
    assert "made-up" not in str({**request.headers, "Authorization": ""}) + request.url

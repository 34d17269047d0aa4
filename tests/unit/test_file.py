"""What only the file destination does: names, days, lines."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.model import Connection
from tests.request_fixtures import SENT_AT, deliveries_of, sample_connection

BODY: dict[str, Any] = {"type": "track", "messageId": "m-1", "event": "Email Opened", "text": "two\nlines"}


def test_each_event_is_a_line() -> None:
    destination = build_destination(sample_connection("file"))

    request = destination.prepare(deliveries_of(destination, [BODY, BODY]), SENT_AT)

    assert request.body.endswith(b"}\n")
    assert [json.loads(line)["text"] for line in request.body.splitlines()] == ["two\nlines"] * 2


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 8, 31, 23, 59, 59, tzinfo=UTC), "2026-08-31"),
        (datetime(2026, 9, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2026-08-31"),
        (datetime(2026, 9, 1, tzinfo=UTC), "2026-09-01"),
    ],
)
def test_the_day_of_a_file_is_that_of_utc(moment: datetime, day: str) -> None:
    destination = build_destination(sample_connection("file", path="/var/events"))

    assert destination.prepare([], moment).url == f"/var/events/sample-{day}.ndjson"


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("archive", "archive"),
        ("../../etc/cron", "-..-etc-cron"),
        ("my files", "my-files"),
        ("...", "events"),
        ("ü", "-"),
    ],
)
def test_no_name_leads_out_of_the_folder(name: str, file_name: str) -> None:
    sample = sample_connection("file")
    destination = build_destination(Connection(name, "file", sample.options))

    assert destination.prepare([], SENT_AT).url == f"events/{file_name}-2026-09-01.ndjson"


def test_the_transport_is_told_when_to_begin_another_file() -> None:
    destination = build_destination(sample_connection("file", rotate_bytes=5_000_000))

    assert destination.prepare([], SENT_AT).headers == {"rotate-bytes": "5000000"}

"""What only the segment destination does."""

import json
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.model import Refused
from tests.request_fixtures import SENT_AT, deliveries_of, sample_connection, sample_event

BODY: dict[str, Any] = {"type": "track", "messageId": "m-1", "userId": "u", "event": "Email Opened"}


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://api.segment.io/v1/batch"),
        ({"region": "us"}, "https://api.segment.io/v1/batch"),
        ({"region": "eu"}, "https://events.eu1.segmentapis.com/v1/batch"),
        ({"region": "eu", "url": "https://segment.example.com/"}, "https://segment.example.com/v1/batch"),
    ],
)
def test_events_go_to_the_region_of_the_workspace(options: dict[str, str], url: str) -> None:
    assert build_destination(sample_connection("segment", **options)).prepare([], SENT_AT).url == url


def test_only_the_batch_carries_the_time_of_the_call() -> None:
    destination = build_destination(sample_connection("segment"))

    request = destination.prepare(deliveries_of(destination, [BODY, BODY]), SENT_AT)

    assert json.loads(request.body) == {"batch": [BODY, BODY], "sentAt": "2026-09-01T12:00:01.250Z"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"messageId": "m" * 99}, ""),
        ({"messageId": "m" * 100}, "messageId"),
        ({"messageId": None}, "messageId"),
        ({"messageId": 7}, "messageId"),
        ({"userId": " "}, "no person"),
        ({"event": ""}, "without an event name"),
        ({"type": "unheard"}, "its type"),
    ],
)
def test_what_segment_would_drop_without_a_word_is_refused_before(changes: dict[str, Any], reason: str) -> None:
    encoded = build_destination(sample_connection("segment")).encode(sample_event({**BODY, **changes}))

    assert (reason in encoded.reason) if isinstance(encoded, Refused) else not reason

"""What only the amplitude destination does: its own shape of events, and answers that name some of them."""

import json
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.errors import SettingsError
from connector.model import Batch, OutcomeKind, Refused, Response
from tests.request_fixtures import SENT_AT, deliveries_of, sample_connection, sample_event

MESSAGE_ID = "1dca2495-3107-5eda-9814-b44899e225ff"
BODY: dict[str, Any] = {
    "type": "track",
    "messageId": MESSAGE_ID,
    "userId": "usr_1",
    "event": "Email Opened",
    "timestamp": "2026-08-31T18:29:29.001Z",
    "properties": {"campaign_id": 12},
}
REJECTED, TRANSIENT, THROTTLED = OutcomeKind.REJECTED, OutcomeKind.TRANSIENT, OutcomeKind.THROTTLED


def encoded(**changes: Any) -> dict[str, Any] | str:
    """What becomes of an event: what is sent, or the reason why nothing is."""
    made = build_destination(sample_connection("amplitude")).encode(sample_event({**BODY, **changes}))
    if isinstance(made, Refused):
        return made.reason
    body: dict[str, Any] = json.loads(made)
    return body


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://api2.amplitude.com/2/httpapi"),
        ({"region": "eu"}, "https://api.eu.amplitude.com/2/httpapi"),
        ({"api": "batch"}, "https://api2.amplitude.com/batch"),
        ({"api": "batch", "region": "eu"}, "https://api.eu.amplitude.com/batch"),
        ({"url": "https://proxy.example.com/"}, "https://proxy.example.com/2/httpapi"),
    ],
)
def test_events_go_to_the_api_and_the_region_of_the_project(options: dict[str, Any], url: str) -> None:
    assert build_destination(sample_connection("amplitude", **options)).prepare([], SENT_AT).url == url


def test_the_key_and_the_shortest_id_stand_in_the_body() -> None:
    destination = build_destination(sample_connection("amplitude", api_key='k"ey', min_id_length=3))

    assert json.loads(destination.prepare([], SENT_AT).body) == {
        "api_key": 'k"ey',
        "events": [],
        "options": {"min_id_length": 3},
    }


def test_the_http_api_has_the_smaller_limit() -> None:
    large = Batch(2_000, 20_000_000, 1.0)

    assert build_destination(sample_connection("amplitude", large, api="batch"))
    with pytest.raises(SettingsError, match="max_bytes may be 1000000 at most, or more with api: batch"):
        build_destination(sample_connection("amplitude", large))


def test_an_event_is_told_in_milliseconds_with_its_message_id() -> None:
    assert encoded() == {
        "user_id": "usr_1",
        "time": 1788200969001,
        "insert_id": MESSAGE_ID,
        "event_type": "Email Opened",
        "event_properties": {"campaign_id": 12},
    }


def test_an_identify_call_sets_properties_of_the_person() -> None:
    sent = encoded(type="identify", traits={"plan": "pro"})

    assert isinstance(sent, dict)
    assert sent["event_type"] == "$identify"
    assert sent["user_properties"] == {"$set": {"plan": "pro"}}
    assert "event_properties" not in sent


def test_who_is_known_by_no_id_is_a_device() -> None:
    sent = encoded(userId=" ", anonymousId="ada@example.com")

    assert isinstance(sent, dict)
    assert "user_id" not in sent
    assert sent["device_id"] == "ada@example.com"


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        ("2026-08-31T20:29:29.001+02:00", 1788200969001),
        ("2026-08-31T18:29:29", 1788200969000),
        ("1969-12-31T23:59:59Z", -1000),
        ("yesterday", None),
        ("0001-01-01T00:00:00+14:00", None),
        (1788200969, None),
        (None, None),
    ],
)
def test_a_time_that_cannot_be_read_is_left_out(timestamp: Any, time: int | None) -> None:
    sent = encoded(timestamp=timestamp)

    assert isinstance(sent, dict)
    assert sent.get("time") == time


@pytest.mark.parametrize("message_id", ["not a uuid", 7, None, "", "\ud800"])
def test_an_id_of_another_form_becomes_the_same_uuid_each_time(message_id: Any) -> None:
    first, second = encoded(messageId=message_id), encoded(messageId=message_id)

    assert isinstance(first, dict)
    assert len(first["insert_id"]) == 36
    assert first == second


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"userId": "Anonymous"}, "a placeholder for an id: 'Anonymous'"),
        ({"userId": 0}, "a placeholder"),
        ({"userId": "u" * 1025}, "longer than 1024 characters"),
        ({"event": "[Amplitude] Revenue"}, "reserved by Amplitude"),
        ({"event": "$identify"}, "reserved by Amplitude"),
        ({"type": "page"}, "its type is not one of track, identify"),
        ({"properties": [1]}, "its properties are not an object"),
        ({"type": "identify", "traits": "x"}, "its traits are not an object"),
        ({"userId": None}, "no person"),
    ],
)
def test_what_amplitude_would_refuse_is_refused_before(changes: dict[str, Any], reason: str) -> None:
    assert reason in encoded(**changes)


def test_ids_shorter_than_the_project_allows_are_refused() -> None:
    destination = build_destination(sample_connection("amplitude", min_id_length=6))

    made = destination.encode(sample_event(BODY))

    assert isinstance(made, Refused)
    assert "shorter than 6 characters" in made.reason


@pytest.mark.parametrize(
    ("status", "answer", "kinds"),
    [
        (400, {"events_with_invalid_fields": {"time": [1]}}, [TRANSIENT, REJECTED, TRANSIENT]),
        (400, {"events_with_missing_fields": {"x": [0]}, "silenced_events": [2]}, [REJECTED, TRANSIENT, REJECTED]),
        (400, {"events_with_invalid_id_lengths": {"user_id": [0, 1, 2]}}, [REJECTED] * 3),
        (400, {"events_with_invalid_fields": {"time": [7, -1, "1", True]}}, [REJECTED] * 3),
        (400, {"events_with_invalid_fields": [1], "silenced_events": {"1": 1}}, [REJECTED] * 3),
        (400, {"error": "Invalid API key"}, [OutcomeKind.UNAUTHORIZED] * 3),
        (400, {"missing_field": "api_key"}, [OutcomeKind.UNAUTHORIZED] * 3),
        (429, {"throttled_events": [2]}, [TRANSIENT] * 3),
        (429, {"throttled_users": {"usr_9": 40}}, [THROTTLED] * 3),
        (429, {"throttled_users": {}, "throttled_events": []}, [THROTTLED] * 3),
    ],
)  # fmt: skip
def test_an_answer_is_judged_event_by_event_where_it_names_them(
    status: int, answer: Any, kinds: list[OutcomeKind]
) -> None:
    destination = build_destination(sample_connection("amplitude"))

    outcomes = destination.judge(
        Response(status, {}, json.dumps(answer).encode()), deliveries_of(destination, [BODY] * 3)
    )

    assert [outcome.kind for outcome in outcomes] == kinds


def test_only_the_people_who_are_too_fast_or_have_used_up_their_day_wait() -> None:
    destination = build_destination(sample_connection("amplitude"))
    deliveries = deliveries_of(destination, [{**BODY, "userId": f"usr_{number}"} for number in range(4)])
    answer = {"throttled_users": {"usr_1": 40}, "throttled_events": [1], "exceeded_daily_quota_users": {"usr_3": 9}}

    outcomes = destination.judge(Response(429, {}, json.dumps(answer).encode()), deliveries)

    assert [outcome.retry_after_seconds for outcome in outcomes] == [None, 30, None, 3600]

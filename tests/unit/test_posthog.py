"""What only the posthog destination does: its own shape of events, and a 200 that means no."""

import json
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.model import OutcomeKind, Refused, Response
from tests.request_fixtures import SENT_AT, deliveries_of, sample_connection, sample_event

MESSAGE_ID = "1dca2495-3107-5eda-9814-b44899e225ff"
BODY: dict[str, Any] = {
    "type": "track",
    "messageId": MESSAGE_ID,
    "userId": "usr_1",
    "event": "Email Opened",
    "timestamp": "2026-08-31T20:29:29+02:00",
    "properties": {"campaign_id": 12, "$lib": "other"},
}


def encoded(**changes: Any) -> dict[str, Any] | str:
    """What becomes of an event: what is sent, or the reason why nothing is."""
    made = build_destination(sample_connection("posthog")).encode(sample_event({**BODY, **changes}))
    if isinstance(made, Refused):
        return made.reason
    body: dict[str, Any] = json.loads(made)
    return body


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://us.i.posthog.com/batch/"),
        ({"region": "eu"}, "https://eu.i.posthog.com/batch/"),
        ({"url": "https://posthog.example.com"}, "https://posthog.example.com/batch/"),
        ({"url": "https://posthog.example.com/batch/"}, "https://posthog.example.com/batch/"),
    ],
)
def test_events_go_to_the_cloud_of_the_region_or_to_ones_own_server(options: dict[str, Any], url: str) -> None:
    assert build_destination(sample_connection("posthog", **options)).prepare([], SENT_AT).url == url


@pytest.mark.parametrize(("is_past", "extra"), [(False, {}), (True, {"historical_migration": True})])
def test_the_past_is_marked_as_such_when_asked_for(is_past: bool, extra: dict[str, bool]) -> None:
    destination = build_destination(sample_connection("posthog", historical_migration=is_past))

    assert json.loads(destination.prepare([], SENT_AT).body) == {"api_key": "made-up-secret", **extra, "batch": []}


def test_an_event_has_its_own_time_and_its_message_id() -> None:
    assert encoded() == {
        "event": "Email Opened",
        "distinct_id": "usr_1",
        "properties": {"campaign_id": 12, "$lib": "customerio-connector", "$geoip_disable": True},
        "uuid": MESSAGE_ID,
        "timestamp": "2026-08-31T18:29:29.000Z",
    }


def test_an_identify_call_sets_properties_of_the_person() -> None:
    sent = encoded(type="identify", traits={"plan": "pro"})

    assert isinstance(sent, dict)
    assert sent["event"] == "$set"
    assert sent["properties"]["$set"] == {"plan": "pro"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"userId": "Guest"}, "a placeholder for an id"),
        ({"userId": "u" * 201}, "longer than 200 characters"),
        ({"userId": " "}, "no person"),
        ({"event": " "}, "without an event name"),
    ],
)
def test_what_posthog_would_drop_or_mix_up_is_refused_before(changes: dict[str, Any], reason: str) -> None:
    assert reason in encoded(**changes)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"status": 1}', OutcomeKind.DELIVERED),
        (b'{"status": 1, "quota_limited": []}', OutcomeKind.DELIVERED),
        (b'{"status": 1, "quota_limited": ["recordings", "events"]}', OutcomeKind.THROTTLED),
    ],
)
def test_a_200_beyond_the_billing_limit_is_a_pause(body: bytes, kind: OutcomeKind) -> None:
    destination = build_destination(sample_connection("posthog"))

    outcome = destination.judge(Response(200, {}, body), deliveries_of(destination, [BODY]))[0]

    assert outcome.kind is kind
    assert kind is OutcomeKind.DELIVERED or "beyond its billing limit" in outcome.reason

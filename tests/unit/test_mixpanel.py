"""What only the mixpanel destination does: two addresses, two ways to be known, partly stored requests."""

import json
from base64 import b64decode
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.errors import SettingsError
from connector.model import Connection, OutcomeKind, Refused, Response
from tests.request_fixtures import SENT_AT, deliveries_of, sample_event

MESSAGE_ID = "1dca2495-3107-5eda-9814-b44899e225ff"
BODY: dict[str, Any] = {
    "type": "track",
    "messageId": MESSAGE_ID,
    "userId": "usr_1",
    "event": "Email Opened",
    "timestamp": "2026-08-31T18:29:29.001Z",
    "properties": {"campaign_id": 12, "time": "noon"},
}
PERSON: dict[str, Any] = {"type": "identify", "userId": "usr_1", "traits": {"email": "ada@example.com", "plan": "pro"}}
ACCOUNT: dict[str, Any] = {"service_account": "bot", "service_account_secret": "hush-hush", "project_id": "117"}
DELIVERED, REJECTED, TRANSIENT = OutcomeKind.DELIVERED, OutcomeKind.REJECTED, OutcomeKind.TRANSIENT


def connection(identify: bool = False, **options: Any) -> Connection:
    return Connection("sample", "mixpanel", options, identify=identify)


def encoded(**changes: Any) -> dict[str, Any] | str:
    """What becomes of an event: what is sent, or the reason why nothing is."""
    made = build_destination(connection(token="t")).encode(sample_event({**BODY, **changes}))
    if isinstance(made, Refused):
        return made.reason
    body: dict[str, Any] = json.loads(made)
    return body


@pytest.mark.parametrize(
    ("options", "url", "user"),
    [
        ({"token": "t"}, "https://api.mixpanel.com/import?strict=1", "t:"),
        ({"token": "t", "region": "eu"}, "https://api-eu.mixpanel.com/import?strict=1", "t:"),
        ({"token": "t", "region": "in"}, "https://api-in.mixpanel.com/import?strict=1", "t:"),
        (ACCOUNT, "https://api.mixpanel.com/import?strict=1&project_id=117", "bot:hush-hush"),
        ({**ACCOUNT, "token": "t"}, "https://api.mixpanel.com/import?strict=1&project_id=117", "bot:hush-hush"),
        ({"token": "t", "url": "https://proxy.example.com/"}, "https://proxy.example.com/import?strict=1", "t:"),
    ],
)
def test_events_go_to_the_region_of_the_project_with_one_of_two_credentials(
    options: dict[str, Any], url: str, user: str
) -> None:
    request = build_destination(connection(**options)).prepare([], SENT_AT)

    assert request.url == url
    assert b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode() == user


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "it needs a token, or"),
        ({"service_account": "bot", "project_id": "117"}, "go together"),
        ({"token": "t", "service_account_secret": "s"}, "go together"),
        ({**ACCOUNT, "identify": True}, "with identify: true it needs a token"),
    ],
)
def test_credentials_that_cannot_work_are_refused_when_the_settings_are_read(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        build_destination(connection(**options))


def test_no_reason_quotes_a_service_account_secret() -> None:
    destination = build_destination(connection(**ACCOUNT))
    authorization = destination.prepare([], SENT_AT).headers["Authorization"]

    echo = f"no access with {authorization} (hush-hush)".encode()
    reason = destination.judge(Response(401, {}, echo), deliveries_of(destination, [BODY]))[0].reason

    assert "hush" not in reason
    assert authorization.removeprefix("Basic ") not in reason


def test_mixpanels_own_properties_win_over_those_of_the_event() -> None:
    assert encoded() == {
        "event": "Email Opened",
        "properties": {
            "campaign_id": 12,
            "time": 1788200969001,
            "distinct_id": "usr_1",
            "$insert_id": MESSAGE_ID,
        },
    }


def test_an_event_of_nobody_is_counted_without_a_person() -> None:
    sent = encoded(userId=None)

    assert isinstance(sent, dict)
    assert sent["properties"]["distinct_id"] == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timestamp": None}, "it has no time"),
        ({"userId": "NULL"}, "a placeholder for an id"),
        ({"userId": "ü" * 128}, "longer than 255 bytes"),
        ({**PERSON, "userId": None}, "no person"),
        ({"type": "alias"}, "its type is not one of"),
    ],
)
def test_what_mixpanel_would_refuse_is_refused_before(changes: dict[str, Any], reason: str) -> None:
    assert reason in encoded(**changes)


def test_people_go_to_profiles_with_the_token() -> None:
    destination = build_destination(connection(token="t", **ACCOUNT))

    request = destination.prepare(deliveries_of(destination, [PERSON]), SENT_AT)

    assert request.url == "https://api.mixpanel.com/engage?verbose=1"
    assert "Authorization" not in request.headers
    assert json.loads(request.body) == [
        {
            "$token": "t",
            "$distinct_id": "usr_1",
            "$ip": "0",
            "$set": {"$email": "ada@example.com", "plan": "pro"},
        }
    ]


def test_people_and_events_never_share_a_request() -> None:
    destination = build_destination(connection(token="t"))

    assert destination.lane(sample_event(PERSON)) != destination.lane(sample_event(BODY))


def test_people_are_refused_without_a_token() -> None:
    made = build_destination(connection(**ACCOUNT)).encode(sample_event(PERSON))

    assert isinstance(made, Refused)
    assert "the project's token" in made.reason


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ({"failed_records": [{"index": 1}], "num_records_imported": 2}, [DELIVERED, REJECTED, DELIVERED]),
        ({"failed_records": [{"index": 1}], "num_records_imported": 1}, [TRANSIENT, REJECTED, TRANSIENT]),
        ({"failed_records": [{"index": 1}]}, [TRANSIENT, REJECTED, TRANSIENT]),
        ({"failed_records": [{"index": 9}, {"index": "1"}, 1], "num_records_imported": 2}, [REJECTED] * 3),
        ({"failed_records": None}, [REJECTED] * 3),
    ],
)
def test_what_is_stored_in_spite_of_a_400_is_delivered(answer: Any, kinds: list[OutcomeKind]) -> None:
    destination = build_destination(connection(token="t"))

    outcomes = destination.judge(Response(400, {}, json.dumps(answer).encode()), deliveries_of(destination, [BODY] * 3))

    assert [outcome.kind for outcome in outcomes] == kinds


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"status": 1, "error": null}', DELIVERED),
        (b'{"status": 0, "error": "token, missing or empty"}', REJECTED),
        (b'{"status": 0}', REJECTED),
        (b"<html>", TRANSIENT),
    ],
)
def test_a_200_to_people_counts_when_it_says_so(body: bytes, kind: OutcomeKind) -> None:
    destination = build_destination(connection(token="t"))

    outcomes = destination.judge(Response(200, {}, body), deliveries_of(destination, [PERSON] * 2))

    assert [outcome.kind for outcome in outcomes] == [kind] * 2

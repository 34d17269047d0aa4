"""What a 207 says of each message, in all the shapes that Adobe's pages and its own client know."""

import json
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.destinations.base import Destination
from connector.model import Outcome, OutcomeKind, Response
from tests.fixture_files import normalized_fixture
from tests.request_fixtures import deliveries_of
from tests.xdm import adobe

UUID = "6f9a3d2e-1b7c-4e55-9a60-2f0d6c8b1a34"
GOOD = {"xactionId": "1565650704337:2124:92:3"}
BAD = {"statusCode": 400, "message": "Message has unknown xdm format"}

DELIVERED, REJECTED, TRANSIENT = OutcomeKind.DELIVERED, OutcomeKind.REJECTED, OutcomeKind.TRANSIENT


def numbered(index: int, **more: Any) -> dict[str, Any]:
    return {"xactionId": f"{UUID}-{index}", **more}


def judged(status: int, body: Any, count: int, destination: Destination | None = None, **headers: str) -> list[Outcome]:
    destination = destination or build_destination(adobe())
    event: Any = normalized_fixture("customerio", "email_opened")[0]
    answer = body if isinstance(body, bytes) else json.dumps(body).encode()
    return destination.judge(Response(status, headers, answer), deliveries_of(destination, [event] * count))


def kinds(items: list[Any], count: int) -> list[OutcomeKind]:
    return [outcome.kind for outcome in judged(207, {"inletId": "x", "batchId": "y", "responses": items}, count)]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([GOOD, GOOD], [DELIVERED, DELIVERED]),
        ([GOOD, BAD], [DELIVERED, REJECTED]),
        ([BAD, GOOD, BAD], [REJECTED, DELIVERED, REJECTED]),
        ([numbered(1, status=400), numbered(0)], [DELIVERED, REJECTED]),
        ([numbered(0), BAD], [DELIVERED, REJECTED]),
        ([{"statusCode": "400"}, {"statusCode": 200}, {"status": 207}], [REJECTED, DELIVERED, DELIVERED]),
        ([{"status": 503}, {"status": 408}, {"status": 413}], [TRANSIENT, TRANSIENT, OutcomeKind.TOO_LARGE]),
        ([{"status": 429}, {"status": 401}], [OutcomeKind.THROTTLED, OutcomeKind.UNAUTHORIZED]),
        ([{"status": 404}, {"status": 302}, {}], [REJECTED, REJECTED, DELIVERED]),
        ([numbered(7), numbered(8)], [DELIVERED, DELIVERED]),
        ([{"xactionId": 5}, {"xactionId": None, "status": True}], [DELIVERED, DELIVERED]),
    ],
)
def test_each_message_has_the_outcome_of_its_item(items: list[Any], expected: list[OutcomeKind]) -> None:
    assert kinds(items, len(expected)) == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([numbered(1, status=400)], [TRANSIENT, REJECTED, TRANSIENT]),
        ([numbered(0), numbered(2)], [DELIVERED, TRANSIENT, DELIVERED]),
        ([numbered(2), BAD], [TRANSIENT, TRANSIENT, DELIVERED]),
        ([GOOD, BAD], [TRANSIENT, TRANSIENT, TRANSIENT]),
        ([GOOD] * 4, [TRANSIENT, TRANSIENT, TRANSIENT]),
        ([], [TRANSIENT, TRANSIENT, TRANSIENT]),
        ([numbered(0), numbered(0), numbered(1)], [TRANSIENT, TRANSIENT, TRANSIENT]),
        ([GOOD, "ok", GOOD], [TRANSIENT, TRANSIENT, TRANSIENT]),
    ],
)
def test_what_no_item_can_be_tied_to_is_tried_again(items: list[Any], expected: list[OutcomeKind]) -> None:
    assert kinds(items, 3) == expected


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"not json", {"responses": "none"}, {"responses": None}])
def test_a_207_without_items_is_an_answer_that_nobody_understands(body: Any) -> None:
    assert {outcome.kind for outcome in judged(207, body, 2)} == {TRANSIENT}


def test_messages_that_are_refused_alike_are_not_taken_for_a_refused_request() -> None:
    outcomes = judged(207, {"responses": [BAD, BAD]}, 2)

    assert len(set(outcomes)) == 2
    assert outcomes[1].reason == "answered 400 for message 2 of 2: Message has unknown xdm format"


def test_the_answer_to_a_single_message_speaks_of_that_message() -> None:
    outcomes = judged(200, {"inletId": "x", "xactionId": "1584479347507:2153:240"}, 1, build_destination(adobe(1)))

    assert outcomes == [Outcome(DELIVERED)]


def test_an_empty_403_is_a_matter_of_the_allowlist() -> None:
    outcome = judged(403, b"", 1)[0]

    assert outcome.kind is OutcomeKind.UNAUTHORIZED
    assert "allowlist" in outcome.reason


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "set client_id and client_secret"),
        ({"client_id": "a", "client_secret": "secret"}, "a fresh token did not help"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_says_what_to_look_at(status: int, options: dict[str, str], advice: str) -> None:
    outcome = judged(status, {"status": str(status)}, 1, build_destination(adobe(**options)))[0]

    assert outcome.kind is OutcomeKind.UNAUTHORIZED
    assert advice in outcome.reason


def test_validation_that_is_not_available_is_a_matter_of_the_address() -> None:
    outcome = judged(501, b"", 1)[0]

    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert "syncValidation" in outcome.reason

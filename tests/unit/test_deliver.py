"""Packing requests, and one attempt: whatever goes wrong in it comes back as outcomes."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from connector.deliver import ALONE_FROM_ATTEMPT, attempt, pack
from connector.destinations.base import Destination
from connector.model import (
    Batch,
    Delivery,
    Event,
    EventType,
    Outcome,
    OutcomeKind,
    Reader,
    Request,
    Response,
)
from tests.delivering import CONNECTION, READER, refuse_connections
from tests.fakes import FakeClock, FakeTransport, StubDestination


def delivery(number: int, size: int = 10, attempts: int = 0, reader: Reader = READER) -> Delivery:
    event = Event(EventType.TRACK, "production", f"e{number}", "email", "opened", False, {})
    return Delivery(reader, number, "all", event, b"x" * size, attempts)


def numbers(packed: Sequence[Sequence[Delivery]]) -> list[list[int]]:
    return [[one.seq for one in part] for part in packed]


@pytest.mark.parametrize(
    ("sizes", "max_events", "max_bytes", "parts"),
    [
        ([], 2, 100, []),
        ([10, 10, 10], 2, 1000, [[1, 2], [3]]),
        ([10, 10, 10], 100, 2 + 22, [[1, 2], [3]]),  # an envelope of 2 bytes, and one beside each event
        ([10, 10, 10], 100, 2 + 21, [[1], [2], [3]]),
        ([10, 500, 10], 100, 100, [[1], [2], [3]]),  # what alone is too large was checked when it was encoded
        ([10], 1, 1, [[1]]),
    ],
)
def test_packing_keeps_the_order_and_both_limits(
    sizes: list[int], max_events: int, max_bytes: int, parts: list[list[int]]
) -> None:
    deliveries = [delivery(number, size) for number, size in enumerate(sizes, 1)]

    assert numbers(pack(deliveries, Batch(max_events, max_bytes, 0.5), envelope_bytes=2)) == parts


def test_what_has_failed_often_shares_a_request_with_nobody() -> None:
    deliveries = [delivery(1), delivery(2, attempts=ALONE_FROM_ATTEMPT - 1), delivery(3, attempts=2), delivery(4)]

    assert numbers(pack(deliveries, Batch(100, 1000, 0.5), envelope_bytes=2)) == [[1, 3, 4], [2]]


def test_events_of_different_lanes_never_share_a_request() -> None:
    deliveries = [delivery(number) for number in range(1, 6)]
    lanes = {id(one.event): "odd" if one.seq % 2 else "even" for one in deliveries}

    packed = pack(deliveries, Batch(2, 1000, 0.5), 2, lambda event: lanes[id(event)])

    assert numbers(packed) == [[1, 3], [5], [2, 4]]


def make_attempt(
    transport: FakeTransport, destination: Destination | None = None, part: Sequence[Delivery] = ()
) -> Any:
    return attempt(
        destination or StubDestination(CONNECTION), transport, part or [delivery(1), delivery(2)], FakeClock()
    )


def test_an_attempt_carries_request_answer_and_one_outcome_for_each_delivery() -> None:
    transport = FakeTransport()

    made = make_attempt(transport)

    assert made.request is transport.requests[0]
    assert made.response == Response(200, {}, b"ok")
    assert made.error == ""
    assert [outcome.kind for outcome in made.outcomes] == [OutcomeKind.DELIVERED] * 2
    assert made.started_at == FakeClock().now()


def test_no_answer_is_transient_for_all_and_says_why() -> None:
    made = make_attempt(FakeTransport(refuse_connections))

    assert made.response is None
    assert made.error == "connection refused"
    assert made.outcomes == [Outcome(OutcomeKind.TRANSIENT, "connection refused")] * 2


def test_an_attempt_of_a_replay_says_so() -> None:
    made = make_attempt(FakeTransport(), part=[delivery(1, reader=Reader("stub", "production", "r-1"))])

    assert made.replay == "r-1"


# ── defects ──


def stumble(*_: Any) -> Any:
    raise UnicodeEncodeError("ascii", "é", 0, 1, "a defect")


class Unpreparing(StubDestination):
    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        raise UnicodeEncodeError("ascii", "é", 0, 1, "a defect")


class Unjudging(StubDestination):
    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        raise IndexError("a defect")


class Miscounting(StubDestination):
    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        return [Outcome(OutcomeKind.DELIVERED)]


@pytest.mark.parametrize(
    ("destination", "transport", "kind", "reason", "sent"),
    [
        (Unpreparing, FakeTransport(), OutcomeKind.REJECTED, "no request can be made: UnicodeEncodeError", 0),
        (
            StubDestination,
            FakeTransport(stumble),
            OutcomeKind.TRANSIENT,
            "the request was not sent as it should be: UnicodeEncodeError",
            1,
        ),
        (Unjudging, FakeTransport(), OutcomeKind.TRANSIENT, "the answer cannot be judged: IndexError", 1),
        (Miscounting, FakeTransport(), OutcomeKind.TRANSIENT, "1 outcomes for 2 deliveries", 1),
    ],
)
def test_a_defect_is_an_outcome_too_and_is_logged(
    destination: type[Destination],
    transport: FakeTransport,
    kind: OutcomeKind,
    reason: str,
    sent: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = make_attempt(transport, destination(CONNECTION))

    assert made.outcomes == [Outcome(kind, reason)] * 2
    assert len(transport.requests) == sent
    assert "destination stub" in caplog.text


# ── the log ──


def test_an_attempt_is_one_line_with_the_same_keys_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    make_attempt(FakeTransport())
    make_attempt(FakeTransport(refuse_connections))

    lines = [record.getMessage() for record in caplog.records]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    keys = ["destination", "replay", "events", "delivered", "first", "action", "attempt", "outcome", "status"]
    for line in lines:
        assert [word.partition("=")[0] for word in line.split()][:10] == ["attempt", *keys]
    assert "first=e1 action='all' attempt=1 outcome=transient status=- " in lines[1]


def test_the_log_line_has_neither_bodies_nor_headers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    make_attempt(FakeTransport(lambda request: Response(200, {"x": "secret-header"}, b"secret-answer")))

    assert "xxxx" not in caplog.text
    assert "secret" not in caplog.text

"""The loop of one destination when something goes wrong on our side: stops, a locked journal, defects of our own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from connector.errors import JournalError
from connector.model import (
    Action,
    Batch,
    Delivery,
    Event,
    Outcome,
    Reader,
    Request,
    Response,
    Retry,
)
from connector.replay import Routes
from connector.route import Route, Routed
from tests.delivering import READER, Rig, always, in_turn
from tests.fakes import StubDestination, accept

OTHER = Reader("stub", "other")
FAST = Retry(3, (1, 2, 4))
TWO_ACTIONS = (Action("one"), Action("two", fields={"context.second": "`true`"}))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# ── stops, holds, and a journal that cannot be written ──


def test_a_stop_while_a_batch_fills_puts_it_back(rig: Rig) -> None:
    rig.receive(2)
    rig.clock.on_sleep = rig.worker.stop

    rig.worker.run_once()
    assert rig.sent == []
    rig.new_worker()
    rig.run()

    assert rig.sent == [["e1", "e2"]]


def test_a_stop_between_two_requests_puts_the_rest_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path, actions=TWO_ACTIONS, batch=Batch(1, 1_000_000, 0.0))
    rig.receive(1)

    def stop(request: Request) -> Response:
        rig.worker.stop()
        return accept(request)

    rig.transport.answer = stop
    rig.worker.run_once()
    rig.worker.close()
    assert rig.transport.is_closed
    rig.transport.answer = accept
    rig.new_worker(actions=TWO_ACTIONS)
    rig.run()

    assert [delivery.action for made in rig.attempts for delivery in made.deliveries] == ["one", "two"]


def test_a_hold_that_comes_between_puts_the_rest_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path, batch=Batch(10, 700, 0.0))
    rig.receive(3)
    rig.transport.answer = always(401)

    rig.run()

    assert rig.sent == [["e1"]]
    assert rig.mood == "held"
    rig.new_worker(batch=Batch(10, 700, 0.0))
    rig.transport.answer = accept
    rig.run()
    assert rig.sent[1:] == [["e1"], ["e2"], ["e3"]]


def test_what_was_delivered_while_the_journal_is_locked_is_settled_later_and_not_sent_again(rig: Rig) -> None:
    rig.receive(1)
    rig.journal.is_locked = True
    for _ in range(2):
        with pytest.raises(JournalError):
            rig.worker.run_once()

    rig.journal.is_locked = False
    rig.run()

    assert rig.sent == [["e1"]]
    assert rig.waiting == (0, 0)
    assert rig.counts["delivered"] == 1


def test_what_could_not_be_settled_is_settled_when_the_worker_ends(rig: Rig) -> None:
    rig.receive(1)
    rig.journal.is_locked = True
    with pytest.raises(JournalError):
        rig.worker.run_once()

    rig.journal.is_locked = False
    rig.worker.close()

    assert rig.waiting == (0, 0)


def test_a_worker_ends_although_the_journal_stays_locked(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.receive(1)
    rig.journal.is_locked = True
    with pytest.raises(JournalError):
        rig.worker.run_once()

    rig.worker.close()

    assert "will be sent again" in caplog.text
    assert rig.transport.is_closed


def test_a_source_that_cannot_be_claimed_from_hides_no_events_of_another(rig: Rig) -> None:
    rig.readers = [OTHER, READER]
    rig.journal.add_reader(OTHER, "beginning")
    rig.receive(1)
    rig.receive(1, first=2, source="other")
    rig.journal.unreadable = frozenset({OTHER})
    for _ in range(2):  # the sources take turns
        with pytest.raises(JournalError):
            rig.worker.run_once()

    rig.journal.unreadable = frozenset()
    rig.run()

    assert rig.delivered == {"e1": 1, "e2": 1}


# ── defects of our own ──


class ClumsyDestination(StubDestination):
    """Stumbles over an event of the metric that it is told."""

    def prepare(self, batch: Sequence[Delivery], sent_at: Any) -> Request:
        if any(delivery.event.metric == "clicked" for delivery in batch):
            raise TypeError("a defect")
        return super().prepare(batch, sent_at)

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        if any(delivery.event.metric == "bounced" for delivery in batch):
            raise KeyError("a defect")
        return super().judge(response, batch)


def test_an_event_that_no_request_can_be_made_of_dies_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ClumsyDestination)
    rig.receive(50)
    rig.receive(1, first=51, metric="clicked")
    rig.receive(49, first=52)

    rig.run()

    assert [letter.event_id for letter in rig.dead] == ["e51"]
    assert rig.dead[0].reason == "no request can be made: TypeError"
    assert rig.delivered.total() == 99


def test_an_event_whose_answer_cannot_be_judged_dies_alone(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ClumsyDestination, retry=FAST)
    rig.receive(9)
    rig.receive(1, first=10, metric="bounced")

    for number in range(11, 31):
        rig.receive(1, first=number)
        rig.run(seconds=2)

    assert [letter.event_id for letter in rig.dead] == ["e10"]
    assert {f"e{number}" for number in range(1, 31)} - rig.delivered.keys() == {"e10"}


class StumblingRoute(Route):
    def deliveries(self, reader: Reader, seq: int, events: Sequence[Event], *rest: Any) -> Routed:
        if events[0].event_id == "e2":
            raise ZeroDivisionError
        return super().deliveries(reader, seq, events, *rest)


class StumblingRoutes(Routes):
    def of(self, reader: Reader) -> Route:
        return StumblingRoute(self._destination)


def test_an_event_that_cannot_be_worked_on_dies_alone_and_can_be_retried_as_a_whole(tmp_path: Path) -> None:
    rig = Rig(tmp_path, actions=TWO_ACTIONS)
    rig.make_routes = StumblingRoutes
    rig.new_worker(actions=TWO_ACTIONS)
    rig.receive(3)
    rig.run()
    (letter,) = rig.dead
    assert (letter.event_id, letter.reason) == ("e2", "cannot be normalized: ZeroDivisionError")
    assert rig.delivered == {"e1": 2, "e3": 2}

    rig.make_routes = Routes
    rig.new_worker(actions=TWO_ACTIONS)
    rig.journal.retry_dead([letter.id])
    rig.transport.answer = in_turn(429)
    rig.run(seconds=5)

    assert rig.delivered == {"e1": 2, "e2": 2, "e3": 2}
    assert rig.dead == []
    assert rig.waiting == (0, 0)


def test_a_retry_that_cannot_be_worked_on_dies_as_what_it_was(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.receive(2)
    rig.transport.answer = in_turn(503)
    rig.run(seconds=0.1)

    rig.make_routes = StumblingRoutes
    rig.new_worker()
    rig.run(seconds=5)

    assert [(letter.event_id, letter.action) for letter in rig.dead] == [("e2", "all")]
    assert rig.delivered == {"e1": 1}

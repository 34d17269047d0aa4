"""What became of an event, read from a real journal."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest

from connector.destinations import build_destination
from connector.fate import Fate, Fates, State
from connector.journal.sqlite import SqliteJournal
from connector.ledger import DestinationState
from connector.model import (
    Action,
    Connection,
    Connections,
    EventType,
    NextStep,
    Reader,
    ReceivedEvent,
    Retention,
    Settlement,
    Source,
    Verdict,
)
from tests.fakes import FakeClock

PRESENT = Reader("files", "production")
FILES = Connection("files", "file", {"path": "events"})


class Desk:
    """A journal with one destination, and what its worker would have done."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.journal = SqliteJournal(folder / "journal.db", self.clock, reserve_bytes=0)
        self.connection = FILES
        self.states: dict[str, DestinationState] = {}

    def receive(self, event_id: str) -> ReceivedEvent:
        body = json.dumps({"event_id": event_id, "object_type": "email", "metric": "opened", "data": {}}).encode()
        self.journal.append([ReceivedEvent("production", event_id, body, self.clock.now())])
        return self.journal.find(event_id)[0]

    def take_up(self, start: str = "beginning") -> None:
        """As the supervisor does with a new or changed destination."""
        self.journal.add_reader(PRESENT, start)
        kept = ("events", "profile", "identify", "keep_content")
        definition = {name: getattr(self.connection, name) for name in kept}
        definition["actions"] = [asdict(action) for action in self.connection.actions]
        text = json.dumps(definition, default=dict)
        self.journal.note_revision("files", text, text)

    def settle(self, verdict: Verdict | None, reason: str = "", reader: Reader = PRESENT) -> None:
        at = self.clock.now() + timedelta(seconds=60)
        steps = () if verdict is None else (NextStep(EventType.TRACK, "all", verdict, at, 1, reason),)
        claimed = self.journal.claim(reader, 10)
        self.journal.settle(reader, [Settlement(item.received.seq, steps) for item in claimed])

    def fates(self, received: ReceivedEvent) -> list[Fate]:
        source = Source("production", ("key",))
        connections = Connections((source,), (self.connection,), Retention(), "f")
        return Fates(self.journal, connections, self.states, build_destination).of(received)

    def state(self, received: ReceivedEvent) -> State:
        (fate,) = self.fates(received)
        return fate.state


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.journal.close()


def test_what_was_settled_is_delivered(desk: Desk) -> None:
    desk.take_up()
    received = desk.receive("01A")
    before = desk.state(received)
    desk.settle(Verdict.DONE)

    assert (before, desk.state(received)) == (State.WAITING, State.DELIVERED)


def test_what_failed_waits_until_its_next_try(desk: Desk) -> None:
    desk.take_up()
    received = desk.receive("01A")
    desk.settle(Verdict.RETRY, "answered 500")

    (fate,) = desk.fates(received)

    assert (fate.state, fate.reason, fate.attempts) == (State.WAITING, "answered 500", 1)
    assert fate.at == desk.clock.now() + timedelta(seconds=60)


def test_what_waits_at_a_held_destination_is_held(desk: Desk) -> None:
    desk.take_up()
    received = desk.receive("01A")
    desk.states["files"] = DestinationState("files", "held", "401", desk.clock.now(), None, None, "")

    (fate,) = desk.fates(received)

    assert fate.state is State.HELD
    assert "401" in fate.reason


def test_what_was_given_up_is_dead_with_the_reason(desk: Desk) -> None:
    desk.take_up()
    received = desk.receive("01A")
    desk.settle(Verdict.DEAD, "answered 400")

    (fate,) = desk.fates(received)

    assert (fate.state, fate.reason) == (State.DEAD, "answered 400")


def test_what_waits_at_a_disabled_destination_says_so(desk: Desk) -> None:
    desk.connection = replace(FILES, enabled=False)
    desk.take_up()

    assert desk.state(desk.receive("01A")) is State.DISABLED


def test_what_was_filtered_is_told_by_the_rules_of_then(desk: Desk) -> None:
    desk.connection = replace(FILES, actions=(Action("all", where="metric == 'clicked'"),))
    desk.take_up()
    received = desk.receive("01A")
    desk.settle(None)
    desk.connection = FILES  # the rule is gone today
    desk.take_up()
    later = desk.receive("01B")
    desk.settle(Verdict.DONE)

    (fate,) = desk.fates(received)

    assert (fate.state, fate.reason) == (State.FILTERED, "where of action 'all'")
    assert desk.state(later) is State.DELIVERED


def test_what_came_before_the_destination_is_not_called_delivered(desk: Desk) -> None:
    received = desk.receive("01A")
    desk.take_up("now")

    assert desk.state(received) is State.EARLIER


def test_a_destination_that_nobody_has_taken_up_yet_waits(desk: Desk) -> None:
    assert desk.state(desk.receive("01A")) is State.WAITING


def test_a_replay_is_told_beside_the_present(desk: Desk) -> None:
    desk.take_up()
    received = desk.receive("01A")
    desk.settle(Verdict.DONE)
    (replay,) = desk.journal.replay("files", ["production"], None, None, None)
    outside = desk.receive("01B")

    present, again = desk.fates(received)

    assert (present.replay, present.state) == ("", State.DELIVERED)
    assert (again.replay, again.state) == (replay.id, State.WAITING)
    assert len(desk.fates(outside)) == 1


def test_what_the_filter_of_a_replay_left_out_is_not_called_delivered(desk: Desk) -> None:
    received = desk.receive("01A")
    desk.take_up("now")
    desk.journal.replay("files", ["production"], None, None, "metric == 'clicked'")
    (replay,) = desk.journal.replay("files", ["production"], None, None, "metric == 'opened'")
    for state in desk.journal.replays():
        desk.settle(None, reader=replace(PRESENT, replay=state.id))

    _, clicks, opens = desk.fates(received)

    assert (clicks.state, clicks.reason) == (State.FILTERED, "where of the replay")
    assert (opens.replay, opens.state) == (replay.id, State.DELIVERED)


def test_a_destination_that_does_not_read_the_source_is_not_named(desk: Desk) -> None:
    desk.connection = replace(FILES, sources=())

    assert desk.fates(desk.receive("01A")) == []

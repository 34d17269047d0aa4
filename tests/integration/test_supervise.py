"""The delivering process from inside: a file that changes, real threads, a real journal, scripted answers."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from connector import tally
from connector.clock import SystemClock
from connector.connections import LiveConnections
from connector.destinations import build_destination
from connector.errors import SettingsError
from connector.journal.sqlite import SqliteJournal
from connector.ledger import Ledger
from connector.model import Claimed, Connection, Reader, Request, Response
from connector.pace import Pace
from connector.record import Record
from connector.replay import Routes
from connector.settings import load_settings
from connector.supervise import Supervisor
from connector.worker import DestinationWorker, WorkerPorts
from tests.delivering import always, received
from tests.fakes import FakeTransport, accept

DEADLINE_SECONDS = 10.0
SOURCES = "sources: [{name: production, write_keys: [k]}, {name: other, write_keys: [o], enabled: %s}]\n"


def eventually(is_true: Callable[[], bool], what: str = "") -> None:
    """Returns as soon as it is so; fails after a while."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, what or "it never came true"
        threading.Event().wait(0.01)


class StumblingJournal(SqliteJournal):
    """Raises, once for each method named in `defects`."""

    def __init__(self, path: Path, clock: SystemClock) -> None:
        super().__init__(path, clock, reserve_bytes=0)
        self.defects: dict[str, Exception] = {}

    def readers(self) -> list[Reader]:
        if defect := self.defects.pop("readers", None):
            raise defect
        return super().readers()

    def claim(self, reader: Reader, limit: int) -> list[Claimed]:
        if defect := self.defects.pop("claim", None):
            raise defect
        return super().claim(reader, limit)


class House:
    """What app.py puts together, with a transport of each destination's own that a test can script."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "connector.yaml"
        self.clock = SystemClock()
        self.journal_path = folder / "journal.db"
        self.journal = StumblingJournal(self.journal_path, self.clock)
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.transports: dict[str, FakeTransport] = {}
        self.built: list[str] = []
        self.faults: dict[str, Exception] = {}
        self.configure("hook")
        self.connections = LiveConnections(load_settings({}, folder))
        self.record = Record(self.ledger, self.clock)
        self.supervisor = Supervisor(self.connections, self.build, self.journal, self.ledger, self.record, self.clock)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.supervisor.run, args=(self.stopping,))

    def configure(self, *destinations: str, other: str = "true", rest: str = "") -> None:
        """Replaces the file as editors do; a destination is its name, perhaps with further settings behind it."""
        lines = [
            f"  - {{name: {name}, type: http, url: 'https://{name}.example/', start: beginning,"
            f" batch: {{max_wait: 0.01}}{', ' + more if more else ''}}}\n"
            for name, _, more in (given.partition(" ") for given in destinations)
        ]
        text = SOURCES % other + ("destinations:\n" + "".join(lines) if lines else "destinations: []\n") + rest
        self.path.with_suffix(".new").write_text(text)
        self.path.with_suffix(".new").replace(self.path)

    def build(self, connection: Connection, readers: Callable[[], Sequence[Reader]]) -> DestinationWorker:
        self.built.append(connection.name)
        if connection.name in self.faults:
            raise self.faults[connection.name]
        destination = build_destination(connection)
        ports = WorkerPorts(
            transport=self.transport(connection.name),
            journal=self.journal,
            readers=readers,
            routes=Routes(destination, self.journal),
            clock=self.clock,
            record=self.record.attempt,
            count=partial(self.record.count, tally.DELIVERED, connection.name),
            chance=lambda: 0.5,
        )
        return DestinationWorker(destination, Pace(connection, self.clock.now()), ports)

    def transport(self, name: str) -> FakeTransport:
        return self.transports.setdefault(name, FakeTransport())

    def receive(self, *ids: str, source: str = "production") -> None:
        now = self.clock.now()
        self.journal.append([received(event_id, source, now) for event_id in ids])

    def arrived(self, name: str) -> list[str]:
        """The ids that a destination got, in order."""
        return [json.loads(request.body)["properties"]["eventId"] for request in self.transport(name).requests]

    def state(self, name: str) -> str:
        states = self.ledger.destination_states()
        return states[name].state if name in states else ""

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Not yet running: `house.thread.start()`."""
    house = House(tmp_path)
    yield house
    if house.thread.ident is not None:
        house.stop()
    house.journal.close()
    house.ledger.close()


@pytest.fixture
def running(house: House) -> House:
    house.thread.start()
    eventually(lambda: house.state("hook") == "delivering")
    return house


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else holds SQLite's own lock."""
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    yield
    stranger.execute("ROLLBACK")
    stranger.close()


# ── the file changes ──


def test_an_added_destination_gets_what_its_start_says(running: House) -> None:
    running.receive("a", "b")
    eventually(lambda: running.arrived("hook") == ["a", "b"])

    running.configure("hook", "second")

    eventually(lambda: running.arrived("second") == ["a", "b"])
    assert running.built == ["hook", "second"]


def test_a_removed_destination_gets_nothing_more_and_goes_on_where_it_was_when_it_is_back(running: House) -> None:
    running.receive("a")
    eventually(lambda: running.arrived("hook") == ["a"])
    running.configure("second")
    eventually(lambda: "second" in running.built and running.transport("hook").is_closed)

    running.receive("b")
    eventually(lambda: running.arrived("second") == ["a", "b"])
    assert running.arrived("hook") == ["a"]
    running.configure("hook", "second")

    eventually(lambda: running.arrived("hook") == ["a", "b"])


def test_a_disabled_destination_waits_with_its_cursor(running: House) -> None:
    running.configure("hook enabled: false")
    eventually(lambda: running.state("hook") == "disabled")
    running.receive("a")

    running.configure("hook")

    eventually(lambda: running.arrived("hook") == ["a"])


def test_a_disabled_source_is_not_read_until_it_is_enabled_again(house: House) -> None:
    house.configure("hook", other="false")
    house.connections.refresh()
    house.thread.start()
    house.receive("a", source="other")
    house.receive("b")
    eventually(lambda: house.arrived("hook") == ["b"])

    house.configure("hook", other="true")

    eventually(lambda: house.arrived("hook") == ["b", "a"])


def test_changed_settings_are_tried_at_once(running: House) -> None:
    running.transport("hook").answer = always(401)
    running.receive("a")
    eventually(lambda: running.state("hook") == "held")

    running.transport("hook").answer = accept
    running.configure("hook timeout: 11")

    eventually(lambda: running.state("hook") == "delivering")
    eventually(lambda: running.arrived("hook") == ["a", "a"])


def test_a_broken_file_is_refused_once_and_the_last_good_one_stays_in_force(
    running: House, caplog: pytest.LogCaptureFixture
) -> None:
    running.configure("hook batch")
    eventually(lambda: "refused" in caplog.text)
    running.receive("a")

    eventually(lambda: running.arrived("hook") == ["a"])
    running.supervisor.tick()
    assert caplog.text.count("the changed connections file is refused") == 1
    assert running.connections.problem is not None


@pytest.mark.parametrize("fault", [SettingsError(["its region is unknown"]), ZeroDivisionError("a defect")])
def test_a_destination_that_cannot_be_built_is_held_and_the_others_run(house: House, fault: Exception) -> None:
    house.faults["second"] = fault
    house.configure("second", "hook")
    house.connections.refresh()
    house.thread.start()
    house.receive("a")

    eventually(lambda: house.arrived("hook") == ["a"])
    eventually(lambda: house.state("second") == "held")

    assert str(fault) in house.ledger.destination_states()["second"].reason
    assert house.built.count("second") == 1
    del house.faults["second"]
    house.configure("second timeout: 11", "hook")
    eventually(lambda: house.arrived("second") == ["a"])


def test_a_changed_destination_that_hangs_holds_up_no_other(running: House) -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def hang(request: Request) -> Response:
        hanging.set()
        go_on.wait(DEADLINE_SECONDS)
        return accept(request)

    running.transport("hook").answer = hang
    running.receive("a")
    assert hanging.wait(DEADLINE_SECONDS)

    running.configure("hook timeout: 11", "second")
    eventually(lambda: running.arrived("second") == ["a"])

    assert running.built == ["hook", "second"]  # the new worker of hook waits for the old one
    go_on.set()
    eventually(lambda: running.built == ["hook", "second", "hook"])
    running.receive("b")
    eventually(lambda: running.arrived("hook") == ["a", "b"])


# ── replays, keeping house ──


def test_a_replay_is_picked_up_while_it_runs(running: House) -> None:
    running.receive("a", "b")
    eventually(lambda: running.arrived("hook") == ["a", "b"])

    running.journal.replay("hook", ["production"], None, None, None)

    eventually(lambda: running.arrived("hook") == ["a", "b", "a", "b"])
    eventually(lambda: [state.state for state in running.journal.replays()] == ["done"])


def test_the_rules_in_force_are_noted(running: House) -> None:
    running.receive("a")
    eventually(lambda: running.ledger.totals().get((tally.DELIVERED, "hook", "delivered")) == 1)
    running.configure("hook events: ['sms_*']")
    eventually(lambda: len(running.built) == 2)
    running.receive("b")
    (first,), (second,) = running.journal.find("a"), running.journal.find("b")

    definitions = [running.journal.revision_at("hook", event.seq) or "{}" for event in (first, second)]

    assert [json.loads(text)["events"] for text in definitions] == [[], ["sms_*"]]


def test_retention_and_the_age_of_attempts_are_looked_after(house: House) -> None:
    house.configure("hook enabled: false", rest="retention: {events: 1s, attempts: 1s}\n")
    house.connections.refresh()
    long_ago = house.clock.now() - timedelta(days=1)
    house.journal.append([received("old", "production", long_ago)])

    house.supervisor.tick()

    assert house.journal.find("old") == []
    assert [letter.event_id for letter in house.journal.dead_letters("hook")] == ["old"]
    assert house.ledger.fact("delivering_at") is not None
    house.supervisor.stop()


# ── stopping, and what goes wrong ──


def test_a_stop_ends_the_request_under_way_settles_it_and_begins_no_other(running: House) -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def hang(request: Request) -> Response:
        hanging.set()
        go_on.wait(DEADLINE_SECONDS)
        return accept(request)

    running.transport("hook").answer = hang
    running.receive("a", "b")
    assert hanging.wait(DEADLINE_SECONDS)
    running.stopping.set()
    eventually(lambda: running.supervisor._running["hook"].stopping.is_set())
    go_on.set()
    running.stop()

    assert running.arrived("hook") == ["a"]
    assert running.journal.backlog(Reader("hook", "production")).waiting == 1
    assert running.ledger.totals()[tally.DELIVERED, "hook", "delivered"] == 1
    assert running.transport("hook").is_closed


def test_a_start_while_the_journal_is_locked_is_made_up_for(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.receive("a")
    with locked(house.journal_path):
        house.thread.start()
        eventually(lambda: "tried again in a second" in caplog.text)

    eventually(lambda: house.arrived("hook") == ["a"])


def test_a_journal_that_is_locked_meanwhile_costs_time_and_nothing_else(
    running: House, caplog: pytest.LogCaptureFixture
) -> None:
    is_locked = threading.Event()

    def answer_once_locked(request: Request) -> Response:
        assert is_locked.wait(DEADLINE_SECONDS)
        return accept(request)

    running.transport("hook").answer = answer_once_locked
    running.receive("a", "b", "c")
    eventually(lambda: running.arrived("hook") == ["a"])
    with locked(running.journal_path):
        is_locked.set()
        eventually(lambda: "database is locked" in caplog.text)

    running.receive("d")
    eventually(lambda: running.arrived("hook")[-1:] == ["d"])
    assert sorted(running.arrived("hook")) == ["a", "b", "c", "d"]


def test_a_ledger_that_is_away_costs_no_event(house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house.ledger.close()
    (tmp_path / "ledger.db").mkdir()
    house.thread.start()
    house.receive("a")

    eventually(lambda: house.arrived("hook") == ["a"])
    eventually(lambda: "counts and attempts wait" in caplog.text)

    (tmp_path / "ledger.db").rmdir()
    eventually(lambda: house.state("hook") == "delivering")
    assert house.ledger.totals()[tally.DELIVERED, "hook", "delivered"] == 1


def test_a_defect_in_a_tick_is_logged_and_the_process_goes_on(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.journal.defects["readers"] = ZeroDivisionError("a defect")
    house.thread.start()
    eventually(lambda: "an unforeseen error" in caplog.text)
    house.receive("a")

    eventually(lambda: house.arrived("hook") == ["a"])


def test_a_defect_in_a_worker_costs_a_pause_not_the_thread(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.journal.defects["claim"] = ZeroDivisionError("a defect")
    house.thread.start()
    house.receive("a")

    eventually(lambda: house.arrived("hook") == ["a"])
    assert "destination hook: a defect" in caplog.text

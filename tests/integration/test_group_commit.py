"""Group commit on a real journal: together when many wait, alone when one does, and never on the hub."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from connector.clock import SystemClock
from connector.errors import JournalError, JournalFullError
from connector.journal import group_commit, sqlite_database
from connector.journal.group_commit import GroupCommit
from connector.journal.sqlite import SqliteJournal
from connector.model import Receipt, ReceivedEvent
from tests.contract.journal_words import event, ids, store

PATIENCE_SECONDS = 3.0


class WatchedJournal(SqliteJournal):
    """Notes the size of each group."""

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        super().__init__(path, SystemClock(), reserve_bytes=reserve_bytes)
        self.groups: list[int] = []

    def append(self, received: Sequence[ReceivedEvent]) -> list[Receipt]:
        self.groups.append(len(received))
        return super().append(received)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedJournal]:
    monkeypatch.setattr(sqlite_database, "BUSY_SECONDS", 0.3)
    opened = WatchedJournal(tmp_path / "journal.db")
    yield opened
    opened.close()


@pytest.fixture
def commit(journal: WatchedJournal) -> GroupCommit:
    return GroupCommit(journal)


@pytest.fixture
def stranger(tmp_path: Path, journal: WatchedJournal) -> Iterator[sqlite3.Connection]:
    """Somebody who holds the lock of the file, until he commits."""
    connection = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def call(commit: GroupCommit, received: ReceivedEvent, timeout_seconds: float = PATIENCE_SECONDS) -> Receipt | str:
    """The receipt, or the name of the error."""
    try:
        return commit.store(received, timeout_seconds)
    except Exception as error:
        return type(error).__name__


def test_a_lone_event_is_stored_alone_when_store_returns(commit: GroupCommit, journal: WatchedJournal) -> None:
    assert commit.store(event(1), PATIENCE_SECONDS) is Receipt.STORED
    assert ids(journal.scan()) == [1]
    assert commit.store(event(1), PATIENCE_SECONDS) is Receipt.DUPLICATE
    assert commit.store(event(2, quarantine_reason="why"), PATIENCE_SECONDS) is Receipt.QUARANTINED
    assert journal.groups == [1, 1, 1]


def test_what_waits_meanwhile_shares_a_commit_and_each_gets_its_own_receipt(
    commit: GroupCommit, journal: WatchedJournal
) -> None:
    numbers = [number for number in range(1, 51) for _ in range(2)]

    waiting = [gevent.spawn(call, commit, event(number)) for number in numbers]
    gevent.joinall(waiting)

    assert [one.value for one in waiting] == [Receipt.STORED, Receipt.DUPLICATE] * 50
    assert ids(journal.scan()) == list(range(1, 51))
    assert len(journal.groups) < 10


def test_a_group_has_a_limit_of_events_and_of_bytes(
    commit: GroupCommit, journal: WatchedJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_GROUP_EVENTS", 4)
    monkeypatch.setattr(group_commit, "MAX_GROUP_BYTES", 1000)

    gevent.joinall([gevent.spawn(call, commit, event(number)) for number in range(1, 11)])
    gevent.joinall([gevent.spawn(call, commit, event(number, body=b"x" * 600)) for number in range(11, 15)])

    assert sum(journal.groups) == 14
    assert max(journal.groups) == 4
    assert max(journal.groups[-2:]) == 2


def test_one_event_that_the_journal_chokes_on_does_not_harm_its_neighbours(
    commit: GroupCommit, journal: WatchedJournal
) -> None:
    broken = event(3, event_id="\ud800")

    waiting = [gevent.spawn(call, commit, one) for one in (event(1), event(2), broken, event(4))]
    gevent.joinall(waiting)

    assert [one.value for one in waiting] == [Receipt.STORED, Receipt.STORED, "UnicodeEncodeError", Receipt.STORED]
    assert ids(journal.scan()) == [1, 2, 4]


def test_a_full_disk_is_told_to_all_that_wait(tmp_path: Path) -> None:
    journal = WatchedJournal(tmp_path / "journal.db", reserve_bytes=2**60)
    commit = GroupCommit(journal)

    waiting = [gevent.spawn(call, commit, event(number)) for number in (1, 2)]
    gevent.joinall(waiting)

    assert [one.value for one in waiting] == [JournalFullError.__name__] * 2
    journal.close()


def test_a_held_lock_is_an_error_in_time_and_the_hub_stays_responsive(
    commit: GroupCommit, journal: WatchedJournal, stranger: sqlite3.Connection
) -> None:
    pauses: list[float] = []
    is_over = Event()

    def tick() -> None:
        hub = gevent.get_hub()
        while not is_over.is_set():
            before = hub.loop.now()
            gevent.sleep(0.005)
            hub.loop.update_now()
            pauses.append(hub.loop.now() - before)

    ticker = gevent.spawn(tick)
    impatient = [gevent.spawn(call, commit, event(number), 0.15) for number in range(1, 21)]
    gevent.joinall(impatient)
    patient = gevent.spawn(call, commit, event(30))
    patient.join()
    is_over.set()
    ticker.join()

    assert [one.value for one in impatient] == [JournalError.__name__] * 20
    assert patient.value == JournalError.__name__
    assert len(pauses) > 20
    assert max(pauses) < 0.2
    stranger.execute("COMMIT")
    assert commit.store(event(40), PATIENCE_SECONDS) is Receipt.STORED


def test_who_gave_up_before_the_append_began_is_not_stored(
    commit: GroupCommit, journal: WatchedJournal, stranger: sqlite3.Connection
) -> None:
    first = gevent.spawn(call, commit, event(1))
    gevent.sleep(0.01)

    assert call(commit, event(2), timeout_seconds=0.02) == JournalError.__name__

    stranger.execute("COMMIT")
    first.join()
    assert first.value is Receipt.STORED
    store(journal, 1, first=2)

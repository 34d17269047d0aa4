"""The engines that the journal's suite runs over, and how time passes for each of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.journal import sqlite_receiving
from connector.journal.base import Journal
from connector.journal.sqlite import SqliteJournal
from tests.contract.journal_words import LEASE_SECONDS
from tests.fakes import FakeClock

ENGINES = ["sqlite"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pass_time(clock: FakeClock) -> Callable[[float], None]:
    """Makes so many seconds pass, for the test and for the engine."""
    return clock.advance


@pytest.fixture(params=ENGINES)
def open_journal(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Callable[[], Journal]]:
    """Opens one more journal object on the same storage, as another process would."""
    opened: list[Journal] = []

    def open_one() -> Journal:
        opened.append(SqliteJournal(tmp_path / "journal.db", clock, lease_seconds=LEASE_SECONDS, reserve_bytes=0))
        return opened[-1]

    yield open_one
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal: Callable[[], Journal]) -> Journal:
    return open_journal()


@pytest.fixture
def small_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per source: three bodies, of 100 bytes together, and hashes of two more."""
    monkeypatch.setattr(sqlite_receiving, "QUARANTINE_BODIES", 3)
    monkeypatch.setattr(sqlite_receiving, "QUARANTINE_BYTES", 100)
    monkeypatch.setattr(sqlite_receiving, "QUARANTINE_HASHES", 2)

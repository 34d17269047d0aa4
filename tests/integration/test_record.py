"""What happened, on its way into the ledger: nothing is counted twice or lost while the ledger is away, nor fills the
memory."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from connector import record as record_module
from connector.ledger import DestinationState, Ledger
from connector.record import Record
from tests.fakes import FakeClock
from tests.integration.test_ledger import DELIVERED, FAILED, made

KEY = ("delivered", "hook", "delivered")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture
def record(ledger: Ledger, path: Path, clock: FakeClock) -> Record:
    path.parent.mkdir()
    return Record(ledger, clock)


@contextmanager
def away(path: Path) -> Iterator[None]:
    """The ledger cannot be opened."""
    hidden = path.parent.with_name("hidden")
    path.parent.rename(hidden)
    yield
    hidden.rename(path.parent)


def state(word: str, at: datetime) -> DestinationState:
    return DestinationState("hook", word, "", at, None, None, "")


def test_what_gathered_is_written_once(record: Record, ledger: Ledger, clock: FakeClock) -> None:
    record.count(*KEY, 3)
    record.attempt(made(1, DELIVERED))
    record.attempt(made(2, FAILED))
    record.state(state("delivering", clock.now()))

    record.flush()
    record.flush()

    assert ledger.totals() == {KEY: 3, ("attempted", "hook", "delivered"): 1, ("attempted", "hook", "transient"): 1}
    assert len(ledger.attempts()) == 2
    assert ledger.destination_states()["hook"].state == "delivering"


def test_what_cannot_be_written_waits_and_is_written_once(
    record: Record, ledger: Ledger, path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with away(path):
        record.count(*KEY, 3)
        record.attempt(made(1, DELIVERED))
        record.state(state("held", clock.now()))
        record.flush()
        record.count(*KEY, 4)
        record.state(state("delivering", clock.now()))
        record.flush()

    record.flush()

    assert "counts and attempts wait" in caplog.text
    assert ledger.totals()[KEY] == 7
    assert len(ledger.attempts()) == 1
    assert ledger.destination_states()["hook"].state == "delivering"


def test_a_state_is_written_when_it_changes(record: Record, ledger: Ledger, path: Path, clock: FakeClock) -> None:
    record.state(state("held", clock.now()))
    record.flush()
    with sqlite3.connect(path) as stranger:
        stranger.execute("UPDATE destination_state SET reason = 'untouched'")
    stranger.close()

    record.state(state("held", clock.now()))
    record.flush()
    assert ledger.destination_states()["hook"].reason == "untouched"
    record.state(state("delivering", clock.now()))
    record.flush()

    assert ledger.destination_states()["hook"].state == "delivering"


def test_while_the_ledger_is_away_the_memory_is_bounded_and_the_totals_stay_right(
    record: Record, ledger: Ledger, path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "MAX_ATTEMPTS_KEPT", 10)
    monkeypatch.setattr(record_module, "MAX_COUNTS_KEPT", 10)
    with away(path):
        for number in range(50):
            record.attempt(made(number, DELIVERED))
            record.count(*KEY)
            clock.advance(60)
            record.flush()

    record.flush()

    assert [row["deliveries"][0].split("/")[2] for row in ledger.attempts()] == [f"e{n}-0" for n in range(9, -1, -1)]
    assert ledger.totals()[KEY] == 50


def test_attempts_of_many_deliveries_are_bounded_by_their_size(
    record: Record, ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "MAX_ATTEMPT_CHARACTERS", 1000)
    with away(path):
        for number in range(50):
            record.attempt(made(number, DELIVERED, DELIVERED))
        record.flush()

    record.flush()

    assert 10 <= len(ledger.attempts(limit=100)) <= 16


def test_an_attempt_that_waits_holds_no_events(record: Record) -> None:
    attempt = made(1, DELIVERED)
    body = b"a body of a person" * 1000
    record.attempt(replace(attempt, request=replace(attempt.request, body=body)))

    assert body not in [value for row in record._attempts for value in row.values()]

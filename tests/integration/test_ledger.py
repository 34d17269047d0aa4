"""The ledger on SQLite: what is asked of it, and what it does while its database is away; for PostgreSQL, its SQL."""

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from connector import ledger_tables
from connector.errors import SettingsError
from connector.ledger import MAX_REJECTED_KEYS, DestinationState, Ledger, LedgerError, attempt_row
from connector.model import Attempt, Delivery, Event, EventType, Outcome, OutcomeKind, Reader, Request, Response

NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DELIVERED, FAILED = Outcome(OutcomeKind.DELIVERED), Outcome(OutcomeKind.TRANSIENT, "answered 503")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{path}")
    yield opened
    opened.close()


def made(number: int, *outcomes: Outcome, destination: str = "hook", at: datetime = NOW, **changes: Any) -> Attempt:
    deliveries = [
        Delivery(
            Reader(destination, "production"),
            place,
            "all",
            Event(EventType.TRACK, "production", f"e{number}-{place}", "email", "opened", False, {}),
            b"{}",
        )
        for place in range(len(outcomes))
    ]
    fields: dict[str, Any] = {
        "destination": destination,
        "started_at": at,
        "duration_seconds": 0.25,
        "request": Request("POST", "https://hook.example/", {"Authorization": "secret"}, b"[{},{}]"),
        "response": Response(503, {}, b"an answer with a secret"),
        "error": "",
        "deliveries": deliveries,
        "outcomes": outcomes,
    }
    return Attempt(**(fields | changes))


# ── attempts ──


def test_an_attempt_is_one_row_with_the_list_of_its_deliveries(ledger: Ledger) -> None:
    ledger.record([attempt_row(made(1, DELIVERED, FAILED))])

    (row,) = ledger.attempts()
    assert row["deliveries"] == ["hook/production/e1-0/track/all", "hook/production/e1-1/track/all"]
    assert (row["delivered"], row["failed"], row["outcome"], row["reason"]) == (1, 1, "transient", "answered 503")
    assert (row["status"], row["error"], row["request_bytes"]) == (503, "", 7)
    assert row["started_at"] == NOW


def test_neither_secrets_nor_answers_are_kept(ledger: Ledger, path: Path) -> None:
    ledger.record([attempt_row(made(1, FAILED))])
    ledger.close()

    assert not any(b"secret" in file.read_bytes() for file in path.parent.iterdir())


def test_its_files_are_for_the_owner_only(ledger: Ledger, path: Path) -> None:
    ledger.record([attempt_row(made(1, DELIVERED))])

    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_attempts_come_latest_first_and_by_destination(ledger: Ledger) -> None:
    attempts = [made(1, DELIVERED), made(2, DELIVERED, destination="other"), made(3, DELIVERED)]
    ledger.record([attempt_row(attempt) for attempt in attempts])

    assert [row["deliveries"][0].split("/")[2] for row in ledger.attempts()] == ["e3-0", "e2-0", "e1-0"]
    assert [row["deliveries"][0].split("/")[2] for row in ledger.attempts("hook", limit=1)] == ["e3-0"]


def test_what_a_database_might_refuse_is_cleaned_away(ledger: Ledger) -> None:
    odd = Outcome(OutcomeKind.TRANSIENT, "nul \x00 and half a pair \ud800 " + "long " * 1000)

    ledger.record([attempt_row(made(1, odd, response=None, error="\x00"))])

    (row,) = ledger.attempts()
    assert row["reason"].startswith("nul  and half a pair ? long")
    assert len(row["reason"]) <= 1000
    assert (row["status"], row["error"]) == (None, "")


# ── counts ──


def test_counts_add_up_by_minute_and_in_total(ledger: Ledger) -> None:
    key = ("received", "production", "stored")
    ledger.add_counts({(NOW, *key): 3, (NOW + MINUTE, *key): 4}, NOW)
    ledger.add_counts({(NOW + MINUTE, *key): 5}, NOW + MINUTE)

    assert ledger.totals() == {key: 12}
    assert ledger.counts_since(NOW + MINUTE) == {key: 9}
    assert ledger.last_counted() == {key: NOW + MINUTE}


def test_sums_pass_32_bits(ledger: Ledger) -> None:
    key = ("answer_microseconds", "production", "sum")
    for _ in range(3):
        ledger.add_counts({(NOW, *key): 2**62 // 4}, NOW)

    assert ledger.totals()[key] == ledger.counts_since(NOW)[key] == 3 * 2**62 // 4


def test_pruning_takes_attempts_and_minutes_and_leaves_totals(ledger: Ledger) -> None:
    key = ("received", "production", "stored")
    ledger.record([attempt_row(made(1, DELIVERED)), attempt_row(made(2, DELIVERED, at=NOW + MINUTE))])
    ledger.add_counts({(NOW, *key): 1, (NOW + MINUTE, *key): 1}, NOW)

    ledger.prune(NOW + MINUTE, NOW + MINUTE)

    assert [row["started_at"] for row in ledger.attempts()] == [NOW + MINUTE]
    assert ledger.counts_since(NOW) == {key: 1}
    assert ledger.totals() == {key: 2}


def test_rejected_keys_are_bounded_but_known_ones_still_count(ledger: Ledger) -> None:
    ledger.add_rejected({(f"key{number}", "192.0.2.1"): 1 for number in range(MAX_REJECTED_KEYS + 20)}, NOW)
    ledger.add_rejected({("key0", "192.0.2.1"): 5, ("new", "192.0.2.1"): 1}, NOW + MINUTE)

    rejected = ledger.rejected_keys(limit=1000)
    assert len(rejected) == MAX_REJECTED_KEYS
    assert (rejected[0].masked_key, rejected[0].count, rejected[0].first_at) == ("key0", 6, NOW)


# ── states and facts ──


def test_a_state_keeps_the_moments_that_a_restarted_worker_does_not_know(ledger: Ledger) -> None:
    ledger.set_states([DestinationState("hook", "held", "401", NOW, NOW, NOW, "answered 401")])
    ledger.set_states([DestinationState("hook", "delivering", "", NOW + MINUTE, None, None, "")])

    assert ledger.destination_states() == {
        "hook": DestinationState("hook", "delivering", "", NOW + MINUTE, NOW, NOW, "answered 401")
    }


def test_a_fact_is_the_last_that_was_said(ledger: Ledger) -> None:
    ledger.set_fact("delivering_at", "noon", NOW)
    ledger.set_fact("delivering_at", "later", NOW + MINUTE)

    assert ledger.fact("delivering_at") == "later"
    assert ledger.fact("unheard of") is None


# ── while its database is away ──


def test_a_ledger_that_cannot_be_opened_says_so_when_it_is_used_and_works_once_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "not-yet"
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
    with pytest.raises(LedgerError, match="unable to open"):
        ledger.totals()

    folder.mkdir()

    assert ledger.totals() == {}


def test_a_locked_ledger_is_told_and_works_when_it_is_free(ledger: Ledger, path: Path) -> None:
    ledger.set_fact("a", "1", NOW)
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked"):
        ledger.set_fact("a", "2", NOW)
    assert ledger.fact("a") == "1"

    stranger.execute("ROLLBACK")
    stranger.close()
    ledger.set_fact("a", "3", NOW)

    assert ledger.fact("a") == "3"


def test_a_ledger_whose_file_was_removed_makes_a_new_one(ledger: Ledger, path: Path) -> None:
    ledger.set_fact("a", "1", NOW)
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(LedgerError):
        ledger.fact("a")

    assert ledger.fact("a") is None


def test_an_error_tells_neither_the_statement_nor_its_values(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as error:
        Ledger(f"sqlite:///{tmp_path}").set_fact("name", "a value", NOW)

    assert "a value" not in str(error.value)
    assert "INSERT" not in str(error.value)


@pytest.mark.parametrize("url", ["no address", "mongodb://somewhere/", "mysql+nodriver://u:secret@h/d"])
def test_an_address_that_cannot_be_one_is_a_mistake_of_the_settings(url: str) -> None:
    with pytest.raises(SettingsError) as error:
        Ledger(url)

    assert "CONNECTOR_LEDGER" in str(error.value)
    assert "secret" not in str(error.value)


def test_processes_that_start_together_agree_on_the_tables(path: Path) -> None:
    ledgers = [Ledger(f"sqlite:///{path}") for _ in range(8)]
    threads = [
        threading.Thread(target=ledger.set_fact, args=(f"fact{n}", "x", NOW)) for n, ledger in enumerate(ledgers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [ledgers[0].fact(f"fact{number}") for number in range(8)] == ["x"] * 8


# ── PostgreSQL ──


@pytest.mark.parametrize("name", ["minutes_added", "totals_added", "states_set", "facts_set"])
def test_a_statement_is_one_that_postgresql_understands(name: str) -> None:
    statement = getattr(ledger_tables, name)(postgresql.insert)

    text = " ".join(str(statement.compile(dialect=postgresql.dialect())).split())

    assert "ON CONFLICT" in text
    assert "DO UPDATE SET" in text
    assert "excluded." in text


def test_the_tables_are_ones_that_postgresql_understands() -> None:
    text = "".join(
        str(CreateTable(table).compile(dialect=postgresql.dialect())) for table in ledger_tables.metadata.sorted_tables
    )

    assert text.count("count BIGINT NOT NULL") == 3
    assert "id BIGSERIAL NOT NULL" in text

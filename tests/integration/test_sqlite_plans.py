"""The journal's statements on SQLite stay fast at any size: each finds its rows by an index."""

import sqlite3
from datetime import timedelta
from pathlib import Path

from connector.model import Reader, Retention, Settlement, Verdict
from tests.contract.journal_words import (
    READER,
    SOURCE,
    START,
    dead,
    done,
    event,
    released,
    retry,
    settle_all,
    step,
    store,
)
from tests.fakes import FakeClock
from tests.integration.observed_journal import ObservedDatabase, ObservedJournal

GROWING = tuple(f"SCAN {table}" for table in ("received", "delivery", "quarantine"))


def test_no_statement_walks_a_whole_table(tmp_path: Path) -> None:
    path, clock = tmp_path / "journal.db", FakeClock()
    database = ObservedDatabase(path)
    journal = ObservedJournal(database, clock)
    _use_everything(journal, clock)
    journal.close()

    plans = sqlite3.connect(path)
    for statement in database.statements:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
            continue
        for _, _, _, detail in plans.execute("EXPLAIN QUERY PLAN " + statement):
            assert not detail.startswith(GROWING), (statement, detail)
            if "FROM received" in statement and "ORDER BY seq" in statement and "event_id = " not in statement:
                assert "TEMP B-TREE FOR ORDER BY" not in detail, (statement, detail)
    plans.close()


def _use_everything(journal: ObservedJournal, clock: FakeClock) -> None:
    """Every method, on its usual ways."""
    for name, start in {"hook": "beginning", "late": "now", "moment": "2026-09-01T12:00:04Z"}.items():
        journal.add_reader(Reader(name, SOURCE), start)
    store(journal, 20)
    journal.append([event(30, quarantine_reason="why"), event(31, proof="a"), event(32, is_provisional=True)])
    first, second, third, fourth, *_ = journal.claim(READER, 10)
    journal.settle(READER, [*done(first), *retry(second, at=START), *dead(third), *released(fourth)])
    journal.settle(READER, retry(*journal.claim(READER, 1), at=START + timedelta(days=9)))
    journal.settle(READER, [Settlement(item.received.seq, (step(Verdict.DONE),)) for item in journal.claim(READER, 9)])
    journal.backlog(READER)
    for since, until in ((None, None), (START, None), (START, START + timedelta(seconds=9))):
        for source in (None, SOURCE):
            list(journal.scan(since, until, source))
            journal.count(since, until, source)
    journal.find("event-00001")
    journal.latest(5)
    journal.latest(5, SOURCE)
    journal.whereabouts(3)
    [one, other] = [state for _ in range(2) for state in journal.replay("hook", [SOURCE], START, None, None)]
    settle_all(journal, Reader("hook", SOURCE, one.id))
    journal.cancel_replay(other.id)
    letters = [letter.id for letter in journal.dead_letters()]
    journal.retry_dead(letters)
    journal.drop_dead(letters)
    journal.release_quarantined([kept.id for kept in journal.quarantined(SOURCE)][:1])
    journal.drop_quarantined([kept.id for kept in journal.quarantined()])
    journal.proven_keys()
    journal.readers()
    journal.note_revision("hook", "1", "{}")
    journal.revision_at("hook", 5)
    journal.erase([5])
    journal.check_writable()
    clock.advance(10**6)
    journal.prune(Retention(events_seconds=10**6 - 5, events_bytes=1))

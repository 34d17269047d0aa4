"""A journal on SQLite that notes its statements, and on which a disk can go bad."""

import sqlite3
from pathlib import Path

from connector.journal.sqlite_database import SqliteDatabase
from connector.journal.sqlite_keeping import SqliteKeeping
from tests.contract.journal_words import LEASE_SECONDS
from tests.fakes import FakeClock


class ObservedDatabase(SqliteDatabase):
    """Notes every statement; while `is_broken`, every statement fails as on a bad disk."""

    def __init__(self, path: Path) -> None:
        self.statements: dict[str, None] = {}
        self.is_broken = False
        super().__init__(path)

    def _connect(self, durable: bool) -> sqlite3.Connection:
        connection = super()._connect(durable)
        connection.set_trace_callback(lambda statement: self.statements.setdefault(statement))
        connection.set_progress_handler(lambda: self.is_broken, 1)
        return connection


class ObservedJournal(SqliteKeeping):
    def __init__(self, database: ObservedDatabase, clock: FakeClock) -> None:
        super().__init__(database, clock, reserve_bytes=0, lease_seconds=LEASE_SECONDS)

    def close(self) -> None:
        self._give_up_leases()
        self._db.close()

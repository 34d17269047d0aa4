"""The journal on SQLite: one file on disk, one machine. Its parts, from the ground up:

`sqlite_database` (connections, turns) ← `sqlite_receiving` ← `sqlite_reading` ← `sqlite_past` ← `sqlite_keeping`.
"""

from pathlib import Path

from connector.clock import Clock
from connector.journal.sqlite_database import SqliteDatabase
from connector.journal.sqlite_keeping import SqliteKeeping

LEASE_SECONDS = 600.0  # longer than the slowest group of requests; a worker that died is noticed at once, by its lock
RESERVE_BYTES = 64 * 1024 * 1024  # free space that receiving leaves alone, so that delivering can still take notes


class SqliteJournal(SqliteKeeping):
    """Opens the file, or makes it. Safe for several processes and threads; see each method's promise in `base`."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        lease_seconds: float = LEASE_SECONDS,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        super().__init__(SqliteDatabase(path), clock, reserve_bytes, lease_seconds)

    def close(self) -> None:
        self._give_up_leases()
        self._db.close()

"""Connections to one SQLite file, and fair turns at writing it from several processes and threads.

Made for being called from real threads: under gevent the caller takes it off the hub. It holds no lock of Python's
own, which gevent would have replaced; files and deques serve instead.
"""

import errno
import fcntl
import os
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from connector.errors import JournalError, JournalFullError

SCHEMA = Path(__file__).with_name("sqlite_schema.sql")
BUSY_SECONDS = 2.5  # below the 3 s after which receiving answers 503; only strangers hold SQLite's own lock that long
CACHED_STATEMENTS = 512  # one per group size and kind of statement
SCHEMA_VERSION = 1
FOLD_MILLISECONDS = 200  # to wait for readers while receiving waits for us
FOLD_TRIES = 5
WAL_BYTES = 64 * 1024 * 1024  # the write-ahead log is cut back to this after a burst


class SqliteDatabase:
    """One file. `durable` writers fsync before a commit returns; others survive a kill, and a power cut in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_name(path.name + ".write-lock")
        self._idle: dict[bool, deque[sqlite3.Connection]] = {True: deque(), False: deque()}
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # one that is there keeps its mode
        with self.errors_told():
            self._make_private()
        with self.errors_told(), self._turn(), self.reading() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise JournalError(f"journal {path} was written by a newer version of this program")
            if version < SCHEMA_VERSION:  # nothing is written otherwise: it opens on a full disk, too
                script = f"BEGIN IMMEDIATE; {SCHEMA.read_text()} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
                connection.executescript(script)

    @contextmanager
    def errors_told(self) -> Iterator[None]:
        """SQLite's and the system's errors, as the journal's own."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise JournalFullError(f"the disk of {self.path} is full") from error
            raise JournalError(f"journal {self.path}: {error}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JournalFullError(f"the disk of {self.path} is full") from error
            raise JournalError(f"journal {self.path}: {error}") from error

    @contextmanager
    def reading(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for this block alone; statements outside `writing` see the newest commit."""
        idle = self._idle[durable]
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._connect(durable)
        try:
            yield connection
        finally:
            if connection.in_transaction:
                connection.rollback()
            idle.append(connection)

    @contextmanager
    def writing(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed when the block ends, undone when it raises."""
        with self.errors_told(), self._turn(), self.reading(durable) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def fold_in(self) -> bool:
        """Empties the write-ahead log, so that what was erased is in no file; False if others keep reading."""
        for _ in range(FOLD_TRIES):
            with self.errors_told(), self._turn(), self.reading() as connection:
                connection.execute(f"PRAGMA busy_timeout={FOLD_MILLISECONDS}")
                try:
                    (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    connection.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")
            if not is_busy:
                return True
        return False

    def size_bytes(self) -> int:
        """Bytes in use, free pages left out."""
        with self.errors_told(), self.reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def free_bytes(self) -> int:
        """What the disk has left for us."""
        space = os.statvfs(self.path.parent)
        return space.f_bavail * space.f_frsize

    def close(self) -> None:
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def _make_private(self) -> None:
        """People's data is for the owner only; SQLite gives the files beside this one the same mode.

        Not opened when it is there: closing it again would drop the locks that SQLite holds on it in this process.
        https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
        """
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))

    def _connect(self, durable: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        connection.execute("PRAGMA cache_size=-8000")  # KiB; what a person's page or a claim needs, not the whole file
        return connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Waits in the kernel's queue instead of in SQLite's sleeping poll, which starves one of several writers.

        A descriptor of its own for each turn: one that threads share would let all of them in at once.
        """
        descriptor = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

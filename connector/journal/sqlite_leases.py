"""Who may read for whom, in the journal on SQLite: a reader is leased to one journal object at a time.

What that object has handed out lives in its memory, as `Claims`; on disk are only the owner and the end of the lease.
"""

import fcntl
import os
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

from connector.clock import Clock
from connector.journal.sqlite_database import SqliteDatabase
from connector.journal.sqlite_receiving import SqliteReceiving, to_micros
from connector.model import Reader


@dataclass(slots=True)
class Claims:
    """What this journal object has handed out for one reader, and how far it has read."""

    reader_id: int
    source_id: int
    cursor: int  # as on disk
    position: int
    read_to: int  # fresh events up to here were handed out, or are other sources'
    lease_until: datetime
    stop_seq: int | None = None
    since: int | None = None
    until: int | None = None
    settled_before: frozenset[int] = frozenset()  # past the cursor, by a predecessor; `delivery` has what was left open
    fresh: deque[tuple[int, int]] = field(default_factory=deque)  # (seq, position) read, in order, past the cursor
    open_fresh: dict[int, datetime] = field(default_factory=dict)  # seq → end of the lease
    open_retries: dict[int, datetime] = field(default_factory=dict)
    returned: list[int] = field(default_factory=list)  # heap of fresh seqs to hand out again

    @property
    def is_replay(self) -> bool:
        return self.stop_seq is not None

    def settled_seqs(self, first: int, last: int) -> list[int]:
        """Those from first to last that are settled but wait for an older one, behind the cursor."""
        unsettled = self.open_fresh.keys() | set(self.returned)
        return [
            seq
            for seq, _ in takewhile(lambda item: item[0] <= last, self.fresh)
            if seq >= first and seq not in unsettled
        ]


class SqliteLeases(SqliteReceiving):
    """Leases of this object, safe for several threads of a process that gevent has not patched."""

    def __init__(self, database: SqliteDatabase, clock: Clock, reserve_bytes: int, lease_seconds: float) -> None:
        super().__init__(database, clock, reserve_bytes)
        self._lease = timedelta(seconds=lease_seconds)
        self._owner = uuid.uuid4().hex
        self._alive_descriptor: int | None = None
        self._claims: dict[Reader, Claims] = {}
        self._claiming = threading.RLock()

    def _leased(self, reader: Reader) -> Claims | None:
        """This object's claims on the reader, leased for long enough; None when another holds it or it is gone."""
        now = self._clock.now()
        claims = self._claims.get(reader)
        if claims is not None and claims.is_replay and not self._still_holds(claims):
            claims = None  # cancelled, from another process perhaps
        if claims is not None and claims.lease_until - now > self._lease / 2:
            return claims
        with self._db.writing() as tx:
            row = tx.execute(
                "SELECT reader.id, source_id, cursor, reader.position, stop_seq, since, until, lease_owner, lease_until"
                " FROM reader JOIN source ON source.id = source_id"
                " WHERE destination = ? AND name = ? AND replay = ? AND state = 'running'",
                (reader.destination, reader.source, reader.replay),
            ).fetchone()
            if row is None:
                self._claims.pop(reader, None)
                return None
            reader_id, source_id, cursor, position, stop_seq, since, until, owner, lease_until = row
            is_alone = self._is_alone()
            if owner not in (None, self._owner) and lease_until > to_micros(now) and not is_alone:
                self._claims.pop(reader, None)
                return None
            tx.execute(
                "UPDATE reader SET lease_owner = ?, lease_until = ? WHERE id = ?",
                (self._owner, to_micros(now + self._lease), reader_id),
            )
        if claims is None or owner != self._owner:
            claims = Claims(reader_id, source_id, cursor, position, cursor, now, stop_seq, since, until)
            claims.settled_before = self._settled_past(reader_id, cursor)
            self._claims[reader] = claims
        claims.lease_until = now + self._lease
        return claims

    def _settled_past(self, reader_id: int, cursor: int) -> frozenset[int]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT seq FROM delivery WHERE reader_id = ? AND seq > ?", (reader_id, cursor)
            ).fetchall()
        return frozenset(seq for (seq,) in rows)

    def _still_holds(self, claims: Claims) -> bool:
        with self._db.errors_told(), self._db.reading() as connection:
            row = connection.execute("SELECT lease_owner FROM reader WHERE id = ?", (claims.reader_id,)).fetchone()
        return bool(row == (self._owner,))

    def _is_alone(self) -> bool:
        """Whether every other journal object that ever claimed is gone, so that its leases need not be waited for.

        Each holds a shared lock for as long as it lives; the kernel lets go of it when the process dies. Called in a
        turn at writing only: two that asked at the same moment might miss each other.
        """
        if self._alive_descriptor is None:
            path = self._db.path.with_name(self._db.path.name + ".deliver-lock")
            self._alive_descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._alive_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_alone = False
        else:
            is_alone = True
        fcntl.flock(self._alive_descriptor, fcntl.LOCK_SH)  # asking for the other kind has let go of ours
        return is_alone

    def _give_up_leases(self) -> None:
        with self._claiming:
            try:
                if self._claims:
                    with self._db.writing() as tx:
                        tx.execute("UPDATE reader SET lease_owner = NULL WHERE lease_owner = ?", (self._owner,))
            finally:
                self._claims.clear()
                if self._alive_descriptor is not None:
                    os.close(self._alive_descriptor)
                    self._alive_descriptor = None

"""The delivering half of the journal on SQLite: leases, claim, settle, backlog.

A worker's claims live in memory. What is on disk is the cursor, which stays below everything unsettled, and the
exceptions; so a crash between any two steps repeats work and skips none:

    claim ─ crash → the cursor has not moved: claimed again
    send  ─ crash → the same; the destination sees the same messageId twice
    settle ─ crash → the transaction is whole or absent
"""

import fcntl
import heapq
import os
import threading
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from sqlite3 import Connection
from typing import Any

from connector.clock import Clock
from connector.journal.base import Backlog
from connector.journal.sqlite_database import SqliteDatabase
from connector.journal.sqlite_receiving import SqliteReceiving, from_micros, headers_of, to_micros
from connector.model import (
    Claimed,
    EventType,
    NextStep,
    OpenDelivery,
    Reader,
    ReceivedEvent,
    Settlement,
    Verdict,
)

CURSOR_STRIDE = 10_000  # events of other sources that a cursor may lag behind before passing them is written down
Row = tuple[int, int, int, str, str | None, bytes]
RECEIVED_COLUMNS = "seq, position, received_at, event_id, headers, body"


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
    passed: int = 0  # fresh events settled since the last write
    fresh: deque[tuple[int, int]] = field(default_factory=deque)  # (seq, position) handed out, in order
    open_fresh: dict[int, datetime] = field(default_factory=dict)  # seq → end of the lease
    open_retries: dict[int, datetime] = field(default_factory=dict)
    returned: list[int] = field(default_factory=list)  # heap of fresh seqs to hand out again


class SqliteReading(SqliteReceiving):
    """Claims of this object, safe for several threads of a process that gevent has not patched."""

    def __init__(self, database: SqliteDatabase, clock: Clock, reserve_bytes: int, lease_seconds: float) -> None:
        super().__init__(database, clock, reserve_bytes)
        self._lease = timedelta(seconds=lease_seconds)
        self._owner = uuid.uuid4().hex
        self._alive_descriptor: int | None = None
        self._claims: dict[Reader, Claims] = {}
        self._claiming = threading.RLock()

    def add_reader(self, reader: Reader, start: str | datetime) -> None:
        self._know_sources([reader.source])
        with self._db.writing() as tx:
            source_id = self._source_ids[reader.source]
            known = tx.execute(
                "SELECT 1 FROM reader WHERE destination = ? AND source_id = ? AND replay = ?",
                (reader.destination, source_id, reader.replay),
            ).fetchone()
            if known:
                return
            if start == "now":
                (cursor,) = tx.execute("SELECT coalesce(max(seq), 0) FROM received").fetchone()
                position = self._position(tx, source_id)
            elif start == "beginning":
                cursor, position = 0, 0
            else:
                cursor, position = self._place_before(tx, source_id, _moment(start))
            tx.execute(
                "INSERT INTO reader (destination, source_id, replay, cursor, position, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    reader.destination,
                    source_id,
                    reader.replay,
                    cursor,
                    position,
                    to_micros(self._clock.now()),
                ),
            )

    def readers(self) -> list[Reader]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT destination, name, replay FROM reader JOIN source ON source.id = source_id"
                " WHERE state = 'running' ORDER BY reader.id"
            ).fetchall()
        return [Reader(*row) for row in rows]

    def backlog(self, reader: Reader) -> Backlog:
        with self._db.errors_told(), self._db.reading() as connection:
            row = connection.execute(
                "SELECT reader.id, source_id, cursor, reader.position, source.position, replay, total, passed, since,"
                " stop_seq FROM reader JOIN source ON source.id = source_id"
                " WHERE destination = ? AND name = ? AND replay = ?",
                (reader.destination, reader.source, reader.replay),
            ).fetchone()
            if row is None:
                return Backlog(0, 0, 0, None)
            reader_id, source_id, cursor, position, last, replay, total, passed, since, stop_seq = row
            waiting = max(0, total - passed) if replay else max(0, last - position)
            oldest = None
            if waiting:
                oldest = connection.execute(
                    "SELECT received_at FROM received WHERE seq > ? AND source_id = ? AND body IS NOT NULL"
                    " AND received_at >= ? AND seq <= ? ORDER BY seq LIMIT 1",
                    (cursor, source_id, since or 0, stop_seq or 2**62),
                ).fetchone()
            counts = dict(
                connection.execute(
                    "SELECT state, count(*) FROM delivery WHERE reader_id = ? GROUP BY state", (reader_id,)
                ).fetchall()
            )
        return Backlog(
            waiting if oldest else 0,
            counts.get("waiting", 0),
            counts.get("dead", 0),
            from_micros(oldest[0]) if oldest else None,
        )

    # ── claim ──

    def claim(self, reader: Reader, limit: int) -> list[Claimed]:
        with self._claiming:
            claims = self._leased(reader)
            if claims is None:
                return []
            now = self._clock.now()
            self._take_back_expired(claims, now)
            with self._db.errors_told(), self._db.reading() as connection:
                claimed = self._claim_retries(connection, reader, claims, now, limit)
                if len(claimed) < limit:
                    claimed += self._claim_returned(connection, reader, claims, now, limit - len(claimed))
                if len(claimed) < limit:
                    claimed += self._claim_fresh(connection, reader, claims, now, limit - len(claimed))
            if not claimed:
                self._note_idle(reader, claims)
            return claimed

    def _claim_retries(
        self, connection: Connection, reader: Reader, claims: Claims, now: datetime, limit: int
    ) -> list[Claimed]:
        rows = connection.execute(
            "SELECT seq FROM delivery WHERE reader_id = ? AND state = 'waiting' AND due_at <= ?"
            " ORDER BY due_at LIMIT ?",
            (claims.reader_id, to_micros(now), limit + len(claims.open_retries)),
        ).fetchall()
        seqs = sorted({seq for (seq,) in rows if seq not in claims.open_retries})[:limit]
        claimed = []
        for row in self._rows(connection, seqs):
            deliveries = connection.execute(
                "SELECT type, action, attempts FROM delivery"
                " WHERE reader_id = ? AND seq = ? AND state = 'waiting' AND due_at <= ?",
                (claims.reader_id, row[0], to_micros(now)),
            ).fetchall()
            open_deliveries = tuple(OpenDelivery(EventType(kind), *rest) for kind, *rest in deliveries)
            claims.open_retries[row[0]] = now + self._lease
            claimed.append(Claimed(_received(reader, row), open_deliveries))
        return claimed

    def _claim_returned(
        self, connection: Connection, reader: Reader, claims: Claims, now: datetime, limit: int
    ) -> list[Claimed]:
        seqs = [heapq.heappop(claims.returned) for _ in range(min(limit, len(claims.returned)))]
        rows = {row[0]: row for row in self._rows(connection, seqs)}
        claimed = []
        for seq in seqs:
            if seq in rows:
                claims.open_fresh[seq] = now + self._lease
                claimed.append(Claimed(_received(reader, rows[seq])))
        return claimed

    def _claim_fresh(
        self, connection: Connection, reader: Reader, claims: Claims, now: datetime, limit: int
    ) -> list[Claimed]:
        connection.execute("BEGIN")  # both statements see the same last event
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM received").fetchone()
        stop = last if claims.stop_seq is None else min(last, claims.stop_seq)
        if stop <= claims.read_to:
            connection.execute("COMMIT")
            return []
        rows = connection.execute(
            f"SELECT {RECEIVED_COLUMNS} FROM received WHERE seq > ? AND seq <= ? AND source_id = ?"
            " AND body IS NOT NULL AND received_at >= ? AND received_at < ? ORDER BY seq LIMIT ?",
            (claims.read_to, stop, claims.source_id, claims.since or 0, claims.until or 2**62, limit),
        ).fetchall()
        connection.execute("COMMIT")
        until = now + self._lease
        for seq, position, *_ in rows:
            claims.open_fresh[seq] = until
            claims.fresh.append((seq, position))
        claims.read_to = rows[-1][0] if len(rows) == limit else stop
        return [Claimed(_received(reader, row)) for row in rows]

    def _rows(self, connection: Connection, seqs: list[int]) -> list[Row]:
        if not seqs:
            return []
        return connection.execute(
            f"SELECT {RECEIVED_COLUMNS} FROM received WHERE seq IN ({','.join('?' * len(seqs))})"
            " AND body IS NOT NULL ORDER BY seq",
            seqs,
        ).fetchall()

    def _take_back_expired(self, claims: Claims, now: datetime) -> None:
        """Nobody settled these in time: their worker hung or died; they are handed out again."""
        for seq in [seq for seq, until in claims.open_fresh.items() if until <= now]:
            del claims.open_fresh[seq]
            heapq.heappush(claims.returned, seq)
        for seq in [seq for seq, until in claims.open_retries.items() if until <= now]:
            del claims.open_retries[seq]

    # ── leases ──

    def _leased(self, reader: Reader) -> Claims | None:
        """This object's claims on the reader, leased for long enough; None when another holds it or it is gone."""
        now = self._clock.now()
        claims = self._claims.get(reader)
        if claims is not None and claims.lease_until - now > self._lease / 2:
            return claims
        others_are_dead = self._show_life()
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
            is_held = owner not in (None, self._owner) and lease_until > to_micros(now)
            if is_held and not others_are_dead:
                self._claims.pop(reader, None)
                return None
            tx.execute(
                "UPDATE reader SET lease_owner = ?, lease_until = ? WHERE id = ?",
                (self._owner, to_micros(now + self._lease), reader_id),
            )
        if claims is None or owner != self._owner:
            claims = Claims(reader_id, source_id, cursor, position, cursor, now, stop_seq, since, until)
            self._claims[reader] = claims
        claims.lease_until = now + self._lease
        return claims

    def _show_life(self) -> bool:
        """Holds a lock that the kernel lets go when this process dies. True: we have it, so other owners are dead."""
        if self._alive_descriptor is None:
            descriptor = os.open(
                self._db.path.with_name(self._db.path.name + ".deliver-lock"),
                os.O_CREAT | os.O_RDWR | os.O_CLOEXEC,
                0o600,
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._alive_descriptor = descriptor
        return True

    def _give_up_leases(self) -> None:
        with self._claiming:
            if self._claims:
                with self._db.writing() as tx:
                    tx.execute("UPDATE reader SET lease_owner = NULL WHERE lease_owner = ?", (self._owner,))
                self._claims.clear()
            if self._alive_descriptor is not None:
                os.close(self._alive_descriptor)
                self._alive_descriptor = None

    # ── settle ──

    def settle(self, reader: Reader, settlements: Iterable[Settlement]) -> None:
        with self._claiming:
            claims = self._claims.get(reader)
            if claims is None:
                return
            with self._db.writing() as tx:
                (owner, state) = tx.execute(
                    "SELECT lease_owner, state FROM reader WHERE id = ?", (claims.reader_id,)
                ).fetchone()
                if owner != self._owner or state == "cancelled":
                    self._claims.pop(reader)
                    return
                settled = [done for done in settlements if self._settle_event(tx, claims, done)]
                cursor, position, passed = self._cursor_after(claims, settled)
                tx.execute(
                    "UPDATE reader SET cursor = ?, position = ?, passed = passed + ? WHERE id = ?",
                    (cursor, position, passed, claims.reader_id),
                )
            self._forget(claims, settled, cursor, position)

    def _settle_event(self, tx: Connection, claims: Claims, settlement: Settlement) -> bool:
        """Writes what is left open of one event; False when it was not claimed (settled before, or the lease ran out)."""
        seq = settlement.seq
        is_fresh = seq in claims.open_fresh
        if not is_fresh and seq not in claims.open_retries:
            return False
        if is_fresh and _is_released(settlement):
            return True
        for step in settlement.steps:
            if step.verdict is Verdict.DONE:
                if not is_fresh:
                    self._delete_delivery(tx, claims.reader_id, seq, step)
            elif is_fresh or step.verdict is not Verdict.RELEASE:
                self._write_delivery(tx, claims, seq, step)
        return True

    def _delete_delivery(self, tx: Connection, reader_id: int, seq: int, step: NextStep) -> None:
        tx.execute(
            "DELETE FROM delivery WHERE reader_id = ? AND seq = ? AND type = ? AND action = ?",
            (reader_id, seq, step.type, step.action),
        )

    def _write_delivery(self, tx: Connection, claims: Claims, seq: int, step: NextStep) -> None:
        now = self._clock.now()
        is_dead = step.verdict is Verdict.DEAD
        tx.execute(
            "INSERT INTO delivery (reader_id, seq, event_id, type, action, state, attempts, due_at, reason)"
            " VALUES (?, ?, coalesce((SELECT event_id FROM received WHERE seq = ?), ''), ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (reader_id, seq, type, action) DO UPDATE SET state = excluded.state,"
            " attempts = excluded.attempts, due_at = excluded.due_at, reason = excluded.reason",
            (
                claims.reader_id,
                seq,
                seq,
                step.type,
                step.action,
                "dead" if is_dead else "waiting",
                step.attempts,
                to_micros(now if is_dead else step.at or now),
                step.reason,
            ),
        )

    def _cursor_after(self, claims: Claims, settled: list[Settlement]) -> tuple[int, int, int]:
        """Where cursor and position stand, and how many fresh events they pass, once these are settled."""
        done = {item.seq for item in settled if not _is_released(item)}
        waiting = claims.open_fresh.keys() - done
        unsettled = waiting.union(claims.returned)
        cursor, position, passed = claims.cursor, claims.position, 0
        for seq, place in claims.fresh:
            if seq in unsettled:
                return cursor, position, passed
            cursor, position, passed = seq, place, passed + 1
        return max(cursor, claims.read_to), position, passed

    def _forget(self, claims: Claims, settled: list[Settlement], cursor: int, position: int) -> None:
        """Brings the memory in line with what was just committed."""
        for item in settled:
            seq = item.seq
            claims.open_retries.pop(seq, None)
            if claims.open_fresh.pop(seq, None) is not None and _is_released(item):
                heapq.heappush(claims.returned, seq)
        claims.cursor, claims.position = cursor, position
        while claims.fresh and claims.fresh[0][0] <= cursor:
            claims.fresh.popleft()

    def _note_idle(self, reader: Reader, claims: Claims) -> None:
        """Nothing to do: passes other sources' events now and then, and ends a replay that has read its range."""
        if claims.fresh or claims.returned or claims.open_retries:
            return
        has_read_all = claims.stop_seq is not None and claims.read_to >= claims.stop_seq
        if not has_read_all and claims.read_to - claims.cursor < CURSOR_STRIDE:
            return
        with self._db.writing() as tx:
            tx.execute("UPDATE reader SET cursor = ? WHERE id = ?", (claims.read_to, claims.reader_id))
            claims.cursor = claims.read_to
            if has_read_all:
                tx.execute(
                    "UPDATE reader SET state = 'done', passed = total, lease_owner = NULL WHERE id = ? AND NOT EXISTS"
                    " (SELECT 1 FROM delivery WHERE reader_id = reader.id AND delivery.state = 'waiting')",
                    (claims.reader_id,),
                )
                if tx.execute("SELECT changes()").fetchone() == (1,):
                    self._claims.pop(reader)

    def _place_before(self, connection: Connection, source_id: int, moment: int) -> tuple[int, int]:
        """(seq, position) just before the source's first event received at or after the moment."""
        row = connection.execute(
            "SELECT seq, position FROM received WHERE received_at >= ? AND source_id = ? ORDER BY received_at LIMIT 1",
            (moment, source_id),
        ).fetchone()
        if row is not None:
            return row[0] - 1, row[1] - 1
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM received").fetchone()
        return last, self._position(connection, source_id)


def _is_released(settlement: Settlement) -> bool:
    """All of its deliveries are put back, so the event is as good as unclaimed."""
    return bool(settlement.steps) and all(step.verdict is Verdict.RELEASE for step in settlement.steps)


def _received(reader: Reader, row: tuple[Any, ...]) -> ReceivedEvent:
    seq, _, received_at, event_id, headers, body = row
    return ReceivedEvent(reader.source, event_id, body, from_micros(received_at), headers_of(headers), seq)


def _moment(start: str | datetime) -> int:
    return to_micros(datetime.fromisoformat(start) if isinstance(start, str) else start)

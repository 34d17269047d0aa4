"""The delivering half of the journal on SQLite: claim, settle, backlog.

What is on disk is the cursor, which stays below everything unsettled, and the exceptions; so a crash between any two
steps repeats work and skips none:

    claim ─ crash → the cursor has not moved: claimed again
    send  ─ crash → the same; the destination sees the same messageId twice
    settle ─ crash → the transaction is whole or absent
"""

import heapq
from collections.abc import Iterable
from datetime import datetime
from sqlite3 import Connection
from typing import Any

from connector.journal.base import Backlog
from connector.journal.sqlite_leases import Claims, SqliteLeases
from connector.journal.sqlite_places import END, last_seq, position_at, pruned_to, seq_before
from connector.journal.sqlite_receiving import from_micros, headers_of, to_micros
from connector.model import (
    WHOLE_EVENT,
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
GONE = "the retention limit or an erasure removed it before it could be delivered"
Row = tuple[int, int, int, str, str | None, bytes]
RECEIVED_COLUMNS = "seq, position, received_at, event_id, headers, body"


class SqliteReading(SqliteLeases):
    """Safe for several threads of a process that gevent has not patched: they share this object's claims."""

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
                cursor = last_seq(tx)
            elif start == "beginning":
                cursor = pruned_to(tx)
            else:
                cursor = seq_before(tx, _moment(start))
            position = position_at(tx, source_id, cursor)
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
                "SELECT source_id, cursor, reader.position, source.position, replay, total, passed, since, stop_seq,"
                " retrying, dead FROM reader JOIN source ON source.id = source_id"
                " WHERE destination = ? AND name = ? AND replay = ?",
                (reader.destination, reader.source, reader.replay),
            ).fetchone()
            if row is None:
                return Backlog(0, 0, 0, None)
            source_id, cursor, position, last, replay, total, passed, since, stop_seq, retrying, dead = row
            waiting = max(0, total - passed) if replay else max(0, last - position)
            oldest = None
            if waiting:
                oldest = connection.execute(
                    "SELECT received_at FROM received INDEXED BY received_in_order WHERE source_id = ?"
                    " AND seq > ? AND seq <= ? AND received_at >= ? AND body IS NOT NULL ORDER BY seq LIMIT 1",
                    (source_id, cursor, stop_seq or END, since or 0),
                ).fetchone()
        return Backlog(waiting if oldest else 0, retrying, dead, from_micros(oldest[0]) if oldest else None)

    # ── claim ──

    def claim(self, reader: Reader, limit: int) -> list[Claimed]:
        with self._claiming:
            claims = self._leased(reader)
            if claims is None:
                return []
            now = self._clock.now()
            self._take_back_expired(claims, now)
            claimed: list[Claimed] = []
            try:
                with self._db.errors_told(), self._db.reading() as connection:
                    self._claim_retries(connection, reader, claims, now, limit, claimed)
                    self._claim_returned(connection, reader, claims, now, limit, claimed)
                    self._claim_fresh(connection, reader, claims, now, limit, claimed)
            except Exception:
                self._put_back(claims, claimed)  # else it would be hidden until the lease ends
                raise
            if not claimed:
                self._note_idle(reader, claims)
            return claimed

    def _claim_retries(
        self,
        connection: Connection,
        reader: Reader,
        claims: Claims,
        now: datetime,
        limit: int,
        claimed: list[Claimed],
    ) -> None:
        found = connection.execute(
            "SELECT DISTINCT seq FROM delivery INDEXED BY delivery_by_due"
            " WHERE reader_id = ? AND state = 'waiting' AND due_at <= ? ORDER BY due_at LIMIT ?",
            (claims.reader_id, to_micros(now), limit + len(claims.open_retries)),
        ).fetchall()
        seqs = [seq for (seq,) in found if seq not in claims.open_retries][:limit]
        for row in self._rows(connection, seqs):
            deliveries = connection.execute(
                "SELECT type, action, attempts FROM delivery"
                " WHERE reader_id = ? AND seq = ? AND state = 'waiting' AND due_at <= ?",
                (claims.reader_id, row[0], to_micros(now)),
            ).fetchall()
            open_deliveries = tuple(OpenDelivery(EventType(kind), *rest) for kind, *rest in deliveries)
            claims.open_retries[row[0]] = now + self._lease
            claimed.append(Claimed(_received(reader, row), open_deliveries))

    def _claim_returned(
        self,
        connection: Connection,
        reader: Reader,
        claims: Claims,
        now: datetime,
        limit: int,
        claimed: list[Claimed],
    ) -> None:
        while claims.returned and len(claimed) < limit:
            rows = self._rows(connection, [claims.returned[0]])
            seq = heapq.heappop(claims.returned)  # after it was read: an error must not lose it
            for row in rows:
                claims.open_fresh[seq] = now + self._lease
                claimed.append(Claimed(_received(reader, row)))

    def _claim_fresh(
        self,
        connection: Connection,
        reader: Reader,
        claims: Claims,
        now: datetime,
        limit: int,
        claimed: list[Claimed],
    ) -> None:
        while len(claimed) < limit and (rows := self._next_rows(connection, claims, limit - len(claimed))):
            for row in rows:
                seq, position, *_ = row
                claims.fresh.append((seq, position))
                if seq not in claims.settled_before:
                    claims.open_fresh[seq] = now + self._lease
                    claimed.append(Claimed(_received(reader, row)))

    def _next_rows(self, connection: Connection, claims: Claims, limit: int) -> list[Row]:
        connection.execute("BEGIN")  # both statements see the same last event
        last = last_seq(connection)
        stop = last if claims.stop_seq is None else min(last, claims.stop_seq)
        if stop <= claims.read_to:
            connection.execute("COMMIT")
            return []
        rows: list[Row] = connection.execute(
            f"SELECT {RECEIVED_COLUMNS} FROM received INDEXED BY received_in_order WHERE source_id = ? AND seq > ?"
            " AND seq <= ? AND received_at >= ? AND received_at < ? AND body IS NOT NULL ORDER BY seq LIMIT ?",
            (claims.source_id, claims.read_to, stop, claims.since or 0, claims.until or END, limit),
        ).fetchall()
        connection.execute("COMMIT")
        claims.read_to = rows[-1][0] if len(rows) == limit else stop
        return rows

    def _put_back(self, claims: Claims, claimed: list[Claimed]) -> None:
        for item in claimed:
            seq = item.received.seq
            if item.open is not None:
                claims.open_retries.pop(seq, None)
            elif claims.open_fresh.pop(seq, None) is not None:
                heapq.heappush(claims.returned, seq)

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

    # ── settle ──

    def settle(self, reader: Reader, settlements: Iterable[Settlement]) -> None:
        with self._claiming:
            claims = self._claims.get(reader)
            if claims is None:
                return
            with self._db.writing() as tx:
                owner, state, dead = tx.execute(
                    "SELECT lease_owner, state, dead FROM reader WHERE id = ?", (claims.reader_id,)
                ).fetchone()
                if owner != self._owner or state == "cancelled":
                    del self._claims[reader]
                    return
                settled = [done for done in settlements if self._settle_event(tx, claims, done)]
                if dead:
                    self._forgive_gone(tx, claims, settled)
                cursor, position, passed = self._cursor_after(claims, settled)
                self._write_cursor(tx, claims, cursor, position, passed)
            self._forget(claims, settled, cursor, position)

    def _settle_event(self, tx: Connection, claims: Claims, settlement: Settlement) -> bool:
        """Writes what is left open of one event; False when it was not claimed, or no longer is."""
        seq = settlement.seq
        is_fresh = seq in claims.open_fresh
        if not is_fresh and seq not in claims.open_retries:
            return False
        if is_fresh and _is_released(settlement):
            return True
        if not is_fresh and not settlement.steps:  # filtered meanwhile: the actions that failed are no more
            claimed_at = claims.open_retries[seq] - self._lease
            tx.execute(
                "DELETE FROM delivery WHERE reader_id = ? AND seq = ? AND state = 'waiting' AND due_at <= ?",
                (claims.reader_id, seq, to_micros(claimed_at)),
            )
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
        found = tx.execute("SELECT event_id, body IS NOT NULL FROM received WHERE seq = ?", (seq,)).fetchone()
        event_id, is_kept = found or ("", False)
        state, due_at, reason = "waiting", step.at or now, step.reason
        if step.verdict is Verdict.DEAD:
            state, due_at = "dead", now
        elif not is_kept:  # there is nothing left that could be sent again
            state, due_at, reason = "dead", now, GONE
        tx.execute(
            "INSERT INTO delivery (reader_id, seq, event_id, type, action, state, attempts, due_at, reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (reader_id, seq, type, action) DO UPDATE SET state = excluded.state,"
            " attempts = excluded.attempts, due_at = excluded.due_at, reason = excluded.reason",
            (
                claims.reader_id,
                seq,
                event_id,
                step.type,
                step.action,
                state,
                step.attempts,
                to_micros(due_at),
                reason,
            ),
        )

    def _forgive_gone(self, tx: Connection, claims: Claims, settled: list[Settlement]) -> None:
        """Retention or an erasure made dead letters of these while they were on their way; now it is known better."""
        tx.executemany(
            "DELETE FROM delivery WHERE reader_id = ? AND seq = ? AND type = 'track' AND action = ?",
            [
                (claims.reader_id, item.seq, WHOLE_EVENT)
                for item in settled
                if item.seq in claims.open_fresh and not _is_released(item)
            ],
        )

    def _write_cursor(self, tx: Connection, claims: Claims, cursor: int, position: int, passed: int) -> None:
        """Never backwards: retention may have moved it from another process."""
        tx.execute(
            "UPDATE reader SET cursor = max(cursor, ?), position = max(position, ?), passed = passed + ? WHERE id = ?",
            (cursor, position, passed, claims.reader_id),
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
        if claims.open_fresh or claims.returned or claims.open_retries:
            return
        has_read_all = claims.stop_seq is not None and claims.read_to >= claims.stop_seq
        if not (has_read_all or claims.fresh or claims.read_to - claims.cursor >= CURSOR_STRIDE):
            return
        if has_read_all and claims.cursor == claims.read_to and self._has_retries(claims):
            return
        with self._db.writing() as tx:
            cursor, position, passed = self._cursor_after(claims, [])
            self._write_cursor(tx, claims, cursor, position, passed)
            is_done = has_read_all and bool(
                tx.execute(
                    "UPDATE reader SET state = 'done', passed = total, lease_owner = NULL"
                    " WHERE id = ? AND state = 'running' AND retrying = 0",
                    (claims.reader_id,),
                ).rowcount
            )
        self._forget(claims, [], cursor, position)
        if is_done:
            del self._claims[reader]

    def _has_retries(self, claims: Claims) -> bool:
        with self._db.errors_told(), self._db.reading() as connection:
            query = "SELECT retrying > 0 FROM reader WHERE id = ?"
            (answer,) = connection.execute(query, (claims.reader_id,)).fetchone()
        return bool(answer)


def _is_released(settlement: Settlement) -> bool:
    """All of its deliveries are put back, so the event is as good as unclaimed."""
    return bool(settlement.steps) and all(step.verdict is Verdict.RELEASE for step in settlement.steps)


def _received(reader: Reader, row: tuple[Any, ...]) -> ReceivedEvent:
    seq, _, received_at, event_id, headers, body = row
    return ReceivedEvent(reader.source, event_id, body, from_micros(received_at), headers_of(headers), seq)


def _moment(start: str | datetime) -> int:
    return to_micros(datetime.fromisoformat(start) if isinstance(start, str) else start)

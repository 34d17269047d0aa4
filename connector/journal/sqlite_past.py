"""The journal's past on SQLite: scan, find, replays, and the dead letters that a person deals with."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from sqlite3 import Connection

from connector.journal.base import DeadLetter, Exceptional, ReplayState, Whereabouts
from connector.journal.sqlite_places import END, last_seq, pruned_to, seq_before, seq_until
from connector.journal.sqlite_reading import SqliteReading
from connector.journal.sqlite_receiving import from_micros, headers_of, to_micros
from connector.model import EventType, Reader, ReceivedEvent

SCAN_ROWS = 500  # per read transaction: a long one would keep the write-ahead log from being folded in
REPLAY_COLUMNS = "replay, destination, name, since, until, filter, state, total, passed, created_at"


class SqlitePast(SqliteReading):
    def scan(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        source: str | None = None,
        after_seq: int = 0,
    ) -> Iterator[ReceivedEvent]:
        first, last = _micros_range(since, until)
        with self._db.errors_told(), self._db.reading() as connection:
            start, stop = _places(connection, first, last)
        after_seq = max(after_seq, start)
        while True:
            with self._db.errors_told(), self._db.reading() as connection:
                rows = connection.execute(
                    "SELECT seq, (SELECT name FROM source WHERE id = source_id), event_id, body, received_at, headers"
                    f" FROM received {_of_source(source)} seq > ? AND seq <= ? AND received_at >= ?"
                    " AND received_at < ? AND body IS NOT NULL ORDER BY seq LIMIT ?",
                    (source, after_seq, stop, first, last, SCAN_ROWS),
                ).fetchall()
            for seq, name, event_id, body, received_at, headers in rows:
                yield ReceivedEvent(name, event_id, body, from_micros(received_at), headers_of(headers), seq)
            if len(rows) < SCAN_ROWS:
                return
            after_seq = rows[-1][0]

    def find(self, event_id: str) -> list[ReceivedEvent]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT name, event_id, body, received_at, headers, seq FROM source CROSS JOIN received"
                " INDEXED BY received_by_id ON received.source_id = source.id AND event_id = ?"
                " WHERE body IS NOT NULL ORDER BY seq",
                (event_id,),
            ).fetchall()
        return [
            ReceivedEvent(name, found, body, from_micros(received_at), headers_of(headers), seq)
            for name, found, body, received_at, headers, seq in rows
        ]

    def latest(self, limit: int, source: str | None = None) -> list[ReceivedEvent]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT (SELECT name FROM source WHERE id = source_id), event_id, body, received_at, headers, seq"
                f" FROM received {_of_source(source)} seq > ? AND body IS NOT NULL ORDER BY seq DESC LIMIT ?",
                (source, pruned_to(connection), limit),
            ).fetchall()
        return [
            ReceivedEvent(name, event_id, body, from_micros(received_at), headers_of(headers), seq)
            for name, event_id, body, received_at, headers, seq in reversed(rows)
        ]

    def whereabouts(self, seq: int) -> list[Whereabouts]:
        with self._db.errors_told(), self._db.reading() as connection:
            readers = connection.execute(
                "SELECT reader.id, destination, name, replay, cursor FROM received"
                " JOIN reader ON reader.source_id = received.source_id JOIN source ON source.id = reader.source_id"
                " WHERE seq = ? AND (replay = '' OR (seq <= stop_seq AND (since IS NULL OR received_at >= since)"
                " AND (until IS NULL OR received_at < until) AND (state <> 'cancelled' OR cursor >= seq)))"
                " ORDER BY reader.id",
                (seq,),
            ).fetchall()
            deliveries = connection.execute(
                "SELECT reader_id, type, action, state, attempts, due_at, reason FROM delivery WHERE seq = ?"
                " ORDER BY id",
                (seq,),
            ).fetchall()
        return [
            Whereabouts(
                Reader(*reader),
                cursor >= seq,
                tuple(
                    Exceptional(EventType(kind), action, state, attempts, from_micros(at), reason)
                    for owner, kind, action, state, attempts, at, reason in deliveries
                    if owner == reader_id
                ),
            )
            for reader_id, *reader, cursor in readers
        ]

    def count(self, since: datetime | None, until: datetime | None, source: str | None = None) -> int:
        first, last = _micros_range(since, until)
        with self._db.errors_told(), self._db.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM received INDEXED BY received_by_time WHERE received_at >= ? AND received_at < ?"
                " AND seq > ? AND (? IS NULL OR source_id = (SELECT id FROM source WHERE name = ?))",
                (first, last, pruned_to(connection), source, source),
            ).fetchone()
        return int(count)

    # ── replays ──

    def replay(
        self,
        destination: str,
        sources: Sequence[str],
        since: datetime | None,
        until: datetime | None,
        where: str | None,
    ) -> list[ReplayState]:
        self._know_sources(sources)
        first, last = _micros_range(since, until)
        totals = [self.count(since, until, source) for source in sources]
        created: list[str] = []
        with self._db.writing() as tx:
            start, stop = _places(tx, first, last)
            stop = min(stop, last_seq(tx))
            for source, total in zip(sources, totals, strict=True):
                (number,) = tx.execute("SELECT coalesce(max(id), 0) + 1 FROM reader").fetchone()
                created.append(f"replay-{number}")
                tx.execute(
                    "INSERT INTO reader (destination, source_id, replay, cursor, position, created_at, stop_seq,"
                    " since, until, filter, total) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
                    (
                        destination,
                        self._source_ids[source],
                        created[-1],
                        start,
                        to_micros(self._clock.now()),
                        stop,
                        first,
                        last,
                        where,
                        total,
                    ),
                )
        return [state for state in self.replays() if state.id in created][::-1]

    def replays(self) -> list[ReplayState]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                f"SELECT {REPLAY_COLUMNS} FROM reader JOIN source ON source.id = source_id"
                " WHERE replay <> '' ORDER BY reader.id DESC"
            ).fetchall()
        return [
            ReplayState(
                replay,
                destination,
                source,
                from_micros(since) if since else None,
                from_micros(until) if until < END else None,
                where,
                state,
                total,
                passed,
                from_micros(created_at),
            )
            for replay, destination, source, since, until, where, state, total, passed, created_at in rows
        ]

    def cancel_replay(self, replay_id: str) -> bool:
        with self._db.writing() as tx:
            row = tx.execute(
                "UPDATE reader SET state = 'cancelled', stop_seq = cursor, lease_owner = NULL"
                " WHERE replay = ? AND replay <> '' AND state = 'running' RETURNING id",
                (replay_id,),
            ).fetchone()
            if row is not None:
                tx.execute("DELETE FROM delivery WHERE reader_id = ? AND state = 'waiting'", row)
        return row is not None

    # ── dead letters ──

    def dead_letters(self, destination: str | None = None, limit: int = 100, after_id: int = 0) -> list[DeadLetter]:
        with self._db.errors_told(), self._db.reading() as connection:
            readers = connection.execute(
                "SELECT reader.id FROM reader WHERE dead > 0 AND (? IS NULL OR destination = ?)",
                (destination, destination),
            ).fetchall()
            found = [
                row  # each reader's oldest by its index, then the oldest of these
                for reader_id in readers
                for row in connection.execute(
                    "SELECT delivery.id, destination, name, replay, seq, event_id, type, action, attempts, reason,"
                    " due_at FROM delivery INDEXED BY delivery_dead CROSS JOIN reader ON reader.id = reader_id"
                    " CROSS JOIN source ON source.id = source_id"
                    " WHERE reader_id = ? AND delivery.state = 'dead' AND delivery.id > ? ORDER BY delivery.id LIMIT ?",
                    (*reader_id, after_id, limit),
                ).fetchall()
            ]
            rows = sorted(found)[:limit]
        return [
            DeadLetter(
                number,
                Reader(*reader),
                seq,
                event_id,
                EventType(kind),
                action,
                attempts,
                reason,
                from_micros(died_at),
            )
            for number, *reader, seq, event_id, kind, action, attempts, reason, died_at in rows
        ]

    def retry_dead(self, ids: Sequence[int]) -> int:
        now = to_micros(self._clock.now())
        retried = 0
        with self._db.writing() as tx:
            for number in ids:
                row = tx.execute(
                    "UPDATE delivery SET state = 'waiting', attempts = 0, due_at = ? WHERE id = ? AND state = 'dead'"
                    " AND EXISTS (SELECT 1 FROM received WHERE received.seq = delivery.seq AND body IS NOT NULL)"
                    " RETURNING reader_id",
                    (now, number),
                ).fetchone()
                if row is not None:
                    retried += 1
                    self._wake_replay(tx, *row)
        return retried

    def drop_dead(self, ids: Sequence[int]) -> int:
        now = to_micros(self._clock.now())
        with self._db.writing() as tx:
            return sum(
                tx.execute(
                    "UPDATE delivery SET state = 'dropped', due_at = ? WHERE id = ? AND state = 'dead'", (now, number)
                ).rowcount
                for number in ids
            )

    def _wake_replay(self, tx: Connection, reader_id: int) -> None:
        """One that is over works again on its dead letters; a cancelled one sends nothing else of its range."""
        tx.execute(
            "UPDATE reader SET state = 'running', total = CASE state WHEN 'cancelled' THEN passed ELSE total END"
            " WHERE id = ? AND state <> 'running'",
            (reader_id,),
        )


def _micros_range(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    return (to_micros(since) if since else 0, to_micros(until) if until else END)


def _of_source(source: str | None) -> str:
    """The beginning of a condition, with one parameter, that walks along the order of arrival and nothing else."""
    if source is None:
        return "NOT INDEXED WHERE ? IS NULL AND"
    return "INDEXED BY received_in_order WHERE source_id = (SELECT id FROM source WHERE name = ?) AND"


def _places(connection: Connection, first: int, last: int) -> tuple[int, int]:
    """Between which places the events received from `first` on and before `last` lie, as far as they have bodies."""
    start = max(pruned_to(connection), seq_before(connection, first) if first else 0)
    return start, END if last == END else seq_until(connection, last)

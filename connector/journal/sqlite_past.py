"""The journal's past on SQLite: scan, find, replays, and the dead letters that a person deals with."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from connector.journal.base import DeadLetter, ReplayState
from connector.journal.sqlite_reading import SqliteReading
from connector.journal.sqlite_receiving import from_micros, headers_of, to_micros
from connector.model import EventType, Reader, ReceivedEvent

SCAN_ROWS = 500  # per read transaction: a long one would keep the write-ahead log from being folded in
DISORDER = timedelta(minutes=1)  # how far the order of receive times may differ from the order of arrival
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
        if since is not None:
            after_seq = max(after_seq, self._seq_before(since - DISORDER))
        while True:
            with self._db.errors_told(), self._db.reading() as connection:
                rows = connection.execute(
                    "SELECT seq, name, event_id, body, received_at, headers FROM received"
                    " JOIN source ON source.id = source_id WHERE seq > ? AND (? IS NULL OR name = ?)"
                    " AND received_at >= ? AND received_at < ? AND body IS NOT NULL ORDER BY seq LIMIT ?",
                    (after_seq, source, source, first, last, SCAN_ROWS),
                ).fetchall()
            for seq, name, event_id, body, received_at, headers in rows:
                yield ReceivedEvent(name, event_id, body, from_micros(received_at), headers_of(headers), seq)
            if len(rows) < SCAN_ROWS:
                return
            after_seq = rows[-1][0]

    def find(self, event_id: str) -> list[ReceivedEvent]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT name, event_id, body, received_at, headers, seq FROM source JOIN received"
                " ON received.source_id = source.id AND event_id = ? WHERE body IS NOT NULL ORDER BY seq",
                (event_id,),
            ).fetchall()
        return [
            ReceivedEvent(name, found, body, from_micros(received_at), headers_of(headers), seq)
            for name, found, body, received_at, headers, seq in rows
        ]

    def count(self, since: datetime | None, until: datetime | None, source: str | None = None) -> int:
        first, last = _micros_range(since, until)
        with self._db.errors_told(), self._db.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM received WHERE received_at >= ? AND received_at < ?"
                " AND (? IS NULL OR source_id = (SELECT id FROM source WHERE name = ?))",
                (first, last, source, source),
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
        start = self._seq_before(since - DISORDER) if since else 0
        created: list[str] = []
        with self._db.writing() as tx:
            (stop,) = tx.execute("SELECT coalesce(max(seq), 0) FROM received").fetchone()
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
                from_micros(until) if until < _END else None,
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
                "UPDATE reader SET state = 'cancelled' WHERE replay = ? AND replay <> '' AND state = 'running'"
                " RETURNING id",
                (replay_id,),
            ).fetchone()
            if row is not None:
                tx.execute("DELETE FROM delivery WHERE reader_id = ? AND state = 'waiting'", row)
        return row is not None

    # ── dead letters ──

    def dead_letters(self, destination: str | None = None, limit: int = 100, after_id: int = 0) -> list[DeadLetter]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT delivery.id, destination, name, replay, seq, event_id, type, action, attempts, reason, due_at"
                " FROM delivery JOIN reader ON reader.id = reader_id JOIN source ON source.id = source_id"
                " WHERE delivery.state = 'dead' AND delivery.id > ? AND (? IS NULL OR destination = ?)"
                " ORDER BY delivery.id LIMIT ?",
                (after_id, destination, destination, limit),
            ).fetchall()
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
                    tx.execute("UPDATE reader SET state = 'running' WHERE id = ?", row)  # a replay may be done by now
        return retried

    def drop_dead(self, ids: Sequence[int]) -> int:
        with self._db.writing() as tx:
            return sum(
                tx.execute("DELETE FROM delivery WHERE id = ? AND state = 'dead'", (number,)).rowcount for number in ids
            )

    def _seq_before(self, moment: datetime) -> int:
        with self._db.errors_told(), self._db.reading() as connection:
            row = connection.execute(
                "SELECT seq - 1 FROM received WHERE received_at >= ? ORDER BY received_at LIMIT 1",
                (to_micros(moment),),
            ).fetchone()
            if row is None:
                row = connection.execute("SELECT coalesce(max(seq), 0) FROM received").fetchone()
        return int(row[0])


_END = 2**62  # later than any moment


def _micros_range(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    return (to_micros(since) if since else 0, to_micros(until) if until else _END)

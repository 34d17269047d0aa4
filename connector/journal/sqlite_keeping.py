"""What the journal on SQLite keeps and for how long: retention, erasing, the memory of ids, action revisions.

An event beyond its limit loses its body; its row stays as the memory of its id until 8 days are surely over.
"""

import json
import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from itertools import takewhile
from sqlite3 import SQLITE_INTERRUPT, Connection, OperationalError

from connector.journal.sqlite_past import SqlitePast
from connector.journal.sqlite_places import END, last_seq, pruned_to
from connector.journal.sqlite_receiving import MAX_ROWS_PER_STATEMENT, to_micros
from connector.model import WHOLE_EVENT, Retention

ID_MEMORY = timedelta(days=9)  # Customer.io retries for 7 days; a day on either side
STEP_ROWS = 1000  # per transaction, so that receiving never waits long for its turn
PROGRESS_STEPS = 100_000  # of SQLite's machine between two looks at the clock
REMOVED = "the retention limit removed it before it could be delivered"
ERASED = "it was erased before it could be delivered"


class SqliteKeeping(SqlitePast):
    def prune(self, retention: Retention, destinations: Collection[str] | None = None) -> int:
        removed = 0
        if retention.events_seconds is not None:
            cutoff = to_micros(self._clock.now() - timedelta(seconds=retention.events_seconds))
            removed += self._remove_oldest(cutoff, destinations)
        if retention.events_bytes is not None and self._db.size_bytes() > retention.events_bytes:
            removed += self._remove_oldest(None, destinations)
        self._forget_ids()
        return removed

    def erase(self, seqs: Sequence[int]) -> int:
        erased = 0
        for start in range(0, len(seqs), STEP_ROWS):
            with self._claiming, self._db.writing(durable=True) as tx:
                tx.execute("PRAGMA secure_delete = ON")
                for seq in seqs[start : start + STEP_ROWS]:
                    self._tell_readers(tx, seq, seq, ERASED)
                    erased += tx.execute(
                        "UPDATE received SET body = NULL, headers = NULL WHERE seq = ? AND body IS NOT NULL", (seq,)
                    ).rowcount
        self._db.fold_in()
        return erased

    def note_revision(self, destination: str, fingerprint: str, definition: str) -> None:
        """Remembers which actions are in force for the destination from where it stands, once per change."""
        with self._db.writing() as tx:
            newest = tx.execute(
                "SELECT fingerprint FROM revision WHERE destination = ? ORDER BY id DESC LIMIT 1",
                (destination,),
            ).fetchone()
            if newest == (fingerprint,):
                return
            tx.execute(
                "INSERT INTO revision (destination, fingerprint, definition, since_seq, taken_up_at)"
                # The cursor of a reader whose source is silent stays behind, though nothing is before it.
                " SELECT ?, ?, ?, coalesce(min(iif(source.position > reader.position, cursor, ?)), 0), ?"
                " FROM reader JOIN source ON source.id = source_id WHERE destination = ? AND replay = ''",
                (destination, fingerprint, definition, last_seq(tx), to_micros(self._clock.now()), destination),
            )

    def revision_at(self, destination: str, seq: int) -> str | None:
        """The definition in force when the destination came to this event."""
        with self._db.errors_told(), self._db.reading() as connection:
            row = connection.execute(
                "SELECT definition FROM revision WHERE destination = ? AND since_seq < ? ORDER BY id DESC LIMIT 1",
                (destination, seq),
            ).fetchone()
        return row[0] if row else None

    def flaws(self, limit_seconds: float) -> list[str] | None:
        end = time.monotonic() + limit_seconds
        with self._db.errors_told(), self._db.reading() as connection:
            connection.set_progress_handler(lambda: time.monotonic() > end, PROGRESS_STEPS)
            try:
                rows = connection.execute("PRAGMA quick_check(20)").fetchall()
            except OperationalError as error:
                if error.sqlite_errorcode == SQLITE_INTERRUPT:
                    return None
                raise
            finally:
                connection.set_progress_handler(None, 0)
        return [text for (text,) in rows if text != "ok"]

    def _remove_oldest(self, cutoff: int | None, destinations: Collection[str] | None) -> int:
        """Takes the bodies of the oldest events, received before the cutoff if there is one."""
        with self._claiming, self._db.writing() as tx:
            done_to = pruned_to(tx)
            found = tx.execute(
                "SELECT seq, source_id, position, received_at, event_id FROM received WHERE seq > ?"
                " ORDER BY seq LIMIT ?",
                (done_to, STEP_ROWS),
            ).fetchall()
            claimed = {seq for claims in self._claims.values() for seq in (*claims.open_fresh, *claims.open_retries)}
            rows = list(takewhile(lambda row: (cutoff is None or row[3] < cutoff) and row[0] not in claimed, found))
            if not rows:
                return 0
            newest = rows[-1][0]
            self._tell_readers(tx, done_to + 1, newest, REMOVED, destinations)
            self._take_bodies(tx, done_to + 1, newest, rows)
            tx.execute("UPDATE pruned SET seq = ?", (newest,))
            self._move_readers(tx, {source_id: (seq, position) for seq, source_id, position, *_ in rows})
        return len(rows)

    def _take_bodies(
        self, tx: Connection, first: int, last: int, rows: Sequence[tuple[int, int, int, int, str]]
    ) -> None:
        """Removed and entered anew without a body: rows that only shrink leave their pages half empty for ever."""
        tx.execute("DELETE FROM received WHERE seq >= ? AND seq <= ?", (first, last))
        for start in range(0, len(rows), MAX_ROWS_PER_STATEMENT):
            part = rows[start : start + MAX_ROWS_PER_STATEMENT]
            tx.execute(
                "INSERT INTO received (seq, source_id, position, received_at, event_id) VALUES "
                + ",".join(["(?,?,?,?,?)"] * len(part)),
                [value for row in part for value in row],
            )

    def _tell_readers(
        self, tx: Connection, first: int, last: int, reason: str, destinations: Collection[str] | None = None
    ) -> None:
        """What leaves undelivered becomes a dead letter of each reader, of these destinations, that waits for it."""
        now = to_micros(self._clock.now())
        names = None if destinations is None else json.dumps(sorted(destinations))
        tx.execute(
            "UPDATE delivery SET state = 'dead', due_at = ?, reason = ?"
            " WHERE seq >= ? AND seq <= ? AND state = 'waiting'",
            (now, reason, first, last),
        )
        tx.execute(
            "INSERT INTO delivery (reader_id, seq, event_id, type, action, state, attempts, due_at, reason)"
            " SELECT reader.id, received.seq, event_id, 'track', ?, 'dead', 0, ?, ?"
            " FROM received NOT INDEXED CROSS JOIN reader ON reader.source_id = received.source_id"
            " WHERE received.seq >= ? AND received.seq <= ? AND body IS NOT NULL AND reader.cursor < received.seq"
            " AND (? IS NULL OR destination IN (SELECT value FROM json_each(?)))"
            " AND state = 'running' AND received.seq <= coalesce(stop_seq, ?)"
            " AND received_at >= coalesce(since, 0) AND received_at < coalesce(until, ?) AND NOT EXISTS"
            " (SELECT 1 FROM delivery WHERE reader_id = reader.id AND delivery.seq = received.seq)",
            (WHOLE_EVENT, now, reason, first, last, names, names, END, END),
        )
        for claims in self._claims.values():  # settled, but kept behind the cursor by an older one that is not
            tx.executemany(
                "DELETE FROM delivery WHERE reader_id = ? AND seq = ? AND type = 'track' AND action = ?",
                [(claims.reader_id, seq, WHOLE_EVENT) for seq in claims.settled_seqs(first, last)],
            )

    def _move_readers(self, tx: Connection, last: dict[int, tuple[int, int]]) -> None:
        for source_id, (seq, position) in last.items():
            tx.execute(
                "UPDATE reader SET cursor = ?, position = ? WHERE source_id = ? AND cursor < ? AND replay = ''",
                (seq, position, source_id, seq),
            )
            for claims in self._claims.values():
                if claims.source_id == source_id and not claims.is_replay and claims.cursor < seq:
                    claims.cursor, claims.position = seq, position
                    claims.read_to = max(claims.read_to, seq)
                    claims.returned = [waiting for waiting in claims.returned if waiting > seq]
                    while claims.fresh and claims.fresh[0][0] <= seq:
                        claims.fresh.popleft()

    def _forget_ids(self) -> None:
        cutoff = to_micros(self._clock.now() - ID_MEMORY)
        with self._db.writing() as tx:
            tx.execute(
                "DELETE FROM received WHERE seq IN (SELECT seq FROM received INDEXED BY received_without_body"
                " WHERE body IS NULL AND received_at < ? LIMIT ?)",
                (cutoff, STEP_ROWS),
            )

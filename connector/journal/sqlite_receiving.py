"""The receiving half of the journal on SQLite: append, the memory of ids, quarantine.

A group of received events is one transaction of a handful of statements, whatever its size: each statement hands
Python's interpreter lock back and forth once, and that costs more than the rows do.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import Any

from connector.clock import Clock
from connector.errors import JournalFullError
from connector.journal.base import Journal, Quarantined
from connector.journal.sqlite_database import SqliteDatabase
from connector.model import Receipt, ReceivedEvent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_ROWS_PER_STATEMENT = 200
QUARANTINE_BODIES = 10_000  # kept per source; a flood of forgeries must not fill the disk
QUARANTINE_BYTES = 256 * 1024 * 1024
QUARANTINE_HASHES = 100_000  # past that, one row counts the rest
OVERFLOW_SHA256 = ""  # of that row


def to_micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def from_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def headers_text(headers: Mapping[str, str]) -> str | None:
    return json.dumps(dict(headers), separators=(",", ":")) if headers else None


def headers_of(text: str | None) -> dict[str, str]:
    headers: dict[str, str] = json.loads(text) if text else {}
    return headers


class SqliteReceiving(Journal):
    """Appending and quarantine; the other halves of SqliteJournal build on the same database."""

    def __init__(self, database: SqliteDatabase, clock: Clock, reserve_bytes: int) -> None:
        self._db = database
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._source_ids: dict[str, int] = {}

    def append(self, received: Sequence[ReceivedEvent]) -> list[Receipt]:
        self._check_room()
        self._know_sources(event.source for event in received)
        with self._db.writing(durable=True) as tx:
            return self._append(tx, received)

    def proven_keys(self) -> dict[str, frozenset[str]]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT name, fingerprint FROM proven_key JOIN source ON source.id = source_id"
            ).fetchall()
        keys: dict[str, set[str]] = defaultdict(set)
        for name, fingerprint in rows:
            keys[name].add(fingerprint)
        return {name: frozenset(found) for name, found in keys.items()}

    def check_writable(self) -> None:
        self._check_room()
        with self._db.writing(durable=True) as tx:
            tx.execute("UPDATE pruned SET seq = seq")  # changes nothing, and is written all the same

    def quarantined(self, source: str | None = None, limit: int = 100, after_id: int = 0) -> list[Quarantined]:
        with self._db.errors_told(), self._db.reading() as connection:
            rows = connection.execute(
                "SELECT quarantine.id, name, event_id, reason, received_at, size, sha256, count, body"
                " FROM quarantine JOIN source ON source.id = source_id"
                " WHERE quarantine.id > ? AND (? IS NULL OR name = ?) ORDER BY quarantine.id LIMIT ?",
                (after_id, source, source, limit),
            ).fetchall()
        return [
            Quarantined(number, name, event_id, why, from_micros(received_at), size, sha256, count, body)
            for number, name, event_id, why, received_at, size, sha256, count, body in rows
        ]

    def release_quarantined(self, ids: Sequence[int]) -> list[Receipt]:
        receipts: list[Receipt] = []
        now = self._clock.now()
        with self._db.writing(durable=True) as tx:
            for number in ids:
                row = tx.execute(
                    "SELECT source_id, name, event_id, body, headers FROM quarantine"
                    " JOIN source ON source.id = source_id WHERE quarantine.id = ? AND body IS NOT NULL",
                    (number,),
                ).fetchone()
                if row is None:
                    continue
                source_id, name, event_id, body, headers = row
                self._source_ids[name] = source_id  # committed long ago, with the quarantined event
                receipts += self._append(tx, [ReceivedEvent(name, event_id, body, now, headers_of(headers))])
                self._drop_quarantined(tx, number)
        return receipts

    def drop_quarantined(self, ids: Sequence[int]) -> int:
        with self._db.writing() as tx:
            return sum(self._drop_quarantined(tx, number) for number in ids)

    # ── inside a transaction ──

    def _append(self, tx: Connection, received: Sequence[ReceivedEvent]) -> list[Receipt]:
        receipts = [Receipt.STORED] * len(received)
        proven = self._note_proofs(tx, received)
        accepted: list[tuple[int, int, ReceivedEvent]] = []  # index, source id, event
        for index, event in enumerate(received):
            source_id = self._source_ids[event.source]
            reason = event.quarantine_reason
            if (
                reason is None
                and event.is_provisional
                and not proven.isdisjoint((source_id, key) for key in event.unproven_keys)
            ):
                reason = event.doubt or "the signature is missing or wrong"
            if reason is None:
                accepted.append((index, source_id, event))
            else:
                self._quarantine(tx, source_id, event, reason)
                receipts[index] = Receipt.QUARANTINED
        known = self._known_ids(tx, accepted)
        rows: list[tuple[Any, ...]] = []
        positions: dict[int, int] = {}
        for index, source_id, event in accepted:
            key = (source_id, event.event_id)
            if key in known:
                receipts[index] = Receipt.DUPLICATE
                continue
            known.add(key)
            position = positions.get(source_id) or self._position(tx, source_id)
            positions[source_id] = position + 1
            moment = to_micros(event.received_at)
            rows.append((source_id, position + 1, moment, event.event_id, headers_text(event.headers), event.body))
        self._insert(tx, rows)
        for source_id, position in positions.items():
            tx.execute("UPDATE source SET position = ? WHERE id = ?", (position, source_id))
        return receipts

    def _insert(self, tx: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), MAX_ROWS_PER_STATEMENT):
            part = rows[start : start + MAX_ROWS_PER_STATEMENT]
            places = ",".join(["(?,?,?,?,?,?)"] * len(part))
            tx.execute(
                "INSERT INTO received (source_id, position, received_at, event_id, headers, body) VALUES " + places,
                [value for row in part for value in row],
            )

    def _known_ids(self, tx: Connection, accepted: Iterable[tuple[int, int, ReceivedEvent]]) -> set[tuple[int, str]]:
        """Which of these ids were accepted before."""
        ids_by_source: dict[int, list[str]] = defaultdict(list)
        for _, source_id, event in accepted:
            ids_by_source[source_id].append(event.event_id)
        known: set[tuple[int, str]] = set()
        for source_id, ids in ids_by_source.items():
            for start in range(0, len(ids), MAX_ROWS_PER_STATEMENT):
                part = ids[start : start + MAX_ROWS_PER_STATEMENT]
                found = tx.execute(
                    "SELECT event_id FROM received WHERE source_id = ? AND event_id IN ("
                    + ",".join("?" * len(part))
                    + ")",
                    (source_id, *part),
                ).fetchall()
                known.update((source_id, event_id) for (event_id,) in found)
        return known

    def _note_proofs(self, tx: Connection, received: Sequence[ReceivedEvent]) -> set[tuple[int, str]]:
        """Remembers the keys that proved something in this group; returns all proven ones if anything depends on it."""
        for source, proof in {(event.source, event.proof) for event in received if event.proof}:
            tx.execute(
                "INSERT OR IGNORE INTO proven_key (source_id, fingerprint, proven_at) VALUES (?, ?, ?)",
                (self._source_ids[source], proof, to_micros(self._clock.now())),
            )
        if not any(event.is_provisional for event in received):
            return set()
        return set(tx.execute("SELECT source_id, fingerprint FROM proven_key").fetchall())

    def _know_sources(self, names: Iterable[str]) -> None:
        """Gives new sources their ids, in a transaction of its own: what is cached must not be rolled back."""
        unknown = [name for name in names if name not in self._source_ids]
        if not unknown:
            return
        with self._db.writing() as tx:
            tx.executemany("INSERT OR IGNORE INTO source (name) VALUES (?)", [(name,) for name in unknown])
        with self._db.errors_told(), self._db.reading() as connection:
            self._source_ids.update(connection.execute("SELECT name, id FROM source").fetchall())

    def _position(self, tx: Connection, source_id: int) -> int:
        (position,) = tx.execute("SELECT position FROM source WHERE id = ?", (source_id,)).fetchone()
        return int(position)

    def _quarantine(self, tx: Connection, source_id: int, event: ReceivedEvent, reason: str) -> None:
        sha256 = hashlib.sha256(event.body).hexdigest()
        if self._count_repeat(tx, source_id, sha256, reason):
            return
        size = len(event.body)
        count, kept_bytes, hashes = tx.execute(
            "SELECT quarantine_count, quarantine_bytes, quarantine_hashes FROM source WHERE id = ?",
            (source_id,),
        ).fetchone()
        body: bytes | None = event.body
        if count >= QUARANTINE_BODIES or kept_bytes + size > QUARANTINE_BYTES:
            body = None
            if hashes >= QUARANTINE_HASHES:
                sha256, reason = OVERFLOW_SHA256, "more than quarantine has room for"
                if self._count_repeat(tx, source_id, sha256, reason):
                    return
        tx.execute(
            "INSERT INTO quarantine (source_id, sha256, reason, event_id, received_at, size, count, headers, body)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?)",
            (
                source_id,
                sha256,
                reason,
                event.event_id,
                to_micros(event.received_at),
                size,
                headers_text(event.headers),
                body,
            ),
        )
        self._count_quarantined(tx, source_id, body, +1)

    def _count_repeat(self, tx: Connection, source_id: int, sha256: str, reason: str) -> bool:
        """Whether these very bytes are in quarantine already; if so they are counted there."""
        return bool(
            tx.execute(
                "UPDATE quarantine SET count = count + 1 WHERE source_id = ? AND sha256 = ? AND reason = ?",
                (source_id, sha256, reason),
            ).rowcount
        )

    def _drop_quarantined(self, tx: Connection, number: int) -> int:
        row = tx.execute("DELETE FROM quarantine WHERE id = ? RETURNING source_id, body", (number,)).fetchone()
        if row is None:
            return 0
        source_id, body = row
        self._count_quarantined(tx, source_id, body, -1)
        return 1

    def _count_quarantined(self, tx: Connection, source_id: int, body: bytes | None, sign: int) -> None:
        kept = (sign, sign * len(body), 0) if body is not None else (0, 0, sign)
        tx.execute(
            "UPDATE source SET quarantine_count = quarantine_count + ?, quarantine_bytes = quarantine_bytes + ?,"
            " quarantine_hashes = quarantine_hashes + ? WHERE id = ?",
            (*kept, source_id),
        )

    def _check_room(self) -> None:
        with self._db.errors_told():
            free = self._db.free_bytes()
        if free < self._reserve_bytes:
            raise JournalFullError(
                f"only {free:,} bytes are free beside {self._db.path}; the reserve is {self._reserve_bytes:,}"
            )

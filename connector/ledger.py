"""What people ask about: attempts, counts by the minute, rejected keys, how each destination is. Kept beside the
journal, never instead of it: losing the ledger loses no event. The only user of SQLAlchemy for it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from connector.errors import ConnectorError, SettingsError
from connector.json_codec import read_json, write_json
from connector.ledger_tables import (
    MakeInsert,
    attempts,
    counts,
    destination_states,
    facts,
    facts_set,
    metadata,
    minutes_added,
    rejected_keys,
    states_set,
    totals,
    totals_added,
)
from connector.model import Attempt, OutcomeKind

MAX_REJECTED_KEYS = 500  # rows; whoever knocks with ever new keys must not fill the disk
DELIVERING_AT = "delivering_at"  # the fact by which the delivering process shows that it lives
MAX_REASON_CHARACTERS = 1_000

CountKey = tuple[str, str, str]  # kind ("received", "delivered", …), subject (source or destination), outcome
CountsByMinute = Mapping[tuple[datetime, str, str, str], int]
AttemptRow = dict[str, Any]  # the columns of `attempts`


@dataclass(frozen=True, slots=True)
class RejectedKey:
    masked_key: str
    address: str
    first_at: datetime
    last_at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class DestinationState:
    """How a destination was when its worker last said so."""

    destination: str
    state: str
    reason: str
    since: datetime
    last_delivered_at: datetime | None
    last_error_at: datetime | None
    last_error: str


class LedgerError(ConnectorError):
    """The ledger could not be read or written: say so and go on; no event depends on it."""


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class Ledger:
    """Makes the tables when it is first used. Safe for several processes and threads: every call is a connection of its
    own. Every method may raise LedgerError, and works again once the database does."""

    def __init__(self, url: str) -> None:
        """Raises SettingsError for an address that cannot be one; whether anybody is there shows later."""
        try:
            self._engine: Engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        except ImportError as error:
            raise SettingsError(
                [f"CONNECTOR_LEDGER needs the package {error.name}: pip install {error.name}"]
            ) from None
        except SQLAlchemyError:
            raise SettingsError(["CONNECTOR_LEDGER must be an address like sqlite:////var/lib/ledger.db"]) from None
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "do_connect", _make_private)
            event.listen(self._engine, "connect", _prepare_sqlite)
        self._insert: MakeInsert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        self._has_tables = False

    # ── writing ──

    def record(self, made: Sequence[AttemptRow]) -> None:
        """One row for each attempt, as `attempt_row` makes it."""
        if made:
            with self._writing() as connection:
                connection.execute(insert(attempts), made)

    def add_counts(self, by_minute: CountsByMinute, at: datetime) -> None:
        """Adds to the minutes and to the totals: all of them, or, when it raises, none."""
        if not by_minute:
            return
        total: dict[CountKey, int] = {}
        minutes = []
        # In order, since two processes that lock the same rows in different orders wait for each other for ever.
        for (minute, kind, subject, outcome), number in sorted(by_minute.items()):
            total[kind, subject, outcome] = total.get((kind, subject, outcome), 0) + number
            minutes.append((int(minute.timestamp() // 60), kind, subject, outcome, number))
        with self._writing() as connection:
            connection.execute(
                minutes_added(self._insert), [dict(zip(counts.c.keys(), row, strict=True)) for row in minutes]
            )
            connection.execute(
                totals_added(self._insert),
                [
                    {"kind": kind, "subject": subject, "outcome": outcome, "count": number, "last_at": at.timestamp()}
                    for (kind, subject, outcome), number in sorted(total.items())
                ],
            )

    def add_rejected(self, seen: Mapping[tuple[str, str], int], at: datetime) -> None:
        """Adds calls with unknown keys, by masked key and address; past the bound only known pairs still count."""
        with self._writing() as connection:
            (known,) = connection.execute(select(func.count()).select_from(rejected_keys)).one()
            for (masked_key, address), number in sorted(seen.items()):
                again = connection.execute(
                    update(rejected_keys)
                    .where(rejected_keys.c.masked_key == masked_key, rejected_keys.c.address == address)
                    .values(count=rejected_keys.c.count + number, last_at=at.timestamp())
                )
                if again.rowcount == 0 and known < MAX_REJECTED_KEYS:
                    known += 1
                    moment = at.timestamp()
                    connection.execute(
                        self._insert(rejected_keys).on_conflict_do_nothing(),
                        {
                            "masked_key": masked_key,
                            "address": address,
                            "first_at": moment,
                            "last_at": moment,
                            "count": number,
                        },
                    )

    def set_states(self, states: Iterable[DestinationState]) -> None:
        """How these destinations are now; a moment or an error that is not given keeps its last value."""
        rows = [
            {
                "destination": state.destination,
                "state": state.state,
                "reason": state.reason,
                "since": state.since.timestamp(),
                "last_delivered_at": state.last_delivered_at and state.last_delivered_at.timestamp(),
                "last_error_at": state.last_error_at and state.last_error_at.timestamp(),
                "last_error": state.last_error,
            }
            for state in states
        ]
        if rows:
            with self._writing() as connection:
                connection.execute(states_set(self._insert), rows)

    def set_fact(self, name: str, value: str, at: datetime) -> None:
        with self._writing() as connection:
            connection.execute(facts_set(self._insert), {"name": name, "value": value, "at": at.timestamp()})

    def prune(self, attempts_before: datetime, minutes_before: datetime) -> None:
        """Attempts and minute counts older than that are gone; totals stay."""
        with self._writing() as connection:
            connection.execute(delete(attempts).where(attempts.c.started_at < attempts_before.timestamp()))
            connection.execute(delete(counts).where(counts.c.minute < int(minutes_before.timestamp() // 60)))

    # ── reading ──

    def totals(self) -> dict[CountKey, int]:
        with self._reading() as connection:
            rows = connection.execute(select(totals.c.kind, totals.c.subject, totals.c.outcome, totals.c.count))
            return {(kind, subject, outcome): count for kind, subject, outcome, count in rows}

    def last_counted(self) -> dict[CountKey, datetime]:
        """When each total last grew."""
        with self._reading() as connection:
            rows = connection.execute(select(totals.c.kind, totals.c.subject, totals.c.outcome, totals.c.last_at))
            return {(kind, subject, outcome): datetime.fromtimestamp(at, UTC) for kind, subject, outcome, at in rows}

    def counts_since(self, since: datetime) -> dict[CountKey, int]:
        with self._reading() as connection:
            rows = connection.execute(
                select(counts.c.kind, counts.c.subject, counts.c.outcome, func.sum(counts.c.count))
                .where(counts.c.minute >= since.timestamp() // 60)
                .group_by(counts.c.kind, counts.c.subject, counts.c.outcome)
            )
            # PostgreSQL's sum of such integers is a Decimal.
            return {(kind, subject, outcome): int(count) for kind, subject, outcome, count in rows}

    def rejected_keys(self, limit: int = 20) -> list[RejectedKey]:
        """Latest first."""
        with self._reading() as connection:
            rows = connection.execute(select(rejected_keys).order_by(rejected_keys.c.last_at.desc()).limit(limit))
            return [
                RejectedKey(
                    row.masked_key,
                    row.address,
                    datetime.fromtimestamp(row.first_at, UTC),
                    datetime.fromtimestamp(row.last_at, UTC),
                    row._mapping["count"],
                )
                for row in rows
            ]

    def destination_states(self) -> dict[str, DestinationState]:
        with self._reading() as connection:
            return {
                row.destination: DestinationState(
                    row.destination,
                    row.state,
                    row.reason,
                    datetime.fromtimestamp(row.since, UTC),
                    _moment(row.last_delivered_at),
                    _moment(row.last_error_at),
                    row.last_error,
                )
                for row in connection.execute(select(destination_states))
            }

    def fact(self, name: str) -> str | None:
        with self._reading() as connection:
            value: str | None = connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()
            return value

    def attempts(self, destination: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Latest first, each row as a mapping with `started_at` as a datetime and `deliveries` as a list."""
        query = select(attempts).order_by(attempts.c.id.desc()).limit(limit)
        if destination is not None:
            query = query.where(attempts.c.destination == destination)
        with self._reading() as connection:
            return [
                {
                    **row,
                    "started_at": datetime.fromtimestamp(row["started_at"], UTC),
                    "deliveries": read_json(row["deliveries"].encode()),
                }
                for row in connection.execute(query).mappings()
            ]

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection; SQLAlchemy's errors come out of it as the ledger's own."""
        try:
            self._make_tables()
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            self._has_tables = False  # perhaps the file is gone, or is another one
            raise LedgerError(f"ledger: {getattr(error, 'orig', None) or error}") from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """As `_reading`, committed when the block ends, undone when it raises."""
        with self._reading() as connection, connection.begin():
            yield connection

    def _make_tables(self) -> None:
        if self._has_tables:
            return
        for _ in metadata.tables:
            try:
                metadata.create_all(self._engine)
            except SQLAlchemyError:
                # Processes that start together look at the same moment and all find a table missing; one makes it.
                continue
            break
        else:
            metadata.create_all(self._engine)
        self._has_tables = True


def _make_private(dialect: object, record: object, positional: Sequence[Any], named: object) -> None:
    """A new file is for its owner only: it tells who called and where events go. SQLite gives the files beside it the
    same mode. One that is there is not opened: closing it would drop the locks that SQLite holds on it."""
    path = str(positional[0]) if positional else ""
    if path and path != ":memory:" and not path.startswith("file:"):
        with suppress(OSError):  # it is there, or SQLite says itself what is wrong
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.execute("PRAGMA busy_timeout=2000")  # first: changing the journal mode needs a lock too
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")  # the ledger may lose its last moments in a power cut


def attempt_row(attempt: Attempt) -> AttemptRow:
    """What is kept of an attempt. Not the answer itself: it may quote a secret or a person; the reason does not."""
    delivered = sum(outcome.kind is OutcomeKind.DELIVERED for outcome in attempt.outcomes)
    worst = next((item for item in attempt.outcomes if item.kind is not OutcomeKind.DELIVERED), attempt.outcomes[0])
    return {
        "destination": attempt.destination,
        "replay": attempt.replay,
        "started_at": attempt.started_at.timestamp(),
        "duration_seconds": attempt.duration_seconds,
        "url": attempt.request.url,
        "request_bytes": len(attempt.request.body),
        "status": attempt.response.status if attempt.response else None,
        "error": _clean(attempt.error),
        "delivered": delivered,
        "failed": len(attempt.outcomes) - delivered,
        "outcome": worst.kind.value,
        "reason": _clean(worst.reason),
        "deliveries": write_json([delivery.id for delivery in attempt.deliveries]).decode(),
    }


def _clean(text: str) -> str:
    """Without what a database may refuse: one such row would keep all others from being written."""
    return text[:MAX_REASON_CHARACTERS].encode("utf-8", "replace").decode().replace("\x00", "")


def attempts_limit(now: datetime, seconds: float | None) -> datetime:
    """Attempts started before this are past their retention."""
    return now - timedelta(seconds=seconds) if seconds is not None else datetime.fromtimestamp(0, UTC)

"""What people ask about: attempts, counts by the minute, rejected keys, how each destination is. Kept beside the
journal, never instead of it: losing the ledger loses no event. The only user of SQLAlchemy for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from connector.errors import ConnectorError
from connector.model import Attempt, OutcomeKind

MAX_REJECTED_KEYS = 500  # rows; whoever knocks with ever new keys must not fill the disk
DELIVERING_AT = "delivering_at"  # the fact by which the delivering process shows that it lives
EXCERPT_BYTES = 2_000  # of an answer's body, kept with the attempt

CountKey = tuple[str, str, str]  # kind ("received", "delivered", …), subject (source or destination), outcome
CountsByMinute = Mapping[tuple[datetime, str, str, str], int]

metadata = MetaData()
attempts = Table(
    "attempt",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("destination", String(200), nullable=False, index=True),
    Column("replay", String(60), nullable=False),
    Column("started_at", Float, nullable=False, index=True),  # seconds since 1970
    Column("duration_seconds", Float, nullable=False),
    Column("url", Text, nullable=False),
    Column("request_bytes", Integer, nullable=False),
    Column("status", Integer),  # NULL: no answer
    Column("error", Text, nullable=False),  # why there was none
    Column("excerpt", Text, nullable=False),  # beginning of the answer's body, when it was not all well
    Column("delivered", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("outcome", String(20), nullable=False),  # the worst one
    Column("reason", Text, nullable=False),
    Column("deliveries", Text, nullable=False),  # JSON list of delivery ids, in order
)
counts = Table(
    "minute_count",
    metadata,
    Column("minute", Integer, primary_key=True),  # minutes since 1970
    Column("kind", String(40), primary_key=True),
    Column("subject", String(200), primary_key=True),
    Column("outcome", String(200), primary_key=True),
    Column("count", Integer, nullable=False),
)
totals = Table(
    "total",
    metadata,
    Column("kind", String(40), primary_key=True),
    Column("subject", String(200), primary_key=True),
    Column("outcome", String(200), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last_at", Float, nullable=False),
)
rejected_keys = Table(
    "rejected_key",
    metadata,
    Column("masked_key", String(60), primary_key=True),
    Column("address", String(60), primary_key=True),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("count", Integer, nullable=False),
)
destination_states = Table(
    "destination_state",
    metadata,
    Column("destination", String(200), primary_key=True),
    Column("state", String(40), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("last_delivered_at", Float),
    Column("last_error_at", Float),
    Column("last_error", Text, nullable=False),
)
facts = Table(  # what a process has to say to the pages of another, e.g. that it refused the changed file
    "fact",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", Float, nullable=False),
)


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
    """Opens or makes the tables. Safe for several processes and threads: every call is a connection of its own."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url, poolclass=NullPool)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        self._upsert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        with self._told():
            self._make_tables()

    def _make_tables(self) -> None:
        for _ in metadata.tables:
            try:
                return metadata.create_all(self._engine)
            except SQLAlchemyError:
                # Processes that start together look at the same moment and all find a table missing; one makes it.
                continue
        return metadata.create_all(self._engine)

    # ── writing ──

    def record(self, made: Sequence[Attempt]) -> None:
        """One row for each attempt."""
        if made:
            with self._told(), self._engine.begin() as connection:
                connection.execute(insert(attempts), [_attempt_row(attempt) for attempt in made])

    def add_counts(self, by_minute: CountsByMinute, at: datetime) -> None:
        """Adds to the minutes and to the totals."""
        if not by_minute:
            return
        total: dict[CountKey, int] = {}
        minutes = []
        for (minute, kind, subject, outcome), number in by_minute.items():
            total[kind, subject, outcome] = total.get((kind, subject, outcome), 0) + number
            minutes.append((int(minute.timestamp() // 60), kind, subject, outcome, number))
        minute_insert: Any = self._upsert(counts)
        total_insert: Any = self._upsert(totals)
        with self._told(), self._engine.begin() as connection:
            connection.execute(
                minute_insert.on_conflict_do_update(
                    index_elements=["minute", "kind", "subject", "outcome"],
                    set_={"count": counts.c.count + minute_insert.excluded.count},
                ),
                [dict(zip(counts.c.keys(), row, strict=True)) for row in minutes],
            )
            connection.execute(
                total_insert.on_conflict_do_update(
                    index_elements=["kind", "subject", "outcome"],
                    set_={
                        "count": totals.c.count + total_insert.excluded.count,
                        "last_at": total_insert.excluded.last_at,
                    },
                ),
                [
                    {"kind": kind, "subject": subject, "outcome": outcome, "count": number, "last_at": at.timestamp()}
                    for (kind, subject, outcome), number in total.items()
                ],
            )

    def add_rejected(self, seen: Mapping[tuple[str, str], int], at: datetime) -> None:
        """Adds calls with unknown keys, by masked key and address; past the bound only known pairs still count."""
        rejected_insert: Any = self._upsert(rejected_keys)
        with self._told(), self._engine.begin() as connection:
            (known,) = connection.execute(select(func.count()).select_from(rejected_keys)).one()
            for (masked_key, address), number in seen.items():
                again = connection.execute(
                    update(rejected_keys)
                    .where(rejected_keys.c.masked_key == masked_key, rejected_keys.c.address == address)
                    .values(count=rejected_keys.c.count + number, last_at=at.timestamp())
                )
                if again.rowcount == 0 and known < MAX_REJECTED_KEYS:
                    known += 1
                    connection.execute(
                        rejected_insert.on_conflict_do_nothing(),
                        {
                            "masked_key": masked_key,
                            "address": address,
                            "first_at": at.timestamp(),
                            "last_at": at.timestamp(),
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
        if not rows:
            return
        state_insert: Any = self._upsert(destination_states)
        new, old = state_insert.excluded, destination_states.c
        with self._told(), self._engine.begin() as connection:
            connection.execute(
                state_insert.on_conflict_do_update(
                    index_elements=["destination"],
                    set_={
                        "state": new.state,
                        "reason": new.reason,
                        "since": new.since,
                        "last_delivered_at": func.coalesce(new.last_delivered_at, old.last_delivered_at),
                        "last_error_at": func.coalesce(new.last_error_at, old.last_error_at),
                        "last_error": func.coalesce(func.nullif(new.last_error, ""), old.last_error),
                    },
                ),
                rows,
            )

    def set_fact(self, name: str, value: str, at: datetime) -> None:
        fact_insert: Any = self._upsert(facts)
        with self._told(), self._engine.begin() as connection:
            connection.execute(
                fact_insert.on_conflict_do_update(
                    index_elements=["name"],
                    set_={"value": fact_insert.excluded.value, "at": fact_insert.excluded.at},
                ),
                {"name": name, "value": value, "at": at.timestamp()},
            )

    def prune(self, attempts_before: datetime, minutes_before: datetime) -> None:
        """Attempts and minute counts older than that are gone; totals stay."""
        with self._told(), self._engine.begin() as connection:
            connection.execute(delete(attempts).where(attempts.c.started_at < attempts_before.timestamp()))
            connection.execute(delete(counts).where(counts.c.minute < minutes_before.timestamp() / 60))

    # ── reading ──

    def totals(self) -> dict[CountKey, int]:
        with self._told(), self._engine.connect() as connection:
            rows = connection.execute(select(totals.c.kind, totals.c.subject, totals.c.outcome, totals.c.count))
            return {(kind, subject, outcome): count for kind, subject, outcome, count in rows}

    def last_counted(self) -> dict[CountKey, datetime]:
        """When each total last grew."""
        with self._told(), self._engine.connect() as connection:
            rows = connection.execute(select(totals.c.kind, totals.c.subject, totals.c.outcome, totals.c.last_at))
            return {(kind, subject, outcome): datetime.fromtimestamp(at, UTC) for kind, subject, outcome, at in rows}

    def counts_since(self, since: datetime) -> dict[CountKey, int]:
        with self._told(), self._engine.connect() as connection:
            rows = connection.execute(
                select(counts.c.kind, counts.c.subject, counts.c.outcome, func.sum(counts.c.count))
                .where(counts.c.minute >= since.timestamp() // 60)
                .group_by(counts.c.kind, counts.c.subject, counts.c.outcome)
            )
            return {(kind, subject, outcome): count for kind, subject, outcome, count in rows}

    def rejected_keys(self, limit: int = 20) -> list[RejectedKey]:
        """Latest first."""
        with self._told(), self._engine.connect() as connection:
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
        with self._told(), self._engine.connect() as connection:
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
        with self._told(), self._engine.connect() as connection:
            value: str | None = connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()
            return value

    def attempts(self, destination: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Latest first, each row as a mapping with `started_at` as a datetime and `deliveries` as a list."""
        query = select(attempts).order_by(attempts.c.id.desc()).limit(limit)
        if destination is not None:
            query = query.where(attempts.c.destination == destination)
        with self._told(), self._engine.connect() as connection:
            return [
                {
                    **row,
                    "started_at": datetime.fromtimestamp(row["started_at"], UTC),
                    "deliveries": orjson.loads(row["deliveries"]),
                }
                for row in connection.execute(query).mappings()
            ]

    def close(self) -> None:
        self._engine.dispose()

    def _told(self) -> "_Told":
        return _Told()


class _Told:
    """SQLAlchemy's errors, as the ledger's own."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SQLAlchemyError):
            raise LedgerError(f"ledger: {error.__class__.__name__}: {error}") from error


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.execute("PRAGMA busy_timeout=2000")  # first: changing the journal mode needs a lock too
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")  # the ledger may lose its last moments in a power cut


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    delivered = sum(outcome.kind is OutcomeKind.DELIVERED for outcome in attempt.outcomes)
    worst = next((item for item in attempt.outcomes if item.kind is not OutcomeKind.DELIVERED), attempt.outcomes[0])
    response = attempt.response
    is_fine = response is not None and delivered == len(attempt.outcomes)
    return {
        "destination": attempt.destination,
        "replay": attempt.replay,
        "started_at": attempt.started_at.timestamp(),
        "duration_seconds": attempt.duration_seconds,
        "url": attempt.request.url,
        "request_bytes": len(attempt.request.body),
        "status": response.status if response else None,
        "error": attempt.error,
        "excerpt": "" if is_fine or not response else response.body[:EXCERPT_BYTES].decode("utf-8", "replace"),
        "delivered": delivered,
        "failed": len(attempt.outcomes) - delivered,
        "outcome": worst.kind.value,
        "reason": worst.reason,
        "deliveries": orjson.dumps([delivery.id for delivery in attempt.deliveries]).decode(),
    }


def attempts_limit(now: datetime, seconds: float | None) -> datetime:
    """Attempts started before this are past their retention."""
    return now - timedelta(seconds=seconds) if seconds is not None else datetime.fromtimestamp(0, UTC)

"""The ledger's tables, and those of its statements that are more than one word of SQL: they are the same for SQLite and
PostgreSQL, but each dialect has an INSERT of its own that knows ON CONFLICT.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Column, Float, Insert, Integer, MetaData, String, Table, Text, func

MakeInsert = Callable[[Table], Any]  # a dialect's INSERT

BIG = BigInteger().with_variant(Integer, "sqlite")  # sums of microseconds pass 32 bits within the hour

metadata = MetaData()
attempts = Table(
    "attempt",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("destination", String(200), nullable=False, index=True),
    Column("replay", String(60), nullable=False),
    Column("started_at", Float, nullable=False, index=True),  # seconds since 1970
    Column("duration_seconds", Float, nullable=False),
    Column("url", Text, nullable=False),
    Column("request_bytes", Integer, nullable=False),
    Column("status", Integer),  # NULL: no answer
    Column("error", Text, nullable=False),  # why there was none
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
    Column("count", BIG, nullable=False),
)
totals = Table(
    "total",
    metadata,
    Column("kind", String(40), primary_key=True),
    Column("subject", String(200), primary_key=True),
    Column("outcome", String(200), primary_key=True),
    Column("count", BIG, nullable=False),
    Column("last_at", Float, nullable=False),
)
rejected_keys = Table(
    "rejected_key",
    metadata,
    Column("masked_key", String(60), primary_key=True),
    Column("address", String(60), primary_key=True),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("count", BIG, nullable=False),
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


def minutes_added(make_insert: MakeInsert) -> Insert:
    new = make_insert(counts)
    return new.on_conflict_do_update(  # type: ignore[no-any-return]  # each dialect has an Insert of its own
        index_elements=["minute", "kind", "subject", "outcome"],
        set_={"count": counts.c.count + new.excluded.count},
    )


def totals_added(make_insert: MakeInsert) -> Insert:
    new = make_insert(totals)
    return new.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=["kind", "subject", "outcome"],
        set_={"count": totals.c.count + new.excluded.count, "last_at": new.excluded.last_at},
    )


def states_set(make_insert: MakeInsert) -> Insert:
    statement = make_insert(destination_states)
    new, old = statement.excluded, destination_states.c
    return statement.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=["destination"],
        set_={
            "state": new.state,
            "reason": new.reason,
            "since": new.since,
            "last_delivered_at": func.coalesce(new.last_delivered_at, old.last_delivered_at),
            "last_error_at": func.coalesce(new.last_error_at, old.last_error_at),
            "last_error": func.coalesce(func.nullif(new.last_error, ""), old.last_error),
        },
    )


def facts_set(make_insert: MakeInsert) -> Insert:
    new = make_insert(facts)
    return new.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=["name"], set_={"value": new.excluded.value, "at": new.excluded.at}
    )

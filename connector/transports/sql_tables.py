"""The tables of a warehouse: reads their columns, adds and widens them as rows need it, and loads the rows.

Every statement is put together from names, which are quoted, and placeholders; never from values.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from connector.destinations.warehouse_tables import EXTRA, later_values
from connector.destinations.warehouse_values import EXACT_FLOAT_BOUND, Kind, as_kind, text_of
from connector.errors import PayloadError
from connector.json_codec import read_json, write_json
from connector.transports.sql_dialects import Tongue
from connector.transports.sql_layout import Column, Layout, TableLoad, column_of, flat_name, needed_kind

# In one table. PostgreSQL has room for 1,600, but its row must fit a page: 24 bytes for each long value there is.
MAX_COLUMNS = 300
LOCK_NAME = "customerio-connector"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tables:
    """The tables of one database, as far as they are known. One thread at a time."""

    tongue: Tongue
    layouts: dict[tuple[str, str], dict[str, Column]] = field(default_factory=dict)
    stuck: set[tuple[str, str, str]] = field(default_factory=set)  # columns that could not be widened
    qualifier: str = ""

    def fit(self, connection: Connection, load: TableLoad, limits: str) -> None:
        """Brings the table to what the rows need, as far as it goes; `put` leaves the rest to the column `extra`.

        Each change is a transaction of its own, over before any row is written: nobody waits for a lock while
        holding another.
        """
        if load.place in self.layouts and not self._changes(load):
            return
        with connection.begin():
            self._prepare(connection, load, limits)
            self._add(connection, load)
        for name, kind in self._changes(load).items():
            self._widen(connection, load, name, kind, limits)
        if self._changes(load):
            with connection.begin():
                self._prepare(connection, load, limits)
                self._add(connection, load)

    def put(self, connection: Connection, load: TableLoad) -> None:
        """Inserts the rows, or replaces those with the same key; the transaction is the caller's."""
        layout = self.layouts[load.place]
        given = [dict(zip(load.columns, row, strict=True)) for row in load.rows]
        if load.times in layout:
            given = self._later(connection, load, given)
        rows = [self._row(layout, row) for row in given]
        names = [name for name in (*load.columns, EXTRA) if name in layout]
        values = [tuple(row.get(name) for name in names) for row in rows]
        if self.tongue.upserts:
            self._insert(connection, load, names, values, self._on_conflict(connection, load, names))
        else:
            self._replace(connection, load, names, values)

    def forget(self) -> None:
        """What is there is read anew: somebody has changed it."""
        self.layouts.clear()

    # ── fitting ──

    def _changes(self, load: TableLoad) -> dict[str, Kind]:
        """What is to be added or widened for these rows, with the kinds that are needed."""
        layout = self.layouts.get(load.place, {})
        found = {}
        is_short = False
        room = MAX_COLUMNS - len(layout) - (EXTRA not in layout)
        for name in load.columns:
            column = layout.get(name)
            kind = needed_kind(load, name, column, self.tongue.is_exact)
            if kind is None:
                continue
            if (*load.place, name) in self.stuck or (column is None and room <= 0):
                is_short = True
                continue
            found[name] = kind
            room -= column is None
        if is_short and EXTRA not in layout:
            found[EXTRA] = Kind.TEXT
        return found

    def _prepare(self, connection: Connection, load: TableLoad, limits: str) -> None:
        """Alone among all who change tables of the schema, with the columns as they are now."""
        if limits:
            connection.exec_driver_sql(limits)
        if self.tongue.lock:
            connection.execute(text(self.tongue.lock), {"name": f"{LOCK_NAME} {load.schema}"})
        if self.tongue.qualifier and not self.qualifier:
            self.qualifier = str(connection.execute(text(self.tongue.qualifier)).scalar_one())
        self.layouts[load.place] = self._read(connection, load)

    def _read(self, connection: Connection, load: TableLoad) -> dict[str, Column]:
        table = load.table if self.tongue.schemata else flat_name(load)
        found = connection.execute(text(self.tongue.columns), {"schema": load.schema, "table": table})
        return {str(row[0]): column_of(self.tongue, str(row[1]), row[2], row[3]) for row in found}

    def _add(self, connection: Connection, load: TableLoad) -> None:
        layout = self.layouts[load.place]
        changes = self._changes(load)
        table = self._table(connection, load)
        missing = {name: self.tongue.types[kind] for name, kind in changes.items() if name not in layout}
        if not layout:
            self._create_schema(connection, load.schema)
            missing[load.key] = f"{self.tongue.key_type} NOT NULL PRIMARY KEY"
            columns = ", ".join(f"{quoted(connection, name)} {type_}" for name, type_ in missing.items())
            connection.exec_driver_sql(f"CREATE TABLE {table} ({columns})")
        else:
            for name, type_ in missing.items():
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {quoted(connection, name)} {type_}")
        self.layouts[load.place] = {**layout, **{name: Column(changes.get(name, Kind.TEXT)) for name in missing}}

    def _create_schema(self, connection: Connection, schema: str) -> None:
        """Asked first: a user who may not make schemas may not say IF NOT EXISTS either."""
        if self.tongue.schemata and not connection.execute(text(self.tongue.schemata), {"schema": schema}).first():
            connection.exec_driver_sql(f"CREATE SCHEMA {self._schema(connection, schema)}")

    def _widen(self, connection: Connection, load: TableLoad, name: str, kind: Kind, limits: str) -> None:
        """A column that cannot be widened (a view depends on it, the table is too large for the time) stays."""
        try:
            with connection.begin():
                self._prepare(connection, load, limits)
                column = self.layouts[load.place].get(name)
                if column is None or needed_kind(load, name, column, self.tongue.is_exact) is None:
                    return
                if kind is Kind.NUMBER and not self.tongue.is_exact and self._has_long_integers(connection, load, name):
                    kind = Kind.TEXT
                self._change_type(connection, load, name, column.kind or kind, kind)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            self.stuck.add((*load.place, name))
            log.warning(
                "the column %s of %s.%s cannot be widened to %s, what does not fit goes to %s: %s",
                name, load.schema, load.table, kind, EXTRA, type(error.orig).__name__,
            )  # fmt: skip
        else:
            self.layouts[load.place] = {**self.layouts[load.place], name: Column(kind)}

    def _has_long_integers(self, connection: Connection, load: TableLoad, name: str) -> bool:
        column, bound = quoted(connection, name), EXACT_FLOAT_BOUND
        table = self._table(connection, load)
        query = f"SELECT 1 FROM {table} WHERE {column} > {bound} OR {column} < {-bound} LIMIT 1"
        return connection.exec_driver_sql(query).first() is not None

    def _change_type(self, connection: Connection, load: TableLoad, name: str, old: Kind, new: Kind) -> None:
        table, column, type_ = self._table(connection, load), quoted(connection, name), self.tongue.types[new]
        value = f"CAST({column} AS {type_})"
        if new is Kind.TEXT and old is Kind.BOOLEAN:
            value = f"CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"
        elif new is Kind.TEXT and old is Kind.TIMESTAMP:
            value = self.tongue.text_of_moment.format(c=column, type=type_)
        if self.tongue.alter:
            end = self.tongue.alter.format(c=column, type=type_, value=value)
            connection.exec_driver_sql(f"ALTER TABLE {table} {percent_free(connection, end)}")
            return
        second = quoted(connection, f"{name[:50]}_widened")
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {second} {type_}")
        connection.exec_driver_sql(f"UPDATE {table} SET {second} = {percent_free(connection, value)}")
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME COLUMN {second} TO {column}")

    # ── loading ──

    def _later(self, connection: Connection, load: TableLoad, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of each row what is later than what the table holds; nobody else changes those rows until the end."""
        table, key, mark = self._table(connection, load), quoted(connection, load.key), placeholder(connection)
        if self.tongue.row_lock:
            ids = [(row[load.key],) for row in rows]
            insert = f"INSERT INTO {table} ({key}) VALUES ({mark}) ON CONFLICT ({key}) DO NOTHING"
            connection.exec_driver_sql(insert, ids)  # what is not there cannot be locked
        query = f"SELECT {quoted(connection, load.times)} FROM {table} WHERE {key} = {mark}{self.tongue.row_lock}"
        later = []
        for row in rows:
            held = connection.exec_driver_sql(query, (row[load.key],)).scalar()
            later.append(later_values(row, load.times, read_times(held)))
        return later

    def _row(self, layout: Layout, row: dict[str, Any]) -> dict[str, Any]:
        """The values by column; what no column takes is in `extra`."""
        made: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in row.items():
            column = layout.get(name)
            if column is not None and column.holds(value, self.tongue.is_exact):
                made[name] = self._value(value, column.kind)
            elif value is not None:
                rest[name] = value
        if rest:
            made[EXTRA] = write_json(rest).decode()
        return made

    def _value(self, value: Any, kind: Kind | None) -> Any:
        if value is None:
            return None
        if kind is None:
            return text_of(value)
        value = as_kind(value, kind)
        if kind is Kind.NUMBER and self.tongue.wants_decimals:
            return Decimal(repr(value))
        if kind is Kind.TIMESTAMP and self.tongue.wants_naive_moments:
            return datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)
        return value

    def _on_conflict(self, connection: Connection, load: TableLoad, names: Sequence[str]) -> str:
        key = quoted(connection, load.key)
        others = [quoted(connection, name) for name in names if name != load.key]
        if not others:
            return f" ON CONFLICT ({key}) DO NOTHING"
        form = "{c} = COALESCE(excluded.{c}, held.{c})" if load.times else "{c} = excluded.{c}"
        settings = ", ".join(form.format(c=other) for other in others)
        return f" ON CONFLICT ({key}) DO UPDATE SET {settings}"

    def _insert(
        self, connection: Connection, load: TableLoad, names: Sequence[str], rows: Sequence[tuple[Any, ...]], end: str
    ) -> None:
        columns = ", ".join(quoted(connection, name) for name in names)
        alias = " AS held" if end else ""
        start = f"INSERT INTO {self._table(connection, load)}{alias} ({columns}) VALUES "
        marks = f"({', '.join([placeholder(connection)] * len(names))})"
        size = self.tongue.rows_at_once
        if size == 1:
            connection.exec_driver_sql(start + marks + end, list(rows))
            return
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            flat = tuple(value for row in part for value in row)
            connection.exec_driver_sql(start + ", ".join([marks] * len(part)) + end, flat)

    def _replace(
        self, connection: Connection, load: TableLoad, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """For a database that knows no ON CONFLICT: out with the old rows, in with the new."""
        table, key, mark = self._table(connection, load), quoted(connection, load.key), placeholder(connection)
        place = list(names).index(load.key)
        if load.times:
            columns = ", ".join(quoted(connection, name) for name in names)
            query = f"SELECT {columns} FROM {table} WHERE {key} = {mark}"
            rows = [filled(row, connection.exec_driver_sql(query, (row[place],)).first()) for row in rows]
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE {key} = {mark}", [(row[place],) for row in rows])
        self._insert(connection, load, names, rows, "")

    # ── names ──

    def _schema(self, connection: Connection, schema: str) -> str:
        parts = [self.qualifier, schema] if self.qualifier else [schema]
        return ".".join(quoted(connection, part) for part in parts)

    def _table(self, connection: Connection, load: TableLoad) -> str:
        if not self.tongue.schemata:
            return quoted(connection, flat_name(load))
        return f"{self._schema(connection, load.schema)}.{quoted(connection, load.table)}"


def read_times(held: Any) -> dict[str, str]:
    """What a row says of its values; {} when it says nothing that can be read: somebody has changed it."""
    try:
        times = read_json(held.encode()) if isinstance(held, str) else None
    except PayloadError:
        times = None
    return {name: since for name, since in times.items() if isinstance(since, str)} if isinstance(times, dict) else {}


def filled(row: tuple[Any, ...], held: Sequence[Any] | None) -> tuple[Any, ...]:
    """The row, its gaps filled with what is held."""
    return row if held is None else tuple(b if a is None else a for a, b in zip(row, held, strict=True))


def quoted(connection: Connection, name: str) -> str:
    return percent_free(connection, connection.dialect.identifier_preparer.quote_identifier(name))


def percent_free(connection: Connection, sql: str) -> str:
    """A percent sign that is meant stands twice where it marks a placeholder."""
    return sql.replace("%", "%%") if placeholder(connection) == "%s" else sql


def placeholder(connection: Connection) -> str:
    return "%s" if connection.dialect.paramstyle in ("format", "pyformat") else "?"

"""What is known of the columns of a table, the rows that are to go into it, and what the one lacks for the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.destinations.warehouse_values import Kind, fits_double, kind_of, text_of, widest
from connector.json_codec import read_json
from connector.transports.sql_dialects import BITS, KINDS, Tongue


@dataclass(frozen=True, slots=True)
class Column:
    """One that is there. `kind` is None for a type that is not one of ours."""

    kind: Kind | None
    bits: int = 64  # of an integer
    length: int | None = None  # the most characters of a text; None: any number

    def holds(self, value: Any, is_exact: bool) -> bool:
        """Whether it takes the value as it is."""
        if value is None or self.kind is None:
            return True
        if widest([self.kind, kind_of(value)]) is not self.kind:
            return False
        if self.kind is Kind.INTEGER:
            return bool(-(2 ** (self.bits - 1)) <= value < 2 ** (self.bits - 1))
        if self.kind is Kind.NUMBER:
            return is_exact or fits_double(value)
        return self.kind is not Kind.TEXT or self.length is None or len(text_of(value)) <= self.length


Layout = Mapping[str, Column]  # of a table, by name; empty: there is no such table


@dataclass(frozen=True, slots=True)
class TableLoad:
    """Rows for one table, as the request has them."""

    schema: str
    table: str
    key: str
    times: str
    columns: Mapping[str, Kind]
    rows: Sequence[Sequence[Any]]

    @property
    def place(self) -> tuple[str, str]:
        return self.schema, self.table

    def values(self, name: str) -> Iterator[Any]:
        index = list(self.columns).index(name)
        return (row[index] for row in self.rows)


def read_load(line: bytes) -> TableLoad:
    given = read_json(line)
    kinds = {name: Kind(kind) for name, kind in given.pop("columns").items()}
    return TableLoad(**given, columns=kinds)


def needed_kind(load: TableLoad, name: str, column: Column | None, is_exact: bool) -> Kind | None:
    """The kind that the column must become for these rows; None when it is fine as it is."""
    kind = load.columns[name]
    if column is not None:
        if column.kind is None or all(column.holds(value, is_exact) for value in load.values(name)):
            return None
        kind = widest([kind, column.kind])
    if kind is Kind.NUMBER and not is_exact and not all(v is None or fits_double(v) for v in load.values(name)):
        return Kind.TEXT
    return kind


def column_of(tongue: Tongue, type_: str, length: Any, precision: Any) -> Column:
    name = type_.lower()
    kind = tongue.own_kinds.get(name) or KINDS.get(name)
    if kind is Kind.NUMBER and name in ("numeric", "decimal") and precision is not None:
        kind = None  # a person has chosen how many digits there are
    return Column(kind, BITS.get(name, 64), int(length) if length is not None and kind is Kind.TEXT else None)


def flat_name(load: TableLoad) -> str:
    """Where there are no schemas; names of ours never have two underscores in a row, so this one is never another's."""
    return f"{load.schema}__{load.table}"

"""Kinds of columns and values, what a table lacks for its rows, and what a database's refusal means."""

from typing import Any

import pytest
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, ProgrammingError

from connector.destinations.warehouse_values import Kind, as_kind, kind_of, storable, widest
from connector.transports.sql_dialects import DUCKDB, MYSQL, POSTGRESQL
from connector.transports.sql_errors import NO_ANSWER, answer, status_of
from connector.transports.sql_layout import Column, TableLoad, column_of, needed_kind
from connector.transports.sql_tables import read_times

# ── values ──


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, Kind.BOOLEAN),
        (1, Kind.INTEGER),
        (-(2**63), Kind.INTEGER),
        (2**63, Kind.TEXT),
        (1.0, Kind.NUMBER),
        ("2026-08-31T18:29:29Z", Kind.TIMESTAMP),
        ("2026-08-31 18:29:29.123456+02:00", Kind.TIMESTAMP),
        ("2026-08-31T18:29:29", Kind.TEXT),
        ("2026-13-31T18:29:29Z", Kind.TEXT),
        ("0001-01-01T00:00:00+14:00", Kind.TEXT),
        ("2026-08-31", Kind.TEXT),
        ("1", Kind.TEXT),
        ([], Kind.TEXT),
        ({"a": 1}, Kind.TEXT),
    ],
)
def test_a_value_needs_the_narrowest_kind_that_holds_it(value: Any, kind: Kind) -> None:
    assert kind_of(value) is kind


def test_integers_and_numbers_meet_in_numbers_and_all_else_in_text() -> None:
    together = {(a, b): widest([a, b]) for a in Kind for b in Kind if a is not b}

    numbers = {pair for pair, kind in together.items() if kind is Kind.NUMBER}
    assert numbers == {(Kind.INTEGER, Kind.NUMBER), (Kind.NUMBER, Kind.INTEGER)}
    assert {kind for pair, kind in together.items() if pair not in numbers} == {Kind.TEXT}


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        (None, Kind.TEXT, None),
        (True, Kind.TEXT, "true"),
        (1.5, Kind.TEXT, "1.5"),
        ("1.5", Kind.TEXT, "1.5"),
        ({"a": ["б"]}, Kind.TEXT, '{"a":["б"]}'),
        (2**70, Kind.TEXT, str(2**70)),
        ("2026-08-31T20:29:29+02:00", Kind.TIMESTAMP, "2026-08-31T18:29:29.000Z"),
        ("2026-08-31T18:29:29.000001Z", Kind.TIMESTAMP, "2026-08-31T18:29:29.000001Z"),
        (7, Kind.NUMBER, 7),
    ],
)
def test_a_column_takes_a_value_in_its_way(value: Any, kind: Kind, stored: Any) -> None:
    assert as_kind(value, kind) == stored


def test_marks_that_databases_refuse_are_replaced_at_any_depth() -> None:
    assert storable({"a\x00": ["\ud800", {"b": "x\x00y"}, 1]}) == {"a\ufffd": ["\ufffd", {"b": "x\ufffdy"}, 1]}


# ── columns ──


def lacking(column: Column | None, kind: Kind, *values: Any, is_exact: bool = True) -> Kind | None:
    load = TableLoad("s", "t", "message_id", "", {"value": kind}, [[value] for value in values])
    return needed_kind(load, "value", column, is_exact)


@pytest.mark.parametrize(
    ("column", "kind", "values", "needed"),
    [
        (None, Kind.INTEGER, [1], Kind.INTEGER),
        (Column(Kind.INTEGER), Kind.INTEGER, [1, None], None),
        (Column(Kind.INTEGER, bits=16), Kind.INTEGER, [32_767], None),
        (Column(Kind.INTEGER, bits=16), Kind.INTEGER, [32_768], Kind.INTEGER),
        (Column(Kind.INTEGER), Kind.NUMBER, [1, 1.5], Kind.NUMBER),
        (Column(Kind.NUMBER), Kind.INTEGER, [1], None),
        (Column(Kind.BOOLEAN), Kind.INTEGER, [1], Kind.TEXT),
        (Column(Kind.TEXT), Kind.BOOLEAN, [True], None),
        (Column(Kind.TEXT, length=3), Kind.TEXT, ["abcd"], Kind.TEXT),
        (Column(Kind.TEXT, length=3), Kind.BOOLEAN, [True], Kind.TEXT),
        (Column(Kind.TIMESTAMP), Kind.TEXT, ["soon"], Kind.TEXT),
        (Column(None), Kind.TEXT, ["soon"], None),
    ],
)
def test_a_column_is_widened_only_as_far_as_its_rows_need(
    column: Column | None, kind: Kind, values: list[Any], needed: Kind | None
) -> None:
    assert lacking(column, kind, *values) is needed


@pytest.mark.parametrize("column", [None, Column(Kind.INTEGER), Column(Kind.NUMBER)])
def test_where_numbers_are_doubles_a_long_integer_makes_a_text(column: Column | None) -> None:
    assert lacking(column, Kind.NUMBER, 2**60, 0.5, is_exact=False) is Kind.TEXT
    assert lacking(column, Kind.NUMBER, 2**53, 0.5, is_exact=False) in (Kind.NUMBER, None)


def test_types_are_read_as_the_database_names_them() -> None:
    assert column_of(POSTGRESQL, "character varying", 20, None) == Column(Kind.TEXT, length=20)
    assert column_of(POSTGRESQL, "numeric", None, None) == Column(Kind.NUMBER)
    assert column_of(POSTGRESQL, "numeric", None, 10) == Column(None)
    assert column_of(POSTGRESQL, "integer", None, 32) == Column(Kind.INTEGER, bits=32)
    assert column_of(DUCKDB, "DECIMAL(18,3)", None, 18) == Column(None)
    assert column_of(MYSQL, "tinyint", None, 3) == Column(Kind.BOOLEAN)


@pytest.mark.parametrize("held", [None, 7, "", "{", "[]", '"x"', "[" * 400])
def test_times_that_cannot_be_read_are_none(held: Any) -> None:
    assert read_times(held) == {}


# ── refusals ──


class OurError(Exception):
    """As a driver raises it."""

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def refusal(kind: type[DBAPIError], text: str, sqlstate: str | None = None) -> DBAPIError:
    return kind("INSERT", {}, OurError(text, sqlstate))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (refusal(OperationalError, "server closed the connection"), NO_ANSWER),
        (refusal(OperationalError, "terminating connection", "57P01"), NO_ANSWER),
        (refusal(OperationalError, "canceling statement", "57014"), 503),
        (refusal(OperationalError, "deadlock detected", "40P01"), 503),
        (refusal(OperationalError, "too many connections", "53300"), 503),
        (refusal(OperationalError, "FATAL: password authentication failed"), 401),
        (refusal(OperationalError, 'database "x" does not exist'), 404),
        (refusal(ProgrammingError, "permission denied for table", "42501"), 403),
        (refusal(ProgrammingError, "column is not there", "42703"), 500),
        (refusal(DataError, "invalid input syntax", "22P02"), 400),
        (refusal(IntegrityError, "violates check constraint", "23514"), 400),
        (refusal(OperationalError, "row is too big", "54000"), 400),
        (refusal(OperationalError, "database is locked"), NO_ANSWER),
        (refusal(OperationalError, "attempt to write a readonly database"), 403),
        (refusal(OperationalError, "no such column: x"), 500),
        (refusal(ProgrammingError, "Binder Error: Table does not have a column"), 500),
        (refusal(OperationalError, "TransactionContext Error: Conflict on tuple"), 503),
        (refusal(IntegrityError, "UNIQUE constraint failed"), 400),
    ],
)
def test_a_refusal_is_read_as_a_status(error: DBAPIError, status: int) -> None:
    assert status_of(error) == status


def test_a_refusal_is_told_without_the_values() -> None:
    error = refusal(DataError, 'invalid input syntax for type date: "ada@example.com"\nLINE 1: …', "22007")

    assert answer(error).body.decode() == "invalid input syntax for type date: …"

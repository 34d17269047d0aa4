"""What differs between databases, as data: types, how columns are read, changed and locked, how rows are replaced.

PostgreSQL, DuckDB and SQLite are tested for real; the others get standard SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from connector.destinations.warehouse_values import Kind

# What databases call the types that hold our kinds. A column of another type is filled with text, and the database
# reads it: a person has made it so.
KINDS: Mapping[str, Kind] = {
    "boolean": Kind.BOOLEAN,
    "bool": Kind.BOOLEAN,
    "smallint": Kind.INTEGER,
    "int2": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "int": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "numeric": Kind.NUMBER,
    "decimal": Kind.NUMBER,
    "double precision": Kind.NUMBER,
    "double": Kind.NUMBER,
    "float8": Kind.NUMBER,
    "timestamp with time zone": Kind.TIMESTAMP,
    "timestamp without time zone": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMP,
    "timestamp": Kind.TIMESTAMP,
    "datetime": Kind.TIMESTAMP,
    "text": Kind.TEXT,
    "longtext": Kind.TEXT,
    "character varying": Kind.TEXT,
    "varchar": Kind.TEXT,
}
BITS: Mapping[str, int] = {"smallint": 16, "int2": 16, "integer": 32, "int": 32, "int4": 32}  # the others have 64

STANDARD_COLUMNS = """
    SELECT column_name, data_type, character_maximum_length, numeric_precision
    FROM information_schema.columns WHERE table_schema = :schema AND table_name = :table
"""
OF_THIS_DATABASE = f"{STANDARD_COLUMNS} AND table_catalog = current_database()"
STANDARD_SCHEMATA = "SELECT 1 FROM information_schema.schemata WHERE schema_name = :schema"


@dataclass(frozen=True, slots=True)
class Tongue:
    """How one kind of database is spoken to. `{c}` stands for a column, `{type}` for what it becomes."""

    types: Mapping[Kind, str]
    key_type: str
    columns: str = STANDARD_COLUMNS  # a query: name, type, length, precision of each column of `:schema`, `:table`
    schemata: str = STANDARD_SCHEMATA  # a query: is there `:schema`? "" where there are none; then names have it
    own_kinds: Mapping[str, Kind] = field(default_factory=dict)  # where a type's name means something else than above
    alter: str = ""  # the end of ALTER TABLE that changes a type in place; "": by way of a second column
    text_of_moment: str = "CAST({c} AS {type})"
    lock: str = ""  # held until the transaction ends, by whoever changes tables of the schema `:name`
    limits: str = ""  # sets the time that statements of this transaction may take, `{ms}`
    row_lock: str = ""  # the end of a query whose rows nobody else changes until the transaction ends
    upserts: bool = False  # knows ON CONFLICT; else rows are deleted and inserted
    is_exact: bool = False  # its numbers have room for every digit of an integer
    wants_decimals: bool = False  # it rounds what it is given as a double to fifteen digits
    wants_naive_moments: bool = False  # it does not read ISO texts with a zone
    rows_at_once: int = 1  # in one statement, where statements cost more than their rows
    qualifier: str = ""  # a query for what stands before the schema, where a schema's name could mean something else


def types(**names: str) -> Mapping[Kind, str]:
    return {Kind(kind): name for kind, name in names.items()}


POSTGRESQL = Tongue(
    types=types(boolean="BOOLEAN", integer="BIGINT", number="NUMERIC", timestamp="TIMESTAMPTZ", text="TEXT"),
    key_type="TEXT",
    columns=OF_THIS_DATABASE,
    alter="ALTER COLUMN {c} TYPE {type} USING {value}",
    text_of_moment="""to_char({c} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')""",
    lock="SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))",
    limits="SET LOCAL statement_timeout = {ms}",
    row_lock=" FOR UPDATE",
    upserts=True,
    is_exact=True,
    wants_decimals=True,
)
DUCKDB = Tongue(
    types=types(boolean="BOOLEAN", integer="BIGINT", number="DOUBLE", timestamp="TIMESTAMP", text="VARCHAR"),
    key_type="VARCHAR",
    columns=OF_THIS_DATABASE,
    schemata=f"{STANDARD_SCHEMATA} AND catalog_name = current_database()",
    alter="ALTER COLUMN {c} SET DATA TYPE {type} USING {value}",
    text_of_moment="strftime({c}, '%Y-%m-%dT%H:%M:%S.%gZ')",
    upserts=True,
    rows_at_once=100,
    qualifier="SELECT current_database()",  # of a file production.duckdb it is the same word as a source's schema
)
SQLITE = Tongue(
    types=types(boolean="BOOLEAN", integer="BIGINT", number="NUMERIC", timestamp="TIMESTAMP", text="TEXT"),
    key_type="TEXT",
    columns="SELECT name, type, NULL, NULL FROM pragma_table_info(:table) WHERE :schema IS NOT NULL",
    schemata="",
    upserts=True,
    is_exact=True,
)
STANDARD = Tongue(
    types=types(boolean="BOOLEAN", integer="BIGINT", number="DOUBLE PRECISION", timestamp="TIMESTAMP", text="TEXT"),
    key_type="VARCHAR(255)",
    wants_naive_moments=True,
)
MYSQL = Tongue(
    types=types(boolean="BOOLEAN", integer="BIGINT", number="DOUBLE", timestamp="DATETIME(6)", text="LONGTEXT"),
    key_type="VARCHAR(255)",
    own_kinds={"tinyint": Kind.BOOLEAN},
    wants_naive_moments=True,
)
TONGUES: Mapping[str, Tongue] = {
    "postgresql": POSTGRESQL,
    "duckdb": DUCKDB,
    "sqlite": SQLITE,
    "mysql": MYSQL,
    "mariadb": MYSQL,
}

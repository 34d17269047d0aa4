"""A warehouse: events as rows of tables in PostgreSQL, DuckDB, SQLite, and what else SQLAlchemy speaks to.

The request says which rows go into which tables; the SQL transport makes the tables fit and loads them.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from connector.destinations.base import Destination, Option, encode_within, iso_text
from connector.destinations.warehouse_names import schema_name
from connector.destinations.warehouse_tables import (
    MAX_ID_CHARACTERS,
    TABLES_BY_TYPE,
    Load,
    Row,
    gathered,
    loads_of,
    read_message,
    written,
)
from connector.errors import PayloadError, SettingsError
from connector.json_codec import read_json, write_json
from connector.model import Batch, Connection, Delivery, Event, Refused, Request

MAX_EVENT_BYTES = 4_500_000  # more than any webhook that is received, so that nothing is refused by default
TABLES_BYTES = 256_000  # that rows usually have more than their events: columns' names, what stands in two tables
LEAST_BATCH_BYTES = TABLES_BYTES + 10_000
INSTALL = "pip install -r requirements-warehouse.txt"

# What an address begins with → the SQLAlchemy dialect and driver that are meant, the module they need, how to get it.
DRIVERS: Mapping[str, tuple[str, str, str]] = {
    "postgresql": ("postgresql+psycopg", "psycopg", INSTALL),
    "postgres": ("postgresql+psycopg", "psycopg", INSTALL),
    "duckdb": ("duckdb", "duckdb_engine", INSTALL),
    "sqlite": ("sqlite", "sqlite3", INSTALL),
    "mysql": ("mysql+pymysql", "pymysql", "pip install pymysql"),
    "mariadb": ("mariadb+pymysql", "pymysql", "pip install pymysql"),
    "redshift": ("redshift+psycopg2", "sqlalchemy_redshift", "pip install sqlalchemy-redshift psycopg2-binary"),
}
FILE_DATABASES = ("duckdb", "sqlite")
# Of libpq's settings those that lead nowhere else: `host`, `service` or `passfile` would go around what is checked.
PARAMETERS = frozenset(
    {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation", "ssl_min_protocol_version",
     "channel_binding", "application_name", "options", "target_session_attrs"}
)  # fmt: skip
EXAMPLE = "postgresql://user@host:5432/database, duckdb:////folder/file.duckdb or sqlite:////folder/file.db"


class WarehouseDestination(Destination):
    type: ClassVar[str] = "warehouse"
    transport: ClassVar[str] = "sql"
    default_batch: ClassVar[Batch] = Batch(max_events=500, max_bytes=8_000_000, max_wait_seconds=2.0)
    max_batch: ClassVar[Batch] = Batch(max_events=5_000, max_bytes=50_000_000, max_wait_seconds=300.0)
    options: ClassVar[Mapping[str, Option]] = {
        "url": Option("text", f"The database: {EXAMPLE}. It is shown, so it holds no password.", required=True),
        "password": Option("secret", "The password of the user in `url`; a file has none."),
        "schema": Option("text", "The schema of the tables; default: one for each source, with its name."),
        "per_event_tables": Option(
            "boolean", "A table for each event name; without, everything is in `tracks`.", default=True
        ),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._url = checked_database_url(connection.name, str(self.option("url")))
        if self.option("password") and self._url.startswith(FILE_DATABASES):
            raise SettingsError([f"destination {connection.name}: password: a file has no password"])
        self._headers = {"Password": str(self.option("password"))} if self.option("password") else {}
        self._schema = str(self.option("schema") or "")
        self._per_event_tables = bool(self.option("per_event_tables"))
        if connection.batch.max_bytes < LEAST_BATCH_BYTES:
            problem = f"batch: max_bytes must be at least {LEAST_BATCH_BYTES} for a warehouse"
            raise SettingsError([f"destination {connection.name}: {problem}"])
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        if len(message_id_of(event)) > MAX_ID_CHARACTERS:
            return Refused(f"its messageId is longer than {MAX_ID_CHARACTERS} characters")
        encoded = encode_within(event.body, self._max_event_bytes)
        if isinstance(encoded, Refused):
            return encoded
        try:
            read_json(encoded)
        except PayloadError as error:
            return Refused(f"cannot be laid out in columns: {error}, as JSON is read here")
        return encoded

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        """A line of JSON for each table: its columns with their kinds, and its rows."""
        moment = iso_text(sent_at)
        found = [pair for delivery in batch for pair in self._rows(delivery, moment)]
        lines = b"".join(write_json(written(load)) + b"\n" for load in gathered(found))
        return Request("LOAD", self._url, self._headers, lines)

    def envelope_bytes(self) -> int:
        return TABLES_BYTES

    def _rows(self, delivery: Delivery, sent_at: str) -> list[tuple[Load, Row]]:
        event, body = delivery.event, read_json(delivery.encoded)
        given = body.get("type")
        kind = given if isinstance(given, str) and given in TABLES_BY_TYPE else str(event.type)
        name = body.get("event")
        name = name if isinstance(name, str) and name.strip() else event.name
        message = read_message(body, kind, message_id_of(event), name, sent_at)
        return loads_of(schema_name(self._schema or event.source), message, self._per_event_tables)


def message_id_of(event: Event) -> str:
    """What the event's rows are known by; the profile `raw` gives it no messageId."""
    given: Any = event.body.get("messageId")
    return given if isinstance(given, str) and given.strip() else f"{event.event_id}/{event.type}"


def checked_database_url(destination: str, url: str) -> str:
    """The address with its driver. Raises SettingsError when nothing can be loaded there, or nothing from here."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in DRIVERS and parts.port != 0 and not re.search(r"\s|#", text)
    except ValueError:  # a port that is none, a bracket that is not closed
        is_usable = False
    if is_usable and parts.scheme in FILE_DATABASES:
        path = parts.path[1:]
        is_usable = not parts.netloc and bool(path) and not path.startswith((":", "md:", "motherduck:"))
    elif is_usable:
        is_usable = bool(parts.hostname) and len(parts.path) > 1
    if not is_usable:
        raise SettingsError([f"destination {destination}: url must be an address like {EXAMPLE}"])
    if parts.password is not None:
        raise SettingsError([f"destination {destination}: url must not hold a password, it is shown: set `password`"])
    allowed: frozenset[str] = frozenset() if parts.scheme in FILE_DATABASES else PARAMETERS
    unknown = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name not in allowed]
    if unknown:
        raise SettingsError([f"destination {destination}: url: the parameter {unknown[0]!r} cannot be set"])
    dialect, module, command = DRIVERS[parts.scheme]
    if not is_installed(module):
        raise SettingsError(
            [f"destination {destination}: what speaks to {parts.scheme} is not installed: run {command}"]
        )
    return dialect + text[len(parts.scheme) :]


def is_installed(module: str) -> bool:
    """Asked when settings are read, so that `check` says it; events do not come into it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False

"""A warehouse under test: loads what the destination builds with the real transport, and looks at the tables."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from connector.destinations.warehouse import WarehouseDestination
from connector.model import Connection, Delivery, Event, EventType, Reader, Refused, Request, Response
from connector.transports.sql import SqlTransport
from tests.integration.postgresql import PASSWORD, PostgresqlDatabase

LOOPBACK = [ip_network("127.0.0.0/8")]
TIMEOUT_SECONDS = 20.0
DAY = "2026-08-31T18:29:29.000Z"


@dataclass
class Warehouse:
    url: str
    engine: Engine
    table_format: str  # of a name in SQL, from `{schema}` and `{table}`
    options: dict[str, Any] = field(default_factory=dict)
    transport: SqlTransport = field(default_factory=lambda: SqlTransport(LOOPBACK))

    def request(self, *bodies: dict[str, Any], **options: Any) -> Request:
        settings = {"url": self.url, **self.options, **options}
        connection = Connection("sample", "warehouse", settings, batch=WarehouseDestination.default_batch)
        destination = WarehouseDestination(connection)
        return destination.prepare([delivery(destination, body) for body in bodies], datetime.now(UTC))

    def load(self, *bodies: dict[str, Any], **options: Any) -> Response:
        return self.transport.send(self.request(*bodies, **options), TIMEOUT_SECONDS)

    def table(self, table: str, schema: str = "production") -> str:
        return self.table_format.format(schema=schema, table=table)

    def execute(self, sql: str) -> list[dict[str, Any]]:
        with self.engine.begin() as connection:
            found = connection.exec_driver_sql(sql)
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

    def rows(self, table: str, schema: str = "production") -> list[dict[str, Any]]:
        key = "id" if table == "users" else "message_id"
        return self.execute(f"SELECT * FROM {self.table(table, schema)} ORDER BY {key}")  # noqa: S608 (of this test)

    def column(self, name: str, table: str = "email_opened") -> list[Any]:
        return [row[name] for row in self.rows(table)]

    def close(self) -> None:
        self.transport.close()
        self.engine.dispose()


def delivery(destination: WarehouseDestination, body: dict[str, Any]) -> Delivery:
    kind = EventType.IDENTIFY if body.get("type") == "identify" else EventType.TRACK
    event = Event(kind, "production", f"event-{body.get('messageId')}", "email", "opened", False, body)
    encoded = destination.encode(event)
    assert not isinstance(encoded, Refused), encoded.reason
    return Delivery(Reader("sample", "production"), 1, "all", event, encoded)


def opened(number: int, properties: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    head = {"type": "track", "event": "Email Opened", "messageId": f"m{number}", "userId": "u1", "timestamp": DAY}
    return {**head, "properties": properties or {}, **changes}


def identified(number: int, traits: dict[str, Any], timestamp: str = DAY, user_id: str = "u1") -> dict[str, Any]:
    head = {"type": "identify", "messageId": f"i{number}", "userId": user_id, "timestamp": timestamp}
    return {**head, "traits": traits}


def duckdb_warehouse(folder: Path) -> Warehouse:
    path = folder / "production.duckdb"  # the name that its schema has too, which makes a short name ambiguous
    engine = create_engine(f"duckdb:///{path}", poolclass=NullPool)
    return Warehouse(f"duckdb:///{path}", engine, "production.{schema}.{table}")


def sqlite_warehouse(folder: Path) -> Warehouse:
    path = folder / "warehouse.db"
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    return Warehouse(f"sqlite:///{path}", engine, "{schema}__{table}")


def postgresql_warehouse(database: PostgresqlDatabase) -> Warehouse:
    return Warehouse(database.url(), database.engine, "{schema}.{table}", {"password": PASSWORD})

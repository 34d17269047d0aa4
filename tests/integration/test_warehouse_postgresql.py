"""What is PostgreSQL's own: its refusals, its locks, connections that are lost, columns of types that are not ours."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import make_url

from connector.errors import TransportError
from connector.transports.address_guard import AddressGuard, resolve_by_system
from connector.transports.sql import Database, SqlTransport
from connector.transports.sql_dialects import POSTGRESQL, STANDARD
from connector.transports.sql_layout import read_load
from tests.integration.postgresql import PASSWORD, PostgresqlDatabase
from tests.integration.warehouse import (
    LOOPBACK,
    TIMEOUT_SECONDS,
    Warehouse,
    identified,
    opened,
    postgresql_warehouse,
)

CONNECTION_ENDS_AT_M2 = """
    CREATE FUNCTION production.cut() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.message_id = 'm2' THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
        RETURN NEW;
    END $$
"""


@pytest.fixture
def warehouse(postgresql: PostgresqlDatabase) -> Iterator[Warehouse]:
    made = postgresql_warehouse(postgresql)
    yield made
    made.close()


# ── connections that are lost ──


@pytest.mark.parametrize("table", ["email_opened", "tracks"])
def test_a_connection_lost_in_the_middle_leaves_no_half_batch(warehouse: Warehouse, table: str) -> None:
    batch = [opened(number) for number in range(1, 4)]
    warehouse.load(opened(0))
    warehouse.execute(CONNECTION_ENDS_AT_M2)
    trigger = f"BEFORE INSERT ON production.{table} FOR EACH ROW EXECUTE FUNCTION production.cut()"
    warehouse.execute(f"CREATE TRIGGER cut {trigger}")

    with pytest.raises(TransportError, match=r"127\.0\.0\.1"):
        warehouse.load(*batch)
    left = [warehouse.column("message_id", name) for name in ("email_opened", "tracks")]
    warehouse.execute(f"DROP TRIGGER cut ON production.{table}")
    again = warehouse.load(*batch)

    assert left == [["m0"], ["m0"]]
    assert again.status == 200
    assert warehouse.column("message_id", "tracks") == ["m0", "m1", "m2", "m3"]


def test_a_line_that_is_cut_at_any_byte_leaves_all_or_nothing(warehouse: Warehouse) -> None:
    warehouse.load(opened(0))
    batch = [opened(number, {"text": "x" * 2_000}) for number in range(1, 6)]
    whole = [f"m{number}" for number in range(6)]

    for allowed_bytes in range(500, 30_000, 2_000):
        with CuttingProxy(str(make_url(warehouse.url).port), allowed_bytes) as proxy:
            cut = replace(warehouse, url=warehouse.url.replace(f":{proxy.target_port}/", f":{proxy.port}/"),
                          transport=SqlTransport(LOOPBACK))  # fmt: skip
            try:
                cut.load(*batch)
            except TransportError:
                pass
            finally:
                cut.transport.close()
        found = [warehouse.column("message_id", table) for table in ("email_opened", "tracks")]
        assert found in ([["m0"], ["m0"]], [whole, whole])
        warehouse.execute("DELETE FROM production.email_opened WHERE message_id <> 'm0'")
        warehouse.execute("DELETE FROM production.tracks WHERE message_id <> 'm0'")


def test_a_kept_connection_that_the_server_closed_is_replaced(warehouse: Warehouse) -> None:
    warehouse.load(opened(1))
    warehouse.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'customerio-connector'"
    )

    assert warehouse.load(opened(2)).status == 200


def test_nobody_there_is_no_answer(warehouse: Warehouse) -> None:
    nobody = replace(warehouse, url="postgresql://postgres@127.0.0.1:1/x")

    with pytest.raises(TransportError, match=r"127\.0\.0\.1:1"):
        nobody.load(opened(1))


def test_an_inner_address_is_not_called_unless_it_is_allowed(warehouse: Warehouse) -> None:
    guarded = replace(warehouse, transport=SqlTransport([]))

    with pytest.raises(TransportError, match="CONNECTOR_ALLOW_NETWORKS"):
        guarded.load(opened(1))


# ── refusals ──


@pytest.mark.parametrize(
    ("user", "name", "password", "status"),
    [("postgres", "", "wrong", 401), ("nobody", "", PASSWORD, 401), ("postgres", "nowhere", PASSWORD, 404)],
)
def test_what_keeps_us_out_is_told(
    warehouse: Warehouse, postgresql: PostgresqlDatabase, user: str, name: str, password: str, status: int
) -> None:
    outside = replace(warehouse, url=postgresql.url(user, name), options={"password": password})

    answer = outside.load(opened(1))

    assert answer.status == status
    assert password not in answer.body.decode()


def test_a_user_without_privileges_is_told_which(warehouse: Warehouse, postgresql: PostgresqlDatabase) -> None:
    warehouse.execute(f"CREATE ROLE {postgresql.name} LOGIN PASSWORD '{PASSWORD}'")
    restricted = replace(warehouse, url=postgresql.url(postgresql.name))

    first = restricted.load(opened(1))
    warehouse.execute(f"CREATE SCHEMA production AUTHORIZATION {postgresql.name}")
    second = restricted.load(opened(1))

    assert (first.status, second.status) == (403, 200)
    assert b"permission denied for database" in first.body


def test_a_table_without_its_key_is_told(warehouse: Warehouse) -> None:
    warehouse.load(opened(1))
    warehouse.execute("ALTER TABLE production.tracks DROP CONSTRAINT tracks_pkey")

    answer = warehouse.load(opened(2))

    assert answer.status == 404
    assert b"ON CONFLICT" in answer.body


def test_a_table_that_is_locked_costs_no_more_than_the_time(warehouse: Warehouse) -> None:
    warehouse.load(opened(1))
    with warehouse.engine.connect().execution_options(isolation_level="READ COMMITTED") as other, other.begin():
        other.exec_driver_sql("LOCK TABLE production.tracks")
        answer = warehouse.transport.send(warehouse.request(opened(2)), 0.3)

    assert answer.status == 503
    assert warehouse.column("message_id") == ["m1"]


# ── several at once ──


def test_several_workers_make_and_widen_the_same_tables_at_once(warehouse: Warehouse) -> None:
    workers = 6
    start = threading.Barrier(workers)

    def work(worker: int) -> list[int]:
        own = replace(warehouse, transport=SqlTransport(LOOPBACK))
        start.wait()
        statuses = []
        for round_ in range(4):
            number = worker * 10 + round_
            value: Any = [number, number + 0.5, "text", True][(worker + round_) % 4]
            people = [identified(number * 10 + n, {f"trait_{round_}": n}, user_id=f"u{n}") for n in range(4)]
            bodies = [opened(number, {"value": value, f"column_{number}": number}), *people]
            statuses.append(own.load(*(bodies if worker % 2 else reversed(bodies))).status)
        own.transport.close()
        return statuses

    with ThreadPoolExecutor(workers) as pool:
        statuses = [status for found in pool.map(work, range(workers)) for status in found]

    rows = warehouse.rows("email_opened")
    assert statuses == [200] * workers * 4
    assert len(rows) == len(warehouse.rows("tracks")) == workers * 4
    assert {row[f"column_{row['message_id'][1:]}"] for row in rows} == {int(row["message_id"][1:]) for row in rows}
    assert all(row["value"] for row in rows)
    assert len(warehouse.rows("users")) == 4


# ── what a person has made of the tables ──


def test_a_column_that_a_view_depends_on_stays_and_the_rest_goes_to_extra(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.load(opened(1, {"value": 1}))
    warehouse.execute("CREATE VIEW production.report AS SELECT value FROM production.email_opened")

    statuses = [warehouse.load(opened(2, {"value": "two"}), opened(3, {"value": 3})).status for _ in range(2)]

    assert statuses == [200, 200]
    assert warehouse.column("value") == [1, None, 3]
    assert warehouse.column("extra") == [None, '{"value":"two"}', None]
    assert len([record for record in caplog.records if "cannot be widened" in record.message]) == 1


def test_narrower_and_other_types_are_filled_or_widened(warehouse: Warehouse) -> None:
    warehouse.execute("CREATE SCHEMA production")
    warehouse.execute(
        "CREATE TABLE production.email_opened (message_id text PRIMARY KEY, small smallint, short varchar(3), "
        "document jsonb, day date, price numeric(10,2), address inet, ratio double precision)"
    )
    properties = {"small": 40_000, "short": "longer", "document": [1], "day": "2026-08-31", "price": 9.99,
                  "address": "192.0.2.1", "ratio": 0.1}  # fmt: skip

    answer = warehouse.load(opened(1, properties))

    row = warehouse.rows("email_opened")[0]
    assert answer.status == 200
    assert (row["small"], row["short"], row["document"], row["ratio"]) == (40_000, "longer", [1], 0.1)
    assert (str(row["day"]), str(row["price"]), str(row["address"])) == ("2026-08-31", "9.99", "192.0.2.1")


def test_a_value_that_a_persons_type_refuses_is_refused_without_being_quoted(warehouse: Warehouse) -> None:
    warehouse.execute("CREATE SCHEMA production")
    warehouse.execute("CREATE TABLE production.email_opened (message_id text PRIMARY KEY, day date)")

    answer = warehouse.load(opened(1, {"day": "the secret day"}))

    assert answer.status == 400
    assert b"invalid input syntax for type date" in answer.body
    assert b"secret" not in answer.body


def test_a_type_that_was_changed_meanwhile_is_read_anew(warehouse: Warehouse) -> None:
    warehouse.load(opened(1, {"value": "1"}))
    warehouse.execute("ALTER TABLE production.email_opened ALTER COLUMN value TYPE bigint USING value::bigint")

    answer = warehouse.load(opened(2, {"value": "two"}))

    assert answer.status == 200
    assert warehouse.column("value") == ["1", "two"]


# ── databases that are spoken to in standard SQL ──


def test_standard_sql_keeps_the_same_promises(warehouse: Warehouse) -> None:
    url = make_url(warehouse.url).set(drivername="postgresql+psycopg", password=PASSWORD)
    tongue = replace(STANDARD, columns=POSTGRESQL.columns)
    database = Database(url, AddressGuard(LOOPBACK, resolve_by_system), TIMEOUT_SECONDS, tongue)
    calls = [
        identified(2, {"plan": "gold"}, "2026-08-02T00:00:00.000Z"),
        identified(1, {"plan": "free", "age": 36}, "2026-08-01T00:00:00.000Z"),
    ]

    for bodies in ([opened(1, {"value": 1}), calls[0]], [opened(1, {"value": 1}), opened(2, {"value": "x"}), calls[1]]):
        lines = warehouse.request(*bodies).body.splitlines()
        assert database.load([read_load(line) for line in lines], TIMEOUT_SECONDS).status == 200
    database.close()

    assert warehouse.column("value") == ["1", "x"]
    assert [(row["plan"], row["age"]) for row in warehouse.rows("users")] == [("gold", 36)]


class CuttingProxy:
    """Passes bytes on to the server, and hangs up both sides after so many of them."""

    def __init__(self, target_port: str, allowed_bytes: int) -> None:
        self.target_port = target_port
        self._left = allowed_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "CuttingProxy":
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        with client, socket.create_connection(("127.0.0.1", int(self.target_port))) as server:
            back = threading.Thread(target=self._pass_back, args=(server, client), daemon=True)
            back.start()
            while self._left > 0 and (piece := client.recv(min(4096, self._left))):
                server.sendall(piece)
                self._left -= len(piece)
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)
            back.join()

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while piece := server.recv(4096):
                client.sendall(piece)
        except OSError:
            pass  # hung up

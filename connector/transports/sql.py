"""Loads prepared rows into a database: the rows of a request in one transaction, or none of them.

A request's `url` is the database's address, its header `Password` the password; each line of its body is the rows for
one table. The tables are made to fit before.
"""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from connector.errors import TransportError
from connector.model import Request, Response
from connector.transports.address_guard import AddressGuard, Deadline, Network, Resolver, resolve_by_system
from connector.transports.sql_dialects import STANDARD, TONGUES, Tongue
from connector.transports.sql_errors import NO_ANSWER, answer, describe, status_of
from connector.transports.sql_layout import TableLoad, read_load
from connector.transports.sql_tables import Tables

LOADED = Response(200, {}, b"")
TRIES = 3  # of one load, as long as the cause may be that somebody changed a table, or the same rows, in the meantime
FINAL = frozenset({NO_ANSWER, 401, 403})  # trying at once again does not help
FILE_DATABASES = frozenset({"duckdb", "sqlite"})
POOLED_CONNECTIONS = 4
MAX_CONNECTIONS = 64  # the most concurrency that a destination may have
RECYCLE_SECONDS = 300  # a connection is not older, since firewalls forget the idle ones
MAX_ADDRESSES = 4  # of one name
DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "redshift": 5439}
FILE_MODE = 0o640  # people's data: not for everyone on the machine
FOLDER_MODE = 0o750


class SqlTransport:
    """Any number of threads, processes and machines may load into the same tables."""

    def __init__(self, allow_networks: Sequence[Network], resolve: Resolver = resolve_by_system) -> None:
        self._guard = AddressGuard(allow_networks, resolve)
        self._databases: dict[tuple[str, str], Database] = {}
        self._databases_guard = threading.Lock()

    def send(self, request: Request, timeout_seconds: float) -> Response:
        """All rows are committed when it answers 200, none when it answers anything else. Raises TransportError when
        the database was not reached, or lost on the way; the rows may be there then, and will replace themselves."""
        loads = [read_load(line) for line in request.body.splitlines()]
        try:
            return self._database(request, timeout_seconds).load(loads, timeout_seconds)
        except SQLAlchemyError as error:
            raise TransportError(f"the database cannot be used: {type(error).__name__}") from error

    def close(self) -> None:
        with self._databases_guard:
            databases, self._databases = list(self._databases.values()), {}
        for database in databases:
            database.close()

    def _database(self, request: Request, timeout_seconds: float) -> "Database":
        place = request.url, request.headers.get("Password", "")
        with self._databases_guard:
            if place not in self._databases:
                url = make_url(place[0])
                if place[1]:
                    url = url.set(password=place[1])
                self._databases[place] = Database(url, self._guard, timeout_seconds)
            return self._databases[place]


class Database:
    """One database with what is known of its tables."""

    def __init__(self, url: URL, guard: AddressGuard, timeout_seconds: float, tongue: Tongue | None = None) -> None:
        backend = url.get_backend_name()
        self._place = f"{url.host}:{url.port}" if url.host else str(url.database)
        self._tongue = tongue or TONGUES.get(backend, STANDARD)
        self._tables = threading.local()  # each thread learns by itself what is there
        self._file = Path(str(url.database)) if backend in FILE_DATABASES else None
        self._turn = threading.Lock()  # a file has one writer at a time
        self._engine = open_engine(url, guard, timeout_seconds)

    def load(self, loads: Sequence[TableLoad], timeout_seconds: float) -> Response:
        """See SqlTransport.send."""
        ends_at = time.monotonic() + timeout_seconds
        with self._its_turn(timeout_seconds):
            for tries_left in reversed(range(TRIES)):
                try:
                    self._load(loads, ends_at)
                    return LOADED
                except DBAPIError as error:
                    self._known().forget()
                    status = status_of(error)
                    if status == NO_ANSWER:
                        raise TransportError(f"{self._place}: {describe(error)}") from error
                    if status in FINAL or not tries_left or time.monotonic() >= ends_at:
                        return answer(error)
        raise AssertionError("the last try answers")

    def close(self) -> None:
        self._engine.dispose()

    def _load(self, loads: Sequence[TableLoad], ends_at: float) -> None:
        tables = self._known()
        is_new = self._file is not None and make_room(self._file)
        with self._engine.connect() as connection:
            for load in loads:
                tables.fit(connection, load, self._limits(ends_at))
            with connection.begin():
                self._limit(connection, ends_at)
                for load in loads:
                    tables.put(connection, load)
        if is_new and self._file is not None:
            self._file.chmod(FILE_MODE)

    def _known(self) -> Tables:
        if not hasattr(self._tables, "known"):
            self._tables.known = Tables(self._tongue)
        known: Tables = self._tables.known
        return known

    def _limits(self, ends_at: float) -> str:
        milliseconds = max(1, math.ceil((ends_at - time.monotonic()) * 1000))
        return self._tongue.limits.format(ms=milliseconds)

    def _limit(self, connection: Connection, ends_at: float) -> None:
        if self._tongue.limits:
            connection.exec_driver_sql(self._limits(ends_at))

    @contextmanager
    def _its_turn(self, timeout_seconds: float) -> Iterator[None]:
        if self._file is None:
            yield
            return
        if not self._turn.acquire(timeout=timeout_seconds):
            raise TransportError(f"{self._place}: an earlier load has not ended")
        try:
            yield
        finally:
            self._turn.release()


def make_room(path: Path) -> bool:
    """The folder is there; whether the file is yet to be made. Raises TransportError where that cannot be."""
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return not path.exists()
    except OSError as error:
        raise TransportError(f"cannot write to {path.parent}: {error.strerror}") from error


def open_engine(url: URL, guard: AddressGuard, timeout_seconds: float) -> Engine:
    """Connects when it is first used. A file is open only while something is loaded, so that others can read it."""
    backend = url.get_backend_name()
    if backend in FILE_DATABASES:
        arguments: dict[str, Any] = {"timeout": timeout_seconds} if backend == "sqlite" else {}
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
        if backend == "sqlite":
            begin_by_hand(engine)
        return engine
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=POOLED_CONNECTIONS,
        max_overflow=MAX_CONNECTIONS,
        pool_recycle=RECYCLE_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=postgresql_arguments(url, timeout_seconds) if url.drivername == "postgresql+psycopg" else {},
    )
    guard_connections(engine, url, guard, timeout_seconds)
    return engine


def postgresql_arguments(url: URL, timeout_seconds: float) -> dict[str, Any]:
    """What makes a silent server noticed, and a pooler in between no trouble."""
    seconds = max(2, math.ceil(timeout_seconds))
    arguments: dict[str, Any] = {
        "connect_timeout": seconds,
        "tcp_user_timeout": seconds * 1000,
        "keepalives_idle": seconds,
        "keepalives_interval": seconds,
        "keepalives_count": 1,
        "prepare_threshold": None,  # PgBouncer gives each transaction another session
    }
    if "application_name" not in url.query:
        arguments["application_name"] = "customerio-connector"
    return arguments


def guard_connections(engine: Engine, url: URL, guard: AddressGuard, timeout_seconds: float) -> None:
    """Every connection goes to an address that was checked. Of drivers other than psycopg's the name is checked, and
    looked up once more by the driver."""

    def dial(dialect: Any, record: Any, positional: Any, named: dict[str, Any]) -> None:
        deadline = Deadline()
        deadline.start(timeout_seconds)
        host, port = str(url.host), url.port or DEFAULT_PORTS[url.get_backend_name()]
        candidates = guard.permitted(host, port, deadline)[:MAX_ADDRESSES]
        if url.drivername == "postgresql+psycopg":
            number = len(candidates)
            named["hostaddr"] = ",".join(str(candidate[0]) for candidate in candidates)
            named["host"], named["port"] = ",".join([host] * number), ",".join([str(port)] * number)

    event.listen(engine, "do_connect", dial)


def begin_by_hand(engine: Engine) -> None:
    """sqlite3 would begin a transaction only before the first row, and end it before a change of tables."""

    def take_over(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", take_over)
    event.listen(engine, "begin", begin)

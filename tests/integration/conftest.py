"""The servers that several integration tests share."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import NoReturn

import pytest

from tests.integration.postgresql import PostgresqlDatabase, PostgresqlServer, programs, running_postgresql

DATABASE_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer | None]:
    """One for all tests of the session; None where there is no PostgreSQL."""
    bin_folder = programs()
    if bin_folder is None:
        yield None
        return
    with running_postgresql(bin_folder) as server:
        yield server


@pytest.fixture
def postgresql(
    postgresql_server: PostgresqlServer | None, missing: Callable[[str], NoReturn]
) -> Iterator[PostgresqlDatabase]:
    """A database of its own for each test."""
    if postgresql_server is None:
        missing("PostgreSQL (Debian: apt install postgresql)")
    database = postgresql_server.create_database(f"warehouse_{next(DATABASE_NUMBERS)}")
    yield database
    database.close()

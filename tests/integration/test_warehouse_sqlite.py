"""What is SQLite's own: one writer at a time, and names in the place of schemas."""

import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from connector.errors import TransportError
from connector.transports.sql import SqlTransport
from tests.integration.warehouse import LOOPBACK, Warehouse, opened, sqlite_warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    made = sqlite_warehouse(tmp_path / "made")
    yield made
    made.close()


def test_the_file_and_its_folder_are_made_for_their_owner_and_group(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.load(opened(1))

    assert stat.S_IMODE((tmp_path / "made" / "warehouse.db").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o750


def test_several_writers_wait_for_each_other(warehouse: Warehouse) -> None:
    def work(worker: int) -> list[int]:
        own = replace(warehouse, transport=SqlTransport(LOOPBACK))
        numbers = [worker * 10 + round_ for round_ in range(3)]
        statuses = [own.load(opened(number, {f"column_{number}": number})).status for number in numbers]
        own.transport.close()
        return statuses

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for found in pool.map(work, range(4)) for status in found]

    assert statuses == [200] * 12
    assert len(warehouse.rows("email_opened")) == 12


def test_a_locked_file_is_no_answer_and_leaves_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.load(opened(1))
    impatient = replace(warehouse, transport=SqlTransport(LOOPBACK))
    other = sqlite3.connect(tmp_path / "made" / "warehouse.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(TransportError, match="locked"):
        impatient.transport.send(impatient.request(opened(2)), 0.1)
    other.close()

    assert warehouse.column("message_id") == ["m1"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    warehouse = sqlite_warehouse(tmp_path / "file")

    with pytest.raises(TransportError, match="cannot write to"):
        warehouse.load(opened(1))
    warehouse.close()

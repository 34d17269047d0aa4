"""What is DuckDB's own: a file that one process writes at a time."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.errors import TransportError
from tests.integration.warehouse import Warehouse, duckdb_warehouse, opened


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    made = duckdb_warehouse(tmp_path / "made")
    yield made
    made.close()


def test_the_file_is_free_for_others_between_two_loads(warehouse: Warehouse, tmp_path: Path) -> None:
    program = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).sql('select 42').fetchall())"

    warehouse.load(opened(1))
    path = tmp_path / "made" / "production.duckdb"
    read = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    warehouse.load(opened(2))

    assert read.stdout.strip() == "[(42,)]"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert warehouse.column("message_id") == ["m1", "m2"]


def test_a_file_that_another_process_has_open_is_tried_again(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.load(opened(1))
    program = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path / "made" / "production.duckdb")]

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(TransportError, match="lock"):
            warehouse.load(opened(2))
        other.communicate()

    assert warehouse.load(opened(2)).status == 200


def test_a_file_that_is_no_database_is_told(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "made" / "production.duckdb"
    path.parent.mkdir()
    path.write_text("not a database, but long enough to look like something" * 100, encoding="utf-8")

    assert warehouse.load(opened(1)).status == 404

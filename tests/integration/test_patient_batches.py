"""Batches that fill for minutes: the worker, its journal, and whole files in a folder."""

from pathlib import Path

import pytest
from pyarrow import parquet

from connector.destinations.objects import ObjectsDestination
from connector.model import Batch
from connector.transports.objects import ObjectTransport
from tests.delivering import Rig

WAIT_SECONDS = 300.0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    made.transport = ObjectTransport()
    made.kind = ObjectsDestination
    new_worker(made, tmp_path)
    return made


def new_worker(rig: Rig, folder: Path) -> None:
    options = {"path": str(folder / "lake"), "format": "parquet"}
    rig.new_worker(type="file", options=options, batch=Batch(10_000, 20_000_000, WAIT_SECONDS))


def files_in(folder: Path) -> list[Path]:
    return sorted((folder / "lake").rglob("*.parquet"))


def test_a_batch_gathers_for_minutes_with_few_looks_and_becomes_one_file_for_each_partition(
    rig: Rig, tmp_path: Path
) -> None:
    begun, looks = rig.clock.now(), [0]
    rig.receive(10)

    def receive_more() -> None:
        looks[0] += 1
        if looks[0] in (100, 500):
            rig.receive(10, first=10 * looks[0], metric="clicked")

    rig.clock.on_sleep = receive_more
    rig.worker.run_once()

    assert (rig.clock.now() - begun).total_seconds() == pytest.approx(WAIT_SECONDS)
    assert looks[0] <= WAIT_SECONDS / 0.5
    assert rig.counts["delivered"] == 30
    assert [(path.parent.name, parquet.read_metadata(path).num_rows) for path in files_in(tmp_path)] == [
        ("event=email_clicked", 20),
        ("event=email_opened", 10),
    ]


def test_a_full_batch_waits_for_nothing(rig: Rig, tmp_path: Path) -> None:
    begun = rig.clock.now()
    rig.receive(10_000)

    rig.worker.run_once()

    assert rig.clock.now() == begun
    assert [parquet.read_metadata(path).num_rows for path in files_in(tmp_path)] == [10_000]


def test_a_stop_while_a_batch_fills_loses_nothing_and_is_heeded_at_once(rig: Rig, tmp_path: Path) -> None:
    begun = rig.clock.now()
    rig.receive(10)
    rig.clock.on_sleep = rig.worker.stop

    rig.worker.run_once()

    assert (rig.clock.now() - begun).total_seconds() <= 0.5
    assert files_in(tmp_path) == []
    assert rig.waiting == (10, 0)
    rig.clock.on_sleep = lambda: None
    new_worker(rig, tmp_path)
    rig.worker.run_once()
    assert [parquet.read_metadata(path).num_rows for path in files_in(tmp_path)] == [10]


def test_one_partition_that_cannot_be_written_holds_up_no_other(rig: Rig, tmp_path: Path) -> None:
    obstacle = tmp_path / "lake" / "date=2025-08-31" / "event=email_clicked"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where a folder should be")
    rig.receive(5)
    rig.receive(5, first=100, metric="clicked")

    rig.worker.run_once()

    assert (rig.counts["delivered"], rig.counts["retry"]) == (5, 5)
    obstacle.unlink()
    rig.run(seconds=400)
    assert rig.counts["delivered"] == 10
    assert [(path.parent.name, parquet.read_metadata(path).num_rows) for path in files_in(tmp_path)] == [
        ("event=email_clicked", 5),
        ("event=email_opened", 5),
    ]

"""The minder of the delivering process, on a stand-in that notes its process id and sleeps."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector.delivery_process import DeliveryProcess

NOTE_AND_SLEEP = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(os.environ["NOTES"], "a") as notes:
    print(os.getpid(), os.environ["CONNECTOR_PARENT_PID"], os.environ.get("ROUND", ""), file=notes, flush=True)
time.sleep(60)
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def process(notes: Path) -> Iterator[DeliveryProcess]:
    process = DeliveryProcess({"NOTES": str(notes)}, (sys.executable, "-c", NOTE_AND_SLEEP))
    process.start()
    yield process
    process.finish_stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def starts(notes: Path) -> list[list[str]]:
    return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_started_and_told_its_parent(process: DeliveryProcess, notes: Path) -> None:
    wait_until(lambda: len(starts(notes)) == 1)

    assert starts(notes)[0][1] == str(os.getpid())


def test_it_is_started_again_when_it_is_killed(process: DeliveryProcess, notes: Path) -> None:
    wait_until(lambda: len(starts(notes)) == 1)

    os.kill(int(starts(notes)[0][0]), signal.SIGKILL)

    wait_until(lambda: len(starts(notes)) == 2)


def test_a_restart_takes_the_new_environment(process: DeliveryProcess, notes: Path) -> None:
    wait_until(lambda: len(starts(notes)) == 1)

    process.restart({"NOTES": str(notes), "ROUND": "second"})

    wait_until(lambda: len(starts(notes)) == 2)
    assert starts(notes)[1][2] == "second"
    assert not is_running(int(starts(notes)[0][0]))


def test_a_stop_ends_it_for_good(process: DeliveryProcess, notes: Path) -> None:
    wait_until(lambda: len(starts(notes)) == 1)

    process.finish_stop()

    assert not is_running(int(starts(notes)[0][0]))
    assert len(starts(notes)) == 1

"""ObjectTransport on a real folder: whole files or none, whatever happens."""

import multiprocessing
import resource
import signal
from pathlib import Path

import pytest

from connector.errors import TransportError
from connector.model import Request
from connector.transports.objects import ObjectTransport


def put(path: Path, body: bytes) -> int:
    return ObjectTransport().send(Request("PUT", str(path), {}, body), 5).status


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a file is to stand, in folders that are not there yet."""
    return tmp_path / "lake" / "date=2026-08-31" / "event=email_opened" / "lake-1.parquet"


def test_a_file_is_written_in_folders_that_are_made_on_the_way(place: Path) -> None:
    assert put(place, b"whole") == 200

    assert place.read_bytes() == b"whole"
    assert place.stat().st_mode & 0o007 == 0
    assert list(place.parent.iterdir()) == [place]


def test_a_second_try_replaces_the_first(place: Path) -> None:
    put(place, b"first and longer")

    put(place, b"second")

    assert place.read_bytes() == b"second"


def test_what_a_crash_left_is_no_obstacle_and_was_never_seen(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.with_name(f".{place.name}.part").write_bytes(b"half of a much longer fi")

    put(place, b"whole")

    assert place.read_bytes() == b"whole"
    assert list(place.parent.glob("*.parquet")) == [place]


def put_with_little_room(path: Path, told: "multiprocessing.Queue[str]") -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        put(path, b"x" * 5000)
    except TransportError as error:
        told.put(str(error))


def test_without_room_the_file_is_as_it_was_and_nothing_is_left_behind(place: Path) -> None:
    put(place, b"whole")
    spawn = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[str] = spawn.Queue()

    process = spawn.Process(target=put_with_little_room, args=(place, told))
    process.start()
    text = told.get(timeout=20)
    process.join()

    assert text.startswith(f"cannot write to {place.parent}: ")
    assert place.read_bytes() == b"whole"
    assert list(place.parent.iterdir()) == [place]


def test_a_folder_that_is_a_file_is_a_transport_error(place: Path) -> None:
    place.parent.parent.parent.write_bytes(b"a file")

    with pytest.raises(TransportError, match="cannot write to"):
        put(place, b"whole")

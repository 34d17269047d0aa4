"""FileTransport on a real folder: whole lines, rotation, faults of the disk, several writers."""

import fcntl
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from connector.errors import TransportError
from connector.model import Request
from connector.transports.file import FileTransport


def append(
    transport: FileTransport, path: Path, body: bytes, rotate_bytes: int = 1000, timeout_seconds: float = 5
) -> int:
    return transport.send(
        Request("APPEND", str(path), {"rotate-bytes": str(rotate_bytes)}, body), timeout_seconds
    ).status


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The path of a day's first file, in a folder that is not there yet."""
    return tmp_path / "events" / "archive" / "hook-2026-08-31.ndjson"


def test_lines_are_appended_to_a_folder_that_is_made_on_the_way(first):
    transport = FileTransport()

    assert append(transport, first, b'{"a":1}\n') == 200
    assert append(transport, first, b'{"a":2}\n{"a":3}\n') == 200

    assert first.read_bytes() == b'{"a":1}\n{"a":2}\n{"a":3}\n'
    assert first.stat().st_mode & 0o007 == 0


def test_a_file_that_would_grow_too_large_is_followed_by_numbered_ones(first):
    transport = FileTransport()

    for mark in b"abc":
        append(transport, first, bytes([mark]) * 59 + b"\n", rotate_bytes=100)

    names = sorted(path.name for path in first.parent.iterdir())
    assert names == ["hook-2026-08-31-1.ndjson", "hook-2026-08-31-2.ndjson", "hook-2026-08-31.ndjson"]


def test_a_new_transport_goes_on_with_the_newest_file(first):
    for mark in b"abc":
        append(FileTransport(), first, bytes([mark]) * 39 + b"\n", rotate_bytes=100)

    assert first.read_bytes() == b"a" * 39 + b"\n" + b"b" * 39 + b"\n"
    assert first.with_name("hook-2026-08-31-1.ndjson").read_bytes() == b"c" * 39 + b"\n"


def test_a_batch_larger_than_the_limit_gets_a_file_of_its_own(first):
    transport = FileTransport()
    append(transport, first, b"a\n", rotate_bytes=10)

    append(transport, first, b"b" * 50 + b"\n", rotate_bytes=10)

    assert first.read_bytes() == b"a\n"
    assert first.with_name("hook-2026-08-31-1.ndjson").read_bytes() == b"b" * 50 + b"\n"


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (b'{"a":1}\n{"a":', b'{"a":1}\n'),
        (b'{"a":', b""),
        (b'{"a":1}\n', b'{"a":1}\n'),
        (b"", b""),
        (b"first\n" + b"x" * 200_000, b"first\n"),
        (b"x" * 200_000, b""),
    ],
)
def test_what_a_crash_left_of_a_line_is_cut_off_before_the_next(first, found, kept):
    first.parent.mkdir(parents=True)
    first.write_bytes(found)

    append(FileTransport(), first, b"next\n", rotate_bytes=10_000_000)

    assert first.read_bytes() == kept + b"next\n"


def test_a_file_that_somebody_moved_away_is_begun_anew(first):
    transport = FileTransport()
    append(transport, first, b"a\n")
    first.rename(first.with_name("loaded.ndjson"))

    append(transport, first, b"b\n")

    assert first.read_bytes() == b"b\n"


def test_files_of_other_destinations_and_days_do_not_count(first):
    first.parent.mkdir(parents=True)
    for name in ("hook-2026-08-30-7.ndjson", "hook-2-2026-08-31-5.ndjson", "hook-2026-08-31-x.ndjson", "7.ndjson"):
        (first.parent / name).write_bytes(b"z\n")

    append(FileTransport(), first, b"a\n")

    assert first.read_bytes() == b"a\n"


def append_with_little_room(path: Path, room_bytes: int, told: "multiprocessing.Queue[str]") -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, room_bytes))
    try:
        append(FileTransport(), path, b"x" * 5000 + b"\n", rotate_bytes=10_000_000)
    except TransportError as error:
        told.put(str(error))


@pytest.mark.parametrize("room_bytes", [6, 100])  # nothing fits; a part fits
def test_without_room_nothing_is_written_and_the_error_says_where(first, room_bytes):
    append(FileTransport(), first, b"whole\n")
    spawn = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[str] = spawn.Queue()

    process = spawn.Process(target=append_with_little_room, args=(first, room_bytes, told))
    process.start()
    text = told.get(timeout=20)
    process.join()

    assert text.startswith(f"cannot write to {first.parent}: ")
    assert first.read_bytes() == b"whole\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_named_as_such(tmp_path):
    full = tmp_path / "full.ndjson"
    full.symlink_to("/dev/full")

    with pytest.raises(TransportError, match="No space left on device; make room"):
        append(FileTransport(), full, b"a\n")


def test_a_folder_that_is_a_file_is_a_transport_error(tmp_path):
    (tmp_path / "events").write_text("a file")

    with pytest.raises(TransportError, match="cannot write to"):
        append(FileTransport(), tmp_path / "events" / "hook-2026-08-31.ndjson", b"a\n")


def test_a_lock_that_is_held_elsewhere_ends_in_a_transport_error(first):
    transport = FileTransport()
    append(transport, first, b"a\n")
    descriptor = os.open(first, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with pytest.raises(TransportError, match="another process keeps it locked"):
        append(transport, first, b"b\n", timeout_seconds=0.05)
    os.close(descriptor)

    assert append(transport, first, b"c\n") == 200
    assert first.read_bytes() == b"a\nc\n"


def append_many(path: Path, mark: int) -> None:
    transport = FileTransport()
    for number in range(20):
        lines = b"".join(b"%d-%d-%d %s\n" % (mark, number, line, b"x" * 200) for line in range(10))
        append(transport, path, lines, rotate_bytes=20_000)


def test_several_processes_write_whole_lines_and_lose_none(first):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=append_many, args=(first, mark)) for mark in range(3)]

    for process in processes:
        process.start()
    for process in processes:
        process.join(30)

    lines = [line for path in first.parent.iterdir() for line in path.read_bytes().splitlines()]
    expected = {b"%d-%d-%d" % (mark, number, line) for mark in range(3) for number in range(20) for line in range(10)}
    assert {line.split()[0] for line in lines} == expected
    assert len(lines) == len(expected)
    assert all(path.stat().st_size <= 20_000 for path in first.parent.iterdir())

"""Appends prepared lines to files: whole lines only, even after a crash, and durable before the answer.

A request's `url` is the path of a day's first file; its header `rotate-bytes` says when a numbered one follows it.
"""

import contextlib
import errno
import fcntl
import os
import threading
import time
from pathlib import Path

from connector.errors import TransportError
from connector.model import Request, Response

WRITTEN = Response(200, {}, b"")
LOCK_PAUSE_SECONDS = 0.01  # between two looks at a lock that another process holds
TAIL_BYTES = 65_536  # read at once while looking for the end of the last whole line
FILE_MODE = 0o640  # people's data: not for everyone on the machine
FOLDER_MODE = 0o750


class FileTransport:
    """Any number of threads and processes may append to the same files; a lock on the file orders them."""

    def __init__(self) -> None:
        self._parts: dict[Path, int] = {}  # the newest numbered file of each day's first one, as far as is known
        self._parts_guard = threading.Lock()

    def send(self, request: Request, timeout_seconds: float) -> Response:
        """Durable when it returns. Raises TransportError when nothing was written; the file is then as before."""
        first = Path(request.url)
        deadline = time.monotonic() + timeout_seconds
        try:
            rotate_bytes = int(request.headers.get("rotate-bytes", "0"))
            self._append(first, request.body, rotate_bytes, deadline)
        except OSError as error:
            raise TransportError(f"cannot write to {first.parent}: {describe(error)}") from error
        return WRITTEN

    def close(self) -> None:
        """Nothing stays open between two sends; what is known of the folders is read anew."""
        with self._parts_guard:
            self._parts.clear()

    def _append(self, first: Path, body: bytes, rotate_bytes: int, deadline: float) -> None:
        part = self._newest_part(first)
        while True:
            path = part_path(first, part)
            descriptor = open_for_append(path)
            try:
                lock(descriptor, path, deadline)
                if not is_still_at(path, descriptor):
                    continue  # Somebody moved it away between opening and locking: what is written there is lost.
                size = cut_incomplete_line(descriptor)
                if not size or not rotate_bytes or size + len(body) <= rotate_bytes:
                    write_whole(descriptor, body, size)
                    if not size:
                        sync_folder(path.parent)
                    break
            finally:
                os.close(descriptor)
            part += 1
        with self._parts_guard:
            self._parts[first] = max(part, self._parts.get(first, 0))

    def _newest_part(self, first: Path) -> int:
        with self._parts_guard:
            known = self._parts.get(first)
        return newest_part(first) if known is None else known


def part_path(first: Path, part: int) -> Path:
    """`a.ndjson`, `a-1.ndjson`, `a-2.ndjson`, …"""
    return first.with_name(f"{first.stem}-{part}{first.suffix}") if part else first


def newest_part(first: Path) -> int:
    """The highest number among the files that are there, 0 when there is none."""
    prefix = f"{first.stem}-"
    stems = (path.stem for path in first.parent.glob(f"*{first.suffix}") if path.stem.startswith(prefix))
    numbers = (stem.removeprefix(prefix) for stem in stems)
    return max((int(text) for text in numbers if text.isascii() and text.isdigit()), default=0)


def open_for_append(path: Path) -> int:
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)


def lock(descriptor: int, path: Path, deadline: float) -> None:
    """Returns with the file locked. Raises TransportError when another process keeps it past the deadline."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TransportError(f"cannot write to {path}: another process keeps it locked") from None
            time.sleep(LOCK_PAUSE_SECONDS)


def is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def cut_incomplete_line(descriptor: int) -> int:
    """The size of the file, after what a crash left behind its last whole line has been cut off."""
    size = end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - TAIL_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        end = start + newline + 1
        if newline >= 0:
            break
    if end < size:
        os.ftruncate(descriptor, end)
    return end


def write_whole(descriptor: int, body: bytes, size: int) -> None:
    """All is on disk when it returns. Raises OSError with the file at its old `size` again, if the disk allows."""
    try:
        written = os.write(descriptor, body)
        if written < len(body):  # a full disk or a quota takes what fits, without an error
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):  # What cannot be taken back is cut before the next line, or comes twice.
            os.ftruncate(descriptor, size)
        raise


def sync_folder(folder: Path) -> None:
    """A new file's name is on disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe(error: OSError) -> str:
    """What is wrong, and what to do where that is clear."""
    text = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}; make room, writing goes on by itself"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{text}; let the connector's user write there, or set `path` to another folder"
    return text

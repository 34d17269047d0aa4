"""What is particular to the journal on SQLite: processes that are killed, locks, full disks, query plans, files."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NoReturn

import pytest

from connector.clock import SystemClock
from connector.errors import JournalError, JournalFullError
from connector.journal import sqlite_database
from connector.journal.sqlite import RESERVE_BYTES, SqliteJournal
from connector.model import Reader, Receipt, Retention
from tests.contract.journal_words import (
    READER,
    SOURCE,
    START,
    done,
    event,
    events,
    ids,
    released,
    retry,
    settle_all,
    store,
)
from tests.fakes import FakeClock
from tests.integration.observed_journal import ObservedDatabase, ObservedJournal

SPAWN = multiprocessing.get_context("spawn")  # a fork would copy this process's locks and threads
PATIENCE_SECONDS = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journal(path: Path, clock: FakeClock) -> Iterator[SqliteJournal]:
    opened = SqliteJournal(path, clock, reserve_bytes=0)
    yield opened
    opened.close()


@pytest.fixture
def observed(path: Path, clock: FakeClock) -> Iterator[tuple[ObservedJournal, ObservedDatabase]]:
    database = ObservedDatabase(path)
    journal = ObservedJournal(database, clock)
    yield journal, database
    journal.close()


# ── processes that are killed ──

APPEND_FOR_EVER = """
import os, sys
from pathlib import Path
from connector.clock import SystemClock
from connector.journal.sqlite import SqliteJournal
from tests.contract.journal_words import event

journal = SqliteJournal(Path(sys.argv[1]), SystemClock(), reserve_bytes=0)
number = int(sys.argv[2])
while True:
    group = [event(number + offset) for offset in range(7)]
    receipts = journal.append(group)
    os.write(1, b"".join(b"%s %s\\n" % (e.event_id.encode(), r.encode()) for e, r in zip(group, receipts, strict=True)))
    number += 7
"""


def test_what_was_answered_before_kill_9_is_there_and_nothing_is_there_in_part(path: Path) -> None:
    answered: set[str] = set()
    for life in range(5):
        answered |= _append_until_killed(path, first=life * 1_000_000, lines=100 + 37 * life)

    journal = SqliteJournal(path, SystemClock(), reserve_bytes=0)
    kept = [received.event_id for received in journal.scan()]
    journal.add_reader(READER, "beginning")

    assert len(answered) > 500
    assert answered <= set(kept)
    assert len(kept) == len(set(kept))
    assert len(kept) % 7 == 0, "a group is stored whole or not at all"
    assert journal.backlog(READER).waiting == len(kept)
    journal.close()


def _append_until_killed(path: Path, first: int, lines: int) -> set[str]:
    """The ids that a child was told are stored, before it is killed in the middle of its work."""
    with subprocess.Popen(
        [sys.executable, "-c", APPEND_FOR_EVER, str(path), str(first)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        told += child.stdout.readlines()
    answers = [line.split() for line in told if line.endswith(b"\n")]
    assert {receipt for _, receipt in answers} == {b"stored"}
    return {event_id.decode() for event_id, _ in answers}


def _claim_and_hang(path: Path, holds: Event) -> None:
    journal = SqliteJournal(path, SystemClock(), reserve_bytes=0)
    first, *_ = journal.claim(READER, 3)
    journal.settle(READER, done(first))
    holds.set()
    threading.Event().wait()


def test_the_claims_of_a_killed_process_are_taken_over_at_once(path: Path) -> None:
    journal = SqliteJournal(path, SystemClock(), reserve_bytes=0)
    journal.add_reader(READER, "beginning")
    store(journal, 5)
    holds = SPAWN.Event()
    child = SPAWN.Process(target=_claim_and_hang, args=(path, holds))
    child.start()
    assert holds.wait(PATIENCE_SECONDS)
    assert journal.claim(READER, 10) == []

    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()

    assert settle_all(journal) == [2, 3, 4, 5]
    journal.close()


def _append_events(path: Path, source: str, count: int) -> None:
    journal = SqliteJournal(path, SystemClock(), reserve_bytes=0)
    for number in range(1, count + 1):
        assert journal.append([event(number, source), event(number, "shared")])[0] is Receipt.STORED
    journal.close()


def test_several_processes_append_at_once_and_agree_on_repeats(path: Path) -> None:
    sources = ["a", "b", "c"]
    children = [SPAWN.Process(target=_append_events, args=(path, source, 60)) for source in sources]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE_SECONDS)
    assert [child.exitcode for child in children] == [0, 0, 0]

    journal = SqliteJournal(path, SystemClock(), reserve_bytes=0)
    assert [ids(journal.scan(source=source)) for source in sources] == [list(range(1, 61))] * 3
    assert sorted(ids(journal.scan(source="shared"))) == list(range(1, 61))
    reader = Reader("hook", "shared")
    journal.add_reader(reader, "beginning")
    assert journal.backlog(reader).waiting == 60
    assert len(settle_all(journal, reader)) == 60
    journal.close()


# ── threads ──


def test_threads_of_one_process_share_a_reader_without_handing_out_twice(journal: SqliteJournal) -> None:
    journal.add_reader(READER, "beginning")
    journal.add_reader(Reader("file", SOURCE), "beginning")
    store(journal, 600)

    def work(reader: Reader) -> list[int]:
        return settle_all(journal, reader, limit=7)

    with ThreadPoolExecutor(8) as pool:
        delivered = list(pool.map(work, [READER, Reader("file", SOURCE)] * 4))

    assert sorted(chain(*delivered[::2])) == list(range(1, 601))
    assert sorted(chain(*delivered[1::2])) == list(range(1, 601))
    assert journal.backlog(READER).waiting == 0


def test_retention_and_delivery_at_the_same_time_account_for_every_event(
    journal: SqliteJournal, clock: FakeClock
) -> None:
    journal.add_reader(READER, "beginning")
    store(journal, 3000)
    clock.advance(2500)
    delivered: list[int] = []

    def deliver() -> None:
        delivered.extend(settle_all(journal, limit=11))

    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(deliver)
        while not working.done():
            journal.prune(Retention(events_seconds=500.0))
        working.result()

    removed = [int(letter.event_id.removeprefix("event-")) for letter in journal.dead_letters(limit=3000)]
    assert sorted(delivered + removed) == list(range(1, 3001))
    assert journal.backlog(READER).waiting == 0


# ── faults ──


def test_a_lock_that_somebody_holds_is_an_error_in_time_and_then_forgotten(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sqlite_database.BUSY_SECONDS < 3, "receiving answers 503 after 3 s"
    monkeypatch.setattr(sqlite_database, "BUSY_SECONDS", 0.1)
    journal = SqliteJournal(path, clock, reserve_bytes=0)
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    started = time.monotonic()

    with pytest.raises(JournalError, match="locked"):
        journal.append([event(1)])
    with pytest.raises(JournalError, match="locked"):
        journal.check_writable()

    assert time.monotonic() - started < 2
    assert list(journal.scan()) == [], "reading goes on"
    stranger.execute("COMMIT")
    stranger.close()
    store(journal, 1)
    journal.close()


def test_an_error_in_the_middle_of_a_claim_loses_nothing(observed: tuple[ObservedJournal, ObservedDatabase]) -> None:
    journal, database = observed
    journal.add_reader(READER, "beginning")
    store(journal, 6)
    first, second, third, _ = journal.claim(READER, 4)
    journal.settle(READER, [*retry(first, at=START), *released(second, third)])

    database.is_broken = True
    for _ in range(3):
        with pytest.raises(JournalError):
            journal.claim(READER, 10)
    with pytest.raises(JournalError):
        journal.settle(READER, done(first))
    database.is_broken = False

    assert ids(journal.claim(READER, 10)) == [1, 2, 3, 5, 6]


def test_an_error_in_the_middle_of_an_append_leaves_nothing_behind(
    observed: tuple[ObservedJournal, ObservedDatabase],
) -> None:
    journal, database = observed
    store(journal, 1)

    database.is_broken = True
    with pytest.raises(JournalError):
        journal.append(events(300, first=2))
    database.is_broken = False

    assert ids(journal.scan()) == [1]
    store(journal, 300, first=2)


def test_an_event_that_cannot_be_written_leaves_nothing_of_its_group(journal: SqliteJournal) -> None:
    with pytest.raises(UnicodeEncodeError):
        journal.append([event(1), event(2, event_id="\ud800")])

    store(journal, 1)


def test_the_reserve_of_the_disk_is_left_to_delivering(path: Path, clock: FakeClock) -> None:
    journal = SqliteJournal(path, clock, reserve_bytes=0)
    journal.add_reader(READER, "beginning")
    store(journal, 2)
    journal.close()
    short_of_space = SqliteJournal(path, clock, reserve_bytes=2**60)

    with pytest.raises(JournalFullError, match="reserve"):
        short_of_space.append([event(3)])
    with pytest.raises(JournalFullError, match="reserve"):
        short_of_space.check_writable()

    assert settle_all(short_of_space) == [1, 2]
    short_of_space.close()
    assert RESERVE_BYTES >= 2**26


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str], NoReturn]) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        missing("the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_and_recovered_from(small_disk: Path, clock: FakeClock) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1_500_000)
    path = small_disk / "journal.db"
    journal = SqliteJournal(path, clock, reserve_bytes=0)
    stored = 0
    with pytest.raises(JournalFullError, match="full"):  # noqa: PT012 - how many fit is what we ask
        while True:
            journal.append(events(20, first=stored + 1))
            stored += 20
    assert stored > 100
    with pytest.raises(JournalFullError, match="full"):
        journal.append([event(10**6, body=b"x" * 1_000_000)])
    assert ids(journal.scan()) == list(range(1, stored + 1)), "reading goes on"
    restarted = SqliteJournal(path, clock, reserve_bytes=0)

    filler.unlink()

    restarted.check_writable()
    store(restarted, 20, first=stored + 1)
    store(journal, 20, first=stored + 21)
    assert ids(journal.scan()) == list(range(1, stored + 41))
    restarted.close()
    journal.close()


def test_a_file_of_a_newer_version_is_refused(path: Path, clock: FakeClock) -> None:
    SqliteJournal(path, clock).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()

    with pytest.raises(JournalError, match="newer version"):
        SqliteJournal(path, clock)


def test_a_file_that_is_no_database_is_an_error_that_names_it(path: Path, clock: FakeClock) -> None:
    path.write_bytes(b"something else entirely" * 100)

    with pytest.raises(JournalError, match=r"journal\.db"):
        SqliteJournal(path, clock)


def test_a_page_that_a_bad_disk_changed_is_found(journal: SqliteJournal, path: Path) -> None:
    store(journal, 2000)
    assert journal.flaws(10.0) == []
    journal.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = os.urandom(4096)
    path.write_bytes(content)

    assert journal.flaws(10.0) != []


# ── files ──


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open(path: Path, clock: FakeClock) -> None:
    def use() -> None:
        journal = SqliteJournal(path, clock, reserve_bytes=0)
        journal.add_reader(READER, "beginning")
        journal.append(events(20))
        journal.claim(READER, 5)
        journal.close()

    use()
    before = _open_descriptors()

    for _ in range(20):
        use()

    assert _open_descriptors() == before


def test_the_write_ahead_log_does_not_grow_for_ever(journal: SqliteJournal, path: Path) -> None:
    journal.add_reader(READER, "beginning")
    for first in range(1, 20_001, 200):
        journal.append([event(number, body=b"x" * 1000) for number in range(first, first + 200)])
        settle_all(journal)

    assert path.stat().st_size > 20_000_000
    assert path.with_name(path.name + "-wal").stat().st_size < 12_000_000


def test_what_was_erased_is_in_no_file(journal: SqliteJournal, path: Path) -> None:
    secrets = [b"ada@example.com", b"grace@example.com" * 1000]
    journal.append([event(1), event(2, body=secrets[0]), event(3, body=secrets[1]), event(4)])

    journal.erase([received.seq for received in journal.scan() if received.body in secrets])

    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"ada@example.com" not in content
    assert b"grace@example.com" not in content


def test_the_files_are_for_their_owner_only(journal: SqliteJournal, path: Path) -> None:
    store(journal, 1)
    journal.add_reader(READER, "now")
    journal.claim(READER, 1)

    modes = {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir() if "journal" in file.name}

    assert modes == dict.fromkeys(modes, 0)

"""A disk that is really full: a small tmpfs of its own, filled to the last byte and emptied again."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.acceptance.customerio import Load, assert_all_arrive, event, post_events
from tests.acceptance.service import RUDDER_KEY, WRITE_KEY, Service, wait_until
from tests.stubs import RudderStub

DISK_BYTES = 16 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str], NoReturn]) -> Iterator[Path]:
    """The service's data folder, on a disk of its own."""
    disk = tmp_path / "data"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        missing("the right to mount a tmpfs (root)")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def full_service(small_disk: Path, make_service: Callable[..., Service], stub: RudderStub) -> Callable[[str], Service]:
    def start(reserve: str) -> Service:
        return make_service(
            WRITE_KEY=WRITE_KEY,
            DESTINATION_URL=stub.url,
            DESTINATION_WRITE_KEY=RUDDER_KEY,
            CONNECTOR_DISK_RESERVE=reserve,
        ).start()

    return start


def fill(disk: Path) -> Path:
    """To the last byte; the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 512, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


@pytest.mark.parametrize("reserve", ["1MB", "0"], ids=["reserve-kept", "no-reserve"])
def test_a_full_disk_is_answered_503_until_there_is_room_and_nothing_answered_200_is_lost(
    full_service: Callable[[str], Service], small_disk: Path, stub: RudderStub, reserve: str
) -> None:
    service = full_service(reserve)

    with Load(service) as load:
        load.wait_for(100)
        ballast = fill(small_disk)
        wait_until(lambda: load.outcomes[503] >= 20, "a full disk is answered 503")
        refused = service.post(event())
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert refused.seconds < 3.8
        assert service.get("/healthz").status == 200
        assert service.get("/status?json").status == 200
        ballast.unlink()
        load.wait_for(100)

    assert set(load.outcomes) == {200, 503}
    assert_all_arrive(stub, load.answered, what=f"full disk, reserve {reserve}")


def test_processes_that_are_killed_while_the_disk_is_full_come_back_and_answer_503(
    full_service: Callable[[str], Service], small_disk: Path, stub: RudderStub
) -> None:
    service = full_service("1MB")
    before = post_events(service, 20)
    ballast = fill(small_disk)

    killed = [*service.web_workers(), service.delivering()]
    service.kill(*killed)
    wait_until(lambda: len(set(service.web_workers()) - set(killed)) == 2, "both web workers are replaced")

    assert service.post(event()).status == 503
    assert service.get("/readyz").status == 503
    ballast.unlink()
    wait_until(lambda: service.get("/readyz").status == 200, "it can store again")
    assert_all_arrive(stub, [*before, *post_events(service, 20)])

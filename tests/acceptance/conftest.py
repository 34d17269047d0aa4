"""What the acceptance tests share: a service in a folder of its own, a stub to deliver to, a deadline for each test,
and everything that the processes said when a test fails.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.acceptance.service import RUDDER_KEY, WRITE_KEY, Service
from tests.stubs import RudderStub, accept

TEST_SECONDS = 90  # a test that takes longer hangs
SHOWN_LINES = 80
SHOWN_CHARACTERS = 300

_services: dict[str, list[Service]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        for service in _services.get(item.nodeid, []):
            shown = [line[:SHOWN_CHARACTERS] for line in service.log.splitlines()[-SHOWN_LINES:]]
            report.sections.append((f"the service in {service.folder.name} said", "\n".join(shown)))
    return report


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took longer than {TEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def make_stub() -> Iterator[Callable[[], RudderStub]]:
    """Further stubs; a test that ends with one of them having been sent what a data plane refuses fails."""
    made: list[RudderStub] = []

    def make() -> RudderStub:
        made.append(RudderStub(accept).start())
        return made[-1]

    yield make
    for stub in made:
        stub.stop()
    assert [fault for stub in made for fault in stub.faults] == []


@pytest.fixture
def stub(make_stub: Callable[[], RudderStub]) -> RudderStub:
    return make_stub()


@pytest.fixture
def make_service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Service]]:
    """A service in the test's folder, not yet started; keyword arguments are environment variables."""
    made = _services[request.node.nodeid] = []

    def make(**environment: str) -> Service:
        made.append(Service(tmp_path, **environment))
        return made[-1]

    yield make
    for service in made:
        service.end()
    del _services[request.node.nodeid]


@pytest.fixture
def service(make_service: Callable[..., Service], stub: RudderStub) -> Service:
    """Started, with `stub` as its only destination, from environment variables alone."""
    return make_service(WRITE_KEY=WRITE_KEY, DESTINATION_URL=stub.url, DESTINATION_WRITE_KEY=RUDDER_KEY).start()

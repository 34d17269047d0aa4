"""What all tests share: the fixture files, the rule for missing servers, and the rule that nobody calls outside."""

import ipaddress
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"


class OutsideCallError(RuntimeError):
    """A test tried to reach a host that is not this one."""


def _refuse_outside_calls(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    if not isinstance(address, tuple):  # a Unix socket
        return
    try:
        target = ipaddress.ip_address(address[0].partition("%")[0])
    except ValueError:  # a name: let it be resolved first, as "localhost" is; the test should hand in an address
        if address[0] == "localhost":
            return
        raise OutsideCallError(f"a test tried to reach {address[0]}") from None
    if not (target.is_loopback or target.is_unspecified):
        raise OutsideCallError(f"a test tried to reach {target}")


sys.addaudithook(_refuse_outside_calls)


@pytest.fixture
def read_fixture() -> Callable[[str], Any]:
    """The value of a JSON file under fixtures/, named from there: `read_fixture("events/email_opened.json")`."""

    def read(name: str) -> Any:
        return json.loads((FIXTURES / name).read_text(encoding="utf-8"))

    return read


@pytest.fixture
def missing() -> Callable[[str], NoReturn]:
    """Call it when a server or right that a test needs is not there: it skips at a desk and fails in the build."""

    def report(what: str) -> NoReturn:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(f"{what} is missing; the build must have it")
        pytest.skip(f"{what} is missing; the build would fail here")

    return report

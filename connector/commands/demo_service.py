"""A service of its own for the demo, when none runs: on a free port, with a temporary folder and a file destination."""

import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from connector.commands.answers import Unreachable
from connector.commands.desk import base_url
from connector.commands.first_steps import EVERYWHERE
from connector.errors import TransportError
from connector.house import House
from connector.model import Request
from connector.settings import Settings, inherited_environment, load_settings

START_TRIES, START_PAUSE_SECONDS = 100, 0.2  # together 20 s, for a machine that is busy
STOP_SECONDS = 30.0
ANSWER_SECONDS = 2.0
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


def answers(house: House, settings: Settings) -> bool:
    """Whether a service answers at the settings' own address."""
    transport = house.open_transport(replace(settings, allow_networks=EVERYWHERE), "http")
    try:
        return transport.send(Request("GET", f"{base_url(settings)}/healthz", {}, b""), ANSWER_SECONDS).status == 200
    except TransportError:
        return False
    finally:
        transport.close()


@contextmanager
def temporary_service(house: House) -> Iterator[tuple[House, Path]]:
    """A running service, as a house whose settings are its own, and its folder; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="connector-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = _environment(house, folder)
        settings = load_settings(environment, folder)
        log = (folder / "service.log").open("wb")
        process = subprocess.Popen(  # noqa: S603  # our own
            [sys.executable, "-m", "gunicorn", "-c", str(house.project / "gunicorn.conf.py"), "app:app"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_it_answers(house, settings, process, folder)
            yield replace(house, load_settings=lambda: settings), folder
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


def _environment(house: House, folder: Path) -> Mapping[str, str]:
    """Nothing of the real service's settings is in it."""
    inherited = inherited_environment()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        **{name: inherited[name] for name in KEPT_VARIABLES if name in inherited},
        "PYTHONPATH": str(house.project),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WRITE_KEY": secrets.token_urlsafe(24),
        "SIGNING_KEY": secrets.token_hex(32),
        "DESTINATION_TYPE": "file",
        "CONNECTOR_DATA_DIR": str(folder / "data"),
        "CONNECTOR_KEEPALIVE": "1",
        "CONNECTOR_WORKERS": "1",
        "CONNECTOR_DISK_RESERVE": "1MB",
    }


def _wait_until_it_answers(house: House, settings: Settings, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    for _ in range(START_TRIES):
        if process.poll() is not None or answers(house, settings):
            break
        house.clock.sleep(START_PAUSE_SECONDS)
    else:
        process.kill()
    if process.poll() is not None:
        said = (folder / "service.log").read_text("utf-8", "replace")[-2000:]
        raise Unreachable(f"the demo's own service did not start; it said:\n{said}")

"""The real processes: gunicorn's master, its web workers and the delivering process, in a process group of their own,
on a free port, with everything they say kept in one file.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.clock import SystemClock
from connector.journal.sqlite import SqliteJournal
from tests.stubs import RudderStub

ROOT = Path(__file__).parents[2]
GUNICORN = (sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "app:app")
WRITE_KEY = "wk_acceptance"
RUDDER_KEY = "rudder-key"
WORKERS = 2
START_SECONDS = 30.0
STOP_SECONDS = 30.0
REQUEST_SECONDS = 10.0
LOOK_SECONDS = 0.03  # between two looks at something awaited


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


def wait_until(is_so: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Returns once it is so; an AssertionError that says what was awaited when it is not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(LOOK_SECONDS)


def source(name: str = "production", write_key: str = WRITE_KEY, **more: Any) -> dict[str, Any]:
    return {"name": name, "write_keys": [write_key], **more}


def rudder(stub: RudderStub, name: str = "rudder", **more: Any) -> dict[str, Any]:
    """A destination that goes to the stub, in more haste than its defaults."""
    return {
        "name": name,
        "type": "rudderstack",
        "url": stub.url,
        "write_key": RUDDER_KEY,
        "batch": {"max_wait": 0.1},
        "timeout": 0.5,
        "retry": {"retries": 12, "delays": [0.1, 0.2]},
        **more,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_answer(connection: http.client.HTTPConnection, started_at: float) -> HttpAnswer:
    answer = connection.getresponse()
    body = answer.read()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return HttpAnswer(answer.status, headers, body, time.monotonic() - started_at)


class Service:
    """Started with `start`, as often as wanted; `end` leaves no process behind, whatever happened before."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "CONNECTOR_WORKERS": str(WORKERS),
            "CONNECTOR_ALLOW_NETWORKS": "127.0.0.0/8",
            "CONNECTOR_DISK_RESERVE": "1MB",
            "CONNECTOR_KEEPALIVE": "10",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    def configure(self, destinations: Sequence[Mapping[str, Any]], **more: Any) -> None:
        """Writes connector.yaml, whole at once; `sources` and `retention` may be given."""
        content = {"sources": [source()], "destinations": list(destinations), **more}
        self.write_config(json.dumps(content, indent=1))  # JSON is YAML, too

    def write_config(self, text: str) -> None:
        written = self.folder / "connector.yaml.new"
        written.write_text(text)
        written.replace(self.folder / "connector.yaml")

    # ── processes ──

    def start(self, command: Sequence[str] = GUNICORN) -> "Service":
        self.process = self._run(command)
        wait_until(self._is_up, "the service answers, all of it", START_SECONDS)
        return self

    def start_delivering(self) -> "subprocess.Popen[bytes]":
        """`python -m connector deliver`, of its own, beside a service that only receives."""
        return self._run((sys.executable, "-m", "connector", "deliver"))

    def _run(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / "service.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._groups.append(process.pid)
        return process

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the service ended while it started"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                pass
        except OSError:
            return False
        return len(self.web_workers()) >= WORKERS and self.get("/healthz").status == 200

    def master(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> dict[int, str]:
        """Process id → command line of those whose parent is the master."""
        return {pid: line for pid, parent, line in _processes(self.master()) if parent == self.master()}

    def web_workers(self) -> list[int]:
        return [pid for pid, line in self.children().items() if "gunicorn" in line and "deliver" not in line]

    def delivering(self) -> int | None:
        return next((pid for pid, line in self.children().items() if "connector deliver" in line), None)

    def members(self) -> list[int]:
        """All processes of this service that are alive, orphans included."""
        return [pid for group in self._groups for pid, _, _ in _processes(group)]

    def kill(self, *pids: int | None) -> None:
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

    def kill_master(self) -> None:
        """And it alone: workers and delivering process have to notice by themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """TERM, as a platform does it; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def interrupt(self) -> None:
        """Ctrl-C, which a terminal sends to every process of the group."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait(STOP_SECONDS)
        wait_until(lambda: not self.members(), "all processes of the service are gone", STOP_SECONDS)

    def command(self, *arguments: str, seconds: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """`python -m connector …` beside the running service."""
        return subprocess.run(
            [sys.executable, "-m", "connector", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    # ── what it says and keeps ──

    @property
    def log(self) -> str:
        path = self.folder / "service.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @contextmanager
    def journal(self) -> Iterator[SqliteJournal]:
        """The journal, opened beside the service as the commands do."""
        journal = SqliteJournal(self.data / "journal.db", SystemClock(), reserve_bytes=0)
        try:
            yield journal
        finally:
            journal.close()

    # ── requests ──

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)

    def get(self, path: str) -> HttpAnswer:
        return self._request("GET", path, None, {})

    def post(self, body: bytes, write_key: str = WRITE_KEY, **headers: str) -> HttpAnswer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._request("POST", f"/v1/webhook?writeKey={write_key}", body, named)

    def status(self) -> Any:
        return self.get("/status?json").json()

    def destination(self, name: str) -> Any:
        """What /status says of one destination."""
        return next(shown for shown in self.status()["destinations"] if shown["name"] == name)

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> HttpAnswer:
        connection = self.connect()
        started_at = time.monotonic()
        try:
            connection.request(method, path, body, headers)
            return read_answer(connection, started_at)
        finally:
            connection.close()


def _processes(group: int) -> list[tuple[int, int, str]]:
    """(process, parent, command line) of all in the process group that still run."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name in brackets may hold anything; what follows it has one blank between any two fields.
            state, parent, its_group, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append((int(folder.name), int(parent), line))
    return found

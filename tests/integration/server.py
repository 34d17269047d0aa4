"""A real gunicorn with the project's own configuration, on a free loopback port, and a plain socket client for it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 20.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class RunningServer:
    """Started by `start`, ended by `stop`; `log` is everything it said."""

    folder: Path
    application: str = "tests.integration.served_app:app"
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> "RunningServer":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), self.application],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "PORT": str(self.port),
                "CONNECTOR_DATA_DIR": str(self.folder),
                "CONNECTOR_DELIVER": "no",
                "CONNECTOR_WORKERS": "2",
                **self.environment,
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_alive()
        return self

    def _wait_until_alive(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.get("/healthz").status == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log}")

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text("utf-8", "replace")

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """The exit code of the master, told to end with TERM."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()
        return self.process.returncode

    # ── requests ──

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)

    def get(self, path: str, headers: dict[str, str] | None = None) -> HttpAnswer:
        return self.request("GET", path, None, headers)

    def post(self, body: bytes, key: str = "key", headers: dict[str, str] | None = None) -> HttpAnswer:
        return self.request("POST", f"/v1/webhook?writeKey={key}", body, headers)

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None = None) -> HttpAnswer:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            return read_answer(connection)
        finally:
            connection.close()

    def send_raw(self, *pieces: bytes, pause_seconds: float = 0.0, ends: bool = False) -> HttpAnswer:
        """The answer to these very bytes; `ends`: the sender closes its side after them."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as raw:
            for piece in pieces:
                raw.sendall(piece)
                time.sleep(pause_seconds)
            if ends:
                raw.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(raw, method="POST")
            answer.begin()
            return HttpAnswer(answer.status, _lower(answer.getheaders()), answer.read())


def read_answer(connection: http.client.HTTPConnection) -> HttpAnswer:
    answer = connection.getresponse()
    return HttpAnswer(answer.status, _lower(answer.getheaders()), answer.read())


def _lower(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}

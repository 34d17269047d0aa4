"""Starts and ends what is measured: the connector, the bare route, the stub, the load."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).resolve().parents[1]
WRITE_KEY = "wk_benchmark_0123456789"
WEBHOOK = f"/v1/webhook?writeKey={WRITE_KEY}"
START_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:  # loopback
        body: bytes = answer.read()
        return body


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process group of its own, which is ended with the block."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            cwd=log.parent,
            stdout=subprocess.PIPE if "benchmarks.stub" in command else output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(started.pid, number)
                started.wait(15)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        if started.stdout:
            started.stdout.close()


def settings(folder: Path, port: int, **more: str) -> dict[str, str]:
    return {
        "WRITE_KEY": WRITE_KEY,
        "PORT": str(port),
        "CONNECTOR_DATA_DIR": str(folder / "data"),
        "CONNECTOR_ALLOW_NETWORKS": "127.0.0.0/8",
        "CONNECTOR_WORKERS": "2",
        "CONNECTOR_LOG_LEVEL": "warning",
        **more,
    }


@contextmanager
def web(folder: Path, application: str = "app:app", **more: str) -> Iterator[int]:
    """gunicorn with the connector's own settings; gives the port it listens on."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), application]
    with process(command, settings(folder, port, **more), folder / "web.log"):
        wait_for(port)
        yield port


@contextmanager
def bare_web(folder: Path) -> Iterator[int]:
    """The yardstick, under the same settings."""
    with web(folder, "benchmarks.bare:app", CONNECTOR_DELIVER="no") as port:
        yield port


@contextmanager
def stub(folder: Path, *options: str) -> Iterator[int]:
    with process([sys.executable, "-m", "benchmarks.stub", *options], {}, folder / "stub.log") as started:
        yield int(cast(IO[bytes], started.stdout).readline())


@contextmanager
def delivering(folder: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "connector", "deliver"]
    with process(command, settings(folder, 1, **more), folder / "deliver.log") as started:
        yield started


def wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    time.sleep(2.5)  # all workers have loaded the application


def load(port: int, path: str = WEBHOOK, **options: Any) -> dict[str, float]:
    """One run of the load generator, as a process of its own."""
    given = json.dumps({"port": port, "path": path, **options})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", given], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=600
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def seen(port: int) -> dict[str, float]:
    result: dict[str, float] = json.loads(fetch(port, "/seen"))
    return result


def children_of(port: int) -> list[int]:
    """The workers of the web server that was started for this port."""
    marks = {f"PORT={port}".encode(), b"CONNECTOR_DELIVER=no"}
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marks <= set((entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def resident_megabytes(pid: int) -> float:
    """The most memory that the process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmHWM of {pid}")

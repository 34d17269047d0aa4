"""Servers that tests deliver to: one that speaks RudderStack's HTTP API, holds callers to its documented limits, and
can be told to misbehave. In threads of the test's own process, on a free loopback port.

https://www.rudderstack.com/docs/api/http-api/
"""

import gzip
import json
import socket
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/v1/batch"
MAX_EVENT_BYTES = 32 * 1024
MAX_BATCH_BYTES = 4 * 1024 * 1024
TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})
MARK = "poisonous"  # the subject of an event that the stub is to choke on
DRIP_SECONDS = 0.2  # between two bytes of an answer that drips


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came; `at` is monotonic seconds."""

    at: float
    write_key: str
    events: tuple[dict[str, Any], ...]

    @property
    def has_marked(self) -> bool:
        return any(is_marked(event) for event in self.events)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the stub does about a call."""

    status: int = 200
    body: bytes = b"OK"
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False  # nothing at all, until the caller gives up or the stub is stopped
    drips: bool = False  # the answer comes byte by byte, and never ends
    is_cut: bool = False  # the connection is closed in the middle of the status line
    pause_seconds: float = 0.0  # between taking the events and answering

    @property
    def takes_events(self) -> bool:
        return self.status == 200 and self.body == b"OK" and not (self.silent or self.drips or self.is_cut)


Behaviour = Callable[[Call], Reply]


def is_marked(event: Mapping[str, Any]) -> bool:
    return MARK in str(event.get("properties", {}).get("emailSubject", ""))


# ── behaviours ──


def accept(call: Call) -> Reply:
    return Reply()


def slowly(seconds: float) -> Behaviour:
    """Takes the events at once and answers late: who is killed meanwhile has to send them again."""
    return lambda call: Reply(pause_seconds=seconds)


def always(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """The same answer to everything; `retry_after="2"` becomes a header."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return lambda call: Reply(status, body, named)


def garbage(call: Call) -> Reply:
    """A portal's page where an API should be."""
    return Reply(200, b"<html><body>Please sign in to the guest network</body></html>", {"Content-Type": "text/html"})


def silent(call: Call) -> Reply:
    return Reply(silent=True)


def drip(call: Call) -> Reply:
    return Reply(drips=True)


def cut(call: Call) -> Reply:
    return Reply(is_cut=True)


def redirect(call: Call) -> Reply:
    return Reply(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"})


def choke_on_marked(status: int) -> Behaviour:
    """One bad event takes its whole request with it, as 400 and 500 do at most providers."""
    return lambda call: Reply(status, b"bad event in batch") if call.has_marked else Reply()


def demand_key(write_key: str) -> Behaviour:
    return lambda call: Reply() if call.write_key == write_key else Reply(401, b"Invalid Authorization Header")


# ── the server ──


class RudderStub:
    """Counts what arrives by event id and by message id. `behaviour` may be changed at any time.

    `faults` is what a real data plane would have refused: a test that ends with any has found a defect.
    """

    def __init__(self, behaviour: Behaviour = accept) -> None:
        self.behaviour = behaviour
        self.faults: list[str] = []
        self._lock = threading.Lock()
        self._arrived: Counter[str] = Counter()
        self._message_ids: Counter[str] = Counter()
        self._first_at: dict[str, float] = {}
        self._taken: list[dict[str, Any]] = []
        self._calls: list[Call] = []
        self.stopping = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def arrived(self) -> Counter[str]:
        """Event id → how often it was taken."""
        with self._lock:
            return Counter(self._arrived)

    @property
    def message_ids(self) -> Counter[str]:
        with self._lock:
            return Counter(self._message_ids)

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Every event that was taken, in order of arrival."""
        with self._lock:
            return list(self._taken)

    @property
    def calls(self) -> list[Call]:
        with self._lock:
            return list(self._calls)

    def arrived_at(self, event_id: str) -> float:
        """Monotonic seconds of its first arrival."""
        with self._lock:
            return self._first_at[event_id]

    def start(self) -> "RudderStub":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Afterwards connections to its port are refused."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        call, fault, status = read_call(path, headers, body)
        if fault:
            with self._lock:
                self.faults.append(fault)
            return Reply(status, fault.encode())
        with self._lock:
            self._calls.append(call)
        reply = self.behaviour(call)
        if reply.takes_events:
            self._take(call)
        return reply

    def _take(self, call: Call) -> None:
        with self._lock:
            for event in call.events:
                event_id = event_id_of(event)
                self._arrived[event_id] += 1
                self._message_ids[event["messageId"]] += 1
                self._first_at.setdefault(event_id, call.at)
                self._taken.append(event)


def event_id_of(event: Mapping[str, Any]) -> str:
    """The provider's id of a standard event; one without is known by its message id."""
    properties = event.get("properties") or {}
    return str(properties.get("eventId") or event.get("messageId"))


def read_call(path: str, headers: Mapping[str, str], body: bytes) -> tuple[Call, str, int]:
    """The call, and what a data plane would refuse it for, with the status; "" when nothing."""
    nothing = Call(time.monotonic(), "", ())
    if path != PATH:
        return nothing, f"unknown path {path}", 404
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return nothing, "no Basic authorization", 401
    write_key = b64decode(credentials).decode().partition(":")[0]
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    if len(body) > MAX_BATCH_BYTES:
        return nothing, f"a batch of {len(body)} bytes", 413
    batch = json.loads(body).get("batch")
    if not batch:
        return nothing, "an empty batch", 400
    call = Call(time.monotonic(), write_key, tuple(batch))
    for event in batch:
        if fault := fault_of(event):
            return call, f"{fault}: {event_id_of(event)}", 400
    return call, "", 200


def fault_of(event: Mapping[str, Any]) -> str:
    if len(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")) > MAX_EVENT_BYTES:
        return "larger than 32 KB"
    if event.get("type") not in TYPES:
        return "no known type"
    if not (event.get("userId") or event.get("anonymousId")):
        return "neither userId nor anonymousId"
    if not event.get("messageId"):
        return "no messageId"
    if event["type"] == "track" and not event.get("event"):
        return "a track without an event name"
    return ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, stub: RudderStub) -> None:
        self.stub = stub
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that was killed, or gave up, is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        reply = self.server.stub.answer(self.path, dict(self.headers.items()), body)
        if reply.silent:
            self.close_connection = True
            self._wait_for_hang_up()
        elif reply.drips:
            self.close_connection = True
            self._drip()
        elif reply.is_cut:
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 2")
        else:
            self.server.stub.stopping.wait(reply.pause_seconds)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

    def _wait_for_hang_up(self) -> None:
        self.connection.settimeout(0.1)
        while not self.server.stub.stopping.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue

    def _drip(self) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Patience: " + b"z" * 10_000:
            self.wfile.write(bytes([byte]))
            if self.server.stub.stopping.wait(DRIP_SECONDS):
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the test's own output is what matters."""

"""A stand-in for Adobe's streaming inlet and its token server: holds callers to the documented limits, answers in the
documented shapes, and can be told to misbehave. In threads of the test's own process, on a free loopback port.

https://experienceleague.adobe.com/en/docs/experience-platform/ingestion/tutorials/streaming-multiple-messages
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INLET = "e75d0000"
SINGLE, BATCH, TOKEN = f"/collection/{INLET}", f"/collection/batch/{INLET}", "/ims/token/v3"
MAX_REQUEST_BYTES = 1_000_000
MAX_RECORD_BYTES = 10_000
CLIENT = {"client_id": "client-1", "client_secret": "made-up-secret"}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


# The messages → what is answered instead of taking them; None: take them.
Behaviour = Callable[[list[Any]], Reply | None]


def accept(messages: list[Any]) -> Reply | None:
    return None


def reply(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def refusal(status: int, message: str) -> dict[str, Any]:
    return {"statusCode": status, "message": f"inletId: [{INLET}] {message}"}


class AdobeStub:
    """`taken` are the entities (raw: the bodies) that were received; `faults` what a real inlet would have refused.

    `fault_of` finds what is wrong with a record, "" when nothing; tests put a validator there.
    """

    def __init__(
        self,
        is_authenticated: bool = False,
        fault_of: Callable[[Any], str] = lambda record: "",
        max_record_bytes: int = MAX_RECORD_BYTES,  # what becomes of a larger raw one is up to the user's mapping
    ) -> None:
        self.behaviour: Behaviour = accept
        self.taken: list[Any] = []
        self.faults: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.tokens: list[str] = []  # issued; all but the last are refused
        self.token_reply: Reply | None = None
        self._is_authenticated = is_authenticated
        self._fault_of = fault_of
        self._max_record_bytes = max_record_bytes
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return self.base + SINGLE

    @property
    def token_url(self) -> str:
        return self.base + TOKEN

    def start(self) -> "AdobeStub":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def expire_tokens(self) -> None:
        with self._lock:
            self.tokens.append("none is good until the next is issued")

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> Reply:
        parts = urlsplit(target)
        with self._lock:
            self.requests.append((target, headers))
            if parts.path == TOKEN:
                return self._issue(body)
            if parts.path not in (SINGLE, BATCH):
                return Reply(404)
            if self._is_authenticated and headers.get("Authorization") != f"Bearer {(self.tokens or ['none'])[-1]}":
                return reply(
                    401, {"status": "401", "title": "Authorization", "report": {"message": "token is invalid"}}
                )
            if len(body) > MAX_REQUEST_BYTES:
                return Reply(413)
            flow = headers.get("x-adobe-flow-id") or "".join(parse_qs(parts.query).get("x-adobe-flow-id", []))
            return self._collect(parts.path, json.loads(body), flow)

    def _issue(self, body: bytes) -> Reply:
        if self.token_reply is not None:
            return self.token_reply
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if form.pop("grant_type", "") != "client_credentials" or not form.pop("scope", ""):
            return reply(400, {"error": "invalid_request"})
        if form != CLIENT:
            return reply(401, {"error": "invalid_client", "error_description": f"no client {form}"})
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        return reply(200, {"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": 86_399})

    def _collect(self, path: str, body: Any, flow: str) -> Reply:
        messages = body.get("messages", []) if path == BATCH else [body]
        if path == BATCH and not messages:
            return reply(400, {"status": 400, "report": {"message": "no messages"}})
        instead = self.behaviour(messages)
        if instead is not None:
            return instead
        items = [self._receive(message, flow, place) for place, message in enumerate(messages)]
        if path == BATCH:
            return reply(207, {"inletId": INLET, "batchId": "1:2:3", "receivedTimeMs": 1, "responses": items})
        if "statusCode" in items[0]:
            return reply(400, {"status": 400, "title": "Invalid XDM Message Format", "report": items[0]})
        return reply(200, {"inletId": INLET, "receivedTimeMs": 1, **items[0]})

    def _receive(self, message: Any, flow: str, place: int) -> dict[str, Any]:
        is_raw = bool(flow) and "header" not in message
        fault = "" if is_raw else envelope_fault(message)
        record = message if is_raw or fault else message["body"]["xdmEntity"]
        compact = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
        if not fault and len(compact) > self._max_record_bytes:
            fault = "a record above 10 KB, which Profile drops"
        fault = fault or self._fault_of(record)
        if fault:
            self.faults.append(fault)
            return refusal(400, fault)
        self.taken.append(record)
        return {"xactionId": f"1565650704337:2124:92:{place}"}


def envelope_fault(message: Any) -> str:
    header, body = message.get("header"), message.get("body")
    if not header:
        return "Header is missing from message payload"
    if not body or "xdmEntity" not in body:
        return "Payload body is missing xdmEntity"
    missing = [name for name in ("schemaRef", "imsOrgId", "datasetId", "flowId") if not header.get(name)]
    if missing:
        return f"header has no {', '.join(missing)}"
    if not header["imsOrgId"].endswith("@AdobeOrg"):
        return "Message has an absent or wrong ims org in the header"
    if header["schemaRef"] != body.get("xdmMeta", {}).get("schemaRef"):
        return "the two schema references differ"
    if "source" in header and not header["source"].get("name"):
        return "Payload header is missing Source Name"
    return ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, stub: AdobeStub) -> None:
        self.stub = stub
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answered = self.server.stub.answer(self.path, dict(self.headers.items()), body)
        self.send_response(answered.status)
        for name, value in {"Content-Length": str(len(answered.body)), **answered.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answered.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the test's own output is what matters."""

"""Stand-ins for the Pipelines API, Amplitude, Mixpanel and PostHog on a free loopback port: they hold callers to the
documented limits, answer as the documentation says, and keep what they take.
"""

import json
import re
import threading
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

KEY = "made-up-secret"
UUID_LENGTH = 36
PIPELINES_NAMES = re.compile(
    r"(device created or updated|device deleted|user deleted|user suppressed|user unsuppressed|relationship deleted|"
    r"object deleted|report delivery event|report content event)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Call:
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)

    @property
    def user(self) -> str:
        """What stands in Basic authorization, user name and password; "" without any."""
        scheme, _, credentials = self.headers.get("authorization", "").partition(" ")
        return b64decode(credentials).decode() if scheme == "Basic" else ""


Answer = tuple[int, Any]


@dataclass
class Taken:
    """What a stub has taken; `is_bad` marks events that it is to find fault with."""

    events: list[dict[str, Any]] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    is_bad: Callable[[Mapping[str, Any]], bool] = lambda event: False
    too_fast: set[str] = field(default_factory=set)  # people whom Amplitude slows down, once
    is_beyond_quota: bool = False  # PostHog's billing limit


Api = Callable[[Call, Taken], Answer]


def size_of(event: Mapping[str, Any]) -> int:
    return len(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"))


def pipelines(call: Call, taken: Taken) -> Answer:
    """https://docs.customer.io/integrations/api/cdp/"""
    if call.path != "/v1/batch":
        return 404, {}
    if call.user != f"{KEY}:":
        return 401, {"meta": {"errors": ["unauthorized"]}}
    assert call.headers.get("x-strict-mode") == "1", "without it errors are not told"
    batch = call.value["batch"]
    if len(call.body) > 500_000:
        return 400, {"meta": {"errors": ["the batch is larger than 500KB"]}}
    errors = []
    for place, event in enumerate(batch):
        if not (event.get("userId") or event.get("anonymousId")) or taken.is_bad(event):
            errors.append(f"batch[{place}].userId: must not be blank")
        if size_of(event) > 32 * 1024:
            errors.append(f"batch[{place}]: larger than 32KB")
        assert not PIPELINES_NAMES.fullmatch(event.get("event", "")), "a command reached the workspace"
    if errors:
        return 400, {"meta": {"errors": errors}}
    taken.events += batch
    return 200, {}


def amplitude(call: Call, taken: Taken) -> Answer:
    """https://amplitude.com/docs/apis/analytics/http-v2"""
    if call.path not in ("/2/httpapi", "/batch"):
        return 404, {}
    if len(call.body) > (1_000_000 if call.path == "/2/httpapi" else 20_000_000):
        return 413, {"code": 413, "error": "Payload too large"}
    value = call.value
    if value.get("api_key") != KEY:
        return 400, {"code": 400, "error": "Invalid API key"}
    events = value["events"]
    shortest = value.get("options", {}).get("min_id_length", 5)
    invalid: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        person = event.get("user_id") or event.get("device_id") or ""
        if len(person) < shortest or len(person) > 1024:
            invalid.setdefault("user_id", []).append(place)
        if type(event.get("time")) is not int or taken.is_bad(event):
            invalid.setdefault("time", []).append(place)
        if len(event.get("insert_id", "")) != UUID_LENGTH:
            invalid.setdefault("insert_id", []).append(place)
    if invalid or len(events) > 2_000:
        error = "Invalid field values on some events"
        return 400, {"code": 400, "error": error, "events_with_invalid_fields": invalid}
    throttled = [place for place, event in enumerate(events) if event.get("user_id") in taken.too_fast]
    if throttled:
        users = dict.fromkeys(taken.too_fast, 40)
        taken.too_fast.clear()
        return 429, {"code": 429, "eps_threshold": 30, "throttled_users": users, "throttled_events": throttled}
    for event in events:
        (taken.people if event["event_type"] == "$identify" else taken.events).append(event)
    return 200, {"code": 200, "events_ingested": len(events), "payload_size_bytes": len(call.body)}


def mixpanel(call: Call, taken: Taken) -> Answer:
    """https://docs.mixpanel.com/reference/import-events and …/profile-batch-update"""
    records = call.value
    if len(call.body) > 2_000_000 or len(records) > 2_000:
        return 413, {"code": 413, "error": "request exceeds max limit", "status": "Request Entity Too Large"}
    if call.path == "/engage":
        if any(record.get("$token") != KEY or not record.get("$distinct_id") for record in records):
            return 200, {"status": 0, "error": "token, missing or empty"}
        taken.people += records
        return 200, {"status": 1, "error": None}
    if call.path != "/import" or call.query.get("strict") != ["1"]:
        return 404, {}
    if call.user != f"{KEY}:":
        return 401, {"code": 401, "error": "Invalid credentials", "status": "Unauthorized"}
    failed = []
    for index, record in enumerate(records):
        properties = record["properties"]
        insert_id = properties.get("$insert_id", "")
        is_id = re.fullmatch(r"[A-Za-z0-9-]{1,36}", insert_id) is not None
        if (
            not is_id
            or type(properties.get("time")) is not int
            or "distinct_id" not in properties
            or taken.is_bad(record)
        ):
            message = "'properties.time' is invalid: must be specified as seconds since epoch"
            failed.append({"index": index, "insert_id": insert_id, "field": "properties.time", "message": message})
        else:
            taken.events.append(record)
    if not failed:
        return 200, {"code": 200, "num_records_imported": len(records), "status": "OK"}
    error = "some data points in the request failed validation"
    stored = len(records) - len(failed)
    return 400, {"code": 400, "error": error, "failed_records": failed, "num_records_imported": stored}


def posthog(call: Call, taken: Taken) -> Answer:
    """https://posthog.com/docs/api/capture; the answers by its capture service."""
    if call.path != "/batch/":
        return 404, "not found"
    if len(call.body) > 20_000_000:
        return 413, "length limit exceeded"
    value = call.value
    if value.get("api_key") != KEY:
        return 401, "API key is not valid"
    if taken.is_beyond_quota:
        return 200, {"status": 1, "quota_limited": ["events"]}
    for event in value["batch"]:
        if not event.get("distinct_id") or taken.is_bad(event):
            return 400, "event submitted without a distinct_id"
        if size_of(event) > 1_000_000:
            return 400, "maximum event size exceeded"
        assert UUID(event["uuid"])
        assert len(event["distinct_id"]) <= 200
    for event in value["batch"]:
        (taken.people if event["event"] == "$set" else taken.events).append(event)
    return 200, {"status": 1}


APIS: Mapping[str, Api] = {"customerio": pipelines, "amplitude": amplitude, "mixpanel": mixpanel, "posthog": posthog}


class AnalyticsStub:
    """One of the APIs, served. `faults`: what no answer could say, a defect of the caller."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.taken = Taken()
        self.faults: list[str] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, call: Call) -> Answer:
        try:
            status, answer = self.api(call, self.taken)
        except Exception as error:
            self.faults.append(repr(error))
            status, answer = 500, str(error)
        self.taken.statuses.append(status)
        return status, answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, stub: AnalyticsStub) -> None:
        self.stub = stub
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        status, answer = self.server.stub.answer(Call(parts.path, parse_qs(parts.query), headers, body))
        text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the test's own output is what matters."""

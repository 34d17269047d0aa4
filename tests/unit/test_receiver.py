"""The receiver in-process: which answer, which identity, which reason; over HTTP it is tested in integration."""

import gzip
import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from connector.errors import JournalFullError, PayloadError
from connector.model import Connections, Event, EventType, ReceivedEvent, Retention, SignatureMode, Source
from connector.normalize import unknown_name
from connector.receive import (
    MAX_REFUSALS_TOLD,
    PATHS,
    Receiver,
    ReceiverLimits,
    ReceiverPorts,
    WebhookMiddleware,
    event_id_of,
)
from connector.request_body import MAX_GZIP_MEMBERS, BodyTooLargeError, gunzip
from connector.tally import MAX_NAME_CHARACTERS, MAX_UNKNOWN_NAMES, OTHERS, UNKNOWN_EVENT, Tally
from connector.verify import sign
from tests.fakes import FakeClock, FakeStore

BODY = b'{"event_id":"01K4","object_type":"email","metric":"opened"}'
CONNECTIONS = Connections(
    sources=(
        Source("production", ("key", "other-key_1")),
        Source("signed", ("signed",), ("secret",), SignatureMode.ENFORCE),
        Source("auto", ("auto",), ("secret",), SignatureMode.AUTO),
        Source("disabled", ("disabled",), enabled=False),
    ),
    destinations=(),
    retention=Retention(),
    fingerprint="1",
)


class Web:
    """A receiver with fakes around it, and the answer it last gave."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.tally = Tally()
        self.clock = FakeClock()
        self.connections = CONNECTIONS
        self.closed = 0
        ports = ReceiverPorts(
            store=self.store.store,
            connections=lambda: self.connections,
            preview=self.preview,
            validate=self.validate,
            clock=self.clock,
            tally=self.tally,
            unknown_name=unknown_name,
            deadline=self.deadline,
            close_connection=self.close,
        )
        self.receiver = Receiver(ports, ReceiverLimits(max_body_bytes=1000))

    def preview(self, received: ReceivedEvent) -> list[Event]:
        return [Event(EventType.TRACK, received.source, received.event_id, "email", "opened", False, {"a": 1})]

    def validate(self, received: ReceivedEvent) -> Mapping[str, list[str]]:
        return {} if b"opened" in received.body else {"metric": ["Missing."]}

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        assert seconds == 15
        yield

    def close(self, start_response: object) -> None:
        self.closed += 1

    def post(self, body: bytes = BODY, query: str = "writeKey=key", **environ: Any) -> tuple[str, bytes]:
        request = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/v1/webhook",
            "QUERY_STRING": query,
            "REMOTE_ADDR": "192.0.2.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            **environ,
        }
        self.headers: dict[str, str] = {}

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            self.status = status
            self.headers = dict(headers)

        answer = b"".join(self.receiver(request, start_response))
        if request["REQUEST_METHOD"] != "HEAD":
            assert self.headers["Content-Length"] == str(len(answer))
        return self.status, answer


@pytest.fixture
def web() -> Web:
    return Web()


def test_an_event_is_stored_with_what_is_known_of_it(web: Web) -> None:
    status, answer = web.post(HTTP_USER_AGENT="Customer.io", CONTENT_TYPE="application/json", HTTP_COOKIE="secret")

    assert (status, answer, web.headers["X-Connector-Outcome"]) == ("200 OK", b"ok", "stored")
    assert web.store.received == [
        ReceivedEvent(
            source="production",
            event_id="01K4",
            body=BODY,
            received_at=web.clock.now(),
            headers={"user-agent": "Customer.io", "content-type": "application/json"},
        )
    ]


def test_a_repeat_is_answered_200(web: Web) -> None:
    web.post()

    assert web.post() == ("200 OK", b"ok")
    assert web.headers["X-Connector-Outcome"] == "duplicate"


def test_a_disabled_source_is_stored(web: Web) -> None:
    assert web.post(query="writeKey=disabled")[0] == "200 OK"
    assert web.headers["X-Connector-Outcome"] == "stored"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b"hello", "the body is not JSON"),
        (b"\xff\xfe\x00", "the body is not JSON"),
        (b"[" * 100_0, "the body is"),
        (b"NaN", "the body is not JSON"),
        (b"[1]", "the body is JSON, but not an object"),
        (b"null", "the body is JSON, but not an object"),
        (b"\x1f\x8b", "the gzip body cannot be unpacked: it is cut off"),
        (gzip.compress(BODY)[:-4], "the gzip body cannot be unpacked: it is cut off"),
        (gzip.compress(BODY) + b"rest", "the gzip body cannot be unpacked"),
    ],
)
def test_what_cannot_be_read_is_quarantined_with_its_bytes(web: Web, body: bytes, reason: str) -> None:
    assert web.post(body) == ("200 OK", b"ok")

    (received,) = web.store.received
    assert received.quarantine_reason is not None
    assert received.quarantine_reason.startswith(reason)
    assert received.body == body
    assert received.event_id == "sha256:" + hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    "body", [gzip.compress(BODY), gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), gzip.compress(BODY) + b"\0" * 9]
)
def test_a_gzip_body_is_stored_unpacked(web: Web, body: bytes) -> None:
    web.post(body, HTTP_CONTENT_ENCODING="gzip")

    assert web.store.received[0].body == BODY
    assert web.store.received[0].quarantine_reason is None


def test_a_byte_order_mark_is_tolerated(web: Web) -> None:
    web.post(b"\xef\xbb\xbf" + BODY)

    assert web.store.received[0].event_id == "01K4"
    assert web.store.received[0].quarantine_reason is None


def test_a_body_over_the_limit_is_refused_unread(web: Web) -> None:
    stream = io.BytesIO(b"x" * 1001)

    assert web.post(CONTENT_LENGTH="1001", **{"wsgi.input": stream})[0] == "413 Content Too Large"
    assert (stream.tell(), web.closed, web.store.received) == (0, 1, [])


def test_a_chunked_body_is_counted_while_it_is_read(web: Web) -> None:
    unbounded = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}

    assert web.post(**unbounded, **{"wsgi.input": io.BytesIO(BODY)})[0] == "200 OK"
    assert web.post(**unbounded, **{"wsgi.input": io.BytesIO(b"x" * 1001)})[0] == "413 Content Too Large"


def test_a_gzip_bomb_is_refused(web: Web) -> None:
    assert web.post(gzip.compress(b" " * 500_000))[0] == "413 Content Too Large"


def test_gzip_members_are_counted_together_and_are_not_endless() -> None:
    with pytest.raises(BodyTooLargeError):
        gunzip(gzip.compress(b"x" * 60) * 2, 100)
    with pytest.raises(PayloadError):
        gunzip(gzip.compress(b"") * (MAX_GZIP_MEMBERS + 1), 100)


class BrokenStream:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TimeoutError(), "408 Request Timeout"),
        (ConnectionResetError(), "400 Bad Request"),
        (ValueError("bad chunk"), "400 Bad Request"),
    ],
)
def test_a_body_that_never_arrives_whole_is_answered_clearly(web: Web, error: Exception, status: str) -> None:
    assert web.post(**{"wsgi.input": BrokenStream(error)})[0] == status
    assert web.closed == 1


def test_a_body_shorter_than_stated_broke_off(web: Web) -> None:
    assert web.post(CONTENT_LENGTH=str(len(BODY) + 1))[0] == "400 Bad Request"


@pytest.mark.parametrize("error", [JournalFullError("the disk is full"), OSError("disk"), RuntimeError("bug")])
def test_what_cannot_be_stored_is_answered_503_whatever_the_reason(
    web: Web, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    web.store.error = error

    with caplog.at_level(logging.ERROR):
        answers = {web.post()[0] for _ in range(3)}

    assert answers == {"503 Service Unavailable"}
    assert web.headers["Retry-After"] == "5"
    assert len(caplog.records) == 1, "a run of equal troubles is one line"


@pytest.mark.parametrize(
    ("query", "environ", "answer"),
    [
        ("", {}, b"failed to read writekey from query params"),
        ("writeKey=", {}, b"failed to read writekey from query params"),
        ("writekey=key", {}, b"failed to read writekey from query params"),
        ("", {"HTTP_AUTHORIZATION": "Basic !"}, b"failed to read writekey from query params"),
        ("", {"HTTP_AUTHORIZATION": "Bearer key"}, b"failed to read writekey from query params"),
        ("writeKey=wrong", {}, b"invalid write key"),
        ("writeKey=wrong&writeKey=key", {}, b"invalid write key"),
        ("", {"HTTP_AUTHORIZATION": "Basic d3Jvbmc6"}, b"invalid write key"),
    ],
)
def test_a_missing_or_unknown_key_is_answered_401(web: Web, query: str, environ: dict[str, str], answer: bytes) -> None:
    assert web.post(query=query, **environ) == ("401 Unauthorized", answer)
    assert web.store.received == []


def test_a_rejected_key_is_noted_masked(web: Web) -> None:
    web.post(query="writeKey=mistyped-key")
    web.post(query="writeKey=mistyped-key")
    web.post(query="")

    rejections = web.tally.take().rejections

    assert [(seen.masked_key, seen.address, seen.count) for seen in rejections] == [
        ("mist… (12 characters)", "192.0.2.1", 2),
        ("(none)", "192.0.2.1", 1),
    ]


def test_a_rejected_key_is_one_line_a_minute_in_the_log(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        web.post(query="writeKey=mistyped-key")
    assert len(caplog.records) == 1
    assert "mist… (12 characters)" in caplog.text
    assert "mistyped-key" not in caplog.text

    web.clock.advance(61)
    web.post(query="writeKey=mistyped-key")
    assert len(caplog.records) == 2


def test_whoever_guesses_keys_fills_no_log(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2 * MAX_REFUSALS_TOLD):
        web.post(query="writeKey=x", REMOTE_ADDR=f"192.0.2.{number}")
    assert len(caplog.records) == MAX_REFUSALS_TOLD

    web.clock.advance(61)
    web.post(query="writeKey=x")
    assert len(caplog.records) == MAX_REFUSALS_TOLD + 1


@pytest.mark.parametrize(
    ("stated", "event_id"),
    [
        ("01K4", "01K4"),
        ("  01K4 ", "01K4"),
        ("größe 日本", "größe 日本"),
        (12345, "12345"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "sha256:" + hashlib.sha256(b"x" * 201).hexdigest()),
        ("a\0b", "sha256:" + hashlib.sha256(b"a\0b").hexdigest()),
        ("\ud800", "sha256:" + hashlib.sha256(b"\xed\xa0\x80").hexdigest()),
        ("  ", "sha256:" + hashlib.sha256(b"body").hexdigest()),
        (True, "sha256:" + hashlib.sha256(b"body").hexdigest()),
        (1.5, "sha256:" + hashlib.sha256(b"body").hexdigest()),
        (None, "sha256:" + hashlib.sha256(b"body").hexdigest()),
        ({}, "sha256:" + hashlib.sha256(b"body").hexdigest()),
    ],
)
def test_the_identity_is_the_event_id_else_the_digest(stated: Any, event_id: str) -> None:
    assert event_id_of({"event_id": stated}, b"body") == event_id


def test_a_wrong_signature_that_is_enforced_is_quarantined(web: Web) -> None:
    web.post(query="writeKey=signed", HTTP_X_CIO_SIGNATURE="ü", HTTP_X_CIO_TIMESTAMP="1")

    assert web.headers["X-Connector-Outcome"] == "quarantined"
    assert web.store.received[0].quarantine_reason == "the signature is wrong"


def test_a_signature_over_packed_or_unpacked_bytes_counts(web: Web) -> None:
    packed = gzip.compress(BODY)

    for signed in (packed, BODY):
        web.post(
            packed,
            "writeKey=signed",
            HTTP_X_CIO_SIGNATURE=sign("secret", "1", signed),
            HTTP_X_CIO_TIMESTAMP="1",
        )

    assert [received.proof is not None for received in web.store.received] == [True, True]


def test_an_unproven_event_of_a_source_in_auto_is_provisional(web: Web) -> None:
    web.post(query="writeKey=auto")

    (received,) = web.store.received
    assert received.is_provisional
    assert len(received.unproven_keys) == 1


def test_signatures_and_answers_are_counted(web: Web) -> None:
    web.post(query="writeKey=auto", HTTP_X_CIO_SIGNATURE="0", HTTP_X_CIO_TIMESTAMP="1")

    counts = web.tally.take().counts

    assert counts["received", "auto", "stored"] == 1
    assert counts["signature", "auto", "wrong"] == 1
    assert counts["signature_age", "auto", "older"] == 1
    assert counts["answer_seconds", "auto", "0.005"] == 1


def test_counts_that_could_not_be_kept_come_back(web: Web) -> None:
    web.post()
    web.post(query="")
    taken = web.tally.take()
    web.post()
    web.post(query="")

    web.tally.give_back(taken)

    again = web.tally.take()
    assert again.counts["received", "production", "stored"] == 1
    assert again.counts["received", "production", "duplicate"] == 1
    assert [seen.count for seen in again.rejections] == [2]


def test_strict_mode_shows_the_events_and_stores_nothing(web: Web) -> None:
    status, answer = web.post(HTTP_X_STRICT_MODE="1")

    assert status == "200 OK"
    assert json.loads(answer) == {"events": [{"name": "email_opened", "type": "track", "body": {"a": 1}}]}
    assert web.store.received == []


@pytest.mark.parametrize(
    ("body", "errors"),
    [(b"{}", {"metric": ["Missing."]}), (b"[]", {"body": ["the body is JSON, but not an object"]})],
)
def test_strict_mode_says_what_is_wrong(web: Web, body: bytes, errors: dict[str, list[str]]) -> None:
    status, answer = web.post(body, HTTP_X_STRICT_MODE="1")

    assert (status, json.loads(answer)) == ("400 Bad Request", {"errors": errors})


def test_strict_mode_names_the_signature(web: Web) -> None:
    answer = web.post(query="writeKey=signed", HTTP_X_STRICT_MODE="1")[1]

    assert json.loads(answer) == {"errors": {"x-cio-signature": ["the signature is missing"]}}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_told_what_belongs_here(web: Web, method: str) -> None:
    status, answer = web.post(REQUEST_METHOD=method)

    assert status == "405 Method Not Allowed"
    assert web.headers["Allow"] == "POST"
    assert answer.count(b"\n") == (0 if method == "HEAD" else 1)


def test_changed_connections_count_from_the_next_call_on(web: Web) -> None:
    web.post(query="writeKey=new")
    web.connections = Connections((Source("new", ("new",)),), (), Retention(), "2")

    assert web.post(query="writeKey=new")[0] == "200 OK"
    assert web.post(query="writeKey=key")[0] == "401 Unauthorized"


@pytest.mark.parametrize("path", sorted(PATHS))
def test_the_middleware_takes_its_own_path_only(web: Web, path: str) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        return [b"page"]

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        assert status.startswith("405")

    middleware = WebhookMiddleware(application, web.receiver)

    assert b"Customer.io" in b"".join(middleware({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, start_response))
    assert middleware({"PATH_INFO": path + "x"}, start_response) == [b"page"]


# ── events of a new kind ──


def test_a_stored_event_of_a_new_kind_is_counted_by_name_and_told_once(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    web.post(b'{"event_id":"1","object_type":"fax","metric":"jammed"}')
    web.post(b'{"event_id":"1","object_type":"fax","metric":"jammed"}')
    web.post(b'{"event_id":"2","object_type":"fax","metric":"jammed"}')
    web.post(b'{"event_id":"3","object_type":"email","metric":"opened"}')

    assert of_kind(web, UNKNOWN_EVENT) == {("production", "fax_jammed"): 2}
    assert caplog.text.count("a new kind of event") == 1


def test_a_quarantined_body_is_no_new_kind_of_event(web: Web) -> None:
    web.post(b"[]")

    assert of_kind(web, UNKNOWN_EVENT) == {}


def test_the_names_of_new_kinds_are_bounded_in_number_and_length(web: Web) -> None:
    for number in range(MAX_UNKNOWN_NAMES + 20):
        web.post(b'{"event_id":"%d","object_type":"a\\u0000\\ud800","metric":"%0200d"}' % (number, number))
        web.post(b'{"event_id":"x%d","object_type":"fax","metric":"%d"}' % (number, number))

    counted = of_kind(web, UNKNOWN_EVENT)
    assert len(counted) == MAX_UNKNOWN_NAMES + 1
    assert sum(counted.values()) == 2 * (MAX_UNKNOWN_NAMES + 20)
    assert max(len(name) for _, name in counted) == MAX_NAME_CHARACTERS
    assert all(name.isprintable() for _, name in counted)
    assert counted["production", OTHERS] > 0


def of_kind(web: Web, kind: str) -> dict[tuple[str, str], int]:
    counts = web.tally.take().counts
    return {(subject, outcome): number for (found, subject, outcome), number in counts.items() if found == kind}

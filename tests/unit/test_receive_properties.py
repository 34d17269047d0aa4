"""For any request: after a right write key the answer is 200, 413 or 503, and 400 or 408 only for a body that fails."""

import gzip
import io
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.model import Connections, ReceivedEvent, Retention, SignatureMode, Source
from connector.receive import Receiver, ReceiverLimits, ReceiverPorts
from connector.tally import Tally
from tests.fakes import FakeClock, FakeStore

MAX_BODY_BYTES = 4096
CONNECTIONS = Connections(
    sources=tuple(Source(mode.value, (mode.value,), ("secret", "other"), mode) for mode in SignatureMode),
    destinations=(),
    retention=Retention(),
    fingerprint="1",
)

# What WSGI hands on: bytes as latin-1 text.
header_values = st.text(st.characters(max_codepoint=255), max_size=50)
headers = st.dictionaries(
    st.sampled_from(
        [
            "HTTP_X_CIO_SIGNATURE",
            "HTTP_X_CIO_TIMESTAMP",
            "HTTP_CONTENT_ENCODING",
            "HTTP_USER_AGENT",
            "HTTP_AUTHORIZATION",
            "HTTP_X_FORWARDED_FOR",
            "HTTP_TRANSFER_ENCODING",
            "HTTP_EXPECT",
            "CONTENT_TYPE",
        ]
    ),
    header_values | st.sampled_from(["gzip", "1788200005", "chunked", "Basic Og==", "0" * 64, "100-continue"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payloads = st.fixed_dictionaries({}, optional={"event_id": json_values, "data": json_values, "metric": json_values})
json_bodies = (payloads | json_values).map(lambda value: json.dumps(value).encode("utf-8"))
plain_bodies = json_bodies | st.binary(max_size=200) | st.sampled_from([b"[" * 3000, b'{"a":' * 700, b"9" * 4000])
bodies = (
    plain_bodies
    | plain_bodies.map(gzip.compress)
    | plain_bodies.map(lambda body: gzip.compress(body)[:-3])
    | st.binary(max_size=50).map(lambda noise: b"\x1f\x8b" + noise)
    | st.just(gzip.compress(bytes(MAX_BODY_BYTES + 1)))
)
queries = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


def refuse_preview(received: ReceivedEvent) -> Any:
    raise AssertionError("nobody asked for it")


def call(environ: dict[str, Any], error: Exception | None = None) -> tuple[int, FakeStore]:
    store = FakeStore()
    store.error = error
    ports = ReceiverPorts(
        store=store.store,
        connections=lambda: CONNECTIONS,
        preview=refuse_preview,
        validate=refuse_preview,
        clock=FakeClock(),
        tally=Tally(),
    )
    statuses: list[str] = []
    receiver = Receiver(ports, ReceiverLimits(max_body_bytes=MAX_BODY_BYTES))
    body = b"".join(receiver(environ, lambda status, headers: statuses.append(status)))
    assert body
    return int(statuses[0][:3]), store


def environ_of(mode: SignatureMode, query: str, body: bytes, headers: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1/webhook",
        "QUERY_STRING": f"writeKey={mode}&{query}",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **headers,
        **more,
    }


@given(st.sampled_from(SignatureMode), queries, bodies, headers, st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_whole_body_is_stored_or_too_large(
    mode: SignatureMode, query: str, body: bytes, headers: dict[str, str], is_chunked: bool
) -> None:
    framing = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True} if is_chunked else {}

    status, store = call(environ_of(mode, query, body, headers, **framing))

    assert status in (200, 413)
    assert len(store.received) == (status == 200)
    if store.received:
        store.received[0].event_id.encode("utf-8")


@given(st.sampled_from(SignatureMode), queries, bodies, headers, st.sampled_from([OSError(), ValueError(), KeyError()]))
@settings(max_examples=50, deadline=None)
def test_a_store_that_fails_is_answered_503(
    mode: SignatureMode, query: str, body: bytes, headers: dict[str, str], error: Exception
) -> None:
    assert call(environ_of(mode, query, body, headers), error)[0] in (503, 413)


@given(st.sampled_from(SignatureMode), bodies, headers, st.integers(1, 1000))
@settings(max_examples=50, deadline=None)
def test_a_body_that_breaks_off_is_answered_400(
    mode: SignatureMode, body: bytes, headers: dict[str, str], missing: int
) -> None:
    stated = str(len(body) + missing)

    status, store = call(environ_of(mode, "", body, headers, CONTENT_LENGTH=stated))

    assert status in (400, 413)
    assert store.received == []


@given(header_values, queries, headers)
@settings(max_examples=100, deadline=None)
def test_without_a_right_key_it_is_401(key: str, query: str, headers: dict[str, str]) -> None:
    environ = environ_of(SignatureMode.OFF, "", b"{}", headers) | {"QUERY_STRING": f"writeKey=no{key}&{query}"}

    assert call(environ)[0] == 401

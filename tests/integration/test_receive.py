"""Every row of the table of answers, over HTTP, against a running server."""

import gzip
import json
import sqlite3
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.verify import sign
from tests.integration.server import HttpAnswer, RunningServer, read_answer

MAX_BODY_BYTES = 100_000  # as in served_app
HEAD = b"POST /v1/webhook?writeKey=key HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN_CHUNKS = (b"zz\r\n", b"5\r\n{}", b"2;\x01\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX", b"0\r\nbad trailer\r\n\r\n")
numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("receive")).start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log
    assert "-key" not in running.log, "a write key was logged"


def new_body(**more: object) -> bytes:
    """A body whose event_id nobody has used before."""
    return json.dumps({"event_id": f"id-{next(numbers)}", "object_type": "email", "metric": "sent", **more}).encode()


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def outcome(answer: HttpAnswer) -> str:
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.headers["x-connector-outcome"]


def rows(server: RunningServer, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(server.folder / "journal.db")) as journal:
        return journal.execute(query).fetchall()


# ── 200 ──


def test_an_event_is_stored_and_its_repeat_is_known(server: RunningServer) -> None:
    body = new_body()

    assert outcome(server.post(body)) == "stored"
    assert outcome(server.post(body)) == "duplicate"
    assert outcome(server.request("POST", "/v1/webhook/?writeKey=key", body)) == "duplicate"


def test_a_basic_user_name_is_a_write_key(server: RunningServer) -> None:
    headers = {"Authorization": "Basic " + b64encode(b"key:").decode()}

    assert outcome(server.request("POST", "/v1/webhook", new_body(), headers)) == "stored"


def test_a_disabled_source_is_stored(server: RunningServer) -> None:
    assert outcome(server.post(new_body(), "disabled-key")) == "stored"


def test_an_event_without_an_id_is_known_by_its_bytes(server: RunningServer) -> None:
    body = b'{"no id": true}'

    assert outcome(server.post(body)) == "stored"
    assert outcome(server.post(body)) == "duplicate"
    assert outcome(server.post(body + b" ")) == "stored"


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"\xff\xfe", b"[" * 50_000, b"\x1f\x8bbroken"])
def test_what_is_not_a_json_object_is_quarantined(server: RunningServer, body: bytes) -> None:
    assert outcome(server.post(body)) == "quarantined"
    assert (body,) in rows(server, "SELECT body FROM quarantine")


def test_a_gzip_body_is_stored_unpacked(server: RunningServer) -> None:
    body = new_body()

    assert outcome(server.post(gzip.compress(body), headers={"Content-Encoding": "gzip"})) == "stored"
    assert outcome(server.post(body)) == "duplicate"


def test_a_chunked_body_is_stored(server: RunningServer) -> None:
    body = new_body()

    assert outcome(server.send_raw(CHUNKED, chunked(body[:7], body[7:]))) == "stored"
    assert outcome(server.post(body)) == "duplicate"


def test_a_post_without_a_body_is_quarantined(server: RunningServer) -> None:
    assert outcome(server.send_raw(HEAD + b"\r\n")) == "quarantined"


@pytest.mark.parametrize("key", ["signed-key"])
def test_a_signature_is_enforced(server: RunningServer, key: str) -> None:
    body = new_body()
    genuine = {"X-CIO-Timestamp": "1788200005", "X-CIO-Signature": sign("secret", "1788200005", body)}

    assert outcome(server.post(body, key)) == "quarantined"
    assert outcome(server.post(body, key, {**genuine, "X-CIO-Timestamp": "1788200006"})) == "quarantined"
    assert outcome(server.post(body, key, genuine)) == "stored", "a forged one must not make it a repeat"
    assert outcome(server.post(body, key, genuine)) == "duplicate"


def test_auto_observes_until_the_first_genuine_signature(server: RunningServer) -> None:
    body = new_body()
    genuine = {"X-CIO-Timestamp": "5", "X-CIO-Signature": sign("new", "5", body)}

    assert outcome(server.post(new_body(), "auto-key")) == "stored"
    assert outcome(server.post(body, "auto-key", genuine)) == "stored"
    assert {outcome(server.post(new_body(), "auto-key")) for _ in range(4)} == {"quarantined"}


def test_a_non_ascii_signature_is_merely_wrong(server: RunningServer) -> None:
    head = HEAD.replace(b"=key", b"=signed-key") + b"X-CIO-Signature: \xc3\xa9\xff\r\nX-CIO-Timestamp: \xb2\r\n"

    assert outcome(server.send_raw(head + b"Content-Length: 2\r\n\r\n{}")) == "quarantined"


def test_long_queries_and_many_headers_are_taken(server: RunningServer) -> None:
    head = b"POST /v1/webhook?long=%s&writeKey=key HTTP/1.1\r\n" % (b"x" * 200_000)
    head += b"".join(b"X-%d: v\r\n" % number for number in range(200)) + b"Cookie: " + b"c" * 60_000 + b"\r\n"

    assert outcome(server.send_raw(head + b"Content-Length: 2\r\n\r\n{}")) in ("stored", "duplicate")


@pytest.mark.parametrize(
    "headers",
    [
        b"SCRIPT_NAME: /elsewhere\r\n",
        b"PATH_INFO: /elsewhere\r\n",
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n",
        b"X_CIO_Signature: a\r\nContent_Length: 9\r\n",
        b"Expect: 100-Continue\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        b"Content-Encoding: br\r\n",
        b"Content-Type: multipart/form-data\r\n",
    ],
)
def test_odd_headers_do_no_harm(server: RunningServer, headers: bytes) -> None:
    body = new_body()

    assert outcome(server.send_raw(HEAD + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body)) == "stored"


# ── 401 ──


@pytest.mark.parametrize("path", ["/v1/webhook", "/v1/webhook?writeKey=", "/v1/webhook?writekey=key"])
def test_a_missing_key_is_answered_401(server: RunningServer, path: str) -> None:
    answer = server.request("POST", path, new_body())

    assert (answer.status, answer.body) == (401, b"failed to read writekey from query params")


def test_an_unknown_key_is_answered_401_and_shown_masked(server: RunningServer) -> None:
    answer = server.post(new_body(), "mistyped-long-key")

    assert (answer.status, answer.body) == (401, b"invalid write key")
    deadline = time.monotonic() + 10
    while "mist… (17 characters)" not in (page := server.get("/status?json").body.decode()):
        assert time.monotonic() < deadline, page
        time.sleep(0.1)


def test_a_connection_lives_on_after_any_answer_to_a_whole_request(server: RunningServer) -> None:
    with closing(server.connect()) as connection:
        statuses = []
        for path, body in (("?writeKey=no", b"x" * 5000), ("?writeKey=key", b"bad"), ("?writeKey=key", new_body())):
            connection.request("POST", "/v1/webhook" + path, body)
            statuses.append(read_answer(connection).status)
            assert connection.sock is not None, "the connection was closed"

    assert statuses == [401, 200, 200]


# ── 413, 400, 408 ──


def test_a_body_over_the_limit_is_answered_413_without_a_reset(server: RunningServer) -> None:
    answer = server.post(b"x" * 20_000_000)

    assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_chunked_body_over_the_limit_is_answered_413_without_a_reset(server: RunningServer) -> None:
    answer = server.send_raw(CHUNKED, *[chunked(b"x" * 65536)[:-5]] * 100)

    assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_body_at_the_limit_is_stored(server: RunningServer) -> None:
    body = new_body()

    assert outcome(server.post(body + b" " * (MAX_BODY_BYTES - len(body)))) == "stored"


def test_a_gzip_bomb_is_answered_413(server: RunningServer) -> None:
    assert server.post(gzip.compress(b" " * 50_000_000)).status == 413


def test_a_body_that_breaks_off_is_answered_400(server: RunningServer) -> None:
    answer = server.send_raw(HEAD + b"Content-Length: 100\r\n\r\n{", ends=True)

    assert (answer.status, answer.headers["connection"]) == (400, "close")


@pytest.mark.parametrize("rest", BROKEN_CHUNKS)
def test_broken_chunks_are_answered_400(server: RunningServer, rest: bytes) -> None:
    answer = server.send_raw(CHUNKED + rest, ends=True)

    assert (answer.status, answer.headers["connection"]) == (400, "close")


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
def test_a_body_that_stalls_is_answered_408(server: RunningServer, framing: bytes) -> None:
    answer = server.send_raw(HEAD + framing)

    assert (answer.status, answer.headers["connection"]) == (408, "close")


# ── 503 ──


def test_a_lock_on_the_journal_costs_a_503_and_no_frozen_page(server: RunningServer) -> None:
    answers: list[HttpAnswer] = []
    with closing(sqlite3.connect(server.folder / "journal.db", isolation_level=None)) as journal:
        journal.execute("BEGIN IMMEDIATE")
        started_at = time.monotonic()
        posts = [threading.Thread(target=lambda: answers.append(server.post(new_body()))) for _ in range(8)]
        for post in posts:
            post.start()

        assert server.get("/healthz").status == 200
        assert time.monotonic() - started_at < 1, "a page waited for the lock"
        assert server.get("/readyz").status == 503
        assert time.monotonic() - started_at < 2
        assert server.get("/status?json").status == 200

        for post in posts:
            post.join()
        journal.execute("ROLLBACK")

    assert {(answer.status, answer.headers["retry-after"]) for answer in answers} == {(503, "5")}
    assert 2.5 < time.monotonic() - started_at < 4.5
    assert outcome(server.post(new_body())) == "stored"


# ── 405, strict ──


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_answered_405(server: RunningServer, method: str) -> None:
    answer = server.request(method, "/v1/webhook?writeKey=key", None)

    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.body.count(b"\n") == (0 if method == "HEAD" else 1)


def test_strict_mode_shows_events_and_stores_nothing(server: RunningServer) -> None:
    body = Path(__file__).parents[2].joinpath("fixtures/events/email_opened.json").read_bytes()

    answer = server.post(body, headers={"X-Strict-Mode": "1"})

    assert answer.status == 200
    assert [event["name"] for event in json.loads(answer.body)["events"]] == ["email_opened"]
    assert outcome(server.post(body)) == "stored"


def test_strict_mode_names_the_errors_by_field(server: RunningServer) -> None:
    answer = server.post(b'{"object_type":"email"}', headers={"X-Strict-Mode": "1"})

    assert answer.status == 400
    assert "metric" in json.loads(answer.body)["errors"]


# ── any request that the parser accepts ──

token = st.text("abcdefghijklmnopqrstuvwxyzXCIO-", min_size=1, max_size=20).map(lambda text: f"x-{text}".encode())
field_value = st.binary(max_size=60).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127))
header_lines = st.lists(st.tuples(token, field_value), max_size=6)
query = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=40)
body_bytes = st.binary(max_size=300) | st.binary(max_size=300).map(gzip.compress)


@given(query, header_lines, body_bytes, st.lists(st.integers(1, 100), max_size=4), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_with_a_right_key_is_answered_200(
    server: RunningServer,
    query: str,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    cuts: list[int],
    is_chunked: bool,
) -> None:
    head = f"POST /v1/webhook?writeKey=key&{query} HTTP/1.1\r\n".encode()
    head += b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    if is_chunked:
        pieces = [body[start:stop] for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(body)], strict=True)]
        request = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*[piece for piece in pieces if piece])
    else:
        request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    assert outcome(server.send_raw(request)) in ("stored", "duplicate", "quarantined")

"""Access tokens: when they are fetched, shared, renewed and forgotten. No thread sleeps, time is handed in."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from connector.errors import TransportError
from connector.model import ClientCredentials, Request, Response
from connector.transports.tokens import NoTokenError, TokenStore, token_request

CLIENT = ClientCredentials("https://ims.example.com/token", "client-1", "secret-1", "openid,AdobeID")


class TokenServer:
    """Answers with a new token each time, or as told; the clock is a number that tests move."""

    def __init__(self, expires_in: Any = 86_399) -> None:
        self.requests: list[Request] = []
        self.now = 1_000.0
        self.expires_in = expires_in
        self.answer: Callable[[], Response] = self.token

    def token(self) -> Response:
        body = {"access_token": f"token-{len(self.requests)}", "token_type": "bearer", "expires_in": self.expires_in}
        return Response(200, {}, json.dumps(body).encode())

    def send(self, request: Request, timeout_seconds: float) -> Response:
        self.requests.append(request)
        return self.answer()

    def store(self) -> TokenStore:
        return TokenStore(self.send, lambda: self.now)


def test_the_secret_goes_in_the_body_and_nowhere_else() -> None:
    request = token_request(CLIENT)

    assert parse_qs(request.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-1"],
        "client_secret": ["secret-1"],
        "scope": ["openid,AdobeID"],
    }
    assert request.url == CLIENT.token_url
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "secret-1" not in str(request.headers)
    assert "secret-1" not in repr(CLIENT)


def test_a_token_is_kept_until_five_minutes_before_it_expires() -> None:
    server = TokenServer(expires_in=3600)
    store = server.store()
    first = store.token(CLIENT, 5)

    server.now += 3600 - 301
    kept = store.token(CLIENT, 5)
    server.now += 2
    renewed = store.token(CLIENT, 5)

    assert (first, kept, renewed) == ("token-1", "token-1", "token-2")


@pytest.mark.parametrize(
    ("expires_in", "kept_seconds"),
    [(60, 30), (None, 3300), ("soon", 3300), (True, 3300), (86_400_000, 86_100)],
)
def test_a_lifetime_that_is_short_or_odd_is_taken_with_care(expires_in: Any, kept_seconds: float) -> None:
    server = TokenServer(expires_in)
    store = server.store()
    store.token(CLIENT, 5)

    server.now += kept_seconds - 0.5
    kept = store.token(CLIENT, 5)
    server.now += 1
    renewed = store.token(CLIENT, 5)

    assert (kept, renewed) == ("token-1", "token-2")


def test_a_token_that_has_expired_already_serves_once() -> None:
    server = TokenServer(expires_in=-5)
    store = server.store()

    assert [store.token(CLIENT, 5), store.token(CLIENT, 5)] == ["token-1", "token-2"]


def test_each_client_has_a_token_of_its_own_also_after_its_secret_was_rotated() -> None:
    server = TokenServer()
    store = server.store()
    clients = [CLIENT, replace(CLIENT, client_id="client-2"), replace(CLIENT, client_secret="new"),
               replace(CLIENT, scope="openid"), replace(CLIENT, token_url="https://other.example.com/")]  # fmt: skip

    tokens = [store.token(client, 5) for client in clients + clients]

    assert len(set(tokens)) == len(server.requests) == 5


def test_threads_that_need_a_token_at_once_share_one_call() -> None:
    server, may_answer = TokenServer(), threading.Event()

    def answer() -> Response:
        may_answer.wait(5)
        return server.token()

    server.answer = answer
    store = server.store()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(store.token, CLIENT, 5) for _ in range(8)]
        may_answer.set()
        tokens = {one.result(5) for one in waiting}

    assert (tokens, len(server.requests)) == ({"token-1"}, 1)


def test_a_forgotten_token_is_fetched_anew_unless_another_has_done_so() -> None:
    server = TokenServer()
    store = server.store()
    first = store.token(CLIENT, 5)

    store.forget(CLIENT, first)
    second = store.token(CLIENT, 5)
    store.forget(CLIENT, first)

    assert (second, store.token(CLIENT, 5), len(server.requests)) == ("token-2", "token-2", 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_a_refused_client_is_a_matter_of_the_credentials(status: int) -> None:
    server = TokenServer()
    server.answer = lambda: Response(status, {}, b'{"error":"invalid_client","error_description":"secret-1 is wrong"}')

    with pytest.raises(NoTokenError) as caught:
        server.store().token(CLIENT, 5)

    assert caught.value.response.status == 401
    assert (b"invalid_client" in caught.value.response.body, b"secret-1" in caught.value.response.body) == (True, False)


def test_a_throttled_client_waits_as_long_as_it_is_told() -> None:
    server = TokenServer()
    server.answer = lambda: Response(429, {"retry-after": "30"}, b"")

    with pytest.raises(NoTokenError) as caught:
        server.store().token(CLIENT, 5)

    assert (caught.value.response.status, caught.value.response.headers) == (429, {"retry-after": "30"})


@pytest.mark.parametrize(
    "response",
    [
        Response(500, {}, b""),
        Response(503, {}, b'{"access_token":"t"}'),
        Response(200, {}, b"<html>"),
        Response(200, {}, b"[]"),
        Response(200, {}, b'{"access_token":""}'),
        Response(200, {}, b'{"access_token":7}'),
        Response(200, {}, b'{"access_token":"a\\r\\nb"}'),
        Response(200, {}, '{"access_token":"ключ"}'.encode()),
    ],
)
def test_an_answer_without_a_usable_token_is_tried_again_later(response: Response) -> None:
    server = TokenServer()
    server.answer = lambda: response
    store = server.store()

    with pytest.raises(TransportError, match="the token server answered"):
        store.token(CLIENT, 5)
    server.answer = server.token
    assert store.token(CLIENT, 5) == "token-2"


def test_no_answer_is_the_same_error_for_all_and_the_next_call_tries_anew() -> None:
    server = TokenServer()

    def away() -> Response:
        raise TransportError("cannot connect to ims.example.com:443: refused")

    server.answer = away
    store = server.store()

    for _ in range(2):
        with pytest.raises(TransportError, match="cannot connect"):
            store.token(CLIENT, 5)
    assert len(server.requests) == 2


def test_waiting_for_somebody_else_s_token_ends_with_the_time() -> None:
    server, is_asked, may_answer = TokenServer(), threading.Event(), threading.Event()

    def answer() -> Response:
        is_asked.set()
        may_answer.wait(5)
        return server.token()

    server.answer = answer
    store = server.store()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(store.token, CLIENT, 5)
        is_asked.wait(5)
        with pytest.raises(TransportError, match="no access token within"):
            store.token(CLIENT, 0.01)
        may_answer.set()
        assert first.result(5) == "token-1"

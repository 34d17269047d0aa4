"""Access tokens, fetched with client credentials when first needed and kept until shortly before they expire.

Adobe throttles who asks too often, so threads that need the same token at the same time share one call.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from urllib.parse import urlencode

from connector.errors import PayloadError, TransportError
from connector.json_codec import read_json
from connector.model import ClientCredentials, Request, Response

RENEW_SECONDS = 300.0  # before a token expires; of one that lives shortly, when half of its time is over
DEFAULT_LIFETIME_SECONDS = 3600.0  # of a token that names none
LONGEST_LIFETIME_SECONDS = 86400.0  # what Adobe gives; more would be milliseconds, as its older flow had them
PASSED_ON = frozenset({408, 429})  # of the token server's refusals, those that a later try may not meet


class NoTokenError(Exception):
    """The token server refused; `response` is what the request itself would have been answered: 401, or its 429."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    renew_at: float  # of the clock that the store was given

    def __repr__(self) -> str:
        return "Token(•••)"


class TokenStore:
    """Shared by threads. One token for each set of credentials: a rotated secret is another one."""

    def __init__(self, send: Callable[[Request, float], Response], monotonic: Callable[[], float]) -> None:
        """`send` brings the request to the token server, and raises TransportError when there is no answer."""
        self._send = send
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._tokens: dict[ClientCredentials, Token] = {}
        self._fetches: dict[ClientCredentials, Future[Token]] = {}

    def token(self, credentials: ClientCredentials, timeout_seconds: float) -> str:
        """A token that has not expired. Raises NoTokenError, or TransportError when the token server is not there."""
        with self._lock:
            token = self._tokens.get(credentials)
            if token is not None and self._monotonic() < token.renew_at:
                return token.text
            running = self._fetches.get(credentials)
            fetch = self._fetches[credentials] = running or Future()
        if running is None:
            self._fetch(credentials, timeout_seconds, fetch)
        try:
            return fetch.result(timeout_seconds).text
        except TimeoutError:
            raise TransportError(f"no access token within {timeout_seconds:g} s") from None

    def forget(self, credentials: ClientCredentials, text: str) -> None:
        """This token was refused: the next caller fetches another, unless somebody has done so already."""
        with self._lock:
            token = self._tokens.get(credentials)
            if token is not None and token.text == text:
                del self._tokens[credentials]

    def _fetch(self, credentials: ClientCredentials, timeout_seconds: float, fetch: Future[Token]) -> None:
        """Ends `fetch` one way or the other; every waiting thread gets the same."""
        try:
            token = self._fetched(credentials, timeout_seconds)
        except Exception as error:
            with self._lock:
                del self._fetches[credentials]
            fetch.set_exception(error)
            return
        with self._lock:
            self._tokens[credentials] = token
            del self._fetches[credentials]
        fetch.set_result(token)

    def _fetched(self, credentials: ClientCredentials, timeout_seconds: float) -> Token:
        asked_at = self._monotonic()
        response = self._send(token_request(credentials), timeout_seconds)
        if response.status in PASSED_ON:
            raise NoTokenError(Response(response.status, response.headers, b"by the token server"))
        if 300 <= response.status < 500:
            raise NoTokenError(refusal(response))
        token = read_token(response, asked_at)
        if token is None:
            raise TransportError(f"the token server answered {response.status}, without a token")
        return token


def token_request(credentials: ClientCredentials) -> Request:
    """The secret is in the body: URLs get logged."""
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "scope": credentials.scope,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    return Request("POST", credentials.token_url, headers, urlencode(form).encode())


def read_token(response: Response, asked_at: float) -> Token | None:
    """The token of a good answer, None of any other."""
    answer = read_object(response.body) if response.status < 300 else {}
    text, lifetime = answer.get("access_token"), answer.get("expires_in")
    # What cannot stand in a header would fail each request, and with its value in the error.
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        return None
    seconds = DEFAULT_LIFETIME_SECONDS
    if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and math.isfinite(lifetime):
        seconds = min(max(float(lifetime), 0.0), LONGEST_LIFETIME_SECONDS)
    return Token(text, asked_at + max(seconds - RENEW_SECONDS, seconds / 2))


def refusal(response: Response) -> Response:
    """As a 401 of the destination itself: the credentials are at fault, not the events."""
    error = read_object(response.body).get("error")
    word = error if isinstance(error, str) and error.isidentifier() else "no reason"
    return Response(401, {}, f"the token server answered {response.status}: {word}".encode())


def read_object(body: bytes) -> dict[str, object]:
    try:
        answer = read_json(body)
    except PayloadError:
        return {}
    return answer if isinstance(answer, dict) else {}

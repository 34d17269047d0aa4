"""Sends requests over HTTP: the only HTTP client. No redirects, no proxies, no cookies, nothing from the environment.

Every connection goes through the address guard, and every request is over by its deadline, however the other side
behaves.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError

from connector.errors import TransportError
from connector.model import ClientCredentials, Request, Response
from connector.transports.address_guard import AddressGuard, Deadline, Network, Resolver, resolve_by_system
from connector.transports.tokens import NoTokenError, TokenStore

MAX_ANSWER_BYTES = 65_536  # more than any judge reads of an answer
POOLED_CONNECTIONS = 64  # kept open for each host; more than the concurrency of any destination
POOLED_HOSTS = 64  # more than anybody configures
MASK = "•••"


class HttpTransport:
    """Shared by all destinations and threads; connections are kept open and used again."""

    def __init__(
        self,
        allow_networks: Sequence[Network],
        user_agent: str,
        resolve: Resolver = resolve_by_system,
        ca_file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ca_file`: further authorities whose certificates are trusted, beside the system's and the bundled ones.
        `monotonic`: the seconds that tell whether a token has expired."""
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._deadline = Deadline()
        self._adapter = GuardedAdapter(AddressGuard(allow_networks, resolve), self._deadline, ca_file)
        self._tokens = TokenStore(self._answer, monotonic)

    def send(self, request: Request, timeout_seconds: float) -> Response:
        """The answer within the time; of one that breaks off or drips on, its status and what there is of its body.

        A request with credentials gets an access token, and a fresh one once when the first is refused.
        """
        if request.credentials is None:
            return self._answer(request, timeout_seconds)
        ends_at = time.monotonic() + timeout_seconds
        try:
            response, token = self._with_token(request, request.credentials, ends_at)
            if refuses_token(response):
                self._tokens.forget(request.credentials, token)
                response, token = self._with_token(request, request.credentials, ends_at)
        except NoTokenError as refused:
            return refused.response
        return without(response, token)

    def _with_token(self, request: Request, credentials: ClientCredentials, ends_at: float) -> tuple[Response, str]:
        """The answer, and the token that it was given to."""
        token = self._tokens.token(credentials, seconds_until(ends_at))
        headers = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {token}"
        return self._answer(replace(request, headers=headers), seconds_until(ends_at)), token

    def _answer(self, request: Request, timeout_seconds: float) -> Response:
        self._deadline.start(timeout_seconds)
        try:
            prepared = requests.Request(
                request.method, request.url, {**self._headers, **request.headers}, data=request.body
            ).prepare()
            answer = self._send(prepared, timeout_seconds)
        except (requests.RequestException, HTTPError, TimeoutError) as error:
            raise TransportError(describe(error, place_of(request.url), timeout_seconds)) from error
        except ValueError as error:  # a header that cannot be written; its text could hold what the header holds
            raise TransportError(f"{place_of(request.url)}: the request has a header that cannot be sent") from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, read_answer(answer.raw))

    def close(self) -> None:
        self._adapter.close()

    def _send(self, prepared: requests.PreparedRequest, timeout_seconds: float) -> requests.Response:
        try:
            return self._adapter.send(prepared, stream=True, timeout=timeout_seconds)
        except requests.ConnectionError as error:
            if self._deadline.has_dialled or not is_hang_up(error):
                raise
        # The other side closed a kept connection while the request was on its way, and said nothing. At least once
        # is the promise, and messageId tells a repeat, so it is sent again.
        return self._adapter.send(prepared, stream=True, timeout=timeout_seconds)


class GuardedAdapter(HTTPAdapter):
    """The pools of connections. Never retries by itself: what an attempt is, others decide."""

    def __init__(self, guard: AddressGuard, deadline: Deadline, ca_file: Path | None) -> None:
        self._pools = guarded_pools(guard, deadline)
        self._tls = tls_context(ca_file)
        super().__init__(pool_connections=POOLED_HOSTS, pool_maxsize=POOLED_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context verifies; requests would have it read all authorities again for each connection."""


class DeadlineTlsSocket(ssl.SSLSocket):
    """As DeadlineSocket, with TLS on top."""

    deadline: Deadline | None = None

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if self.deadline:
            self.settimeout(self.deadline.remaining_seconds())
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        if self.deadline:
            self.settimeout(self.deadline.remaining_seconds())
        return super().send(data, flags)


def guarded_pools(guard: AddressGuard, deadline: Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """Connection pools by scheme, whose connections are opened by the guard.

    Name, SNI, Host header and the certificate's check stay those of the URL; only the dialling is replaced.
    """

    class GuardedConnection(HTTPConnection):
        def _new_conn(self) -> Any:
            return guard.connect(self._dns_host.strip("[]"), self.port or self.default_port, deadline)

    class GuardedTlsConnection(HTTPSConnection):
        def _new_conn(self) -> Any:
            return guard.connect(self._dns_host.strip("[]"), self.port or self.default_port, deadline)

        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, DeadlineTlsSocket):
                self.sock.deadline = deadline

    class GuardedPool(HTTPConnectionPool):
        ConnectionCls = GuardedConnection

    class GuardedTlsPool(HTTPSConnectionPool):
        ConnectionCls = GuardedTlsConnection

    return {"http": GuardedPool, "https": GuardedTlsPool}


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts the system's authorities, so that a company's own is trusted once it is installed, and the bundled."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    if ca_file:
        context.load_verify_locations(ca_file)
    context.sslsocket_class = DeadlineTlsSocket
    return context


def read_answer(raw: BaseHTTPResponse) -> bytes:
    """The body up to the bound. The status has come, and counts, even if the rest breaks off or comes too late."""
    body = b""
    try:
        while len(body) <= MAX_ANSWER_BYTES:
            piece = raw.read1(MAX_ANSWER_BYTES + 1 - len(body), decode_content=True)
            if not piece:
                raw.release_conn()
                return body
            body += piece
    except (HTTPError, OSError):
        pass
    raw.close()  # What is left unread would be taken for the next answer on this connection.
    return body[:MAX_ANSWER_BYTES]


def refuses_token(response: Response) -> bool:
    """Whether a fresh token may help. An empty 403 comes from the network before anybody has looked at the token."""
    return response.status == 401 or (response.status == 403 and bool(response.body.strip()))


def without(response: Response, secret: str) -> Response:
    """The answer as it may be shown: a server may repeat what it was sent."""
    headers = {name: value.replace(secret, MASK) for name, value in response.headers.items()}
    return Response(response.status, headers, response.body.replace(secret.encode(), MASK.encode()))


def seconds_until(moment: float) -> float:
    """Raises TransportError when it has passed."""
    seconds = moment - time.monotonic()
    if seconds <= 0:
        raise TransportError("the time was over before an access token was there")
    return seconds


def is_hang_up(error: requests.ConnectionError) -> bool:
    """Whether the connection was cut before a single byte of an answer came."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, ProtocolError) and any(isinstance(part, ConnectionError) for part in cause.args)


def place_of(url: str) -> str:
    """`host:port`; never the rest of the URL."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    except ValueError:
        return "the configured address"


def describe(error: Exception, place: str, timeout_seconds: float) -> str:
    """What went wrong, for a person."""
    if isinstance(error, requests.exceptions.SSLError):
        verify_error = next((part for part in causes(error) if isinstance(part, ssl.SSLError)), error)
        detail = getattr(verify_error, "verify_message", "") or getattr(verify_error, "reason", "") or "unknown fault"
        return f"no secure connection to {place}: {detail}; check the address and its certificate"
    if isinstance(error, requests.Timeout | TimeoutError):
        return f"no answer from {place} within {timeout_seconds:g} s"
    if isinstance(error, requests.ConnectionError) and is_hang_up(error):
        return f"{place} closed the connection without an answer"
    if isinstance(error, requests.exceptions.InvalidHeader):
        return f"{place}: the request has a header that cannot be sent"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return f"{place}: the address cannot be called"
    return f"the answer of {place} cannot be understood, it is not HTTP"


def causes(error: BaseException) -> list[BaseException]:
    """The error and all that is behind it, as far as it is chained or wrapped."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [*one.args, one.__cause__, one.__context__, getattr(one, "reason", None)]
    return found

"""The webhook endpoint: bytes in, journal, answer. Plain WSGI, ahead of Flask's routing, since every event pays for it.

Once the write key is right the answer is 200, or 503 when the event could not be stored, or 413; see the table.
Everything else about an event is judged later, from the stored bytes.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connector.caller import caller_address, write_key_of
from connector.clock import Clock
from connector.errors import JournalError, PayloadError
from connector.json_codec import read_json, write_json
from connector.model import Connections, Event, Receipt, ReceivedEvent, Source
from connector.request_body import (
    GZIP_MAGIC,
    BodyBrokenError,
    BodyError,
    BodyStalledError,
    BodyTooLargeError,
    gunzip,
    read_body,
)
from connector.tally import Tally
from connector.verify import (
    SIGNATURE_REASONS,
    Judgement,
    KeyRing,
    SignatureState,
    age_seconds,
    judge_signature,
    mask,
)

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

log = logging.getLogger(__name__)

PATHS = frozenset({"/v1/webhook", "/v1/webhook/"})
MAX_EVENT_ID_CHARS = 200  # Customer.io's have 26; longer ones are replaced by their digest
MAX_HEADER_CHARS = 500
COMPLAINT_PAUSE = timedelta(seconds=10)  # between two log lines about the same trouble, at a thousand events a second
REFUSAL_PAUSE = timedelta(minutes=1)  # between two lines about one rejected key from one address
MAX_REFUSALS_TOLD = 100  # different ones within the pause; a guesser must fill neither the memory nor the log
KEPT_HEADERS = (
    ("HTTP_X_CIO_SIGNATURE", "x-cio-signature"),
    ("HTTP_X_CIO_TIMESTAMP", "x-cio-timestamp"),
    ("HTTP_USER_AGENT", "user-agent"),
    ("CONTENT_TYPE", "content-type"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. `outcome` is what it is counted as."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    outcome: str
    closes: bool = False  # part of the body may be unread: the connection cannot be used again


def _text(status: str, text: str, outcome: str, *headers: tuple[str, str], closes: bool = False) -> Answer:
    body = text.encode("ascii")
    content = (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))))
    return Answer(status, (*content, *headers), body, outcome, closes)


# The table of answers. Customer.io holds back all later events for an hour after 400, 401, 403, 404, 429, 500 and 502,
# so none of these may follow a right write key, but for a body that never arrived whole.
OUTCOME_HEADER = "X-Connector-Outcome"
STORED = _text("200 OK", "ok", "stored", (OUTCOME_HEADER, "stored"))
DUPLICATE = _text("200 OK", "ok", "duplicate", (OUTCOME_HEADER, "duplicate"))
QUARANTINED = _text("200 OK", "ok", "quarantined", (OUTCOME_HEADER, "quarantined"))
NO_KEY = _text("401 Unauthorized", "failed to read writekey from query params", "missing")
UNKNOWN_KEY = _text("401 Unauthorized", "invalid write key", "unknown")
TOO_LARGE = _text("413 Content Too Large", "the body is larger than the limit", "too_large", closes=True)
BROKEN = _text("400 Bad Request", "the body broke off, or is not framed as HTTP demands", "broken", closes=True)
STALLED = _text("408 Request Timeout", "the body did not arrive in time", "stalled", closes=True)
UNAVAILABLE = _text("503 Service Unavailable", "not stored, try again", "unavailable", ("Retry-After", "5"))
ONLY_POST = _text(
    "405 Method Not Allowed",
    "Customer.io posts its reporting webhooks here: paste this address with ?writeKey=... into Customer.io.\n",
    "other_method",
    ("Allow", "POST"),
)
RECEIPTS = {Receipt.STORED: STORED, Receipt.DUPLICATE: DUPLICATE, Receipt.QUARANTINED: QUARANTINED}
BODY_ERRORS = {BodyTooLargeError: TOO_LARGE, BodyBrokenError: BROKEN, BodyStalledError: STALLED}


def _know_all(payload: Any) -> None:
    return None


def _no_deadline(seconds: float) -> AbstractContextManager[Any]:
    return nullcontext()


def _keep_open(start_response: StartResponse) -> None:
    pass


@dataclass(frozen=True, slots=True)
class ReceiverPorts:
    """What receiving asks of its surroundings."""

    store: Callable[[ReceivedEvent, float], Receipt]  # durable when it returns; JournalError when not, within seconds
    connections: Callable[[], Connections]  # those in force; the same object until they change
    preview: Callable[[ReceivedEvent], list[Event]]  # what normalizing makes of it
    validate: Callable[[ReceivedEvent], Mapping[str, Sequence[str]]]  # the errors by field
    clock: Clock
    tally: Tally
    unknown_name: Callable[[Any], str | None] = _know_all  # of a payload whose kind is new; told and counted, no more
    # Raises TimeoutError in the block once the seconds are over.
    deadline: Callable[[float], AbstractContextManager[Any]] = _no_deadline
    # Makes the server close the connection after this answer, and say so in it.
    close_connection: Callable[[StartResponse], None] = _keep_open


@dataclass(frozen=True, slots=True)
class ReceiverLimits:
    max_body_bytes: int = 4 * 1024 * 1024  # as sent, and unpacked
    store_seconds: float = 3.0  # Customer.io waits 4 s for its answer
    body_seconds: float = 15.0  # for the whole body; Customer.io has long given up by then
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")  # addresses or networks whose X-Forwarded-For is believed


class Receiver:
    """The WSGI application behind PATHS. Never raises, never answers 500."""

    def __init__(self, ports: ReceiverPorts, limits: ReceiverLimits | None = None) -> None:
        self._ports = ports
        self._limits = limits or ReceiverLimits()
        self._secret = secrets.token_bytes(32)
        self._connections: Connections | None = None
        self._keys = KeyRing((), self._secret)
        self._complained_at: dict[str, datetime] = {}
        self._refused_at: dict[tuple[str, str], datetime] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            answered = self._answer(ONLY_POST, start_response)
            return () if environ["REQUEST_METHOD"] == "HEAD" else answered
        started_at = self._ports.clock.now()
        try:
            source = self._find_source(environ)
        except Exception as error:
            self._complain(error)
            return self._answer(UNAVAILABLE, start_response)
        if isinstance(source, Answer):
            return self._answer(source, start_response)
        answer = self._receive(environ, source, started_at)
        seconds = (self._ports.clock.now() - started_at).total_seconds()
        self._ports.tally.add_answer(source.name, answer.outcome, seconds)
        return self._answer(answer, start_response)

    def _find_source(self, environ: Environ) -> Source | Answer:
        connections = self._ports.connections()
        if connections is not self._connections:
            self._keys = KeyRing(connections.sources, self._secret)
            self._connections = connections
        write_key = write_key_of(environ)
        source = self._keys.find(write_key) if write_key else None
        if source is not None:
            return source
        answer = UNKNOWN_KEY if write_key else NO_KEY
        address = caller_address(environ, self._limits.trusted_proxies)
        masked = mask(write_key) if write_key else "(none)"
        now = self._ports.clock.now()
        self._ports.tally.reject_key(answer.outcome, masked, address, now)
        self._tell_refusal(masked, address, now)
        return answer

    def _tell_refusal(self, masked_key: str, address: str, now: datetime) -> None:
        """A line now and then, since the status page is looked at late and Customer.io shows nothing."""
        caller = (masked_key, address)
        if caller in self._refused_at and now - self._refused_at[caller] < REFUSAL_PAUSE:
            return
        if len(self._refused_at) >= MAX_REFUSALS_TOLD:
            if now - next(iter(self._refused_at.values())) < REFUSAL_PAUSE:
                return
            self._refused_at = {one: at for one, at in self._refused_at.items() if now - at < REFUSAL_PAUSE}
        self._refused_at.pop(caller, None)  # the oldest stays first
        self._refused_at[caller] = now
        log.warning(
            "answered 401 to %s: write key %s is not one of ours; if that is Customer.io, it sends nothing for an hour "
            "after each such answer",
            address,
            masked_key,
        )

    def _receive(self, environ: Environ, source: Source, received_at: datetime) -> Answer:
        """One of the table's answers, whatever happens."""
        limits = self._limits
        try:
            with self._ports.deadline(limits.body_seconds):
                raw = read_body(environ, limits.max_body_bytes)
            received, payload = self._to_received(environ, source, raw, received_at)
            if "HTTP_X_STRICT_MODE" in environ and environ["HTTP_X_STRICT_MODE"].strip() in ("1", "true"):
                return self._explain(received)
            receipt = self._ports.store(received, limits.store_seconds)
            if receipt is Receipt.STORED and (name := self._ports.unknown_name(payload)) is not None:
                self._note_unknown(source, name)
            return RECEIPTS[receipt]
        except BodyError as error:
            return BODY_ERRORS[type(error)]
        except Exception as error:
            self._complain(error)
            return UNAVAILABLE

    def _note_unknown(self, source: Source, name: str) -> None:
        new_name = self._ports.tally.add_unknown(source.name, name)
        if new_name is not None:
            log.info("source %s: a new kind of event, which travels on as it is: %s", source.name, new_name)

    def _to_received(
        self, environ: Environ, source: Source, raw: bytes, received_at: datetime
    ) -> tuple[ReceivedEvent, Any]:
        """The event to store, and what its body holds."""
        unreadable = None
        payload: Any = None
        body = raw
        try:
            if raw.startswith(GZIP_MAGIC):
                body = gunzip(raw, self._limits.max_body_bytes)
            payload = read_json(body)
            if not isinstance(payload, dict):
                unreadable = "the body is JSON, but not an object"
        except PayloadError as error:
            unreadable = str(error)
        judgement = self._judge(environ, source, raw, body, received_at)
        received = ReceivedEvent(
            source=source.name,
            event_id=event_id_of(payload, body),
            body=body,
            received_at=received_at,
            headers={name: environ[key][:MAX_HEADER_CHARS] for key, name in KEPT_HEADERS if environ.get(key)},
            quarantine_reason=judgement.quarantine_reason or unreadable,
            proof=judgement.proof,
            is_provisional=judgement.is_provisional,
            doubt=judgement.doubt,
            unproven_keys=judgement.unproven_keys,
        )
        return received, payload

    def _judge(self, environ: Environ, source: Source, raw: bytes, body: bytes, now: datetime) -> Judgement:
        signature = environ.get("HTTP_X_CIO_SIGNATURE")
        timestamp = environ.get("HTTP_X_CIO_TIMESTAMP")
        judgement = judge_signature(source, signature, timestamp, raw)
        if judgement.state is SignatureState.WRONG and body is not raw:
            # A proxy on the way may have packed what Customer.io signed.
            judgement = judge_signature(source, signature, timestamp, body)
        if judgement.state is None:
            return judgement
        self._ports.tally.add_signature(source.name, judgement.state, age_seconds(timestamp, now))
        return judgement

    def _explain(self, received: ReceivedEvent) -> Answer:
        """X-Strict-Mode: for people trying things out; nothing is stored."""
        errors: dict[str, Sequence[str]] = {}
        if received.quarantine_reason:
            field = "x-cio-signature" if received.quarantine_reason in SIGNATURE_REASONS.values() else "body"
            errors[field] = [received.quarantine_reason]
        else:
            errors.update(self._ports.validate(received))
        if errors:
            return _json_answer("400 Bad Request", {"errors": errors})
        events = [
            {"name": event.name, "type": event.type, "body": event.body} for event in self._ports.preview(received)
        ]
        return _json_answer("200 OK", {"events": events})

    def _answer(self, answer: Answer, start_response: StartResponse) -> Iterable[bytes]:
        if answer.closes:
            self._ports.close_connection(start_response)
        start_response(answer.status, list(answer.headers))
        return (answer.body,)

    def _complain(self, error: Exception) -> None:
        """One log line for a run of equal troubles; the counts tell how many there were."""
        kind = type(error).__name__
        now = self._ports.clock.now()
        last_at = self._complained_at.get(kind)
        if last_at is not None and now - last_at < COMPLAINT_PAUSE:
            return
        self._complained_at[kind] = now
        if isinstance(error, JournalError):
            log.error("answered 503, not stored: %s", error)
        else:
            log.error("answered 503 after an unforeseen error", exc_info=error)


def event_id_of(payload: Any, body: bytes) -> str:
    """The identity of an event: its `event_id`, where that is a usable text or integer, else the body's digest."""
    stated = payload.get("event_id") if isinstance(payload, dict) else None
    if isinstance(stated, int) and not isinstance(stated, bool):
        stated = str(stated)
    if isinstance(stated, str) and (event_id := stated.strip()):
        if len(event_id) <= MAX_EVENT_ID_CHARS and event_id.isprintable():
            return event_id
        # Too long for an index, or with characters that a store may refuse: still the same id each time it comes.
        return "sha256:" + hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _json_answer(status: str, value: Any) -> Answer:
    body = write_json(value)
    content = (("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    return Answer(status, content, body, "explained")


class WebhookMiddleware:
    """Sends the webhook's path to the receiver and everything else to the application."""

    def __init__(self, application: WsgiApp, receiver: Receiver) -> None:
        self._application = application
        self._receiver = receiver

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in PATHS:
            return self._receiver(environ, start_response)
        return self._application(environ, start_response)

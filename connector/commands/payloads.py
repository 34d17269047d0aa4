"""Payload files, and how they are played at a receiver as Customer.io would: signed, with a fresh timestamp."""

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from connector.clock import Clock
from connector.commands.answers import Refusal
from connector.errors import PayloadError, TransportError
from connector.json_codec import read_json, write_json
from connector.model import Request
from connector.receive import OUTCOME_HEADER, event_id_of
from connector.transports.base import Transport
from connector.verify import sign

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # the digits of a ULID
ULID_DIGITS = 26
RANDOM_BITS = 80
ANSWER_SECONDS = 4.0  # Customer.io waits as long
USER_AGENT = "Customer.io Web Hooks (played by the connector)"
UNANSWERED = "no answer"


@dataclass(frozen=True, slots=True)
class Payload:
    """A body to play. `name` is its file's, without the ending."""

    name: str
    body: bytes

    @property
    def event_id(self) -> str:
        """The identity that receiving will give it."""
        try:
            return event_id_of(read_json(self.body), self.body)
        except PayloadError:
            return event_id_of(None, self.body)


@dataclass(frozen=True, slots=True)
class Played:
    """What a receiver answered; `outcome` is its own word, or the status, or "no answer"."""

    payload: Payload
    outcome: str
    status: int | None
    detail: str
    seconds: float

    @property
    def is_accepted(self) -> bool:
        return self.status == 200 and self.outcome in ("stored", "duplicate", "200")


@dataclass(frozen=True, slots=True)
class Player:
    """Calls one receiver, as one workspace of Customer.io would."""

    transport: Transport
    clock: Clock
    url: str  # with the write key
    signing_key: str | None

    def play(self, payload: Payload) -> Played:
        """Never raises for anything that the receiver does."""
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if self.signing_key:
            timestamp = str(int(self.clock.now().timestamp()))
            headers["X-CIO-Timestamp"] = timestamp
            headers["X-CIO-Signature"] = sign(self.signing_key, timestamp, payload.body)
        begun = time.perf_counter()
        try:
            response = self.transport.send(Request("POST", self.url, headers, payload.body), ANSWER_SECONDS)
        except TransportError as error:
            return Played(payload, UNANSWERED, None, str(error), time.perf_counter() - begun)
        outcome = response.headers.get(OUTCOME_HEADER.lower(), str(response.status))
        text = response.body.decode("utf-8", "replace").strip()
        return Played(payload, outcome, response.status, text, time.perf_counter() - begun)


def receiver_url(url: str, write_key: str | None) -> str:
    """The whole address to call: the webhook's path where none is given, and the write key where none stands in it."""
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        parts = parts._replace(path="/v1/webhook")
    if "writeKey=" not in parts.query and write_key:
        parts = parts._replace(query=f"{parts.query}&writeKey={quote(write_key, safe='')}".lstrip("&"))
    return parts.geturl()


def read_payloads(paths: Sequence[Path]) -> list[Payload]:
    """The files, and those ending in .json of folders, sorted; `-` is stdin. Raises Refusal when one cannot be read."""
    payloads: list[Payload] = []
    for path in paths:
        if str(path) == "-":
            payloads.append(Payload("stdin", sys.stdin.buffer.read()))
            continue
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise Refusal(f"{path} holds no file that ends in .json")
        try:
            payloads += [Payload(one.stem, one.read_bytes()) for one in found]
        except OSError as error:
            raise Refusal(f"{error.filename} cannot be read: {error.strerror}") from None
    return payloads


def with_new_id(payload: Payload, clock: Clock) -> Payload:
    """The same event as another one: a fresh `event_id` where it had one; all else stays, byte for byte if it can."""
    try:
        value = read_json(payload.body)
    except PayloadError:
        return payload
    if not isinstance(value, dict) or not isinstance(value.get("event_id"), str):
        return payload
    old, new = write_json(value["event_id"]), write_json(new_ulid(clock))
    if payload.body.count(old) == 1:
        return replace(payload, body=payload.body.replace(old, new))
    return replace(payload, body=write_json({**value, "event_id": new[1:-1].decode()}))


def new_ulid(clock: Clock) -> str:
    """An event id in the form of Customer.io's."""
    number = int(clock.now().timestamp() * 1000) << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
    return "".join(CROCKFORD[number >> 5 * place & 31] for place in reversed(range(ULID_DIGITS)))


def paced(payloads: Sequence[Payload], per_second: float | None, sleep: Callable[[float], None]) -> Iterator[Payload]:
    """The payloads, no more of them in a second than that."""
    begun = time.monotonic()
    for number, payload in enumerate(payloads):
        if per_second and (wait := begun + number / per_second - time.monotonic()) > 0:
            sleep(wait)
        yield payload

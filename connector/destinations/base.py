"""The Destination interface: build a request, judge its answer; and what more than one type needs for that.

No I/O, no clock, no randomness. A type declares its options as data (`Option`), so that the connections file is
checked, and documented, from one list.
"""

import re
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from connector.errors import PayloadError, SettingsError, UnavailableError
from connector.json_codec import read_json, write_json
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

OptionKind = Literal["url", "text", "secret", "choice", "integer", "number", "boolean", "mapping", "path"]

EXCERPT_CHARACTERS = 300  # of an answer in a reason: enough to see the point, short enough for a log line
SECRET_CHARACTERS = 4  # shorter "secrets" would blot out half of every answer
EPOCH_FLOOR = 1_000_000_000  # a reset header above this is a moment in Unix seconds, below it a number of seconds
SPEC_TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})
SENT_AT_HEAD = b'{"sentAt":"'
SENT_AT_BLANK = b"0000-00-00T00:00:00.000Z"  # holds the place, so that an event's size is known before it is sent

# What is left out of an event that is too large, in this order: an entire e-mail first, then what went along with it.
EXPENDABLE = ("content", "headers")

STATUS_KINDS: Mapping[int, OutcomeKind] = {
    401: OutcomeKind.UNAUTHORIZED,
    403: OutcomeKind.UNAUTHORIZED,
    404: OutcomeKind.MISCONFIGURED,
    405: OutcomeKind.MISCONFIGURED,
    408: OutcomeKind.TRANSIENT,
    413: OutcomeKind.TOO_LARGE,
    425: OutcomeKind.TRANSIENT,
    429: OutcomeKind.THROTTLED,
}
STATUS_CLASS_KINDS: Mapping[int, OutcomeKind] = {
    2: OutcomeKind.DELIVERED,
    3: OutcomeKind.MISCONFIGURED,  # followed, it would carry people's data and the key to a place nobody configured
    4: OutcomeKind.REJECTED,
    5: OutcomeKind.TRANSIENT,
}
ADVICE: Mapping[OutcomeKind, str] = {
    OutcomeKind.UNAUTHORIZED: "check its key",
    OutcomeKind.MISCONFIGURED: "check its url",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a destination type, as it stands in connector.yaml beside the common ones."""

    kind: OptionKind
    meaning: str  # one sentence for docs and errors
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()


class Destination(ABC):
    """One configured place that events are sent to. Instances are immutable and shared between threads.

    Building one raises SettingsError when its options cannot work, whatever the events.
    """

    type: ClassVar[str]
    transport: ClassVar[str] = "http"  # which transport carries its requests: http, file, …
    options: ClassVar[Mapping[str, Option]]
    default_profile: ClassVar[str] = "rudderstack"
    default_batch: ClassVar[Batch] = Batch(max_events=100, max_bytes=450_000, max_wait_seconds=0.5)
    max_batch: ClassVar[Batch]  # the provider's hard limits; a configured batch may not exceed them
    advice: ClassVar[Mapping[OutcomeKind, str]] = ADVICE  # what a person is to look at when it ends so
    needs_person: ClassVar[bool] = False  # an event with neither userId nor anonymousId becomes a dead letter

    @classmethod
    def variant(cls, options: Mapping[str, Any]) -> "DestinationClass":
        """The class that serves a connection with these options; another one where a type works in several ways."""
        return cls

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._secrets = secrets_of(type(self).options, connection.options)

    @classmethod
    def profile_for(cls, options: Mapping[str, Any]) -> str:
        """The profile of a connection that names none."""
        return cls.default_profile

    @abstractmethod
    def encode(self, event: Event) -> bytes | Refused:
        """The event as it will stand in a request, or why this destination can never take it.

        Sizes and ids are checked here, since some providers answer 200 to what they drop. Never raises.
        """

    @abstractmethod
    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        """The request that carries the deliveries' `encoded` events; `sent_at` is the time of this very call."""

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """One outcome per delivery, in order. Never raises, whatever came back.

        When the answer speaks of the whole request, all outcomes are equal; the caller halves a refused batch.
        A type whose answers speak of single events overrides this.
        """
        return [self.judge_request(response)] * len(batch)

    def judge_request(self, response: Response) -> Outcome:
        """What the status says, by the table above; the reason quotes the answer without this connection's secrets."""
        kind = kind_of(response.status)
        if kind is OutcomeKind.DELIVERED:
            return Outcome(kind)
        return self.outcome(kind, response)

    def judge_acknowledgement(self, response: Response) -> Outcome:
        """As `judge_request`, but a 2xx that no tracking API would give is an answer that nobody understands."""
        outcome = Destination.judge_request(self, response)
        if outcome.kind is OutcomeKind.DELIVERED and not is_acknowledgement(response.body):
            return self.outcome(OutcomeKind.TRANSIENT, response, "not in the way of a tracking API")
        return outcome

    def outcome(self, kind: OutcomeKind, response: Response, remark: str = "") -> Outcome:
        """An outcome other than delivered, told to a person, with the pause that the answer asks for."""
        reason = f"answered {describe_status(response.status)}"
        if not remark and 300 <= response.status < 400:
            remark = describe_redirect(response, self._secrets)
        parts = [reason, remark, type(self).advice.get(kind, "")]
        quote = excerpt(response.body, self._secrets)
        text = ", ".join(part for part in parts if part) + (f": {quote}" if quote else "")
        return Outcome(kind, text, retry_after_seconds(response.headers))

    def option(self, name: str) -> Any:
        """The option's value, or its default."""
        value = self.connection.options.get(name)
        return type(self).options[name].default if value is None else value

    def lane(self, event: Event) -> str:
        """Events of different lanes never share a request: some providers take people at another address."""
        return ""

    def envelope_bytes(self) -> int:
        """Upper bound of the bytes that a request has around and between (one each) its encoded events."""
        return 256

    def event_bytes(self, hard_limit: int) -> int:
        """The most bytes that one encoded event may have: the provider's limit, and what fits the configured batch."""
        return min(hard_limit, self.connection.batch.max_bytes - self.envelope_bytes())


DestinationClass = type[Destination]


def require_packages(connection: Connection, packages: Sequence[str], requirements: str) -> None:
    """Raises UnavailableError when one of them is not installed, with the command that installs it."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UnavailableError(
            [
                f"destination {connection.name}: type {connection.type} needs {', '.join(missing)}, which is not "
                f"installed: pip install -r {requirements}"
            ]
        )


# ── encoding ──


def encode_within(body: dict[str, Any], max_bytes: int, with_sent_at: bool = False) -> bytes | Refused:
    """The event as compact JSON of at most `max_bytes`, or why that cannot be.

    An event that is too large loses its message content, then its headers; its property `truncated` names what went.
    With `with_sent_at`, a standard event starts with a blank `sentAt`, which `stamped` fills in.
    """
    if with_sent_at and "type" in body and "sentAt" not in body:
        body = {"sentAt": SENT_AT_BLANK.decode(), **body}
    encoded = encode_json(body)
    if isinstance(encoded, Refused) or len(encoded) <= max_bytes:
        return encoded
    full_bytes = len(encoded)
    for smaller in leave_out(body):
        encoded = encode_json(smaller)
        if isinstance(encoded, Refused) or len(encoded) <= max_bytes:
            return encoded
    return Refused(f"too large: {full_bytes} bytes, at most {max_bytes} are taken")


def leave_out(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The event with less and less of what is expendable, largest first; the given one is left as it is."""
    lesser = []
    left_out: list[str] = []
    for key in EXPENDABLE:
        for holder in ("properties", "data"):
            values = body.get(holder)
            if isinstance(values, dict) and key in values:
                left_out = [*left_out, key]
                kept = {name: value for name, value in values.items() if name != key}
                body = {**body, holder: {**kept, "truncated": left_out}}
                lesser.append(body)
    return lesser


def encode_json(body: dict[str, Any]) -> bytes | Refused:
    """Compact JSON on one line, or why there is none: an action's mapping can make what JSON has no words for."""
    try:
        return write_json(body)
    except (TypeError, ValueError, RecursionError) as error:
        return Refused(f"cannot be written as JSON: {error}")


def stamped(batch: Sequence[Delivery], sent_at: datetime) -> list[bytes]:
    """The encoded events, each blank `sentAt` filled in; others are as they were. No length changes."""
    blank, filled = SENT_AT_HEAD + SENT_AT_BLANK, SENT_AT_HEAD + iso_text(sent_at).encode()
    tail = len(blank)
    return [
        filled + delivery.encoded[tail:] if delivery.encoded[:tail] == blank else delivery.encoded for delivery in batch
    ]


def spec_fault(body: Mapping[str, Any]) -> str:
    """What the tracking APIs of Segment's kind would refuse, or silently drop, this event for; "" when nothing."""
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in SPEC_TYPES:
        return f"its type is not one of {', '.join(sorted(SPEC_TYPES))}"
    if not (is_filled(body.get("userId")) or is_filled(body.get("anonymousId"))):
        return "no person: it has neither userId nor anonymousId"
    if kind == "track" and not is_filled(body.get("event")):
        return "it is a track call without an event name"
    return ""


def is_filled(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)


def iso_text(moment: datetime) -> str:
    """`2026-08-31T18:30:47.000Z`: UTC, always milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ── building requests ──


def basic_authorization(user: str, password: str = "") -> str:
    """The value of an Authorization header; a write key is the user name, with an empty password."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def checked_url(destination: str, url: str) -> str:
    """The address without blanks around it. Raises SettingsError when nothing can be sent there."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a bracket that is not closed
        is_usable = False
    if not is_usable or re.search(r"\s", text):
        raise SettingsError([f"destination {destination}: url must be an address like https://example.com/path"])
    if "@" in parts.netloc:
        raise SettingsError([f"destination {destination}: url must not hold a user name or password, it is shown"])
    return text


def batch_url(base: str) -> str:
    """Where a tracking API takes groups of events; people paste its address with and without the path."""
    return base.rstrip("/").removesuffix("/batch").removesuffix("/v1") + "/v1/batch"


def secrets_of(options: Mapping[str, Option], values: Mapping[str, Any]) -> tuple[str, ...]:
    """All that must never be shown of a connection, as it could come back in an answer; longest first."""
    found: set[str] = set()
    for name, option in options.items():
        value = values.get(name)
        if option.kind == "secret" and isinstance(value, str):
            found |= {value, *value.split(), basic_authorization(value).removeprefix("Basic ")}
        elif option.kind == "mapping" and isinstance(value, Mapping):  # headers: any of them may be one
            found |= {word for text in value.values() for word in (str(text), *str(text).split())}
    return tuple(sorted((text for text in found if len(text) >= SECRET_CHARACTERS), key=len, reverse=True))


# ── judging answers ──


def kind_of(status: int) -> OutcomeKind:
    """How an attempt with this status ended; a status that HTTP does not know is an answer nobody understands."""
    return STATUS_KINDS.get(status) or STATUS_CLASS_KINDS.get(status // 100, OutcomeKind.TRANSIENT)


def is_acknowledgement(body: bytes) -> bool:
    """Whether a 2xx was meant: `ok` in any case, nothing, or JSON; not the page of a portal on the way."""
    text = body.strip()
    if not text or text.lower() == b"ok":
        return True
    try:
        read_json(text)
    except PayloadError:
        return False
    return True


def describe_status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def describe_redirect(response: Response, secrets: Sequence[str]) -> str:
    """Where a redirect points, without what could be a secret in its query."""
    place = response.headers.get("location", "").partition("?")[0]
    return (
        f"a redirect to {excerpt(place.encode(), secrets)}, which is not followed" if place else "which is not followed"
    )


def excerpt(body: bytes, secrets: Sequence[str] = ()) -> str:
    """The beginning of an answer on one printable line, without secrets and without e-mail addresses."""
    text = body.decode("utf-8", "replace")  # all of it: a secret cut in two would not be found
    for secret in secrets:
        text = text.replace(secret, "•••")
    text = re.sub(r"[^\s@<>\"']{1,80}@[^\s@<>\"']{1,80}", "•••@•••", text[: 8 * EXCERPT_CHARACTERS])
    text = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 1] + "…"


def retry_after_seconds(headers: Mapping[str, str], reset_header: str = "") -> float | None:
    """The pause that an answer asks for, None without a readable one; the caller sets bounds.

    A moment is taken relative to the answer's own Date, so that neither clock needs to be right.
    """
    wish = headers.get("retry-after", "").strip() or headers.get(reset_header, "").strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", wish):
        seconds = float(wish)
        if seconds < EPOCH_FLOOR:
            return seconds
        return seconds_between(headers.get("date", ""), datetime.fromtimestamp(min(seconds, 4e9), UTC))
    moment = http_moment(wish)
    return seconds_between(headers.get("date", ""), moment) if moment else None


def seconds_between(date_header: str, moment: datetime) -> float | None:
    answered_at = http_moment(date_header)
    return max(0.0, (moment - answered_at).total_seconds()) if answered_at else None


def http_moment(text: str) -> datetime | None:
    """The moment of an HTTP date, None when it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""The nouns that the steps hand to each other. Data only: no I/O, no decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class SignatureMode(StrEnum):
    """What receiving does with X-CIO-Signature."""

    OFF = "off"  # not looked at
    OBSERVE = "observe"  # judged and counted, never refused
    ENFORCE = "enforce"  # missing or wrong: quarantine
    AUTO = "auto"  # observe until the first valid one, from then on enforce


@dataclass(frozen=True, slots=True)
class Source:
    """One Customer.io workspace. Its name is its identity for ever."""

    name: str
    write_keys: tuple[str, ...]
    signing_keys: tuple[str, ...] = ()
    signature: SignatureMode = SignatureMode.OFF
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """What came in: raw bytes and what is known about their arrival."""

    source: str
    event_id: str  # the payload's event_id, else "sha256:" and the hex digest of the body
    body: bytes  # as sent, gunzipped
    received_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)  # lower-case names; only the few that matter
    seq: int = 0  # place in the journal, rising, given by append
    quarantine_reason: str | None = None  # set: cannot be trusted or read; append puts it into quarantine
    proof: str | None = None  # fingerprint of the signing key that proved it genuine, if one did
    is_provisional: bool = False  # signature mode auto, unproven: append quarantines it once the source is proven
    unproven_keys: tuple[str, ...] = ()  # mode auto: fingerprints of the source's keys; append knows which are proven
    doubt: str = ""  # provisional: the reason with which append quarantines it


class Receipt(StrEnum):
    """What append did with a received event; the X-Connector-Outcome header says it to a tester."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"


class EventType(StrEnum):
    TRACK = "track"
    IDENTIFY = "identify"


@dataclass(frozen=True, slots=True)
class Event:
    """A normalized event in the naming dialect of one profile. `body` is the JSON object that leaves."""

    type: EventType
    source: str
    event_id: str
    object_type: str  # "email", "customer", … ; "unknown" where the payload names none
    metric: str  # "opened", … ; "unknown" where the payload names none
    machine: bool  # opened or clicked by software, as far as the payload tells
    body: dict[str, Any]
    is_email_recipient: bool = False  # the e-mail address in it is only known as whom the message went to

    @property
    def name(self) -> str:
        """The event's name everywhere in this project: `<object_type>_<metric>`."""
        return f"{self.object_type}_{self.metric}"


@dataclass(frozen=True, slots=True)
class Action:
    """One rule of a destination: which events (`where`), reshaped how (`fields`, then `map`)."""

    name: str
    where: str | None = None  # JMESPath
    fields: Mapping[str, str] = field(default_factory=dict)  # new dotted path: JMESPath
    map: str | None = None  # JMESPath over the whole event
    enabled: bool = True
    distinct: bool = False  # its messageId differs from the other actions'
    object_type: str = ""  # of a default action: the only object type it takes; "other": those without one of their own
    presets: tuple[str, ...] = ()  # rules for common jobs, by name: their `where`s beside its own, their `map`s after


@dataclass(frozen=True, slots=True)
class Privacy:
    """What must not reach a destination, whatever its actions make of an event."""

    drop: tuple[str, ...] = ()  # paths; `*` is any one name, `**` any depth
    hash: tuple[str, ...] = ()
    salt: str = ""  # a secret: makes the hashes HMACs, which nobody else can compare


@dataclass(frozen=True, slots=True)
class Batch:
    """How many events share a request."""

    max_events: int
    max_bytes: int
    max_wait_seconds: float


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and after which pauses, a failed delivery is tried again."""

    retries: int
    delays_seconds: tuple[float, ...]  # the n-th pause before the n-th retry; the last one repeats


@dataclass(frozen=True, slots=True)
class Connection:
    """One configured destination: what is common to all types, and its type's own `options`."""

    name: str
    type: str
    options: Mapping[str, Any]  # checked against the type's `Option`s, defaults filled in, secrets in clear
    sources: tuple[str, ...] | None = None  # None: all; (): none
    enabled: bool = True
    start: str | datetime = "now"  # "now", "beginning", or a moment
    events: tuple[str, ...] = ()  # `<object_type>_<metric>` patterns, `!` excludes; empty: everything
    profile: str = "rudderstack"
    actions: tuple[Action, ...] = (Action(name="all"),)
    privacy: Privacy | None = None
    identify: bool = False
    keep_content: bool = False
    batch: Batch = Batch(100, 450_000, 0.5)
    events_per_second: float | None = None
    concurrency: int = 1
    timeout_seconds: float = 10.0
    retry: Retry = Retry(14, (1, 2, 5, 10, 20, 40, 80, 160, 300, 600, 900, 1500, 2400, 4800))


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits on what is kept; None keeps for ever."""

    events_seconds: float | None = None
    events_bytes: int | None = None
    attempts_seconds: float | None = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Connections:
    """All of connector.yaml, validated; `fingerprint` changes whenever the content does."""

    sources: tuple[Source, ...]
    destinations: tuple[Connection, ...]
    retention: Retention
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the journal with a cursor of its own: a destination × a source, or a replay of that pair."""

    destination: str
    source: str
    replay: str = ""  # id of the replay; "": the present


# The action of what stands for all that the actions would have made of an event that could not be worked on.
WHOLE_EVENT = "*"


@dataclass(frozen=True, slots=True)
class OpenDelivery:
    """What the journal remembers of a delivery that failed and waits."""

    type: EventType
    action: str
    attempts: int  # tries that counted, so far


@dataclass(frozen=True, slots=True)
class Claimed:
    """One received event to work on. `open` is None for a fresh event (everything the actions make of it)."""

    received: ReceivedEvent
    open: tuple[OpenDelivery, ...] | None = None


class Verdict(StrEnum):
    """What becomes of a delivery after an attempt."""

    DONE = "done"  # delivered, or nothing left to do
    RETRY = "retry"  # failed; waits until `at`; the attempt counts
    DEAD = "dead"  # given up; a person decides
    RELEASE = "release"  # not tried, or not its fault: as if it had never been claimed


@dataclass(frozen=True, slots=True)
class NextStep:
    """The verdict on one delivery. `attempts` is the new count for RETRY and DEAD."""

    type: EventType
    action: str
    verdict: Verdict
    at: datetime | None = None  # RETRY: not before
    attempts: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The verdicts on all deliveries of one claimed event; an event with none is settled (filtered)."""

    seq: int
    steps: tuple[NextStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """The duty to bring one event to one action: the unit that succeeds or fails."""

    reader: Reader
    seq: int
    action: str
    event: Event  # mapped: what the destination is to get
    encoded: bytes  # the event as the destination writes it
    attempts: int = 0  # tries that counted, so far

    @property
    def id(self) -> str:
        """Derived, never random: the same delivery has the same id after any crash."""
        reader = self.reader
        parts = (reader.destination, reader.source, self.event.event_id, self.event.type, self.action)
        return "/".join((*parts, reader.replay) if reader.replay else parts)


@dataclass(frozen=True, slots=True)
class Refused:
    """A destination cannot take this event at all (too large, nobody in it): dead letter without a try."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What an access token is fetched with, before a request that needs one (OAuth 2, RFC 6749 4.4)."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a transport sends. `url` never holds a secret; secrets sit in headers, which are never logged."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    credentials: ClientCredentials | None = None  # set: the transport adds a bearer token that it fetches with them


@dataclass(frozen=True, slots=True)
class Response:
    """What came back. Header names are lower-case; the body is cut at a bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class OutcomeKind(StrEnum):
    """How an attempt ended for one delivery."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"  # try again later: 408, 425, 5xx, no answer, an answer nobody understands
    THROTTLED = "throttled"  # 429: the destination asks for a pause; uses up no retry
    REJECTED = "rejected"  # this event, or one in its batch, is refused for good
    TOO_LARGE = "too_large"  # 413: the request is; halve it
    UNAUTHORIZED = "unauthorized"  # the credentials are at fault, not the event
    MISCONFIGURED = "misconfigured"  # 404, 405, a redirect: the address is at fault, not the event


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: OutcomeKind
    reason: str = ""  # for a person; never a secret
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request with the deliveries it carried, for the log and the ledger."""

    destination: str
    started_at: datetime
    duration_seconds: float
    request: Request
    response: Response | None  # None: no answer
    error: str  # why there was no answer; "" if there was one
    deliveries: Sequence[Delivery]
    outcomes: Sequence[Outcome]
    replay: str = ""

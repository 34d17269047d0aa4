"""The Destination interface: build a request, judge its answer. No I/O, no clock, no randomness.

A type declares its options as data (`Option`), so that the connections file is checked, and documented, from one list.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from connector.model import Batch, Connection, Delivery, Event, Outcome, Refused, Request, Response

OptionKind = Literal["url", "text", "secret", "choice", "integer", "number", "boolean", "mapping", "path"]


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a destination type, as it stands in connector.yaml beside the common ones."""

    kind: OptionKind
    meaning: str  # one sentence for docs and errors
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()


class Destination(ABC):
    """One configured place that events are sent to. Instances are immutable and shared between threads."""

    type: ClassVar[str]
    transport: ClassVar[str] = "http"  # which transport carries its requests: http, file, …
    options: ClassVar[Mapping[str, Option]]
    default_profile: ClassVar[str] = "rudderstack"
    default_batch: ClassVar[Batch] = Batch(max_events=100, max_bytes=450_000, max_wait_seconds=0.5)
    max_batch: ClassVar[Batch]  # the provider's hard limits; a configured batch may not exceed them
    needs_person: ClassVar[bool] = False  # an event with neither userId nor anonymousId becomes a dead letter

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @abstractmethod
    def encode(self, event: Event) -> bytes | Refused:
        """The event as it will stand in a request, or why this destination can never take it.

        Sizes and ids are checked here, since some providers answer 200 to what they drop. Never raises.
        """

    @abstractmethod
    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        """The request that carries the deliveries' `encoded` events; `sent_at` is the time of this very call."""

    @abstractmethod
    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """One outcome per delivery, in order. Never raises, whatever came back.

        When the answer speaks of the whole request, all outcomes are equal; the caller halves a refused batch.
        """

    def envelope_bytes(self) -> int:
        """Upper bound of the bytes that a request has around and between (one each) its encoded events."""
        return 256

"""What a destination's rules of today make of stored events, without sending any: counts, and examples of each kind."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from connector.destinations.base import Destination
from connector.model import Event, EventType, Reader, ReceivedEvent
from connector.normalize import normalize
from connector.route import Route, Routed

MAX_REASONS = 200  # told apart; a reason may quote a size or a number, and there may be millions of them
REST = "other reasons"
DELIVERED, FILTERED, DEAD = "delivered", "filtered", "dead"


@dataclass(frozen=True, slots=True)
class Example:
    """One event and what came of it. `after` is None unless it would be delivered."""

    verdict: str
    event_id: str
    name: str
    type: EventType
    action: str  # "" where a rule of the whole destination decided
    reason: str
    before: dict[str, Any]
    after: dict[str, Any] | None


@dataclass(slots=True)
class Findings:
    """Counts of events, and of what they would come to: by action, by rule, by reason."""

    events: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)


class DryRun:
    """Works out one event after another; `findings` grows with them."""

    def __init__(self, destination: Destination, examples: int) -> None:
        """`examples`: how many of each verdict are kept, each of another event name or action or rule."""
        self._connection = destination.connection
        self._route = Route(destination)
        self._wanted = examples
        self._seen: set[tuple[str, str, str]] = set()
        self._kept: Counter[str] = Counter()
        self.findings = Findings()

    def look_at_all(self, stored: Iterable[ReceivedEvent], on_event: Callable[[], None]) -> None:
        for received in stored:
            self.look_at(received)
            on_event()

    def look_at(self, received: ReceivedEvent) -> Routed:
        connection, found = self._connection, self.findings
        events = normalize(
            received, connection.profile, identify=connection.identify, keep_content=connection.keep_content
        )
        # As of a replay: which sources are looked at has been decided by who asked.
        routed = self._route.deliveries(Reader(connection.name, received.source, "dry-run"), received.seq, events)
        by_type = {event.type: event for event in events}
        found.events += 1
        for delivery in routed.deliveries:
            _count(found.delivered, delivery.action)
            self._keep(DELIVERED, by_type[delivery.event.type], delivery.action, "", delivery.event.body)
        for kept in routed.filtered:
            _count(found.filtered, kept.rule)
            self._keep(FILTERED, by_type[kept.type], kept.action, kept.rule)
        for dead in routed.dead:
            _count(found.dead, dead.reason)
            self._keep(DEAD, by_type[dead.type], dead.action, dead.reason)
        return routed

    def _keep(self, verdict: str, event: Event, action: str, reason: str, after: dict[str, Any] | None = None) -> None:
        kind = (verdict, event.name, action or reason)
        if self._kept[verdict] >= self._wanted or kind in self._seen:
            return
        self._seen.add(kind)
        self._kept[verdict] += 1
        self.findings.examples.append(
            Example(verdict, event.event_id, event.name, event.type, action, reason, event.body, after)
        )


def _count(counted: dict[str, int], reason: str) -> None:
    place = reason if reason in counted or len(counted) < MAX_REASONS else REST
    counted[place] = counted.get(place, 0) + 1

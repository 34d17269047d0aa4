"""What became of a received event at each destination: delivered, waiting, filtered (by which rule), dead (why), held.

Read from the journal, and, for what was filtered, worked out again with the rules that were in force at the time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from connector.destinations.base import Destination
from connector.errors import MappingError, SettingsError
from connector.journal.base import Exceptional, Journal, Whereabouts
from connector.ledger import DestinationState
from connector.model import Action, Connection, Connections, Reader, ReceivedEvent
from connector.normalize import normalize
from connector.route import Route, Routed

HELD_MOODS = ("held", "failing", "throttled")  # the destination itself is in the way


class State(StrEnum):
    """What became of a received event at one destination, by the worst of its deliveries."""

    DELIVERED = "delivered"
    FILTERED = "filtered"  # no rule wanted it
    WAITING = "waiting"  # not yet tried, or failed and to be tried again
    HELD = "held"  # waiting, and the destination is not well
    DEAD = "dead"  # given up; a person decides
    DROPPED = "dropped"  # given up, and a person decided that it stays so
    DISABLED = "disabled"  # waiting for the destination to be switched on
    EARLIER = "earlier"  # came before the destination was there; a replay can bring it


@dataclass(frozen=True, slots=True)
class Fate:
    """`at`: not before which it is tried again, or since when it is dead or dropped."""

    destination: str
    state: State
    reason: str
    at: datetime | None = None
    attempts: int = 0
    replay: str = ""


class Fates:
    """Looks up events, one after another, against one reading of the configuration and the destinations' states."""

    def __init__(
        self,
        journal: Journal,
        connections: Connections,
        states: Mapping[str, DestinationState],
        build_destination: Callable[[Connection], Destination],
    ) -> None:
        self._journal = journal
        self._connections = {connection.name: connection for connection in connections.destinations}
        self._states = states
        self._build_destination = build_destination
        self._routes: dict[tuple[str, str], Route | None] = {}
        self._routes_of_replays: dict[str, Route | None] = {}  # by id, as long as this reading lasts

    def of(self, received: ReceivedEvent) -> list[Fate]:
        """One for each destination, in the order of the configuration; then replays, and what is configured no more."""
        found = self._journal.whereabouts(received.seq)
        present = {place.reader.destination: place for place in found if not place.reader.replay}
        fates = [
            self._of_present(received, connection, present.get(connection.name))
            for connection in self._connections.values()
            if connection.sources is None or received.source in connection.sources or connection.name in present
        ]
        for place in found:
            reader = place.reader
            if reader.replay:
                routed = self._replayed(received, reader) if place.is_passed else None
                fates.append(replace(self._of_place(reader.destination, place, None, routed), replay=reader.replay))
            elif reader.destination not in self._connections and place.exceptions:
                fates.append(self._of_place(reader.destination, place, None))
        return fates

    def _of_present(self, received: ReceivedEvent, connection: Connection, place: Whereabouts | None) -> Fate:
        name = connection.name
        if place is None:
            return Fate(name, State.WAITING, "the delivering process has not taken up this destination yet")
        if place.exceptions:
            return self._of_place(name, place, connection)
        if place.is_passed:
            definition = self._journal.revision_at(name, received.seq)
            if definition is None:
                return Fate(name, State.EARLIER, "came before the destination started; a replay brings it")
            routed = self._routed(received, connection, definition)
            return self._of_place(name, place, connection, routed)
        return self._of_place(name, place, connection)

    def _of_place(
        self, name: str, place: Whereabouts, connection: Connection | None, routed: Routed | None = None
    ) -> Fate:
        if place.exceptions:
            return self._of_exceptions(name, place.exceptions)
        if place.is_passed:
            if routed is not None and routed.filtered and not routed.deliveries and not routed.dead:
                return Fate(name, State.FILTERED, ", ".join(dict.fromkeys(kept.rule for kept in routed.filtered)))
            return Fate(name, State.DELIVERED, "")
        if connection is not None and not connection.enabled:
            return Fate(name, State.DISABLED, "switched off in the configuration; it waits")
        return self._waiting(name, "not yet tried", None, 0)

    def _of_exceptions(self, name: str, exceptions: Sequence[Exceptional]) -> Fate:
        if all(delivery.state == "dropped" for delivery in exceptions):
            last = max(exceptions, key=lambda delivery: delivery.at)
            return Fate(name, State.DROPPED, f"by a person; {_told(last)}", last.at, last.attempts)
        dead = [delivery for delivery in exceptions if delivery.state == "dead"]
        if dead:
            worst = max(dead, key=lambda delivery: delivery.at)
            return Fate(name, State.DEAD, _told(worst), worst.at, worst.attempts)
        next_up = min(
            (delivery for delivery in exceptions if delivery.state == "waiting"), key=lambda delivery: delivery.at
        )
        return self._waiting(name, _told(next_up), next_up.at, next_up.attempts)

    def _waiting(self, name: str, reason: str, at: datetime | None, attempts: int) -> Fate:
        state = self._states.get(name)
        if state is not None and state.state in HELD_MOODS:
            return Fate(name, State.HELD, f"the destination is {state.state}: {state.reason or reason}", at, attempts)
        return Fate(name, State.WAITING, reason, at, attempts)

    def _replayed(self, received: ReceivedEvent, reader: Reader) -> Routed | None:
        """What a replay's filter, and the rules of today, make of it; None when they cannot be told."""
        if reader.replay not in self._routes_of_replays:
            self._routes_of_replays[reader.replay] = self._route_of_replay(reader)
        return _through(self._routes_of_replays[reader.replay], received)

    def _route_of_replay(self, reader: Reader) -> Route | None:
        connection = self._connections.get(reader.destination)
        state = next((state for state in self._journal.replays() if state.id == reader.replay), None)
        if connection is None or state is None:
            return None
        try:
            return Route(self._build_destination(connection), state.where)
        except (SettingsError, MappingError, ValueError):
            return None

    def _routed(self, received: ReceivedEvent, connection: Connection, definition: str) -> Routed | None:
        """What the rules of then make of it; None when they cannot be read any more."""
        key = (connection.name, definition)
        if key not in self._routes:
            self._routes[key] = self._route(connection, definition)
        return _through(self._routes[key], received)

    def _route(self, connection: Connection, definition: str) -> Route | None:
        try:
            return Route(self._build_destination(connection_then(connection, definition)))
        except (SettingsError, MappingError, ValueError, TypeError, KeyError):
            return None  # written by a version that knew other settings


def _through(route: Route | None, received: ReceivedEvent) -> Routed | None:
    if route is None:
        return None
    rules = route.destination.connection
    events = normalize(received, rules.profile, identify=rules.identify, keep_content=rules.keep_content)
    return route.deliveries(Reader(rules.name, received.source), received.seq, events)


def connection_then(connection: Connection, definition: str) -> Connection:
    """The connection with the rules that a revision in the journal remembers."""
    rules = json.loads(definition)
    return replace(
        connection,
        events=tuple(rules["events"]),
        profile=rules["profile"],
        identify=rules["identify"],
        keep_content=rules["keep_content"],
        actions=tuple(Action(**action) for action in rules["actions"]),
    )


def _told(delivery: Exceptional) -> str:
    return delivery.reason if delivery.action in ("all", "*") else f"action {delivery.action}: {delivery.reason}"

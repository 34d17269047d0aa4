"""Events + a destination's rules → deliveries. Pure; what cannot be delivered comes back with the reason."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from connector.destinations.base import Destination
from connector.errors import MappingError
from connector.mapping import FORMER_DEFAULT, CompiledAction, compile_action, compile_where, view_of
from connector.model import Delivery, Event, EventType, OpenDelivery, Reader, Refused

MAX_REMEMBERED_NAMES = 4096  # names come from outside; past this the memory of verdicts starts anew
MAX_REMEMBERED_CHARACTERS = 200
MAX_REMEMBERED_TYPES = 64  # Customer.io has eight


class Patterns:
    """`<object_type>_<metric>` patterns; `!` excludes, whatever the order. Only exclusions: everything else."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._wanted = _any_of([pattern for pattern in patterns if not pattern.startswith("!")])
        self._unwanted = _any_of([pattern[1:] for pattern in patterns if pattern.startswith("!")])
        self._remembered: dict[str, bool] = {}

    def match(self, name: str) -> bool:
        known = self._remembered.get(name)
        if known is not None:
            return known
        is_match = (self._wanted is None or self._wanted.match(name) is not None) and (
            self._unwanted is None or self._unwanted.match(name) is None
        )
        if len(name) <= MAX_REMEMBERED_CHARACTERS:
            if len(self._remembered) >= MAX_REMEMBERED_NAMES:
                self._remembered.clear()
            self._remembered[name] = is_match
        return is_match


def _any_of(patterns: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)) if patterns else None


@dataclass(frozen=True, slots=True)
class Filtered:
    """An event that a rule kept from the destination, or from one of its actions."""

    rule: str
    type: EventType
    action: str = ""  # "": it was kept from the whole destination


class Undeliverable(NamedTuple):
    """A delivery that is dead before its first try, or that an action no longer makes."""

    type: EventType
    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class Routed:
    """What becomes of one received event at one destination."""

    deliveries: list[Delivery] = field(default_factory=list)
    dead: list[Undeliverable] = field(default_factory=list)
    filtered: list[Filtered] = field(default_factory=list)


class Route:
    """One destination's rules, compiled. Immutable and shared between threads."""

    def __init__(self, destination: Destination, where: str | None = None) -> None:
        """`where` narrows it further, for a replay. Raises MappingError when an expression does not compile; a loaded
        configuration has been checked for that."""
        connection = destination.connection
        self.destination = destination
        self._where = compile_where(where) if where else None
        self._patterns = Patterns(connection.events)
        self._sources = None if connection.sources is None else frozenset(connection.sources)
        self._actions = tuple(
            compile_action(action, connection.privacy) for action in connection.actions if action.enabled
        )
        self._disabled = frozenset(action.name for action in connection.actions if not action.enabled)
        self._actions_by_type: dict[str, tuple[CompiledAction, ...]] = {}
        names = {action.name for action in connection.actions}
        self._has_defaults = FORMER_DEFAULT not in names and any(action.object_type for action in connection.actions)

    def is_wanted(self, name: str) -> bool:
        """Whether the destination takes events of this name at all; cheap, so that others need not be normalized."""
        return self._patterns.match(name)

    def deliveries(
        self,
        reader: Reader,
        seq: int,
        events: Sequence[Event],
        open_deliveries: Sequence[OpenDelivery] | None = None,
    ) -> Routed:
        """What `events`, normalized from one received event, come to; `open_deliveries` of a retry limits it to them.

        Each open delivery comes back either as a delivery with its tries counted so far, or as dead with the reason.
        """
        routed = Routed()
        if open_deliveries is None:
            for event in events:
                self._route(routed, reader, seq, event, None)
            return routed
        tries = {(waiting.type, waiting.action): waiting.attempts for waiting in open_deliveries}
        for event in events:
            self._route(routed, reader, seq, event, tries)
        self._bury_lost(routed, tries)
        return routed

    def _route(
        self,
        routed: Routed,
        reader: Reader,
        seq: int,
        event: Event,
        tries: dict[tuple[EventType, str], int] | None,
    ) -> None:
        refusal = self._refusal(reader, event)
        if refusal is not None:
            routed.filtered.append(Filtered(refusal, event.type))
            return
        view: dict[str, Any] | None = None
        actions = self._actions_for(event.object_type)
        if not actions:
            routed.filtered.append(Filtered("its default action is switched off", event.type))
        for action in actions:
            name = action.name
            if tries is not None and (event.type, name) not in tries:
                name = FORMER_DEFAULT  # what waits from before there was a default action for each object type
                if not (self._has_defaults and action.action.object_type and (event.type, name) in tries):
                    continue
            if view is None and action.needs_view:
                view = view_of(event)
            made = self._made(action, event, view)
            if isinstance(made, Filtered):
                routed.filtered.append(made)
            elif isinstance(made, Refused):
                routed.dead.append(Undeliverable(event.type, name, made.reason))
            else:
                mapped, encoded = made
                attempts = 0 if tries is None else tries[event.type, name]
                routed.deliveries.append(Delivery(reader, seq, name, mapped, encoded, attempts))

    def _actions_for(self, object_type: str) -> tuple[CompiledAction, ...]:
        """Those that are for events of this object type."""
        known = self._actions_by_type.get(object_type)
        if known is None:
            known = tuple(action for action in self._actions if action.takes_type(object_type))
            if len(self._actions_by_type) < MAX_REMEMBERED_TYPES and len(object_type) <= MAX_REMEMBERED_CHARACTERS:
                self._actions_by_type[object_type] = known
        return known

    def _refusal(self, reader: Reader, event: Event) -> str | None:
        """The rule by which the destination as a whole does not take the event."""
        # A replay was asked for by a person who named the source.
        if self._sources is not None and not reader.replay and reader.source not in self._sources:
            return f"source {reader.source!r} is not read"
        if not self._patterns.match(event.name):
            return "events"
        if not self._actions:
            return "no action is enabled"
        try:
            return None if self._where is None or self._where(event) else "where of the replay"
        except MappingError as error:
            return f"where of the replay: {error}"

    def _made(
        self, action: CompiledAction, event: Event, view: dict[str, Any] | None
    ) -> tuple[Event, bytes] | Filtered | Refused:
        """What one action makes of the event: mapped and encoded, or why nothing."""
        try:
            refusal = action.refusal(event, view)
            if refusal is not None:
                return Filtered(refusal, event.type, action.name)
            mapped = action.apply(event, view)
        except MappingError as error:
            return Refused(str(error))
        if self.destination.needs_person and not mapped.body.get("userId") and not mapped.body.get("anonymousId"):
            return Refused("no person")
        try:
            encoded = self.destination.encode(mapped)
        except Exception as error:  # encode promises never to raise; a bug there may cost an event, not the destination
            return Refused(f"cannot be encoded: {type(error).__name__}")
        return encoded if isinstance(encoded, Refused) else (mapped, encoded)

    def _bury_lost(self, routed: Routed, tries: dict[tuple[EventType, str], int]) -> None:
        """Open deliveries that today's rules no longer make are dead, never forgotten."""
        made = {(delivery.event.type, delivery.action) for delivery in routed.deliveries}
        made |= {(dead.type, dead.action) for dead in routed.dead}
        filtered = {(kept.type, kept.action): kept.rule for kept in routed.filtered}
        names = {action.name for action in self._actions} | ({FORMER_DEFAULT} if self._has_defaults else set())
        for event_type, name in tries:
            if (event_type, name) in made:
                continue
            rule = filtered.get((event_type, name)) or filtered.get((event_type, ""))
            if name in self._disabled:
                reason = f"action {name!r} is disabled now"
            elif name not in names:
                reason = f"action {name!r} no longer exists"
            elif rule:
                reason = f"filtered now: {rule}"
            else:
                reason = f"no {event_type} is made of this event any more"
            routed.dead.append(Undeliverable(event_type, name, reason))

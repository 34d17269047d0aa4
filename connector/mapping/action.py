"""An action, compiled once and applied to events. Pure: an event goes in, a new one comes out.

The expressions come from the operator, the events from anybody: every failure is a MappingError that says where.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from connector.errors import MappingError
from connector.mapping.expression import Expression, compile_expression, parse_field_path
from connector.mapping.functions import ExpressionFault, kind_of, with_value, without
from connector.mapping.interpreter import Node
from connector.mapping.presets import PRESETS
from connector.mapping.privacy import Redaction, compile_redaction
from connector.model import Action, Event, Privacy
from connector.normalize import message_id
from schemas.catalogue import OBJECT_TYPES

OTHER = "other"  # the default action that takes what has no default action of its own

# What a destination does that names no actions: one for each object type, to be switched off one by one. Each event is
# taken by exactly one of them.
DEFAULT_ACTIONS = tuple(Action(name=name, object_type=name) for name in (*OBJECT_TYPES, OTHER))

# There was one default action before: deliveries that still wait may carry its name.
FORMER_DEFAULT = "all"


def view_of(event: Event) -> dict[str, Any]:
    """What `where` and `fields` look at: the event's own keys, and beside them what it is. Made once per event."""
    return {
        **event.body,
        "object_type": event.object_type,
        "metric": event.metric,
        "machine": event.machine,
        "source": event.source,
    }


def compile_where(text: str, place: str = "where") -> Callable[[Event], bool]:
    """A filter over events, as an action's `where` is. The filter raises MappingError when it fails on an event."""
    expression = compile_expression(text, place)
    return lambda event: expression.is_true_for(view_of(event))


@dataclass(frozen=True, slots=True)
class CompiledAction:
    """An action ready for use."""

    action: Action
    wheres: tuple[tuple[str, Expression], ...]  # with the rule that an event breaks for which one is false
    fields: tuple[tuple[tuple[str, ...], Expression], ...]
    maps: tuple[Expression, ...]
    redaction: Redaction | None

    @property
    def name(self) -> str:
        return self.action.name

    @property
    def needs_view(self) -> bool:
        """Whether `refusal` and `apply` look at the event's `view_of`."""
        return bool(self.wheres or self.fields)

    def takes_type(self, object_type: str) -> bool:
        """Whether it is for events of this object type; only default actions are for some."""
        own = self.action.object_type
        return own in ("", object_type) or (own == OTHER and object_type not in OBJECT_TYPES)

    def refusal(self, event: Event, view: Mapping[str, Any] | None = None) -> str | None:
        """The rule that keeps the event from this action, None when it takes it; `view` is the event's `view_of`, when
        the caller has it. Raises MappingError."""
        if not self.takes_type(event.object_type):
            return f"object type of action {self.name!r}"
        if self.wheres:
            if view is None:
                view = view_of(event)
            for rule, where in self.wheres:
                if not where.is_true_for(view):
                    return rule
        return None

    def matches(self, event: Event, view: Mapping[str, Any] | None = None) -> bool:
        """Whether the action takes the event. Raises MappingError."""
        return self.refusal(event, view) is None

    def apply(self, event: Event, view: Mapping[str, Any] | None = None) -> Event:
        """The event as it leaves: `distinct`, then `fields`, `map`, presets, and privacy last; the given one is not
        changed.

        Every expression of `fields` sees the event as it came; one that yields null sets nothing, and the literal
        `null` takes the path away. Raises MappingError.
        """
        body = event.body
        if self.action.distinct and "messageId" in body:
            body = {**body, "messageId": message_id(event.source, event.event_id, event.type, self.name)}
        if self.fields:
            body = self._with_fields(event, body, view_of(event) if view is None else view)
        for expression in self.maps:
            mapped = expression.evaluate(body)
            if not isinstance(mapped, dict):
                raise MappingError(
                    f"{expression.place}: yields {kind_of(mapped)}, not an object (in {expression.shown})"
                )
            body = mapped
        if self.redaction is not None:
            body = self.redaction.apply(body, event.body)
        return event if body is event.body else replace(event, body=body)

    def _with_fields(self, event: Event, body: dict[str, Any], view: Mapping[str, Any]) -> dict[str, Any]:
        if body is not event.body:
            view = {**view, "messageId": body["messageId"]}
        for path, expression in self.fields:
            if expression.is_null_literal:
                body = without(body, path)
                continue
            value = expression.evaluate(view)
            if value is None:
                continue
            try:
                body = with_value(body, path, value)
            except ExpressionFault as fault:
                raise MappingError(f"{expression.place}: {fault}") from None
        return body


def compile_action(action: Action, privacy: Privacy | None = None) -> CompiledAction:
    """The action as a destination with this privacy does it. Raises MappingError, with the place and the column, at the
    first mistake."""
    place = f"action {action.name!r}"
    wheres: list[tuple[str, Expression]] = []
    maps: list[Expression] = []
    addresses: list[str] = []
    if action.where is not None:
        wheres.append((f"where of {place}", compile_expression(action.where, f"{place}, where")))
    if action.map is not None:
        maps.append(compile_expression(action.map, f"{place}, map"))
    for name in action.presets:
        preset = PRESETS.get(name)
        if preset is None:
            raise MappingError(f"{place}: there is no preset {name!r}")
        rule = f"preset {name} of {place}"
        if preset.where is not None:
            wheres.append((rule, compile_expression(preset.where, rule)))
        if preset.map is not None:
            maps.append(compile_expression(preset.map, rule))
        addresses += preset.hash_addresses
    return CompiledAction(
        action=action,
        wheres=tuple(wheres),
        fields=tuple(
            (
                parse_field_path(path, f"{place}, fields"),
                compile_expression(text, f"{place}, fields, {path}"),
            )
            for path, text in action.fields.items()
        ),
        maps=tuple(maps),
        redaction=compile_redaction(privacy, addresses),
    )


def can_both_match(first: CompiledAction, second: CompiledAction) -> bool:
    """False when the two ask for different values of one field; True when that cannot be told."""
    ours, theirs = _demands_of(first), _demands_of(second)
    if not all(theirs.get(field, wanted) == wanted for field, wanted in ours.items()):
        return False
    # What takes the other object types is at odds with whatever asks for one that has an action of its own.
    return not (
        (first.action.object_type == OTHER and theirs.get("object_type") in OBJECT_TYPES)
        or (second.action.object_type == OTHER and ours.get("object_type") in OBJECT_TYPES)
    )


def _demands_of(action: CompiledAction) -> dict[str, Any]:
    own = action.action.object_type
    demands: dict[str, Any] = {} if own in ("", OTHER) else {"object_type": own}
    for _, where in action.wheres:
        demands = _demands(where.root) | demands
    return demands


def _demands(node: Node) -> dict[str, Any]:
    """Field → literal, as far as the expression is a chain of `field == literal` joined by `&&`."""
    if node["type"] == "and_expression":
        return _demands(node["children"][1]) | _demands(node["children"][0])
    if node["type"] == "comparator" and node["value"] == "eq":
        left, right = node["children"]
        if left["type"] == "field" and right["type"] == "literal":
            return {left["value"]: right["value"]}
    return {}

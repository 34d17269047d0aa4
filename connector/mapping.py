"""An action's JMESPath, compiled once and applied to events. Pure: an event goes in, a new one comes out.

The expressions come from the operator, the events from anybody: every failure is a MappingError that says where.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jmespath
from jmespath import functions, visitor
from jmespath.exceptions import JMESPathError, JMESPathTypeError, ParseError

from connector.errors import MappingError
from connector.model import Action, Event
from connector.normalize import message_id

MAX_EXPRESSION_CHARACTERS = 10_000  # nobody writes longer ones by hand, and jmespath's parser is slow
MAX_EXPRESSION_DEPTH = 100  # nested nodes; the interpreter uses about three Python frames for each
MAX_PATH_PARTS = 20  # of a `fields` path

# One interpreter for all expressions and threads: it keeps no state but a cache of its own methods, and building one
# costs as much as evaluating a short expression.
_FUNCTIONS = functions.Functions()
_INTERPRETER = visitor.TreeInterpreter(jmespath.Options(custom_functions=_FUNCTIONS))

Node = dict[str, Any]  # of jmespath's syntax tree: type, children, sometimes value


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled JMESPath expression; `place` says whose it is, for reasons that a person reads."""

    text: str
    place: str
    root: Node

    def evaluate(self, value: Any) -> Any:
        """What the expression makes of `value`, which is not changed. Raises MappingError."""
        try:
            return _INTERPRETER.visit(self.root, value)
        except JMESPathTypeError as error:
            # Not its own text, which quotes the value: that may be somebody's personal data.
            reason = f"{error.function_name}() does not take {error.actual_type}"
        except Exception as error:  # what jmespath lets through: RecursionError, arithmetic on odd numbers, …
            reason = type(error).__name__
        raise MappingError(f"{self.place}: {reason} (in {self.text})")

    def is_true_for(self, value: Any) -> bool:
        """JMESPath's own truth: false are null, false, and the empty string, array and object; 0 is true."""
        result = self.evaluate(value)
        return result is not None and result is not False and result != "" and result != [] and result != {}


def compile_expression(text: str, place: str = "expression") -> Expression:
    """Raises MappingError with the column of the mistake; functions are checked by name and number of arguments."""
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise MappingError(f"{place}: longer than {MAX_EXPRESSION_CHARACTERS} characters")
    try:
        root: Node = jmespath.compile(text).parsed
    except ParseError as error:
        column = min(error.lex_position, len(text)) + 1
        raise MappingError(f"{place}: {_syntax_mistake(error)} at column {column} of {text}") from None
    except (JMESPathError, RecursionError, ValueError) as error:
        raise MappingError(f"{place}: {_one_line(error)}") from None
    _check_tree(root, place, text)
    return Expression(text, place, root)


def _syntax_mistake(error: ParseError) -> str:
    if not error.token_value:
        return "the expression breaks off"
    return f"unexpected {str(error.token_value)[:40]!r}"


def _check_tree(root: Node, place: str, text: str) -> None:
    pending: list[tuple[Any, int, bool]] = [(root, 1, False)]  # node, depth, may be an `&expression`
    while pending:
        node, depth, may_be_reference = pending.pop()
        if not isinstance(node, dict):  # a slice's bounds are plain numbers
            continue
        if depth > MAX_EXPRESSION_DEPTH:
            raise MappingError(f"{place}: nested more than {MAX_EXPRESSION_DEPTH} deep")
        children = node["children"]
        if node["type"] == "expref" and not may_be_reference:
            raise MappingError(f"{place}: an &expression is only of use as an argument of sort_by, map and the like")
        takes_references = [False] * len(children)
        if node["type"] == "function_expression":
            takes_references = _check_call(node["value"], len(children), place, text)
        pending.extend((child, depth + 1, takes) for child, takes in zip(children, takes_references, strict=True))


def _check_call(name: str, given: int, place: str, text: str) -> list[bool]:
    """For each argument whether it may be an `&expression`. Raises MappingError for an impossible call."""
    table = _FUNCTIONS.FUNCTION_TABLE
    if name not in table:
        raise MappingError(f"{place}: there is no function {name}() (in {text})")
    signature = table[name]["signature"]
    is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if given < len(signature) or (given > len(signature) and not is_variadic):
        least = "at least " if is_variadic else ""
        raise MappingError(f"{place}: {name}() takes {least}{len(signature)} arguments, not {given} (in {text})")
    takes = ["expref" in argument["types"] for argument in signature]
    return takes + [False] * (given - len(takes))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


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


def parse_field_path(path: str, place: str = "fields") -> tuple[str, ...]:
    """The parts of a dotted path. Raises MappingError."""
    parts = tuple(path.split("."))
    if not all(part.strip() for part in parts) or len(parts) > MAX_PATH_PARTS:
        raise MappingError(f"{place}: {path!r} is not a path such as context.campaign.id")
    return parts


@dataclass(frozen=True, slots=True)
class CompiledAction:
    """An action ready for use."""

    action: Action
    where: Expression | None
    fields: tuple[tuple[tuple[str, ...], Expression], ...]
    map: Expression | None

    @property
    def name(self) -> str:
        return self.action.name

    def matches(self, event: Event, view: Mapping[str, Any] | None = None) -> bool:
        """Whether `where` takes the event; `view` is its `view_of`, when the caller has it. Raises MappingError."""
        if self.where is None:
            return True
        return self.where.is_true_for(view_of(event) if view is None else view)

    def apply(self, event: Event, view: Mapping[str, Any] | None = None) -> Event:
        """The event as this action sends it: `distinct`, then `fields`, then `map`; the given one is not changed.

        Every expression of `fields` sees the event as it came; one that yields null sets nothing, and the literal
        `null` takes the path away. Raises MappingError.
        """
        body = event.body
        if self.action.distinct and "messageId" in body:
            body = {**body, "messageId": message_id(event.source, event.event_id, event.type, self.name)}
        if self.fields:
            body = self._with_fields(event, body, view_of(event) if view is None else view)
        if self.map is not None:
            mapped = self.map.evaluate(body)
            if not isinstance(mapped, dict):
                raise MappingError(f"{self.map.place}: yields {_kind(mapped)}, not an object (in {self.map.text})")
            body = mapped
        return event if body is event.body else replace(event, body=body)

    def _with_fields(self, event: Event, body: dict[str, Any], view: Mapping[str, Any]) -> dict[str, Any]:
        if body is not event.body:
            view = {**view, "messageId": body["messageId"]}
        for path, expression in self.fields:
            if _is_null_literal(expression.root):
                body = _without(body, path)
                continue
            value = expression.evaluate(view)
            if value is not None:
                body = _with_value(body, path, value, expression.place)
        return body


def compile_action(action: Action) -> CompiledAction:
    """Raises MappingError, with the place and the column, at the first mistake."""
    place = f"action {action.name!r}"
    return CompiledAction(
        action=action,
        where=None if action.where is None else compile_expression(action.where, f"{place}, where"),
        fields=tuple(
            (
                parse_field_path(path, f"{place}, fields"),
                compile_expression(text, f"{place}, fields, {path}"),
            )
            for path, text in action.fields.items()
        ),
        map=None if action.map is None else compile_expression(action.map, f"{place}, map"),
    )


def _with_value(body: dict[str, Any], path: tuple[str, ...], value: Any, place: str) -> dict[str, Any]:
    """A copy of `body` along the path only; what lies beside the path is shared."""
    first, rest = path[0], path[1:]
    if not rest:
        return {**body, first: value}
    inner = body.get(first)
    if inner is None:
        inner = {}
    if not isinstance(inner, dict):
        raise MappingError(f"{place}: {first} is {_kind(inner)} here, nothing can be put into it")
    return {**body, first: _with_value(inner, rest, value, place)}


def _without(body: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    first, rest = path[0], path[1:]
    if first not in body:
        return body
    inner = body[first]
    if rest:
        return {**body, first: _without(inner, rest)} if isinstance(inner, dict) else body
    return {name: value for name, value in body.items() if name != first}


def _is_null_literal(node: Node) -> bool:
    return node["type"] == "literal" and node["value"] is None


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def can_both_match(first: CompiledAction, second: CompiledAction) -> bool:
    """False when the two `where`s ask for different values of one field; True when that cannot be told."""
    if first.where is None or second.where is None:
        return True
    ours, theirs = _demands(first.where.root), _demands(second.where.root)
    return all(theirs.get(field, wanted) == wanted for field, wanted in ours.items())


def _demands(node: Node) -> dict[str, Any]:
    """Field → literal, as far as the expression is a chain of `field == literal` joined by `&&`."""
    if node["type"] == "and_expression":
        return _demands(node["children"][1]) | _demands(node["children"][0])
    if node["type"] == "comparator" and node["value"] == "eq":
        left, right = node["children"]
        if left["type"] == "field" and right["type"] == "literal":
            return {left["value"]: right["value"]}
    return {}

"""JMESPath expressions, compiled once. Pure.

The expressions come from the operator, the events from anybody: every failure is a MappingError that says where.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError, ParseError

from connector.errors import MappingError
from connector.mapping.functions import ExpressionFault
from connector.mapping.interpreter import REGISTRY, Node, evaluate_bounded, evaluate_straight, is_straight

MAX_EXPRESSION_CHARACTERS = 10_000  # nobody writes longer ones by hand, and jmespath's parser is slow
MAX_EXPRESSION_DEPTH = 100  # nested nodes; the interpreter uses about three Python frames for each
MAX_PATH_PARTS = 20  # of a `fields` path
MAX_SHOWN_CHARACTERS = 300  # of an expression in a reason
MASK = "•••"


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled JMESPath expression; `place` says whose it is, for reasons that a person reads."""

    text: str
    place: str
    root: Node
    is_straight: bool
    shown: str  # its beginning, without keys of hmac()

    def evaluate(self, value: Any) -> Any:
        """What the expression makes of `value`, which is not changed. Raises MappingError."""
        try:
            return evaluate_straight(self.root, value) if self.is_straight else evaluate_bounded(self.root, value)
        except JMESPathTypeError as error:
            # Not its own text, which quotes the value: that may be somebody's personal data.
            reason = f"{error.function_name}() does not take {error.actual_type}"
        except ExpressionFault as fault:
            reason = str(fault)
        except Exception as error:  # what jmespath lets through: RecursionError, arithmetic on odd numbers, …
            reason = type(error).__name__
        raise MappingError(f"{self.place}: {reason} (in {self.shown})")

    def is_true_for(self, value: Any) -> bool:
        """JMESPath's own truth: false are null, false, and the empty string, array and object; 0 is true."""
        result = self.evaluate(value)
        return result is not None and result is not False and result != "" and result != [] and result != {}

    @property
    def is_null_literal(self) -> bool:
        return self.root["type"] == "literal" and self.root["value"] is None


def compile_expression(text: str, place: str = "expression") -> Expression:
    """Raises MappingError with the column of the mistake; functions are checked by name and number of arguments."""
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise MappingError(f"{place}: longer than {MAX_EXPRESSION_CHARACTERS} characters")
    try:
        root: Node = jmespath.compile(text).parsed
    except ParseError as error:
        column = min(error.lex_position, len(text)) + 1
        shown = f"{text.partition('hmac')[0]}hmac{MASK}" if "hmac" in text else text  # a key may stand behind it
        raise MappingError(f"{place}: {_syntax_mistake(error)} at column {column} of {shown}") from None
    except (JMESPathError, RecursionError, ValueError) as error:
        raise MappingError(f"{place}: {_one_line(error)}") from None
    keys: list[str] = []
    _check_tree(root, place, text, keys)
    return Expression(text, place, root, is_straight(root), _shown(text, keys))


def _shown(text: str, keys: list[str]) -> str:
    for key in filter(None, keys):
        if key not in text:
            return f"an expression with hmac(…, {MASK})"  # it is written with escapes
        text = text.replace(key, MASK)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def _syntax_mistake(error: ParseError) -> str:
    if not error.token_value:
        return "the expression breaks off"
    return f"unexpected {str(error.token_value)[:40]!r}"


def _check_tree(root: Node, place: str, text: str, keys: list[str]) -> None:
    """Raises MappingError for what can never work; collects the secret keys that stand in the expression."""
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
            if node["value"] == "hmac" and children[1]["type"] == "literal":
                keys.append(str(children[1]["value"]))
        pending.extend((child, depth + 1, takes) for child, takes in zip(children, takes_references, strict=True))


def _check_call(name: str, given: int, place: str, text: str) -> list[bool]:
    """For each argument whether it may be an `&expression`. Raises MappingError for an impossible call."""
    table: Mapping[str, Any] = REGISTRY.FUNCTION_TABLE
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


def parse_field_path(path: str, place: str = "fields") -> tuple[str, ...]:
    """The parts of a dotted path. Raises MappingError."""
    parts = tuple(path.split("."))
    if not all(part.strip() for part in parts) or len(parts) > MAX_PATH_PARTS:
        raise MappingError(f"{place}: {path!r} is not a path such as context.campaign.id")
    return parts

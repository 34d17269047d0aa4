"""How a compiled expression is evaluated: with JMESPath's interpreter, within bounds of time and size.

A short expression can double a value fifty times over, so everything that an evaluation makes is measured as it is
made. What can only pick and compare needs no measuring, and is not slowed down by it.
"""

from collections.abc import Callable
from typing import Any

import jmespath
from jmespath import functions, visitor

from connector.mapping.functions import ExpressionFault, function_table

MAX_STEPS = 300_000  # visits of a node; about a tenth of a second
MAX_SIZE = 8_000_000  # characters and values of one result, written out; twice the largest body that is received
MAX_MADE = 20_000_000  # of all that is made on the way; what it may take of the memory is a few times that

Node = dict[str, Any]  # of jmespath's syntax tree: type, children, sometimes value

REGISTRY = functions.Functions()
REGISTRY.FUNCTION_TABLE = function_table(functions.Functions.FUNCTION_TABLE)
_OPTIONS = jmespath.Options(custom_functions=REGISTRY)

# One for all threads: it keeps no state but a cache of its own methods, and building one costs as much as evaluating a
# short expression.
_PLAIN = visitor.TreeInterpreter(_OPTIONS)

# Each visits its children once, and yields nothing larger than what it was given.
_STRAIGHT_NODES = frozenset(
    (
        *("field", "subexpression", "index", "index_expression", "current", "identity", "literal"),
        *("comparator", "and_expression", "or_expression", "not_expression", "pipe"),
    )
)
_STRAIGHT_FUNCTIONS = frozenset(
    (
        *("abs", "ceil", "floor", "contains", "starts_with", "ends_with", "length", "type", "not_null", "to_number"),
        *("coalesce", "lower", "upper", "trim"),
    )
)


def is_straight(root: Node) -> bool:
    """Whether an expression only picks and compares, so that no event can make it slow or large."""
    pending: list[Any] = [root]
    while pending:
        node = pending.pop()
        if not isinstance(node, dict):
            continue
        kind = node["type"]
        if kind not in _STRAIGHT_NODES and not (kind == "function_expression" and node["value"] in _STRAIGHT_FUNCTIONS):
            return False
        pending.extend(node["children"])
    return True


def evaluate_straight(root: Node, value: Any) -> Any:
    return _PLAIN.visit(root, value)


def evaluate_bounded(root: Node, value: Any) -> Any:
    """Raises ExpressionFault past one of the bounds, and whatever jmespath raises."""
    return _Bounded().visit(root, value)


class _Bounded(visitor.TreeInterpreter):  # type: ignore[misc]  # jmespath ships no types
    """One evaluation. Everything in flight has at most MAX_SIZE, however often it holds the same thing."""

    def __init__(self) -> None:
        super().__init__(_OPTIONS)
        self._steps = 0
        self._made = 0
        self._sizes: dict[int, int] = {}  # of lists and objects, by identity
        self._measured: list[Any] = []  # these, so that no identity is given away a second time meanwhile

    def visit(self, node: Node, value: Any) -> Any:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ExpressionFault(f"takes more than {MAX_STEPS:,} steps")
        made = _VISITS[node["type"]](self, node, value)
        return self._measure(made) if node["type"] in _MAKERS else made

    def _measure(self, made: Any) -> Any:
        if isinstance(made, str | list | dict):
            self._made += len(made)
            if self._made > MAX_MADE or self._size(made) > MAX_SIZE:
                raise ExpressionFault("makes something too large")
        return made

    def _size(self, value: Any) -> int:
        """Characters and values, written out: what stands in two places counts twice, but is measured once."""
        if isinstance(value, str):
            return len(value) + 1
        if not isinstance(value, list | dict):
            return 1
        known = self._sizes.get(id(value))
        if known is None:
            known = 1
            for part in value.values() if isinstance(value, dict) else value:
                known += self._size(part)
            if isinstance(value, dict):
                known += sum(map(len, value))
            self._sizes[id(value)] = known
            self._measured.append(value)
        return known


_VISITS: dict[str, Callable[[_Bounded, Node, Any], Any]] = {
    name.removeprefix("visit_"): getattr(visitor.TreeInterpreter, name)
    for name in dir(visitor.TreeInterpreter)
    if name.startswith("visit_")
}
_MAKERS = frozenset(
    (
        *("multi_select_list", "multi_select_dict", "function_expression", "flatten", "slice"),
        *("projection", "value_projection", "filter_projection"),
    )
)

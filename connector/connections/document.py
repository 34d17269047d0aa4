"""A YAML text as plain Python values, with the line of each. The only user of ruamel.yaml."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

_BARE_SIGN = re.compile(r"[\[,\s][!*][^\s\"'=]")  # event patterns tempt people to write these

MAX_DEPTH = 50
MAX_VALUES = 100_000  # some lines of aliases can stand for millions

Place = tuple[str | int, ...]  # where a value stands: ("destinations", 1, "batch", "max_events")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is, and what was expected."""

    path: Place
    message: str


class DocumentError(Exception):
    """The text is not the YAML that is wanted. Carries every problem, each already a sentence with its line."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


class _Constructor(RoundTripConstructor):
    """Moments stay text: the schema reads them, with all their digits and their zone."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", RoundTripConstructor.construct_yaml_str)


@dataclass(frozen=True, slots=True)
class Document:
    """Plain dicts, lists and scalars, and the lines they stand on (the first is 1)."""

    value: Any
    lines: Mapping[Place, int]

    def line_of(self, path: Place) -> int:
        """The line of the path, or of the nearest thing around it, when something is missing there."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str) -> Document:
    """Raises DocumentError when `text` is not YAML, or holds what has no meaning here (tags, keys that are no text)."""
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    try:
        tree = yaml.load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        hint = "; a value that starts with ! or * is to stand in quotes" if _BARE_SIGN.search(text) else ""
        raise DocumentError([f"{line}not YAML: {_one_line(error.problem or error.context)}{hint}"]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise DocumentError([f"not YAML: {_one_line(error)}"]) from None
    lines: dict[Place, int] = {(): 1}
    problems: list[str] = []
    value = _plain(tree, (), lines, problems)
    if problems:
        raise DocumentError(problems)
    return Document(value, lines)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]


def _plain(node: Any, path: Place, lines: dict[Place, int], problems: list[str]) -> Any:
    if len(path) > MAX_DEPTH or len(lines) > MAX_VALUES:
        raise DocumentError([f"line {lines[path]}: too many values, or nested too deeply"])
    if isinstance(node, CommentedMap):
        made = {}
        for key, child in node.items():
            if not isinstance(key, str):
                problems.append(f"line {lines[path]}: the key {_one_line(key)} is not text: put it in quotes")
                continue
            place = node.lc.data.get(key) if node.lc.data else None  # a key merged by << has none
            lines[(*path, str(key))] = place[0] + 1 if place else lines[path]
            made[str(key)] = _plain(child, (*path, str(key)), lines, problems)
        return made
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*path, index)] = node.lc.data[index][0] + 1 if node.lc.data else lines[path]
        return [_plain(child, (*path, index), lines, problems) for index, child in enumerate(node)]
    if isinstance(node, TaggedScalar):
        problems.append(f"line {lines[path]}: a value that starts with ! is to stand in quotes")
        return None
    return _plain_scalar(node)


def _plain_scalar(node: Any) -> Any:
    # ruamel's scalars remember how they were written; marshmallow and repr() are to see the built-in types.
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node

"""What kind of column a value needs, what becomes of a column that meets another kind, and how a column takes a value.

Columns are widened, never narrowed: integer → number → text, everything else → text.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from connector.json_codec import write_json

INTEGER_BOUND = 2**63  # beyond it an integer is no bigint any more
EXACT_FLOAT_BOUND = 2**53  # beyond it a double has no room for every digit of an integer
REPLACEMENT = "\ufffd"  # stands for what no database takes in a text: NUL, and half of a surrogate pair

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


class Kind(StrEnum):
    """What a column can hold. Objects and lists that are not taken apart are JSON in a text."""

    BOOLEAN = "boolean"
    INTEGER = "integer"  # 64 bits
    NUMBER = "number"
    TIMESTAMP = "timestamp"
    TEXT = "text"


def kind_of(value: Any) -> Kind:
    """The narrowest kind that holds the value with every digit and letter."""
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, int):
        return Kind.INTEGER if -INTEGER_BOUND <= value < INTEGER_BOUND else Kind.TEXT
    if isinstance(value, float):
        return Kind.NUMBER
    return Kind.TIMESTAMP if isinstance(value, str) and is_moment(value) else Kind.TEXT


def widest(kinds: Iterable[Kind]) -> Kind:
    """The narrowest kind that holds values of all of these. Takes at least one."""
    found = set(kinds)
    if len(found) == 1:
        return found.pop()
    return Kind.NUMBER if found == {Kind.INTEGER, Kind.NUMBER} else Kind.TEXT


def is_moment(text: str) -> bool:
    """Whether it is a date with a time and a zone, in the common era and on the calendar."""
    if not MOMENT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True


def fits_double(value: Any) -> bool:
    """Whether a column of doubles holds the number with every digit."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= EXACT_FLOAT_BOUND)


def as_kind(value: Any, kind: Kind) -> Any:
    """The value as a column of this kind takes it; it must fit. None stays None, and a moment is written in UTC."""
    if value is None:
        return None
    if kind is Kind.TEXT:
        return text_of(value)
    return utc_text(value) if kind is Kind.TIMESTAMP else value


def utc_text(moment: str) -> str:
    """`2026-08-31T18:30:47.000Z`; with more than milliseconds only where there are more."""
    when = datetime.fromisoformat(moment).astimezone(UTC)
    unit = "microseconds" if when.microsecond % 1000 else "milliseconds"
    return when.isoformat(timespec=unit).replace("+00:00", "Z")


def text_of(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else write_json(value).decode()


def storable(value: Any) -> Any:
    """The same value with no mark in it, at any depth, that a database refuses."""
    if isinstance(value, str):
        return UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {storable(str(key)): storable(inner) for key, inner in value.items()}
    return [storable(inner) for inner in value] if isinstance(value, list) else value

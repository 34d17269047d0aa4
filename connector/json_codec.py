"""JSON in and out: orjson, and the standard library where orjson refuses what is still JSON.

orjson refuses lone surrogates and rounds integers beyond 64 bits; Customer.io may send either, and neither is a reason
to lose an event or a digit of an id.
"""

import json
import math
from typing import Any

import orjson

from connector.errors import PayloadError

# Levels of nesting. Customer.io sends five; what writes and maps the value recurses, and Python stops at 1,000 frames.
MAX_DEPTH = 300

_BEYOND_64_BITS = 2.0**63  # orjson reads an integer from here on as a float, unless it fits 64 bits unsigned


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_json(body: bytes) -> Any:
    """The value that `body` holds; integers keep every digit.

    Raises PayloadError when it is not JSON, or nested deeper than MAX_DEPTH.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as refusal:
        value = _read_slowly(body, str(refusal))
        _has_rounded_integer(value)
        return value
    return _read_slowly(body, "a number is too long") if _has_rounded_integer(value) else value


def _read_slowly(body: bytes, refusal: str) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise PayloadError("the body is nested too deeply to be read") from None
    except ValueError:  # JSONDecodeError, UnicodeDecodeError, digits beyond the interpreter's limit
        raise PayloadError(f"the body is not JSON: {refusal}") from None


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is beyond every number")
    return number


def _has_rounded_integer(value: Any) -> bool:
    """Whether a float may have been an integer of more than 64 bits. Raises PayloadError beyond MAX_DEPTH."""
    found = False
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise PayloadError("the body is nested too deeply to be read")
        deeper = []
        for container in level:
            for child in container.values() if type(container) is dict else container:
                kind = type(child)
                if kind is dict or kind is list:
                    deeper.append(child)
                elif kind is float and not -_BEYOND_64_BITS < child < _BEYOND_64_BITS:
                    found = True
        level = deeper
    return found


def write_json(value: Any) -> bytes:
    """Compact UTF-8 JSON; what orjson refuses is written escaped, with the same meaning."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")

"""JSON in and out: orjson, and the standard library where orjson refuses what is still JSON.

orjson refuses integers beyond 64 bits, lone surrogates and deep nesting; Customer.io may send any of them, and none is
a reason to lose an event.
"""

import json
from typing import Any

import orjson

from connector.errors import PayloadError


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_json(body: bytes) -> Any:
    """The value that `body` holds; integers keep every digit. Raises PayloadError when it is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as refusal:
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except RecursionError:
            raise PayloadError("the body is nested too deeply to be read") from None
        except ValueError:  # JSONDecodeError, UnicodeDecodeError, digits beyond the interpreter's limit
            raise PayloadError(f"the body is not JSON: {refusal}") from None


def write_json(value: Any) -> bytes:
    """Compact UTF-8 JSON; what orjson refuses is written escaped, with the same meaning."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")

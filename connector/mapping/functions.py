"""The functions that expressions may use beside JMESPath's own. Pure; a missing value (null) stays missing.

docs/mappings.md describes each of them. What a function cannot do is an `ExpressionFault`, whose text holds no value.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from connector.json_codec import write_json

MAX_TEXT_CHARACTERS = 1_000_000  # of one text that a function makes; no destination takes an event as large
MAX_FORMAT_CHARACTERS = 200
MILLISECONDS_FROM = 100_000_000_000  # an epoch number from here on is in milliseconds: as seconds it is the year 5138

_WORD_BREAKS = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# All others are refused: the C library takes a width (`%999999999d`) and fills the memory with it.
_DIRECTIVES = frozenset("aAbBdefGHIjmMpSuVyYzZ%")
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")

Json = Any


class ExpressionFault(Exception):
    """An expression cannot go on with this event; the text is for a person and holds nothing of the event."""


# ── date and time ──


def date(when: Json, pattern: str, *zone: str) -> Json:
    """A moment (ISO 8601, or an epoch number in seconds or milliseconds) in another form, in UTC or the zone."""
    if when is None:
        return None
    moment = _moment(when).astimezone(_zone(zone))
    if pattern == "unix":
        return int(moment.timestamp() // 1)
    if pattern == "unix_ms":
        return round(moment.timestamp() * 1000)
    if pattern == "iso":
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if pattern == "date":
        return moment.date().isoformat()
    directives = re.findall(r"%(.?)", pattern, re.DOTALL)
    if len(pattern) > MAX_FORMAT_CHARACTERS or not _DIRECTIVES.issuperset(filter(None, directives)):
        raise ExpressionFault("date() knows iso, date, unix, unix_ms and plain directives such as %Y-%m-%d")
    return moment.strftime(pattern)


def _moment(when: Json) -> datetime:
    try:
        if isinstance(when, str):
            read = datetime.fromisoformat(when.strip())
            return read.replace(tzinfo=UTC) if read.tzinfo is None else read
        return datetime.fromtimestamp(when / 1000 if abs(when) >= MILLISECONDS_FROM else when, UTC)
    except (ValueError, OverflowError, OSError):
        raise ExpressionFault("date() cannot read this as a moment") from None


def _zone(zone: tuple[str, ...]) -> tzinfo:
    if not zone or zone == ("UTC",):
        return UTC
    try:
        return ZoneInfo(*zone)
    except (KeyError, OSError, ValueError, TypeError):
        raise ExpressionFault("date() does not know this time zone") from None


# ── hashes ──


def digest(text: str, salt: str = "") -> str:
    """64 hexadecimal digits: SHA-256, or with a salt HMAC-SHA-256 keyed with it."""
    content = text.encode("utf-8", "surrogatepass")
    if salt:
        return hmac.new(salt.encode("utf-8", "surrogatepass"), content, hashlib.sha256).hexdigest()
    return hashlib.sha256(content).hexdigest()


def sha256(value: Json) -> Json:
    return None if value is None else digest(text_of(value))


def keyed_hash(value: Json, key: str) -> Json:
    if not key:
        raise ExpressionFault("hmac() needs a key that is not blank")
    return None if value is None else digest(text_of(value), key)


def hash_email(value: Json) -> Json:
    """As ad networks ask for it: of the address in lower case, without blanks around it."""
    return None if value is None else digest(value.strip().lower())


# ── case ──


def snake(name: Json) -> Json:
    """`emailSubject`, `Email Subject` → `email_subject`; what holds no word stays as it is."""
    return None if name is None else "_".join(words(name)).lower() or name


def camel(name: Json) -> Json:
    """`email_subject`, `Email Subject` → `emailSubject`."""
    if name is None:
        return None
    first, *rest = words(name) or [name]
    return first.lower() + "".join(word[0].upper() + word[1:].lower() for word in rest)


def title(name: Json) -> Json:
    """`email_subject` → `Email Subject`."""
    return None if name is None else " ".join(word[0].upper() + word[1:] for word in words(name)) or name


def lower(text: Json) -> Json:
    return None if text is None else text.lower()


def upper(text: Json) -> Json:
    return None if text is None else text.upper()


def words(name: str) -> list[str]:
    return [word for word in _WORD_BREAKS.split(name) if word]


def snake_keys(value: Json, *paths: str) -> Json:
    return _with_keys(value, snake, paths)


def camel_keys(value: Json, *paths: str) -> Json:
    return _with_keys(value, camel, paths)


def _with_keys(value: Json, rename: Callable[[str], str], paths: tuple[str, ...]) -> Json:
    """All keys inside `value` renamed, or only those below the paths."""
    if not paths:
        return _renamed(value, rename)
    for path in paths:
        parts = _parts(path)
        below = found_at(value, parts)
        if isinstance(below, dict | list):
            value = with_value(value, parts, _renamed(below, rename))
    return value


def _renamed(value: Json, rename: Callable[[str], str]) -> Json:
    if isinstance(value, list):
        return [_renamed(item, rename) for item in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Json] = {}
    for key, inner in value.items():
        name = rename(key)
        # Two names may become one; then the second keeps its own, since no value may get lost.
        made[key if name in made or (name != key and name in value) else name] = _renamed(inner, rename)
    return made


# ── texts ──


def template(text: str, value: Json) -> str:
    """The text with each `{path}` replaced by what `value` has there, nothing where it has nothing."""
    length = len(text)

    def filled(match: re.Match[str]) -> str:
        nonlocal length
        if match[1] is None:
            return match[0][0]  # {{ and }} are plain braces
        found = value if match[1].strip() == "@" else found_at(value, tuple(match[1].strip().split(".")))
        made = "" if found is None else text_of(found)
        length += len(made)
        _check_length(length)
        return made

    return _PLACE.sub(filled, text)


def replace(text: Json, old: str, new: str) -> Json:
    if text is None or not old:
        return text
    _check_length(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def trim(text: Json) -> Json:
    return None if text is None else text.strip()


def split(text: Json, separator: str) -> Json:
    if text is None:
        return None
    return text.split(separator) if separator else [text]


def join(glue: str, texts: list[str]) -> str:
    """JMESPath's own, with a bound."""
    _check_length(len(glue) * len(texts) + sum(map(len, texts)))
    return glue.join(texts)


def text_of(value: Json) -> str:
    """A text as it is, anything else as its JSON."""
    return value if isinstance(value, str) else write_json(value).decode("utf-8", "replace")


def _check_length(length: int) -> None:
    if length > MAX_TEXT_CHARACTERS:
        raise ExpressionFault(f"a text would get longer than {MAX_TEXT_CHARACTERS:,} characters")


# ── parts of an object ──


def drop(value: Json, *paths: str) -> Json:
    """The object without what stands at the paths."""
    for path in paths:
        value = without(value, _parts(path))
    return value


def pick(value: Json, *paths: str) -> Json:
    """The object with nothing but what stands at the paths."""
    if not isinstance(value, dict):
        return None
    made: dict[str, Json] = {}
    for path in paths:
        parts = _parts(path)
        found = found_at(value, parts)
        if found is not None:
            made = with_value(made, parts, found)
    return made


def coalesce(*values: Json) -> Json:
    """The first that is neither null nor a blank text."""
    for value in values:
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return value
    return None


def _parts(path: Json) -> tuple[str, ...]:
    parts = tuple(path.split(".")) if isinstance(path, str) else ()
    if not parts or not all(parts):
        raise ExpressionFault("a path is written like context.traits.email")
    return parts


def found_at(value: Json, path: tuple[str, ...]) -> Json:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdecimal() and len(part) < 9:
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def with_value(body: dict[str, Json], path: tuple[str, ...], value: Json) -> dict[str, Json]:
    """A copy of `body` along the path only; what lies beside the path is shared."""
    first, rest = path[0], path[1:]
    if not rest:
        return {**body, first: value}
    inner = body.get(first)
    if inner is None:
        inner = {}
    if not isinstance(inner, dict):
        raise ExpressionFault(f"{first} is {kind_of(inner)} here, nothing can be put into it")
    return {**body, first: with_value(inner, rest, value)}


def without(body: Json, path: tuple[str, ...]) -> Json:
    """A copy of `body` along the path only, without what stands there."""
    first, rest = path[0], path[1:]
    if not isinstance(body, dict) or first not in body:
        return body
    if rest:
        return {**body, first: without(body[first], rest)}
    return {name: value for name, value in body.items() if name != first}


def kind_of(value: Json) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


# ── the table that jmespath looks them up in ──

_TEXT = ("string", "null")
_SCALAR = ("string", "number", "boolean", "null")
_ANY: tuple[str, ...] = ()

# Name → function, the JMESPath types of each argument, and whether the last one may come more often. JMESPath checks
# the type of those that come more often not at all.
OWN_FUNCTIONS: Mapping[str, tuple[Callable[..., Json], tuple[tuple[str, ...], ...], bool]] = {
    "date": (date, (("string", "number", "null"), ("string",)), True),
    "sha256": (sha256, (_SCALAR,), False),
    "hmac": (keyed_hash, (_SCALAR, ("string",)), False),
    "hash_email": (hash_email, (_TEXT,), False),
    "snake": (snake, (_TEXT,), False),
    "camel": (camel, (_TEXT,), False),
    "title": (title, (_TEXT,), False),
    "lower": (lower, (_TEXT,), False),
    "upper": (upper, (_TEXT,), False),
    "snake_keys": (snake_keys, (_ANY,), True),
    "camel_keys": (camel_keys, (_ANY,), True),
    "template": (template, (("string",), _ANY), False),
    "replace": (replace, (_TEXT, ("string",), ("string",)), False),
    "trim": (trim, (_TEXT,), False),
    "split": (split, (_TEXT, ("string",)), False),
    "join": (join, (("string",), ("array-string",)), False),
    "drop": (drop, (("object", "null"), ("string",)), True),
    "pick": (pick, (("object", "null"), ("string",)), True),
    "coalesce": (coalesce, (_ANY,), True),
}


def function_table(standard: Mapping[str, Any]) -> dict[str, Any]:
    """JMESPath's own table with ours in it, in its form."""
    table = dict(standard)
    for name, (function, arguments, is_variadic) in OWN_FUNCTIONS.items():
        signature: list[dict[str, Any]] = [{"types": list(types)} for types in arguments]
        if is_variadic:
            signature[-1]["variadic"] = True
        table[name] = {"function": _as_method(function), "signature": signature}
    return table


def _as_method(function: Callable[..., Json]) -> Callable[..., Json]:
    return lambda registry, *arguments: function(*arguments)

"""What an answer says of single events of a request, for the types whose provider tells them apart."""

from collections.abc import Mapping, Sequence
from typing import Any

from connector.destinations.base import excerpt
from connector.errors import PayloadError
from connector.json_codec import read_json
from connector.model import Outcome, OutcomeKind


def answer_of(body: bytes) -> dict[str, Any]:
    """The JSON object that an answer is; {} when it is none."""
    try:
        value = read_json(body)
    except PayloadError:
        return {}
    return value if isinstance(value, dict) else {}


def indexes_in(value: Any, count: int) -> list[int]:
    """The places in a request of `count` events that a list in an answer names; what is no place is passed over."""
    if not isinstance(value, list):
        return []
    return [place for place in value if type(place) is int and 0 <= place < count]


def spread(count: int, named: Mapping[int, Outcome], others: Outcome) -> list[Outcome]:
    """An outcome for each of `count` events: its own where the answer names it, else that of the others."""
    return [named.get(place, others) for place in range(count)]


def told(kind: OutcomeKind, text: str, secrets: Sequence[str]) -> Outcome:
    """An outcome whose reason is partly the provider's words."""
    return Outcome(kind, excerpt(text.encode("utf-8", "replace"), secrets))

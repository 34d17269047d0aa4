"""What the batch endpoint's 207 says of each message. Adobe's pages and its own Kafka client disagree on the shape of
the items, so both are understood, and where neither fits nothing is taken for delivered.

https://experienceleague.adobe.com/en/docs/experience-platform/ingestion/tutorials/streaming-multiple-messages
https://github.com/adobe/experience-platform-streaming-connect
"""

import re
from collections.abc import Sequence
from typing import Any

from connector.destinations.base import excerpt, kind_of
from connector.errors import PayloadError
from connector.json_codec import read_json, write_json
from connector.model import Outcome, OutcomeKind

# `<uuid>-<index of the message>`. What follows a colon, as in 1565650704337:2124:92:3, is no index.
NUMBERED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(\d{1,9})", re.IGNORECASE)

# For the request as a whole these mean the address; for one message they only can mean the message.
OF_ADDRESS = OutcomeKind.MISCONFIGURED


def items_of(body: bytes) -> list[Any] | None:
    """The items of an answer that speaks of single messages; None for any other."""
    try:
        answer = read_json(body)
    except PayloadError:
        return None
    items = answer.get("responses") if isinstance(answer, dict) else None
    return items if isinstance(items, list) else None


def judge_items(items: Sequence[Any], count: int, secrets: Sequence[str]) -> list[Outcome]:
    """One outcome for each of the `count` messages. What no item can be tied to is tried again."""
    placed = place_items(items, count)
    undecided = Outcome(
        OutcomeKind.TRANSIENT,
        f"answered with {len(items)} items for {count} messages, so it is unclear which were taken",
    )
    return [
        judge_item(placed[index], index, count, secrets) if index in placed else undecided for index in range(count)
    ]


def place_items(items: Sequence[Any], count: int) -> dict[int, dict[str, Any]]:
    """Index of the message → its item: by the number that the item bears, else by position if there are as many.

    Empty when two items claim the same message, or one is no object: then nothing that it says can be trusted.
    """
    placed: dict[int, dict[str, Any]] = {}
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            return {}
        index = number_of(item, count)
        if index is None and len(items) == count:
            index = position
        if index is None:
            continue
        if index in placed:
            return {}
        placed[index] = item
    return placed


def number_of(item: dict[str, Any], count: int) -> int | None:
    action_id = item.get("xactionId")
    match = NUMBERED.fullmatch(action_id) if isinstance(action_id, str) else None
    index = int(match[1]) if match else count
    return index if index < count else None


def judge_item(item: dict[str, Any], index: int, count: int, secrets: Sequence[str]) -> Outcome:
    """The reason names the message's place, so that several refused ones are not taken for a refused request."""
    status = status_of(item)
    if status is None or status < 300:
        return Outcome(OutcomeKind.DELIVERED)
    kind = kind_of(status)
    if kind is OF_ADDRESS:
        kind = OutcomeKind.REJECTED
    message = item.get("message") or item.get("report") or item
    quote = excerpt(message.encode("utf-8", "replace") if isinstance(message, str) else write_json(message), secrets)
    return Outcome(kind, f"answered {status} for message {index + 1} of {count}: {quote}")


def status_of(item: dict[str, Any]) -> int | None:
    for name in ("statusCode", "status"):
        value = item.get(name)
        if isinstance(value, str) and re.fullmatch(r"\d{3}", value, re.ASCII):  # some of Adobe's errors quote it
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None

"""What a change of subscription preferences says: topics and channels, sent as a JSON string in `data.content`."""

import json
from typing import Any

from schemas.fields import JsonObject
from schemas.shape import Shape


class Preferences(Shape):
    """The content once parsed: topic_1, topic_2, … and channels, each with true or false."""

    topics = JsonObject()
    channels = JsonObject()


_PREFERENCES = Preferences()


def read_preferences(content: Any, flaws: list[str]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Known preferences, unknown ones, and what is wrong with the content: "" when nothing is. Never raises.

    Content is absent whenever the webhook's option "body content" is off.
    """
    if content is None:
        return {}, {}, "absent"
    if type(content) is str:
        if not content.strip():
            return {}, {}, "empty"
        try:
            content = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return {}, {}, "not JSON"
    if type(content) is not dict:
        return {}, {}, "not an object"
    known, unknown = _PREFERENCES.read(content, flaws, "data.content.")
    return known, unknown, ""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

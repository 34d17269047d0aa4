"""What Amplitude, Mixpanel and PostHog have in common: events of a person with flat properties."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from connector.destinations.base import encode_json, is_filled, leave_out
from connector.model import Event, Refused

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CALLS = ("track", "identify")

# What makes a provider's own event of a standard one.
Shape = Callable[[Mapping[str, Any]], dict[str, Any]]


def call_fault(body: Mapping[str, Any]) -> str:
    """Why no event of a product analytics tool can be made of this; "" when one can."""
    if body.get("type") not in CALLS:
        return f"its type is not one of {', '.join(CALLS)}"
    if body["type"] == "track" and not is_filled(body.get("event")):
        return "it is a track call without an event name"
    for holder in ("properties", "traits"):
        if not isinstance(body.get(holder) or {}, dict):
            return f"its {holder} are not an object"
    return ""


def id_fault(person: str, placeholders: Collection[str]) -> str:
    """Why nobody can be known by this id; "" when somebody can. `placeholders`, in lower case: what the provider
    refuses, since it would make one person of everybody who is not known."""
    return f"its person has a placeholder for an id: {person!r}" if person.lower() in placeholders else ""


def is_identify(body: Mapping[str, Any]) -> bool:
    return body.get("type") == "identify"


def id_text(body: Mapping[str, Any], key: str) -> str:
    """`userId` or `anonymousId` as text; "" when it is missing or blank."""
    value = body.get(key)
    return str(value).strip() if is_filled(value) else ""


def person_of(body: Mapping[str, Any]) -> str:
    """Who the event is about, whether known by an id or not; "" when nobody is."""
    return id_text(body, "userId") or id_text(body, "anonymousId")


def moment_of(body: Mapping[str, Any]) -> datetime | None:
    """The event's time; None when none can be read."""
    try:
        moment = datetime.fromisoformat(body.get("timestamp"))  # type: ignore[arg-type]  # anything but text is caught
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def epoch_millis(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def insert_uuid(event: Event) -> str:
    """By which a repeat is known: the messageId when it is a UUID, else one derived from it, or from the event."""
    message_id = event.body.get("messageId")
    if not is_filled(message_id):
        return str(uuid5(NAMESPACE_URL, _encodable(f"{event.source}/{event.event_id}/{event.type}")))
    try:
        return str(UUID(str(message_id)))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, _encodable(str(message_id))))


def _encodable(text: str) -> str:
    """Without lone surrogates, which no hash can take."""
    return text.encode("utf-8", "backslashreplace").decode()


def encode_shaped(body: dict[str, Any], shape: Shape, max_bytes: int) -> bytes | Refused:
    """What `shape` makes of the event, as JSON of at most `max_bytes`; what is expendable is left out where need be."""
    encoded = encode_json(shape(body))
    if isinstance(encoded, Refused) or len(encoded) <= max_bytes:
        return encoded
    full_bytes = len(encoded)
    for smaller in leave_out(body):
        encoded = encode_json(shape(smaller))
        if isinstance(encoded, Refused) or len(encoded) <= max_bytes:
            return encoded
    return Refused(f"too large: {full_bytes} bytes, at most {max_bytes} are taken")

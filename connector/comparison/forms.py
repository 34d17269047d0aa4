"""The forms in which one and the same event is met, each read into fields with common names.

RudderStack's are the standard event as it leaves RudderStack, and a row of its warehouse tables; Adobe's is a row of
the dataset; ours are a standard event of the profile `rudderstack`, and the payload as Customer.io sent it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

# What RudderStack's source writes into `properties`, by our own reading of what it sends.
RUDDERSTACK_PROPERTIES = (
    *("eventId", "triggerId", "deliveryId", "actionId", "broadcastId", "journeyId", "parentActionId", "content"),
    *("contentId", "campaignId", "deviceId", "devicePlatform", "recipients", "newsletterId", "transactionalMessageId"),
    *("emailSubject", "link.url", "link.id", "reason", "type"),
)
RUDDERSTACK_PATHS = (
    *("userId", "anonymousId", "event", "type", "messageId", "timestamp", "originalTimestamp", "sentAt"),
    *("context.traits.email", "context.traits.cioId"),
    *(f"properties.{name}" for name in RUDDERSTACK_PROPERTIES),
)
EPOCH_MILLISECONDS_FROM = 100_000_000_000  # as seconds: the year 5138
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_DECORATION = re.compile(r"[_x\d]+$")


class Form(StrEnum):
    """Whose form the old side's rows have."""

    RUDDERSTACK = "rudderstack"
    ADOBE = "adobe"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One event as one side has it. `fields` has a value for each dotted path; lists are values."""

    event_id: str  # "" where this side does not have it
    fields: Mapping[str, Any]
    happened_at: datetime | None
    delivery_id: str = ""
    name: str = ""  # of the event, as this side calls it
    payload: Mapping[str, Any] = field(default_factory=dict)  # what Customer.io sent, where it is at hand

    @property
    def trace(self) -> tuple[str, str, int] | None:
        """What tells events apart on a side that has no event ids: message, name and second."""
        if not self.delivery_id or self.happened_at is None:
            return None
        return self.delivery_id, self.name.lower(), int(self.happened_at.timestamp())


def standard_sighting(body: Mapping[str, Any], payload: Mapping[str, Any] | None = None) -> Sighting:
    """A standard event with RudderStack's names, theirs or ours."""
    fields = dict(leaves(body))
    return Sighting(
        event_id=text_of(fields.get("properties.eventId")),
        fields=fields,
        happened_at=moment_of(fields.get("originalTimestamp")) or moment_of(fields.get("timestamp")),
        delivery_id=text_of(fields.get("properties.deliveryId")),
        name=text_of(fields.get("event")),
        payload=payload or {},
    )


def rudderstack_row(row: Mapping[str, Any]) -> Sighting:
    """An event as RudderStack sends it on, or a row of the table that its warehouse has for the event."""
    if isinstance(row.get("properties"), dict) or isinstance(row.get("context"), dict):
        return standard_sighting(row)
    known = {_COLUMNS.get(name, name): value for name, value in row.items() if value is not None}
    return standard_sighting({**known, "type": "track", "event": row.get("event_text") or row.get("event")})


def payload_sighting(payload: Mapping[str, Any]) -> Sighting:
    """What Customer.io sent, by the names of its fields: that is what a mapping in Adobe's source starts from."""
    fields: dict[str, Any] = {}
    for path, value in leaves(payload):
        fields.setdefault(plain_name(path), value)
    data = payload.get("data")
    delivery_id = data.get("delivery_id") if isinstance(data, dict) else None
    return Sighting(
        event_id=text_of(payload.get("event_id")),
        fields=fields,
        happened_at=moment_of(payload.get("timestamp")),
        delivery_id=text_of(delivery_id),
        name=text_of(payload.get("metric")),
        payload=payload,
    )


def adobe_row(row: Mapping[str, Any]) -> Sighting:
    """A row of the dataset that Adobe's source fills. Which of its fields holds what is told by their names, as in
    Adobe's own example of a mapping (`event_id0`, `metricx`)."""
    fields: dict[str, Any] = {}
    for path, value in leaves(row):
        if path == "_id" or path.startswith("identityMap."):
            continue
        name = plain_name(path)
        is_root_time = path == "timestamp"
        if name not in fields or not is_root_time:
            fields[name] = value
    return Sighting(
        event_id=text_of(fields.get("eventid")) or text_of(row.get("_id")),
        fields=fields,
        happened_at=moment_of(row.get("timestamp")) or moment_of(fields.get("timestamp")),
        delivery_id=text_of(fields.get("deliveryid")),
        name=text_of(fields.get("metric")),
    )


def leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no object, with its dotted path."""
    for key, inner in value.items():
        full = f"{path}.{key}" if path else str(key)
        if isinstance(inner, dict) and inner:
            yield from leaves(inner, full)
        else:
            yield full, inner


def column_of(path: str) -> str:
    """`properties.link.url` → `link_url`: how RudderStack's warehouse tables name a field."""
    return _CAMEL.sub(r"_\1", path.removeprefix("properties.")).replace(".", "_").lower()


def plain_name(path: str) -> str:
    """`_tenant.event_id0` → `eventid`: the last name without what people add to tell fields apart."""
    last = path.rpartition(".")[2]
    return _DECORATION.sub("", last).replace("_", "").lower() or last


def text_of(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list | bool) else str(value).strip()


def moment_of(value: Any) -> datetime | None:
    """A moment from ISO 8601 text, or from Unix seconds or milliseconds; None when it is none."""
    try:
        if isinstance(value, str) and not value.strip().replace(".", "", 1).isdecimal():
            moment = datetime.fromisoformat(value.strip().replace(" UTC", "+00:00"))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            seconds = float(value)
            return datetime.fromtimestamp(seconds / 1000 if seconds >= EPOCH_MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


_COLUMNS: Mapping[str, str] = {
    **{column_of(path): path for path in RUDDERSTACK_PATHS if path not in ("event", "type")},
    "id": "messageId",
}

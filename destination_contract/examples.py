"""Events and deliveries to try a destination with: every normalized example of the project, and made-up ones."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connector.destinations.base import Destination
from connector.model import Delivery, Event, EventType, Reader, Refused

NORMALIZED = Path(__file__).parents[1] / "fixtures" / "normalized"
NAMES = sorted(path.stem for path in (NORMALIZED / "raw").glob("*.json"))
SOURCE = "production"
SENT_AT = datetime(2026, 9, 1, 12, 0, 1, 250_000, tzinfo=UTC)


def normalized(profile: str, name: str) -> list[dict[str, Any]]:
    """What normalize makes of one example in this profile."""
    events: list[dict[str, Any]] = json.loads((NORMALIZED / profile / f"{name}.json").read_text(encoding="utf-8"))
    return events


def an_open(**changes: Any) -> dict[str, Any]:
    """The body of an ordinary event, changed so."""
    return {**normalized("rudderstack", "email_opened")[0], **changes}


def event_of(body: dict[str, Any], event_id: str = "01KND30RQSPPWRPQN804FE7M60") -> Event:
    """The event whose body this is, as far as the body tells; an opened e-mail otherwise."""
    kind = EventType.IDENTIFY if body.get("type") == "identify" else EventType.TRACK
    given = body.get("properties")
    properties = given if isinstance(given, dict) else {}
    object_type = properties.get("object_type") or properties.get("objectType") or "email"
    metric = properties.get("metric") or "opened"
    is_machine = properties.get("is_machine") or properties.get("isMachine") or False
    known_id = properties.get("event_id") or properties.get("eventId") or event_id
    return Event(kind, SOURCE, known_id, object_type, metric, is_machine, body)


def deliveries_of(destination: Destination, bodies: Sequence[dict[str, Any]]) -> list[Delivery]:
    """Encoded as the destination wants them. Fails for a body that it refuses."""
    deliveries = []
    for seq, body in enumerate(bodies, 1):
        event = event_of(body)
        encoded = destination.encode(event)
        assert not isinstance(encoded, Refused), encoded.reason
        deliveries.append(Delivery(Reader("sample", SOURCE), seq, "all", event, encoded))
    return deliveries

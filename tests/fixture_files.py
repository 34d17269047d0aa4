"""The payloads under fixtures/events, as the tests and the regeneration read them."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from connector.errors import PayloadError
from connector.json_codec import read_json
from connector.model import ReceivedEvent

FIXTURES = Path(__file__).parent.parent / "fixtures"
EVENTS = FIXTURES / "events"
NORMALIZED = FIXTURES / "normalized"

# When every fixture was received, and from which source: messageId and the receive time depend on them.
RECEIVED_AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
SOURCE = "production"

NAMES = sorted(path.stem for path in EVENTS.glob("*.json"))


def received(body: bytes, source: str = SOURCE) -> ReceivedEvent:
    """The body as receiving would have stored it."""
    try:
        payload = read_json(body)
    except PayloadError:
        payload = None
    event_id = payload.get("event_id") if isinstance(payload, dict) else None
    if not isinstance(event_id, str) or not event_id.strip():
        event_id = "sha256:" + hashlib.sha256(body).hexdigest()
    return ReceivedEvent(source, event_id, body, RECEIVED_AT)


def received_fixture(name: str) -> ReceivedEvent:
    return received((EVENTS / f"{name}.json").read_bytes())


def normalized_fixture(profile: str, name: str) -> list[object]:
    bodies = json.loads((NORMALIZED / profile / f"{name}.json").read_text())
    assert isinstance(bodies, list)
    return bodies

"""Step 4: a received event becomes standard events in the naming dialect of a profile.

Pure. What a payload carries and who it is about is read by schemas/; this file only renames and arranges.
"""

import hashlib
import uuid
from datetime import datetime
from typing import Any

from marshmallow import ValidationError

from connector import __version__
from connector.errors import PayloadError
from connector.json_codec import read_json
from connector.model import Event, EventType, ReceivedEvent
from connector.profiles import DIALECTS, PROFILES, RAW
from connector.profiles.dialect import Dialect, title
from schemas.catalogue import DOCUMENTED
from schemas.envelope import is_legacy, modernize
from schemas.reading import Reading, event_name, read_event, schema_for

__all__ = ["NAMESPACE", "PROFILES", "event_name", "message_id", "normalize", "unknown_name", "validate"]

# Of all message ids. It must never change: a repeat would no longer be recognised as one.
NAMESPACE = uuid.UUID("6f3c1c0e-5d0b-5b52-9d43-3f3d5b7a4c11")

_NAMESPACE_BYTES = NAMESPACE.bytes
_VARIANT = "89ab" * 4  # a UUID's seventeenth hex digit says how to read it: only these four are lawful


def normalize(
    received: ReceivedEvent, profile: str = "rudderstack", *, identify: bool = False, keep_content: bool = False
) -> list[Event]:
    """The standard events that `received` yields: a track, and an identify after it if asked for.

    An identify comes of a change of subscription that says something about a known person; never in profile raw.
    Message bodies are left out unless `keep_content`. Nothing that the body may hold raises; the same event yields
    equal events every time. Bodies may share objects with one another: they are for reading, not for changing.
    """
    try:
        payload = read_json(received.body)
    except PayloadError:
        payload = received.body.decode("utf-8", "replace")
    reading = read_event(payload)
    if profile == RAW:
        body = payload if type(payload) is dict else {"payload": payload}
        return [_event(EventType.TRACK, received, reading, body)]
    dialect = DIALECTS[profile]
    events = [_event(EventType.TRACK, received, reading, _track(received, reading, dialect, keep_content))]
    if identify and _says_something(reading):
        events.append(_event(EventType.IDENTIFY, received, reading, _identify(received, reading, dialect)))
    return events


def validate(received: ReceivedEvent) -> dict[str, list[str]]:
    """What the documentation would object to, by field ("data.recipient": ["missing"]); empty when nothing.

    For people who try things out: normalizing never refuses an event for it. New fields, metrics and object types are
    no errors.
    """
    try:
        payload = read_json(received.body)
    except PayloadError as error:
        return {"body": [str(error)]}
    if type(payload) is not dict:
        return {"body": ["must be a JSON object"]}
    object_type, metric = event_name(payload)
    if is_legacy(payload):
        payload = modernize(payload)
        object_type = ""  # the old shape has no schema of its own
    elif "object_type" not in payload and object_type != "unknown":
        payload = {**payload, "object_type": object_type}  # named in one of the other lawful ways
    try:
        schema_for(object_type, metric).load(payload)
    except ValidationError as error:
        return dict(_by_path(error.messages, ""))
    return {}


def unknown_name(payload: Any) -> str | None:
    """The name of an event that Customer.io's documentation does not list; None for one that it does."""
    pair = event_name(payload)
    return None if pair in DOCUMENTED else f"{pair[0]}_{pair[1]}"


def message_id(source: str, event_id: str, event_type: str, action: str | None = None) -> str:
    """The UUID that names an event for every retry, replay and destination: version 5 of `source`, `event_id` and
    `event_type` (track, identify), and of the action's name when its events are to be distinct. One to a line.
    """
    name = f"{source}\n{event_id}\n{event_type}" if action is None else f"{source}\n{event_id}\n{event_type}\n{action}"
    # str(uuid.uuid5(NAMESPACE, name)), at a third of its cost; a lone surrogate in a forged id must not raise.
    digest = hashlib.sha1(_NAMESPACE_BYTES + name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    variant = _VARIANT[int(digest[16], 16)]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _event(kind: EventType, received: ReceivedEvent, reading: Reading, body: dict[str, Any]) -> Event:
    return Event(
        kind,
        received.source,
        received.event_id,
        reading.object_type,
        reading.metric,
        reading.is_machine,
        body,
        reading.person.is_email_recipient,
    )


def _track(received: ReceivedEvent, reading: Reading, dialect: Dialect, keep_content: bool) -> dict[str, Any]:
    context = _context(received, reading, dialect)
    properties = _properties(reading, dialect, keep_content)
    dialect.rules(reading, properties, context)
    body = _envelope("track", received, reading, dialect)
    body["event"] = title(dialect, reading.object_type, reading.metric, reading.subscription)
    body["properties"] = properties
    body["context"] = context
    return body


def _identify(received: ReceivedEvent, reading: Reading, dialect: Dialect) -> dict[str, Any]:
    traits = _traits(reading, dialect)
    if reading.is_unsubscribed is not None:
        traits["unsubscribed"] = reading.is_unsubscribed
    if reading.preferences:
        traits[dialect.traits["preferences"]] = dict(reading.preferences)
    body = _envelope("identify", received, reading, dialect)
    body["traits"] = traits
    body["context"] = _context(received, reading, dialect)
    return body


def _says_something(reading: Reading) -> bool:
    has_person = reading.person.user_id is not None or reading.person.anonymous_id is not None
    return has_person and (reading.is_unsubscribed is not None or bool(reading.preferences))


def _envelope(kind: str, received: ReceivedEvent, reading: Reading, dialect: Dialect) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": kind,
        "messageId": message_id(received.source, received.event_id, kind),
    }
    person = reading.person
    if person.user_id is not None:
        body["userId"] = person.user_id
    elif person.anonymous_id is not None:
        body["anonymousId"] = person.anonymous_id
    body["timestamp"] = _iso(reading.occurred_at or received.received_at)
    if dialect.has_original_timestamp:
        body["originalTimestamp"] = body["timestamp"]
    # Keeps Segment and RudderStack from sending Customer.io its own events back.
    body["integrations"] = {"Customer.io": False}
    return body


def _traits(reading: Reading, dialect: Dialect) -> dict[str, Any]:
    person, names = reading.person, dialect.traits
    traits: dict[str, Any] = {}
    if person.email is not None:
        traits["email"] = person.email
    if person.phone is not None:
        traits["phone"] = person.phone
    if person.cio_id is not None:
        traits[names.get("cio_id", "cio_id")] = person.cio_id
    return traits


def _context(received: ReceivedEvent, reading: Reading, dialect: Dialect) -> dict[str, Any]:
    origin: dict[str, Any] = {"source": received.source, "received_at": _iso(received.received_at)}
    if "event_id" not in reading.data:
        origin["event_id"] = received.event_id
    if reading.occurred_at is None:
        origin["timestamp_invalid"] = True
    if reading.flaws:
        origin["invalid"] = list(dict.fromkeys(reading.flaws))
    if reading.person.other:
        origin["identifiers"] = dict(reading.person.other)
    context: dict[str, Any] = {
        "library": {"name": "customerio-connector", "version": __version__},
        "integration": {"name": "Customer.io"},
        "customerio": origin,
    }
    traits = _traits(reading, dialect)
    if traits:
        context["traits"] = traits
    return context


def _properties(reading: Reading, dialect: Dialect, keep_content: bool) -> dict[str, Any]:
    places = dialect.places
    properties: dict[str, Any] = {}
    for name, value in _fields(reading, dialect, keep_content).items():
        outer, inner = places[name]
        if inner:
            properties.setdefault(outer, {})[inner] = value
        else:
            properties[outer] = value
    if reading.unknown:
        _add_unknown(reading.unknown, dialect, properties)
    return properties


def _fields(reading: Reading, dialect: Dialect, keep_content: bool) -> dict[str, Any]:
    """Every known field and every derived one, under its neutral name."""
    found: dict[str, Any] = {
        "object_type": reading.object_type,
        "metric": reading.metric,
        "subscription_name": reading.subscription,
        **reading.data,
        **reading.preferences,
    }
    if reading.sender_type is not None:
        found["sender_type"] = reading.sender_type
    if "machine" in found or "prefetched" in found or "proxied" in found or "synthetic" in found:
        found["is_machine"] = reading.is_machine
    if reading.content:
        if keep_content:
            found.update(reading.content)
        else:
            found["content_dropped"] = True
    if reading.content_problem:
        found["content_problem"] = reading.content_problem
    if reading.devices is not None:
        found["recipients"] = [
            {dialect.rename(name): value for name, value in {**unknown, **known}.items()}
            for known, unknown in reading.devices
        ]
    return found


def _add_unknown(unknown: dict[str, Any], dialect: Dialect, properties: dict[str, Any]) -> None:
    """Fields that this object type's schema doesn't know, beside the others; in `unplaced` if their place is taken."""
    unplaced: dict[str, Any] = {}
    for name, value in unknown.items():
        outer, inner = dialect.places.get(name) or (dialect.rename(name), "")
        is_known_elsewhere = name in dialect.places
        if outer in properties or inner or (outer in dialect.taken and not is_known_elsewhere):
            unplaced[name] = value
        else:
            properties[outer] = value
    if unplaced:
        properties["unplaced"] = unplaced


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _by_path(messages: Any, path: str) -> list[tuple[str, list[str]]]:
    if isinstance(messages, dict):
        found = []
        for name, inner in messages.items():
            is_whole = name == "_schema"
            found += _by_path(inner, path if is_whole else f"{path}.{name}" if path else str(name))
        return found
    return [(path or "body", [str(message) for message in messages])]

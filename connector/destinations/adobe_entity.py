"""An event as an XDM ExperienceEvent, by the tables of adobe_events.py. Only paths that the field groups have: Adobe
refuses a record with an unknown key, and tells nobody.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector.destinations.adobe_events import (
    CHANNELS,
    LINKED_CHANNELS,
    MEDIA_ACTIONS,
    PUSH_PROVIDERS,
    SENDERS,
    SOFT_BOUNCE,
    SOFT_BOUNCE_START,
    TENANT_DEVICE,
    TENANT_FLAGS,
    TENANT_INBOUND,
    TENANT_LINK,
    TENANT_TEXTS,
    Feedback,
    XdmEvent,
    xdm_event,
)
from connector.destinations.base import encode_json
from connector.model import Event, Refused

MAX_IDENTITY_CHARACTERS = 1024  # a longer value is skipped by the identity service, without a word
MAX_DEVICES = 10  # items that an array of an event should have at most
MAX_FAILURE_CHARACTERS = 2048  # a mail server may answer with pages
MAX_DEVICE_FAILURE_CHARACTERS = 256  # ten of them must fit into an event
MAX_TEXT_CHARACTERS = 1024  # of subjects and the like; ids are never cut
# Values that the identity service blocks, or that stand for nobody; in small letters.
NOBODY = frozenset({"", "null", "none", "nil", "nan", "undefined", "anonymous", "invalid", "unknown", "0", "-1"})
ENTITY_ID = re.compile(r"[A-Za-z0-9._~-]{1,200}")  # safe in a URI reference

# Field groups that can be switched off, since an unknown key fails the record; class, identity map and tenant cannot.
GROUPS = ("direct_marketing", "channel", "marketing", "web", "push", "in_app")
EXTRA_GROUPS = ("bot", "journey_optimizer")  # off unless named


@dataclass(frozen=True, slots=True)
class EntityRules:
    """What the user has chosen."""

    tenant: str  # with its underscore
    groups: frozenset[str] = frozenset(GROUPS)
    id_namespace: str | None = "customerioId"
    email_namespace: str | None = "Email"
    cio_id_namespace: str | None = None
    is_primary_only: bool = False
    is_nobody_sent: bool = False
    recipient: str = "keep"  # keep, hash, drop
    are_soft_bounces_told: bool = False
    are_machines_counted: bool = True


def build_entity(event: Event, rules: EntityRules, distinct_id: str | None) -> dict[str, Any] | Refused:
    """The event in XDM, or why there is none; `distinct_id`: its `_id` where the event's own is taken by another.

    Reads a body of profile customerio, of which an action may have left anything out.
    """
    body = event.body
    properties, traits = part(body, "properties"), part(body, "context", "traits")
    occurred_at = moment_text(body.get("timestamp"), part(body, "context", "customerio").get("received_at"))
    if occurred_at is None:
        return Refused("its timestamp is not a moment")
    identities = identity_map(body.get("userId"), traits, rules, event.is_email_recipient)
    if not identities and not rules.is_nobody_sent:
        return Refused("no person: nothing in it identifies anybody in the namespaces of this destination")
    row = row_of(event, properties, rules)
    in_journey = row.journey is not None and "journey_optimizer" in rules.groups
    entity: dict[str, Any] = {
        "_id": entity_id(distinct_id or event.event_id),
        "timestamp": occurred_at,
        "eventType": text_of(journey_type(row) if in_journey else row.event_type),
        "producedBy": row.produced_by,
    }
    found: dict[str, Any] = {
        "identityMap": identities,
        **standard_groups(event, row, properties, rules.groups),
        "_experience": journey_details(event, row, properties) if in_journey else {},
        rules.tenant: {"customerio": tenant_fields(event, properties, traits, rules)},
    }
    return entity | {name: value for name, value in found.items() if value}


# ── the event itself ──


def row_of(event: Event, properties: Mapping[str, Any], rules: EntityRules) -> XdmEvent:
    row = xdm_event(event.object_type, event.metric)
    if rules.are_soft_bounces_told and (event.object_type, event.metric) == ("email", "bounced"):
        failure = text_of(properties.get("failure_message")) or ""
        row = SOFT_BOUNCE if failure.startswith(SOFT_BOUNCE_START) else row
    is_software = any(properties.get(name) is True for name in ("machine", "prefetched", "synthetic"))
    if is_software and not rules.are_machines_counted:
        return XdmEvent(row.event_type, row.produced_by, None, row.journey)
    return row


def entity_id(event_id: str) -> str:
    """The same for every try and replay, so that Profile keeps one; without the colons that an `_id` must not have."""
    plain = event_id.removeprefix("sha256:").replace(":", "")
    if ENTITY_ID.fullmatch(plain):
        return plain
    return hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()


def moment_text(value: Any, received_at: Any) -> str | None:
    """RFC 3339 in UTC, not later than the event was received: Adobe wants the past. None when it is no moment."""
    moment, limit = moment_of(value), moment_of(received_at)
    if moment is None:
        return None
    if limit is not None and moment > limit:
        moment = limit
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def moment_of(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


# ── who ──


def identity_map(
    user_id: Any, traits: Mapping[str, Any], rules: EntityRules, is_email_recipient: bool
) -> dict[str, list[dict[str, Any]]]:
    """The identities by namespace, exactly one of them primary: id, else e-mail address, else cio_id.

    An address that is only known as the message's recipient is none: it may be somebody else's, and would join two
    people's graphs.
    """
    email = text_of(traits.get("email"))
    if email is not None:
        email = None if is_email_recipient or "@" not in email else email.lower()
    candidates = (
        (rules.id_namespace, text_of(user_id)),
        (rules.email_namespace, email),
        (rules.cio_id_namespace, text_of(traits.get("cio_id"))),
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for namespace, value in candidates:
        if namespace is None or value is None or not is_identity(value):
            continue
        if found and rules.is_primary_only:
            break
        identity = {"id": value, "primary": not found}
        found.setdefault(namespace, []).append(identity)
    return found


def is_identity(value: str) -> bool:
    return len(value) <= MAX_IDENTITY_CHARACTERS and value.lower() not in NOBODY


# ── field groups ──


def standard_groups(
    event: Event, row: XdmEvent, properties: Mapping[str, Any], groups: frozenset[str]
) -> dict[str, dict[str, Any]]:
    """The objects of Adobe's own field groups, by their root; empty ones are the caller's to leave out."""
    object_type, is_click = event.object_type, event.metric == "clicked"
    found: dict[str, dict[str, Any]] = {}
    if "channel" in groups:
        found["channel"] = channel(object_type, row)
    if "direct_marketing" in groups:
        found["directMarketing"] = direct_marketing(object_type, row, properties)
    if "marketing" in groups:
        found["marketing"] = marketing(properties)
    if "web" in groups and is_click and object_type in LINKED_CHANNELS:
        found["web"] = web(properties)
    if "push" in groups and object_type == "push" and event.metric in ("opened", "clicked"):
        found["pushNotificationTracking"] = push_tracking(properties, is_click)
    if "in_app" in groups and object_type == "in_app" and is_click:
        response = text_of(properties.get("tracked_response"), MAX_TEXT_CHARACTERS)
        found["inappMessageTracking"] = {"action": response} if response else {}
    if "bot" in groups and event.machine:
        found["botDetection"] = {"score": 1}
    return found


def channel(object_type: str, row: XdmEvent) -> dict[str, Any]:
    if object_type not in CHANNELS:
        return {}
    channel_id, channel_type = CHANNELS[object_type]
    found = {
        "_id": channel_id,
        "_type": channel_type,
        "mode": "push",
        "mediaType": "owned",
        "typeAtSource": object_type,
    }
    action = MEDIA_ACTIONS.get(row.measure or "")
    return {**found, "mediaAction": action} if action else found


def direct_marketing(object_type: str, row: XdmEvent, properties: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {row.measure: {"value": 1}} if row.measure else {}
    delivery_id = text_of(properties.get("delivery_id"))
    if object_type == "email" and delivery_id:  # XDM calls it the id of an e-mail message
        found["messageID"] = delivery_id
    return found


def marketing(properties: Mapping[str, Any]) -> dict[str, Any]:
    for name, prefix in SENDERS.items():
        value = text_of(properties.get(name))
        if value:
            return {"trackingCode": f"{prefix}:{value}"}
    return {}


def web(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Without linkClicks, which would count in the reports of a web site."""
    found = texts(properties, {"href": "URL", "link_id": "name"})
    return {"webInteraction": {**found, "type": "other"}} if found else {}


def push_tracking(properties: Mapping[str, Any], is_click: bool) -> dict[str, Any]:
    platforms = [device.get("device_platform") for device in devices_of(properties)]
    provider = next((PUSH_PROVIDERS[name] for name in platforms if type(name) is str and name in PUSH_PROVIDERS), None)
    found: dict[str, Any] = {"pushProvider": provider} if provider else {}
    if not is_click:
        return {**found, "isLaunch": True}
    link_id = text_of(properties.get("link_id"))
    return {**found, "customAction": {"actionID": link_id}} if link_id else found


# ── Journey Optimizer ──


def journey_type(row: XdmEvent) -> str:
    return "message.feedback" if isinstance(row.journey, Feedback) else "message.tracking"


def journey_details(event: Event, row: XdmEvent, properties: Mapping[str, Any]) -> dict[str, Any]:
    """What its reports read; the parts with ids of its own stay out."""
    journey = row.journey
    if journey is None:
        return {}
    if isinstance(journey, Feedback):
        feedback: dict[str, Any] = {"feedbackStatus": journey.status}
        reason = text_of(properties.get("failure_message"), MAX_FAILURE_CHARACTERS)
        if journey.reason and reason:
            feedback[journey.reason] = {"reason": reason}
        return {"customerJourneyManagement": {"messageDeliveryfeedback": feedback}}
    is_bot = event.machine and bool(journey.bot_type)
    interaction: dict[str, Any] = {"interactionType": journey.bot_type if is_bot else journey.type}
    if event.metric == "clicked":
        interaction |= texts(properties, {"href": "url", "link_id": "urlID"})
        if type(properties.get("machine")) is bool:
            interaction["isBot"] = event.machine
    return {"customerJourneyManagement": {"messageInteraction": interaction}}


# ── the tenant's own ──


def tenant_fields(
    event: Event, properties: Mapping[str, Any], traits: Mapping[str, Any], rules: EntityRules
) -> dict[str, Any]:
    """Every fact of the event, also those that stand elsewhere: Customer.io's ids are found in one place."""
    is_about_subscription = xdm_event(event.object_type, event.metric).event_type.startswith("customerio.customer.")
    found: dict[str, Any] = {
        "eventId": text_of(event.event_id),
        "objectType": text_of(event.object_type),
        "metric": text_of(event.metric),
        **texts(properties, TENANT_TEXTS),
        "recipient": recipient(properties.get("recipient"), rules.recipient),
        "failureMessage": failure_message(properties),
        "personId": text_of(event.body.get("userId")),
        "cioId": text_of(traits.get("cio_id")),
        "emailAddress": text_of(traits.get("email")) if is_about_subscription else None,
        "subscriptionPreferences": preferences(properties),
        "link": texts(properties, TENANT_LINK),
        "inbound": texts(properties, TENANT_INBOUND),
        "recipients": [
            kept for device in devices_of(properties) if (kept := texts(device, TENANT_DEVICE, is_device=True))
        ],
    }
    flags = {target: properties.get(name) for name, target in TENANT_FLAGS.items()}
    return {name: value for name, value in found.items() if value} | {
        name: value for name, value in flags.items() if type(value) is bool
    }


def failure_message(properties: Mapping[str, Any]) -> str | None:
    """The event's own; one that was taken over from a device stands there already."""
    message = text_of(properties.get("failure_message"), MAX_FAILURE_CHARACTERS)
    is_device_s = any(device.get("failure_message") == message for device in devices_of(properties))
    return None if is_device_s else message


def recipient(value: Any, policy: str) -> str | None:
    text = text_of(value)
    if text is None or policy == "drop":
        return None
    if policy == "hash":
        return hashlib.sha256(text.lower().encode()).hexdigest()
    return text


def preferences(properties: Mapping[str, Any]) -> str | None:
    """As the JSON text that Customer.io sends."""
    found = {name: properties[name] for name in ("topics", "channels") if isinstance(properties.get(name), dict)}
    encoded = encode_json(found) if found else b""
    return None if isinstance(encoded, Refused) else encoded.decode()


# ── values ──


def part(body: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at the path; an empty one when there is none."""
    value: Any = body
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def devices_of(properties: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    devices = properties.get("recipients")
    if not isinstance(devices, list):
        return ()
    return [device for device in devices if isinstance(device, dict)][:MAX_DEVICES]


LIMITS: Mapping[str, int] = {"subject": MAX_TEXT_CHARACTERS, "tracked_response": MAX_TEXT_CHARACTERS}


def texts(values: Mapping[str, Any], names: Mapping[str, str], is_device: bool = False) -> dict[str, str]:
    """Those of the values that are there, as texts under their new names."""
    limits = {"failure_message": MAX_DEVICE_FAILURE_CHARACTERS} if is_device else LIMITS
    found = {}
    for name, target in names.items():
        text = text_of(values.get(name), limits.get(name))
        if text is not None:
            found[target] = text
    return found


def text_of(value: Any, max_characters: int | None = None) -> str | None:
    """A text that is not blank, or a number as one; None for all else. Half characters are replaced: they would cost
    the whole request.
    """
    if type(value) is int:
        return str(value)
    if type(value) is float and value.is_integer():
        return str(int(value))
    if type(value) is not str or not value.strip():
        return None
    text = value.strip()[:max_characters]
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text

"""One received payload, read: everything that the profiles arrange, and nothing that they would have to judge."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.attribution import sender_type
from schemas.catalogue import DOCUMENTED, OBJECT_TYPES, UNKNOWN_EVENT
from schemas.envelope import PREFERENCES_CHANGED, UNKNOWN, Envelope, is_legacy, modernize, read_name
from schemas.message import SUBSCRIPTION_METRICS
from schemas.people import Person, read_person
from schemas.preferences import read_preferences
from schemas.push_events import Device

# Message bodies and what comes with them: long, private, and only forwarded on request.
_CONTENT = ("content", "headers", "variables")

_PERSON = ("customer_id", "identifiers", "email_address")

_NAMES = ("object_type", "object_type_type", "metric", "event_type")

_DEVICE = Device()


@dataclass(slots=True)
class Reading:
    """What the schemas found in a payload, under Customer.io's own names."""

    object_type: str
    metric: str
    is_documented: bool
    occurred_at: datetime | None  # None: the payload names no moment that makes sense
    person: Person
    sender_type: str | None  # campaign, broadcast, newsletter, transactional
    subscription: str  # the name by which Customer.io lets one subscribe to such events
    data: dict[str, Any]  # known fields, without those about the person and without content
    content: dict[str, Any]  # the message's body and headers
    unknown: dict[str, Any]  # fields that no schema knows, as they came
    devices: list[tuple[dict[str, Any], dict[str, Any]]] | None = None  # of a push: known and unknown fields
    preferences: dict[str, Any] = field(default_factory=dict)  # topics, channels
    content_problem: str = ""  # why a preference change says nothing
    is_unsubscribed: bool | None = None  # what the event says of the person as a whole
    flaws: list[str] = field(default_factory=list)  # paths of values that make no sense

    @property
    def is_machine(self) -> bool:
        """Whether software did it, as far as the payload tells.

        A proxied open may well be a person's (Gmail fetches pictures when the mail is looked at), and a synthetic one
        stems from a click, whose own flag says who made it. A prefetched one happens without anybody looking.
        """
        return self.data.get("machine") is True or self.data.get("prefetched") is True


def event_name(payload: Any) -> tuple[str, str]:
    """Object type and metric of a parsed body, at the least cost. Never raises."""
    if type(payload) is not dict:
        return UNKNOWN, UNKNOWN
    object_type, metric = payload.get("object_type"), payload.get("metric")
    if type(object_type) is str and type(metric) is str and (object_type, metric) in DOCUMENTED:
        return object_type, metric
    return read_name(payload)


def schema_for(object_type: str, metric: str) -> Envelope:
    """The pair's own schema; a new metric is read as its channel's events are, a new object type by all we know."""
    documented = DOCUMENTED.get((object_type, metric))
    if documented is not None:
        return documented
    return _CHANNELS.get(object_type, UNKNOWN_EVENT)


def read_event(payload: Any) -> Reading:
    """The reading of a parsed body, whatever it is. Never raises."""
    flaws: list[str] = []
    if type(payload) is not dict:
        flaws.append("body")
        payload = {}
    object_type, metric = event_name(payload)
    is_documented = (object_type, metric) in DOCUMENTED
    raw_name = {} if is_documented else _raw_name(payload)
    if "event_type" in payload and is_legacy(payload):
        payload = modernize(payload)
    schema = schema_for(object_type, metric)
    known, unknown_outside = schema.read(payload, flaws)
    raw_data = known.get("data")
    if type(raw_data) is not dict:
        raw_data = {}
        if "data" not in flaws:
            flaws.append("data")
    data, unknown = schema.data_shape.read(raw_data, flaws, "data.")
    person = read_person(object_type, data, flaws)
    for name in _PERSON:
        data.pop(name, None)
    content = {name: data.pop(name) for name in _CONTENT if name in data}
    occurred_at = known.get("timestamp")
    reading = Reading(
        object_type,
        metric,
        is_documented,
        occurred_at if type(occurred_at) is datetime else None,
        person,
        sender_type(raw_data),
        f"{object_type}_{metric}",
        data,
        content,
        unknown,
        flaws=flaws,
    )
    data.update(raw_name)
    _read_outside(reading, known, unknown_outside)
    if metric in SUBSCRIPTION_METRICS:
        _read_subscription(reading, raw_data)
    if "recipients" in data:
        _read_devices(reading)
    return reading


def _raw_name(payload: dict[str, Any]) -> dict[str, Any]:
    """What stood where an event's name is looked for, as it came; kept of every pair that is new."""
    return {f"raw_{name}": payload[name] for name in _NAMES if payload.get(name) is not None}


def _read_outside(reading: Reading, known: dict[str, Any], unknown: dict[str, Any]) -> None:
    data = reading.data
    if "event_id" in known:
        data["event_id"] = known["event_id"]
    if "trigger_event_id" in known:
        data.setdefault("trigger_event_id", known["trigger_event_id"])
    for name, value in unknown.items():
        reading.unknown.setdefault(name, value)


def _read_subscription(reading: Reading, raw_data: dict[str, Any]) -> None:
    """What became of the person's subscriptions. Of the two shapes of email_unsubscribed, the one with a recipient or
    a subject speaks of a delivery; all else is a subscription of the name customer_….
    """
    if reading.metric == PREFERENCES_CHANGED:
        reading.subscription = "customer_subscription_preferences_changed"
        content = reading.content.pop("content", raw_data.get("content"))
        known, unknown, reading.content_problem = read_preferences(content, reading.flaws)
        reading.preferences = known
        if reading.content_problem.startswith("not "):
            reading.content["content"] = content  # whatever it is, treat it as a message's body
        for name, value in unknown.items():
            reading.unknown.setdefault(name, value)
        return
    reading.is_unsubscribed = reading.metric == "unsubscribed"
    is_delivery = "recipient" in reading.data or "subject" in reading.data
    if not (reading.subscription == "email_unsubscribed" and is_delivery):
        reading.subscription = f"customer_{reading.metric}"


def _read_devices(reading: Reading) -> None:
    """The devices of a push; the first one that failed gives the reason, unless the event has one of its own."""
    recipients = reading.data["recipients"]
    if type(recipients) is not list or not all(type(device) is dict for device in recipients):
        if "data.recipients" not in reading.flaws:
            reading.flaws.append("data.recipients")
        return
    del reading.data["recipients"]
    reading.devices = [_DEVICE.read(device, reading.flaws, "data.recipients.") for device in recipients]
    if "failure_message" not in reading.data:
        for device, _ in reading.devices:
            if "failure_message" in device:
                reading.data["failure_message"] = device["failure_message"]
                break


_CHANNELS = {object_type: type(next(iter(metrics.values())))() for object_type, metrics in OBJECT_TYPES.items()}

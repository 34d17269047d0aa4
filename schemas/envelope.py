"""The outside of every event, and its name: `object_type` and `metric`, or what older shapes had in their place."""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.fields import Moment, Text
from schemas.message import MESSAGE, SUBSCRIPTION, SUBSCRIPTION_METRICS, MessageData
from schemas.shape import Part, Shape

UNKNOWN = "unknown"

PREFERENCES_CHANGED = "cio_subscription_preferences_changed"

# Characters of an object type or a metric that we take into a name; the longest documented one has 36.
_MAX_WORD = 100

# The name in the list of subscriptions differs from the metric on the wire.
_METRIC_ALIASES = {"subscription_preferences_changed": PREFERENCES_CHANGED}


class Envelope(Shape):
    """An event as Customer.io sends it. `required` names what strict loading insists on inside `data`."""

    event_id = Text(required=True)
    object_type = Text(required=True)
    object_type_type = Text()  # so the published schema of preference changes calls it
    metric = Text(required=True)
    timestamp = Moment(required=True)
    trigger_event_id = Text()  # belongs into data, but has been seen here
    data = Part(MessageData, required=True)

    def __init__(self, *, required: Iterable[str] = ()) -> None:
        super().__init__()
        part = self.load_fields["data"]
        if isinstance(part, Part):
            part.shape = part.shape_class(required=required)
            self.data_shape = part.shape


def shapes(envelope: type[Envelope], required: Mapping[str, Iterable[str]]) -> dict[str, Envelope]:
    """One schema for each metric of a channel: its messages, and the changes of subscriptions they may lead to."""
    messages = {metric: envelope(required=(*MESSAGE, *names)) for metric, names in required.items()}
    changes = {metric: envelope(required=SUBSCRIPTION) for metric in SUBSCRIPTION_METRICS if metric not in messages}
    return messages | changes


def read_name(payload: Mapping[str, Any]) -> tuple[str, str]:
    """The event's object type and metric: trimmed, lower-case, "unknown" where the payload names none. Never raises."""
    object_type = _word(payload.get("object_type"))
    metric = _word(payload.get("metric"))
    if object_type == UNKNOWN:
        object_type = _word(payload.get("object_type_type"))
    if metric == UNKNOWN and object_type == UNKNOWN:
        object_type, metric = _split_event_type(payload.get("event_type"))
    metric = _METRIC_ALIASES.get(metric, metric)
    if object_type == UNKNOWN and metric in SUBSCRIPTION_METRICS:
        object_type = "customer"  # the published schema of preference changes demands no object type
    return object_type, metric


def is_legacy(payload: Mapping[str, Any]) -> bool:
    """Whether it is an Email Activity event (2012 to 2018), whose `event_type` holds channel and metric in one."""
    named = (payload.get("object_type"), payload.get("object_type_type"), payload.get("metric"))
    return "event_type" in payload and all(_word(name) == UNKNOWN for name in named)


def modernize(payload: Mapping[str, Any]) -> dict[str, Any]:
    """An Email Activity event in the present shape."""
    object_type, metric = read_name(payload)
    modern = {name: value for name, value in payload.items() if name != "event_type"}
    modern["object_type"], modern["metric"] = object_type, metric
    data = modern.get("data")
    if type(data) is dict and "email_id" in data and not data.get("delivery_id"):
        modern["data"] = {("delivery_id" if name == "email_id" else name): data[name] for name in data}
    return modern


def _split_event_type(value: Any) -> tuple[str, str]:
    event_type = _word(value)
    if event_type.startswith("in_app_"):
        return "in_app", event_type.removeprefix("in_app_") or UNKNOWN
    channel, _, metric = event_type.partition("_")
    return channel or UNKNOWN, metric or UNKNOWN


def _word(value: Any) -> str:
    """A word that is safe in names, patterns, labels and columns, whatever came."""
    if type(value) is not str:
        return UNKNOWN
    word = value.strip().lower()
    if not word:
        return UNKNOWN
    if len(word) > _MAX_WORD:
        word = word[:_MAX_WORD].rstrip()
    return word if word.isprintable() else "".join(c if c.isprintable() else "_" for c in word)

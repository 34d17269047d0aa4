"""The tables of events in README.md and docs/events.md, made of what the code calls each documented pair."""

from datetime import UTC, datetime

from connector.json_codec import write_json
from connector.model import ReceivedEvent
from connector.normalize import normalize
from schemas.catalogue import OBJECT_TYPES

NAMING_PROFILES = ("rudderstack", "segment", "customerio")
A_MESSAGE = {"delivery_id": "1", "recipient": "person@example.com", "subject": "Hello"}
SUBSCRIPTION_METRICS = ("subscribed", "unsubscribed", "cio_subscription_preferences_changed")


def name_at_destination(object_type: str, metric: str, profile: str) -> str:
    """The event's name in the profile, when it comes in the shape that the object type usually has."""
    body = {"event_id": "1", "object_type": object_type, "metric": metric, "data": A_MESSAGE}
    received = ReceivedEvent("production", "1", write_json(body), datetime(2026, 9, 1, tzinfo=UTC))
    return str(normalize(received, profile)[0].body["event"])


def own_metrics(object_type: str) -> list[str]:
    """All documented ones, but the subscription metrics that every object type may have."""
    return [
        metric
        for metric in OBJECT_TYPES[object_type]
        if object_type == "customer" or metric not in SUBSCRIPTION_METRICS or (object_type, metric) == UNSUBSCRIBED
    ]


UNSUBSCRIBED = ("email", "unsubscribed")  # the one that is documented for a message too


def short_table() -> str:
    rows = ["| Object type | Metric → name at the destination |", "|---|---|"]
    for object_type in OBJECT_TYPES:
        names = (
            f"{metric} → {name_at_destination(object_type, metric, 'rudderstack')}"
            for metric in own_metrics(object_type)
        )
        rows.append(f"| `{object_type}` | {' · '.join(names)} |")
    return "\n".join(rows)


def full_table() -> str:
    rows = ["| Event | `rudderstack` | `segment` | `customerio` |", "|---|---|---|---|"]
    for object_type in OBJECT_TYPES:
        for metric in own_metrics(object_type):
            names = [name_at_destination(object_type, metric, profile) for profile in NAMING_PROFILES]
            rows.append(f"| `{object_type}_{metric}` | {' | '.join(names)} |")
    return "\n".join(rows)

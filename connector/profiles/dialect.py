"""What a naming dialect consists of, and the rule that fills the gaps of its table of names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from schemas.reading import Reading

# How channels are spelt wherever a dialect's own table doesn't say otherwise.
CHANNELS = {
    "customer": "Customer",
    "email": "Email",
    "push": "Push",
    "in_app": "In-App",
    "sms": "SMS",
    "slack": "Slack",
    "webhook": "Webhook",
    "whatsapp": "WhatsApp",
}

# Every property that normalizing writes, under its neutral name; beside them stand the fields that no schema knows.
FIELDS = (
    "event_id",
    "object_type",
    "metric",
    "subscription_name",
    "raw_object_type",
    "raw_object_type_type",
    "raw_metric",
    "raw_event_type",
    "sender_type",
    "delivery_id",
    "campaign_id",
    "campaign_name",
    "broadcast_id",
    "trigger_id",
    "newsletter_id",
    "content_id",
    "transactional_message_id",
    "action_id",
    "parent_action_id",
    "journey_id",
    "trigger_event_id",
    "recipient",
    "recipients",
    "device_id",
    "device_platform",
    "subject",
    "href",
    "link_id",
    "failure_message",
    "machine",
    "proxied",
    "prefetched",
    "synthetic",
    "is_machine",
    "tracked_response",
    "to",
    "inbound_event_id",
    "event_type",
    "content",
    "headers",
    "variables",
    "content_dropped",
    "content_problem",
    "topics",
    "channels",
)

_METRICS = {
    "clicked": "Link Clicked",
    "spammed": "Marked as Spam",
    "cio_subscription_preferences_changed": "Subscription Preferences Changed",
}

_WORD_BREAKS = re.compile(r"[\W_]+")


def unchanged(name: str) -> str:
    """The wire's own snake_case."""
    return name


def camel_case(name: str) -> str:
    """delivery_id → deliveryId. Names that begin with an underscore are somebody's on purpose and stay."""
    if "_" not in name or name.startswith("_"):
        return name
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def no_rules(reading: Reading, properties: dict[str, Any], context: dict[str, Any]) -> None:
    """Nothing beyond the tables."""


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """The names of one profile. What a table doesn't hold follows the filling rule or `rename`."""

    name: str
    rename: Callable[[str], str]
    channels: Mapping[str, str] = field(default_factory=dict)  # object type → first words of the event's name
    events: Mapping[tuple[str, str], str] = field(default_factory=dict)  # pair → the event's name
    subscriptions: Mapping[str, str] = field(default_factory=dict)  # subscription name → the event's name; goes first
    properties: Mapping[str, str] = field(default_factory=dict)  # field → property; "link.url" is a property's inside
    traits: Mapping[str, str] = field(default_factory=dict)  # trait → its name
    has_original_timestamp: bool = True
    rules: Callable[[Reading, dict[str, Any], dict[str, Any]], None] = no_rules  # may add to properties and context
    places: Mapping[str, tuple[str, str]] = field(init=False)  # field → property, and the name inside it or ""
    taken: frozenset[str] = field(init=False)  # properties that no unknown field may pass itself off as

    def __post_init__(self) -> None:
        places = {}
        for name in FIELDS:
            outer, _, inner = self.properties.get(name, self.rename(name)).partition(".")
            places[name] = (outer, inner)
        object.__setattr__(self, "places", MappingProxyType(places))
        object.__setattr__(self, "taken", frozenset(outer for outer, _ in places.values()))


@lru_cache(maxsize=1024)  # there are a hundred pairs; made-up ones must not fill the memory
def title(dialect: Dialect, object_type: str, metric: str, subscription: str) -> str:
    """The event's name in this dialect: by its tables, else channel and metric in title case; never a constant."""
    listed = dialect.subscriptions.get(subscription) or dialect.events.get((object_type, metric))
    if listed:
        return listed
    if object_type == metric == "unknown":
        return "Unknown Event"
    channel = dialect.channels.get(object_type) or CHANNELS.get(object_type) or _title_case(object_type)
    return f"{channel} {_METRICS.get(metric) or _title_case(metric)}"


def _title_case(word: str) -> str:
    parts = [part for part in _WORD_BREAKS.split(word) if part]
    return " ".join(part[0].upper() + part[1:] for part in parts) or word

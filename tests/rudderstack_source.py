"""What RudderStack's own Customer.io source makes of a payload, defects included, for comparing with it.

Written after its documentation and what has been seen of it; see docs/coming-from-rudderstack.md.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

NAMES = {
    "customer": {"subscribed": "Customer Subscribed", "unsubscribed": "Customer Unsubscribed"},
    "email": {
        **{
            metric: f"Email {metric.capitalize()}"
            for metric in ("drafted", "attempted", "sent", "delivered", "opened", "converted", "bounced", "dropped",
                           "deferred", "failed", "subscribed", "unsubscribed")
        },
        "clicked": "Email Link Clicked",
        "spammed": "Email Marked as Spam",
    },
    "sms": {
        **{
            metric: f"SMS {metric.capitalize()}"
            for metric in ("drafted", "attempted", "sent", "delivered", "converted", "bounced", "failed")
        },
        "clicked": "SMS Link Clicked",
    },
    "push": {
        **{
            metric: f"Push {metric.capitalize()}"
            for metric in ("drafted", "attempted", "sent", "delivered", "opened", "converted", "bounced", "dropped",
                           "failed")
        },
        "clicked": "Push Link Clicked",
    },
    **{
        channel: {
            **{
                metric: f"{channel.capitalize()} Message {metric.capitalize()}"
                for metric in ("drafted", "attempted", "sent", "failed")
            },
            "clicked": f"{channel.capitalize()} Message Link Clicked",
        }
        for channel in ("slack", "webhook")
    },
}  # fmt: skip
SAME_NAMES = ("trigger_id", "delivery_id", "action_id", "broadcast_id", "journey_id", "parent_action_id", "content",
              "content_id", "campaign_id", "device_id", "device_platform", "recipients", "newsletter_id",
              "transactional_message_id")  # fmt: skip


def rudderstack_event(payload: dict[str, Any], received_at: datetime) -> dict[str, Any] | None:
    """The event as RudderStack sends it on; None where its gateway refuses the call."""
    data = payload.get("data") if isinstance(payload.get("data"), dict) else {}
    assert isinstance(data, dict)
    identifiers = data.get("identifiers") if isinstance(data.get("identifiers"), dict) else {}
    assert isinstance(identifiers, dict)
    user_id = _first(data.get("customer_id"), identifiers.get("id"))
    email = _first(identifiers.get("email"), data.get("recipient"), data.get("email_address"))
    event: dict[str, Any] = {"type": "track", "event": _name_of(payload), "properties": _properties(payload, data)}
    traits = {"email": email, "cioId": identifiers.get("cio_id")}
    event["context"] = {
        "library": {"name": "unknown", "version": "unknown"},
        "integration": {"name": "Customer.io"},
        "traits": {name: value for name, value in traits.items() if value is not None},
    }
    event["integrations"] = {"Customer.io": False}
    if user_id is not None:
        event["userId"] = user_id
    elif email:
        event["anonymousId"] = email
    if not (event.get("userId") or event.get("anonymousId")):
        return None
    timestamp = payload.get("timestamp")
    if isinstance(timestamp, str) and not timestamp.isdecimal():
        return None
    if isinstance(timestamp, int | float):
        if timestamp > 8_640_000_000_000:
            return None
        try:
            moment = _iso(datetime.fromtimestamp(timestamp, UTC))
        except (OverflowError, ValueError, OSError):
            moment = "+058635-01-01T00:00:00.000Z"
        event["originalTimestamp"] = event["sentAt"] = moment
    event["timestamp"] = event["receivedAt"] = _iso(received_at + timedelta(milliseconds=40))
    event["messageId"] = str(uuid.uuid4())
    event["rudderId"] = str(uuid.uuid4())
    event["request_ip"] = "203.0.113.7"
    return event


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _name_of(payload: dict[str, Any]) -> str:
    names = NAMES.get(str(payload.get("object_type")).lower(), {})
    return names.get(str(payload.get("metric")), "Unknown Event")


def _properties(payload: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    found = {
        "eventId": _first(payload.get("event_id"), data.get("event_id")),
        **{_camel(name): data.get(name) for name in SAME_NAMES},
        "emailSubject": data.get("subject"),
        "reason": data.get("failure_message"),
        "type": data.get("event_type"),
    }
    link = {name: data[key] for name, key in (("url", "href"), ("id", "link_id")) if data.get(key) is not None}
    return {name: value for name, value in (found | ({"link": link} if link else {})).items() if value is not None}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

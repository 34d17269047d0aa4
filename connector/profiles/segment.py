"""The dialect of Segment's email and mobile specs where they have a name, of Customer.io's own source elsewhere.

https://segment.com/docs/connections/spec/email/ and https://segment.com/docs/connections/spec/mobile/
"""

from typing import Any

from connector.profiles.customerio import EVENTS, SUBSCRIPTIONS
from connector.profiles.dialect import Dialect, unchanged
from schemas.reading import Reading

_SENDER_IDS = {
    "campaign": "campaign_id",
    "broadcast": "broadcast_id",
    "newsletter": "newsletter_id",
    "transactional": "transactional_message_id",
}


def _follow_the_specs(reading: Reading, properties: dict[str, Any], context: dict[str, Any]) -> None:
    # The e-mail spec knows a delivery as email_id; delivery_id stays, so that channels can be joined.
    if reading.object_type == "email" and "delivery_id" in properties:
        properties["email_id"] = properties["delivery_id"]
    if reading.sender_type is not None:
        campaign = {"source": "Customer.io", "medium": reading.object_type}
        if "campaign_name" in reading.data:
            campaign["name"] = reading.data["campaign_name"]
        if reading.object_type == "push":
            properties["campaign"] = dict(campaign)
        sender_id = reading.data.get(_SENDER_IDS[reading.sender_type])
        if sender_id is not None:
            campaign["id"] = sender_id
        context["campaign"] = campaign
    if reading.devices:
        device, _ = reading.devices[0]
        names = {"device_id": "token", "device_platform": "type"}
        context["device"] = {names[name]: device[name] for name in names if name in device}


SEGMENT = Dialect(
    name="segment",
    rename=unchanged,
    events={
        **EVENTS,
        ("email", "unsubscribed"): "Unsubscribed",
        ("push", "delivered"): "Push Notification Received",
        ("push", "clicked"): "Push Notification Tapped",
        ("push", "bounced"): "Push Notification Bounced",
    },
    subscriptions=SUBSCRIPTIONS,
    properties={"subject": "email_subject", "href": "link_url"},
    traits={"preferences": "subscription_preferences"},
    # Segment takes what is passed as `timestamp` for the original one, and writes its own `timestamp`.
    has_original_timestamp=False,
    rules=_follow_the_specs,
)

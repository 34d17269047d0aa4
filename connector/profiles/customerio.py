"""The dialect of Customer.io's own "Journeys Message Metrics" source: its names, and the webhook's field names.

https://docs.customer.io/integrations/data-in/connections/cio-journeys.md
"""

from typing import Any

from connector.profiles.dialect import Dialect, unchanged
from schemas.reading import Reading


def _name_the_person(reading: Reading, properties: dict[str, Any], context: dict[str, Any]) -> None:
    # Configurations of that source read the person from properties.userId.
    if reading.person.user_id is not None:
        properties["userId"] = reading.person.user_id


# Changes of a subscription carry no channel, whichever object type they come with.
SUBSCRIPTIONS = {
    "customer_subscribed": "Subscribed",
    "customer_unsubscribed": "Unsubscribed",
    "customer_subscription_preferences_changed": "Subscription Preferences Changed",
}

# What Customer.io's pages call suppressed is "dropped" on the wire.
EVENTS = {
    ("in_app", "clicked"): "In-App Clicked",
    ("email", "dropped"): "Email Suppressed",
    ("push", "dropped"): "Push Suppressed",
}

CUSTOMERIO = Dialect(
    name="customerio",
    rename=unchanged,
    events=EVENTS,
    subscriptions=SUBSCRIPTIONS,
    traits={"preferences": "cio_subscription_preferences"},
    rules=_name_the_person,
)

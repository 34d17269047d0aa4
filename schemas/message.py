"""What the events of every channel carry in `data`, beside who it is about and what it belongs to."""

from collections.abc import Iterable, Mapping
from typing import Any

from marshmallow import ValidationError, validates_schema

from schemas.attribution import Attribution, sender_type
from schemas.fields import Flag, Text, Value, WholeNumber
from schemas.people import People


class MessageData(People, Attribution):
    """`data` of any event. A channel's own file adds what only that channel sends."""

    failure_message = Text()
    href = Text()
    link_id = WholeNumber()
    content = Value()  # the message's body, or a preference change as a JSON string
    headers = Value()  # an e-mail's custom headers, name → list of values; only with body content
    variables = Value()  # old shape only: all attributes of the person
    # Documented for e-mail alone, but they decide whether a person did it, so they are read wherever they appear.
    machine = Flag()  # clicked by software
    proxied = Flag()  # fetched through a proxy, perhaps at a person's wish
    prefetched = Flag()  # fetched by Gmail, Apple's privacy protection or a machine agent
    synthetic = Flag()  # an open derived from a click
    # Read by other receivers, in no official schema.
    event_id = Text()
    event_type = Text()
    device_id = Text()
    device_platform = Text()

    def __init__(self, *, required: Iterable[str] = ()) -> None:
        super().__init__(required=required)
        self._needs_sender = "delivery_id" in set(required)

    @validates_schema(pass_original=True)
    def _names_its_sender(self, data: Any, original_data: Any, **_: Any) -> None:
        is_nameless = isinstance(original_data, Mapping) and sender_type(original_data) is None
        if self._needs_sender and is_nameless:
            raise ValidationError(
                "names no sender: one of campaign_id, broadcast_id, newsletter_id, transactional_message_id",
                "campaign_id",
            )


# What strict loading insists on in each message's data, and in each change of a subscription.
MESSAGE = ("delivery_id", "identifiers")
SUBSCRIPTION = ("identifiers",)

SUBSCRIPTION_METRICS = ("subscribed", "unsubscribed", "cio_subscription_preferences_changed")

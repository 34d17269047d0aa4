"""Which message an event belongs to, and who sent it: a campaign, a broadcast, a newsletter or a transaction."""

from collections.abc import Mapping
from typing import Any

from schemas.fields import Text, Value, WholeNumber
from schemas.shape import Shape

# The first field that holds a value decides; if none does, the first that is there at all, since it may be null.
_SENDERS = (
    ("transactional_message_id", "transactional"),
    ("newsletter_id", "newsletter"),
    ("broadcast_id", "broadcast"),
    ("trigger_id", "broadcast"),
    ("campaign_id", "campaign"),
)


class Attribution(Shape):
    """The fields of `data` that name the delivery and its sender."""

    delivery_id = Text()  # one message to one person
    campaign_id = WholeNumber()
    campaign_name = Text()  # old shape only
    broadcast_id = WholeNumber()
    trigger_id = WholeNumber()  # the call that triggered the broadcast
    newsletter_id = WholeNumber()
    content_id = WholeNumber()  # the newsletter's variant
    transactional_message_id = Value()  # an integer or a name
    action_id = WholeNumber()  # the step of the workflow
    parent_action_id = WholeNumber()
    journey_id = Text()
    trigger_event_id = Text()


def sender_type(data: Mapping[str, Any]) -> str | None:
    """What kind of sender the raw `data` names."""
    present = None
    for field, sender in _SENDERS:
        if field in data:
            if data[field] is not None and data[field] != "":
                return sender
            present = present or sender
    return present

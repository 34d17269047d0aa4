"""Events of Slack messages."""

from schemas.envelope import Envelope, shapes
from schemas.message import MessageData
from schemas.shape import Part


class SlackData(MessageData):
    """`data` of such an event; `recipient` is a channel or a person such as #general."""


class SlackEvent(Envelope):
    """object_type slack."""

    data = Part(SlackData, required=True)


SLACK_EVENTS = shapes(
    SlackEvent,
    {
        "drafted": (),
        "attempted": ("failure_message",),
        "sent": ("recipient",),
        "clicked": ("recipient", "href", "link_id"),
        "converted": (),  # in the list of subscriptions, without a schema
        "failed": ("failure_message",),
        "undeliverable": ("failure_message",),
    },
)

"""Events of the webhook calls that workflows make."""

from schemas.envelope import Envelope, shapes
from schemas.message import MessageData
from schemas.shape import Part


class WebhookData(MessageData):
    """`data` of such an event; `recipient` is the URL that was called."""


class WebhookEvent(Envelope):
    """object_type webhook."""

    data = Part(WebhookData, required=True)


WEBHOOK_EVENTS = shapes(
    WebhookEvent,
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

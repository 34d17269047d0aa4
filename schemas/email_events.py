"""Events of e-mails."""

from schemas.envelope import Envelope, shapes
from schemas.fields import Text
from schemas.message import MessageData
from schemas.shape import Part


class EmailData(MessageData):
    """`data` of an e-mail's event; `recipient` is an address."""

    subject = Text()


class EmailEvent(Envelope):
    """object_type email."""

    data = Part(EmailData, required=True)


_ADDRESSED = ("recipient", "subject")
_FAILED = (*_ADDRESSED, "failure_message")

# Metric → what `data` always holds. "unsubscribed" also comes in the shape of a customer event, without recipient.
EMAIL_EVENTS = shapes(
    EmailEvent,
    {
        "drafted": (),  # the schema wants recipient and subject, real ones lack them
        "attempted": ("failure_message",),
        "sent": _ADDRESSED,
        "delivered": _ADDRESSED,
        "opened": ("recipient",),
        "clicked": (*_ADDRESSED, "href", "link_id"),
        "converted": _ADDRESSED,
        "bounced": _FAILED,
        "dropped": _FAILED,
        "deferred": ("failure_message",),
        "spammed": _ADDRESSED,
        "failed": _FAILED,
        "undeliverable": _FAILED,
    },
)

"""Events of WhatsApp messages that Customer.io sends itself."""

from schemas.envelope import Envelope, shapes
from schemas.fields import Text
from schemas.message import MessageData
from schemas.shape import Part


class WhatsAppData(MessageData):
    """`data` of a WhatsApp message's event; `recipient` is a phone number."""

    to = Text()  # the number the person replied to
    inbound_event_id = Text()  # the reply


class WhatsAppEvent(Envelope):
    """object_type whatsapp."""

    data = Part(WhatsAppData, required=True)


WHATSAPP_EVENTS = shapes(
    WhatsAppEvent,
    {
        "drafted": (),
        "attempted": ("failure_message",),
        "sent": ("recipient",),
        "delivered": ("recipient",),
        "opened": ("recipient",),
        "clicked": ("recipient", "href", "link_id"),
        "converted": ("recipient",),
        "bounced": ("recipient", "failure_message"),
        "dropped": ("recipient", "failure_message"),
        "failed": ("failure_message",),
        "undeliverable": ("failure_message",),
        "replied": ("recipient", "to", "inbound_event_id"),
    },
)

"""Events of text messages; WhatsApp messages that go through Twilio report here too."""

from schemas.envelope import Envelope, shapes
from schemas.fields import Text
from schemas.message import MessageData
from schemas.shape import Part


class SmsData(MessageData):
    """`data` of a text message's event; `recipient` is a phone number, the person's own also when they replied."""

    to = Text()  # the number the person replied to
    inbound_event_id = Text()  # the reply


class SmsEvent(Envelope):
    """object_type sms."""

    data = Part(SmsData, required=True)


SMS_EVENTS = shapes(
    SmsEvent,
    {
        "drafted": (),
        "attempted": ("failure_message",),
        "sent": ("recipient",),
        "delivered": ("recipient",),
        "clicked": ("recipient", "href", "link_id"),
        "converted": ("recipient",),
        "bounced": ("recipient", "failure_message"),
        "dropped": (),  # in the list of subscriptions, without a schema
        "failed": ("failure_message",),
        "undeliverable": ("failure_message",),
        "replied": ("recipient", "to", "inbound_event_id"),
    },
)

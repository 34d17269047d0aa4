"""Every pair of object type and metric that Customer.io documents, with its schema; and what reads all other pairs."""

from schemas.customer_events import CUSTOMER_EVENTS
from schemas.email_events import EMAIL_EVENTS, EmailData
from schemas.envelope import Envelope
from schemas.in_app_events import IN_APP_EVENTS, InAppData
from schemas.push_events import PUSH_EVENTS, PushData
from schemas.shape import Part
from schemas.slack_events import SLACK_EVENTS
from schemas.sms_events import SMS_EVENTS, SmsData
from schemas.webhook_events import WEBHOOK_EVENTS
from schemas.whatsapp_events import WHATSAPP_EVENTS

OBJECT_TYPES: dict[str, dict[str, Envelope]] = {
    "customer": CUSTOMER_EVENTS,
    "email": EMAIL_EVENTS,
    "push": PUSH_EVENTS,
    "in_app": IN_APP_EVENTS,
    "sms": SMS_EVENTS,
    "slack": SLACK_EVENTS,
    "webhook": WEBHOOK_EVENTS,
    "whatsapp": WHATSAPP_EVENTS,
}

DOCUMENTED: dict[tuple[str, str], Envelope] = {
    (object_type, metric): schema for object_type, metrics in OBJECT_TYPES.items() for metric, schema in metrics.items()
}


class UnknownData(EmailData, PushData, SmsData, InAppData):
    """`data` of an event that nobody has described yet: every field we know, wherever it stands."""


class UnknownEvent(Envelope):
    """An object type or a metric that is new."""

    data = Part(UnknownData, required=True)


UNKNOWN_EVENT = UnknownEvent()

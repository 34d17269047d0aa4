"""Events of push notifications."""

from schemas.envelope import Envelope, shapes
from schemas.fields import Text
from schemas.message import MessageData
from schemas.shape import Part, Parts, Shape


class Device(Shape):
    """One of the person's devices that the notification went to."""

    device_id = Text()  # the token
    device_platform = Text()  # ios or android
    failure_message = Text()  # why it did not get there


class PushData(MessageData):
    """`data` of a push notification's event. Failures of single devices stand in `recipients`."""

    recipients = Parts(Device, inside=("device_id",))


class PushEvent(Envelope):
    """object_type push."""

    data = Part(PushData, required=True)


_TO_DEVICES = ("recipients",)

PUSH_EVENTS = shapes(
    PushEvent,
    {
        "drafted": (),
        "attempted": ("failure_message",),
        "sent": _TO_DEVICES,
        "delivered": _TO_DEVICES,
        "opened": _TO_DEVICES,
        "clicked": (*_TO_DEVICES, "href", "link_id"),
        "converted": _TO_DEVICES,
        "bounced": _TO_DEVICES,
        "dropped": _TO_DEVICES,
        "failed": ("failure_message",),
        "undeliverable": ("failure_message",),
    },
)

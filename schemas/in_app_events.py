"""Events of in-app messages. One may be opened days after it was sent."""

from schemas.envelope import Envelope, shapes
from schemas.fields import Text
from schemas.message import MessageData
from schemas.shape import Part


class InAppData(MessageData):
    """`data` of an in-app message's event; `recipient` is an id or an address, as the message is set up."""

    tracked_response = Text()  # the action name of the component that was clicked


class InAppEvent(Envelope):
    """object_type in_app."""

    data = Part(InAppData, required=True)


IN_APP_EVENTS = shapes(
    InAppEvent,
    {
        "drafted": (),
        "attempted": ("failure_message",),
        "sent": ("recipient",),
        "opened": (),
        "clicked": ("recipient", "href", "link_id"),
        "converted": ("recipient",),
        "failed": ("failure_message",),
        "undeliverable": ("failure_message",),
    },
)

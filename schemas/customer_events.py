"""Changes of a person's subscription that no message's channel is named for."""

from schemas.envelope import Envelope, shapes
from schemas.message import MessageData
from schemas.shape import Part


class CustomerData(MessageData):
    """`data` of a customer event: the person, and the message that led to it, if one did."""


class CustomerEvent(Envelope):
    """object_type customer."""

    data = Part(CustomerData, required=True)


CUSTOMER_EVENTS = shapes(CustomerEvent, {})

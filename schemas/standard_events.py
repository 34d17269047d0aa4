"""What leaves normalizing, in every profile but raw: the standard events that destinations build upon.

`context.customerio` is this connector's own place, with the same names in every profile: which source received the
event and when, and what was wrong with it.
"""

from typing import Any

from marshmallow import INCLUDE, RAISE, Schema, ValidationError, fields, validate, validates_schema

_ID = validate.Length(min=1)


class Instant(fields.String):
    """UTC in ISO 8601, always with milliseconds: 2026-08-31T18:30:47.000Z."""

    def __init__(self, **kwargs: Any) -> None:
        shape = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"
        super().__init__(validate=validate.Regexp(shape), **kwargs)


class Library(Schema):
    """What made the event."""

    name = fields.String(required=True)
    version = fields.String(required=True)


class Integration(Schema):
    """Where it comes from."""

    name = fields.String(required=True, validate=validate.Equal("Customer.io"))


class Origin(Schema):
    """`context.customerio`."""

    class Meta:
        unknown = RAISE

    source = fields.String(required=True)
    received_at = Instant(required=True)
    event_id = fields.String()  # only if the payload had none of its own
    timestamp_invalid = fields.Boolean(validate=validate.Equal(True))  # `timestamp` is the time of receipt
    invalid = fields.List(fields.String(), validate=_ID)  # paths of values that make no sense, kept as they came
    identifiers = fields.Dict(keys=fields.String())  # identifiers of the person that are new


class Context(Schema):
    """Circumstances; a profile may add to them."""

    class Meta:
        unknown = INCLUDE

    library = fields.Nested(Library, required=True)
    integration = fields.Nested(Integration, required=True)
    customerio = fields.Nested(Origin, required=True)
    traits = fields.Dict(keys=fields.String(), validate=_ID)


class StandardEvent(Schema):
    """Common to all. `sentAt` is not among it: destinations set it at each call."""

    class Meta:
        unknown = RAISE

    messageId = fields.UUID(required=True)
    userId = fields.String(validate=_ID)
    anonymousId = fields.String(validate=_ID)
    timestamp = Instant(required=True)
    originalTimestamp = Instant()  # all profiles but segment
    context = fields.Nested(Context, required=True)
    integrations = fields.Dict(required=True, validate=validate.Equal({"Customer.io": False}))

    @validates_schema
    def _is_about_one_person_at_most(self, data: dict[str, Any], **_: Any) -> None:
        if "userId" in data and "anonymousId" in data:
            raise ValidationError("either userId or anonymousId, not both", "anonymousId")


class TrackEvent(StandardEvent):
    """Something happened."""

    type = fields.String(required=True, validate=validate.Equal("track"))
    event = fields.String(required=True, validate=_ID)
    properties = fields.Dict(keys=fields.String(), required=True)


class IdentifyEvent(StandardEvent):
    """Something is now known of a person."""

    type = fields.String(required=True, validate=validate.Equal("identify"))
    traits = fields.Dict(keys=fields.String(), required=True, validate=_ID)

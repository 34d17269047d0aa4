"""The shape of connector.yaml: which settings there are and what each may hold.

Destination types bring their own options as data (`DestinationShape`), so this file knows none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from schemas.catalogue import OBJECT_TYPES
from schemas.connection_values import (
    MESSAGES,
    Choice,
    EventPattern,
    Keep,
    Keys,
    Name,
    Number,
    Seconds,
    Setting,
    Size,
    Start,
    Switches,
    Text,
    TextMapping,
    Url,
    WholeNumber,
    Words,
    YesNo,
    suggestion,
)

PROFILES = ("rudderstack", "segment", "customerio", "raw")
SIGNATURE_MODES = ("off", "observe", "enforce", "auto")
DEFAULT_ACTIONS = (*OBJECT_TYPES, "other")
PRESETS = ("only-email", "only-people", "no-machines", "hash-email", "snake-case", "snake-case-everything")


class OptionShape(Protocol):
    """One setting of a destination type."""

    @property
    def kind(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def default(self) -> Any: ...
    @property
    def choices(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class DestinationShape:
    """What a destination type adds to, and asks of, the settings that all have in common."""

    options: Mapping[str, OptionShape]
    max_batch_events: int
    max_batch_bytes: int
    max_batch_wait_seconds: float
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of options, where this installation knows better
    is_open: bool = False  # its options are not known, so none of them is wrong


def _list_of(field_: fields.Field[Any] | type[fields.Field[Any]], **kwargs: Any) -> fields.List[Any]:
    return fields.List(field_, error_messages={**MESSAGES, "invalid": "expected a list"}, **kwargs)


def _part(schema: type[Schema], **kwargs: Any) -> fields.Nested:
    return fields.Nested(schema, error_messages=MESSAGES, **kwargs)


class StrictSchema(Schema):
    """Every key must be known; a misspelt one draws a suggestion."""

    error_messages = {"type": "expected a mapping of settings"}  # noqa: RUF012  marshmallow says it is no ClassVar
    takes_any_key: ClassVar[bool] = False

    class Meta:
        unknown = "exclude"  # reported below, with a suggestion

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def refuse_unknown_keys(self, data: Any, original: Any, **kwargs: Any) -> None:
        if self.takes_any_key or not isinstance(original, dict):
            return
        known = [declared.data_key or name for name, declared in self.fields.items()]
        unknown = {key: [f"unknown setting{suggestion(str(key), known)}"] for key in original if key not in known}
        if unknown:
            raise ValidationError(unknown)


class SourceSchema(StrictSchema):
    name = Name(required=True)
    write_keys = Keys(required=True, validate=validate.Length(min=1, error="expected at least one write key"))
    signing_keys = Keys(load_default=list)
    signature = Choice(SIGNATURE_MODES)  # default: auto with signing keys, else off
    enabled = YesNo(load_default=True)

    @validates_schema(skip_on_field_errors=True)
    def ask_for_signing_keys(self, data: Any, **kwargs: Any) -> None:
        if data.get("signature", "off") != "off" and not data["signing_keys"]:
            raise ValidationError("needs signing_keys, which are missing or blank", "signature")


class ActionSchema(StrictSchema):
    name = Name(required=True)
    where = Text()
    field_mapping = TextMapping(data_key="fields", load_default=dict)  # `fields` is marshmallow's own
    map = Text()
    preset = Words(PRESETS, load_default=list)
    enabled = YesNo(load_default=True)
    distinct = YesNo(load_default=False)


class PrivacySchema(StrictSchema):
    drop = _list_of(Text, load_default=list)
    hash = _list_of(Text, load_default=list)
    salt = Text()


class RateLimitSchema(StrictSchema):
    events_per_second = Number(0, 1_000_000, is_above=True, required=True)


class RetrySchema(StrictSchema):
    retries = WholeNumber(0, 1000)
    delays = _list_of(
        Seconds(0, 7 * 86400), validate=validate.Length(min=1, max=1000, error="expected at least one delay")
    )


class RetentionSchema(StrictSchema):
    events = Keep()
    size = Size(1_000_000, 1e15)
    attempts = Keep()


class DestinationSchema(StrictSchema):
    """What all destinations have in common."""

    name = Name(required=True)
    type = Text(required=True)
    sources = _list_of(Text)  # default: all
    enabled = YesNo(load_default=True)
    start = Start(load_default="now")
    events = _list_of(EventPattern, load_default=list)
    profile = Choice(PROFILES)
    actions = _list_of(
        fields.Nested(ActionSchema),
        validate=validate.Length(min=1, error="expected at least one action; leave the key out to send everything"),
    )
    default_actions = Switches(DEFAULT_ACTIONS)  # all of them, unless there are `actions`
    preset = Words(PRESETS, load_default=list)
    privacy = _part(PrivacySchema)
    identify = YesNo(load_default=False)
    content = Choice(("drop", "keep"), load_default="drop")
    rate_limit = _part(RateLimitSchema)
    concurrency = WholeNumber(1, 64, load_default=1)
    timeout = Seconds(0, 600, is_above=True, load_default=10.0)
    retry = _part(RetrySchema)


class OpenDestinationSchema(DestinationSchema):
    """A destination of a type whose own options nobody knows."""

    takes_any_key = True


_OPTION_FIELDS: Mapping[str, type[Setting]] = {
    "url": Url,
    "text": Text,
    "secret": Text,
    "path": Text,
    "boolean": YesNo,
    "mapping": TextMapping,
}
OPTION_PREFIX = "option_"  # of a type's own options in what is read, so that they cannot clash with ours


def _option_field(option: OptionShape, default: Any) -> Setting:
    presence: dict[str, Any] = {"required": True} if option.required else {"load_default": default, "allow_none": False}
    if option.kind == "choice":
        return Choice(option.choices, **presence)
    if option.kind == "integer":
        return WholeNumber(0, 1e15, **presence)
    if option.kind == "number":
        return Number(0, 1e15, **presence)
    return _OPTION_FIELDS[option.kind](**presence)


def _destination_schema(shape: DestinationShape) -> Schema:
    batch = StrictSchema.from_dict(
        {
            "max_events": WholeNumber(1, shape.max_batch_events),
            "max_bytes": Size(1000, shape.max_batch_bytes),
            "max_wait": Seconds(0, shape.max_batch_wait_seconds),
        }
    )
    options: dict[str, fields.Field[Any]] = {}
    for name, option in shape.options.items():
        made = _option_field(option, shape.defaults.get(name, option.default))
        made.data_key = name
        options[OPTION_PREFIX + name] = made
    base = OpenDestinationSchema if shape.is_open else DestinationSchema
    return base.from_dict({"batch": _part(batch), **options})()


class DestinationField(Setting):
    """A destination, read by the schema of its type."""

    def __init__(self, shapes: Mapping[str, DestinationShape], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.schemas = {type_name: _destination_schema(shape) for type_name, shape in shapes.items()}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise ValidationError("expected a mapping of settings")
        if "type" not in value:
            raise ValidationError({"type": [MESSAGES["required"]]})
        type_name, known = value["type"], list(self.schemas)
        if not isinstance(type_name, str) or type_name not in self.schemas:
            hint = suggestion(str(type_name), known)
            raise ValidationError({"type": [f"expected a type of destination: {', '.join(known)}{hint}"]})
        return self.schemas[type_name].load(value)


def connections_schema(shapes: Mapping[str, DestinationShape]) -> Schema:
    """The schema of the whole file, for these types of destination."""
    whole = StrictSchema.from_dict(
        {
            "sources": _list_of(
                fields.Nested(SourceSchema),
                required=True,
                validate=validate.Length(min=1, error="expected at least one source"),
            ),
            "destinations": _list_of(DestinationField(shapes), load_default=list),
            "retention": _part(RetentionSchema, load_default=dict),
        }
    )
    return whole()


def read_connections(data: Any, schema: Schema) -> tuple[dict[str, Any], Any]:
    """(what was read, {}) or ({}, marshmallow's tree of mistakes)."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        return {}, error.messages
    return loaded, {}

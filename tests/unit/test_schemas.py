"""The fields and shapes that read what Customer.io sends, each by itself."""

import pytest
from marshmallow import ValidationError, missing

from schemas.attribution import Attribution
from schemas.catalogue import DOCUMENTED, OBJECT_TYPES
from schemas.email_events import EmailData
from schemas.fields import Flag, Identifier, Moment, Text, Value, WholeNumber
from schemas.people import Identifiers
from schemas.preferences import read_preferences
from schemas.reading import read_event, schema_for


@pytest.mark.parametrize("field", [Value(), Text(), Identifier(), WholeNumber(), Flag(), Moment()])
@pytest.mark.parametrize("blank", [None, "", "  ", "\n"])
def test_blank_is_missing_to_every_field(field: Value, blank: object) -> None:
    assert field.read(blank) is missing
    assert field.deserialize(blank) is missing


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (Text(), " as it is ", " as it is "),
        (Text(), 12, "12"),
        (Identifier(), " trimmed ", "trimmed"),
        (Identifier(), 10**30, "1" + "0" * 30),
        (Identifier(), 1.5, "1.5"),
        (WholeNumber(), 12, 12),
        (WholeNumber(), " 12 ", 12),
        (WholeNumber(), "-3", -3),
        (WholeNumber(), 12.0, 12),
        (Flag(), False, False),
        (Flag(), "TRUE", True),
        (Flag(), 0, False),
        (Value(), False, False),
        (Value(), 0, 0),
    ],
)
def test_a_field_reads_what_is_meant(field: Value, value: object, expected: object) -> None:
    assert field.read(value) == expected
    assert field.deserialize(value) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Text(), True),
        (Text(), []),
        (Identifier(), {}),
        (Identifier(), float("inf")),
        (WholeNumber(), True),
        (WholeNumber(), "012"),
        (WholeNumber(), "1" * 30),
        (WholeNumber(), 1.5),
        (WholeNumber(), "١٢"),
        (Flag(), 2),
        (Flag(), 1.0),
        (Flag(), "yes"),
        (Moment(), float("nan")),
        (Moment(), float("inf")),
    ],
)
def test_a_field_refuses_nonsense(field: Value, value: object) -> None:
    with pytest.raises(ValidationError):
        field.read(value)


def test_a_shape_reads_without_refusing_and_names_the_flaws() -> None:
    flaws: list[str] = []

    known, unknown = Attribution().read(
        {"campaign_id": "12", "action_id": [], "journey_id": None, "new": 1, "void": None}, flaws, "data."
    )

    assert known == {"campaign_id": 12, "action_id": []}
    assert unknown == {"new": 1}
    assert flaws == ["data.action_id"]


def test_a_shape_is_a_marshmallow_schema_like_any_other() -> None:
    assert Identifiers().load({"id": 7, "email": None, "new": True}) == {"id": "7", "new": True}
    with pytest.raises(ValidationError) as refusal:
        EmailData(required=["recipient"]).load({"machine": "perhaps"})
    assert refusal.value.messages == {"machine": ["neither true nor false"], "recipient": ["missing"]}


def test_what_one_metric_requires_another_does_not() -> None:
    assert DOCUMENTED[("email", "sent")].data_shape.load_fields["subject"].required
    assert not DOCUMENTED[("email", "opened")].data_shape.load_fields["subject"].required


def test_subscriptions_may_change_on_every_object_type() -> None:
    changes = {"subscribed", "unsubscribed", "cio_subscription_preferences_changed"}

    assert all(changes <= set(metrics) for metrics in OBJECT_TYPES.values())


def test_a_new_metric_is_read_as_its_channels_events_are() -> None:
    assert "tracked_response" in schema_for("in_app", "dismissed").data_shape.load_fields
    assert "recipients" in schema_for("carrier_pigeon", "landed").data_shape.load_fields


def test_a_reading_keeps_what_it_does_not_know() -> None:
    reading = read_event({"object_type": "pigeon", "metric": "landed", "coop": 4, "data": {"wind": "NE"}})

    assert reading.unknown == {"wind": "NE", "coop": 4}
    assert reading.data == {"raw_object_type": "pigeon", "raw_metric": "landed"}


def test_preferences_too_deep_to_parse_are_a_problem_not_an_error() -> None:
    assert read_preferences("[" * 100_000, []) == ({}, {}, "not JSON")

"""Normalizing: identity, time, content, names, and the ids of what leaves. The whole breadth is in test_fixtures.py."""

import json
import uuid
from typing import Any

import pytest

from connector.json_codec import write_json
from connector.model import Event, EventType
from connector.normalize import NAMESPACE, event_name, message_id, normalize, validate
from tests.fixture_files import received, received_fixture


def event(object_type: str, metric: str, data: object, **outside: object) -> dict[str, Any]:
    return {
        "event_id": "01E",
        "object_type": object_type,
        "metric": metric,
        "timestamp": 1788200969,
        "data": data,
        **outside,
    }


def track(payload: object, profile: str = "rudderstack", **options: bool) -> Event:
    return normalize(received(write_json(payload)), profile, **options)[0]


def who(payload: object) -> tuple[str | None, str | None]:
    body = track(payload).body
    return body.get("userId"), body.get("anonymousId")


ADA = "ada@example.com"


@pytest.mark.parametrize(
    ("object_type", "data", "expected"),
    [
        ("email", {"customer_id": "c", "identifiers": {"id": "i", "email": ADA}}, ("c", None)),
        ("email", {"customer_id": "", "identifiers": {"id": "i"}}, ("i", None)),
        ("email", {"customer_id": " \t", "identifiers": {"id": None, "email": ADA}}, (None, ADA)),
        ("email", {"customer_id": " c "}, ("c", None)),
        ("email", {"customer_id": 0}, ("0", None)),
        ("email", {"customer_id": 12.0}, ("12", None)),
        ("email", {"customer_id": True, "identifiers": {"id": ["i"]}, "recipient": ADA}, (None, ADA)),
        ("customer", {"email_address": f"Ada Lovelace <{ADA}>"}, (None, ADA)),
        ("customer", {"identifiers": {"email": "x@y"}, "email_address": ADA}, (None, "x@y")),
        ("customer", {"identifiers": {"email": "none"}, "email_address": ADA}, (None, ADA)),
        ("customer", {"email_address": "a@b@c"}, (None, None)),
        ("customer", {"email_address": "@example.com"}, (None, None)),
        ("customer", {"email_address": "Ada <>"}, (None, None)),
        ("email", {"recipient": ADA, "identifiers": {"cio_id": "a1"}}, (None, ADA)),
        ("customer", {"recipient": ADA}, (None, None)),
        ("sms", {"recipient": "+15550100104"}, (None, None)),
        ("slack", {"recipient": "#general"}, (None, None)),
        ("webhook", {"recipient": "https://user@example.com/"}, (None, None)),
        ("in_app", {"recipient": ADA}, (None, None)),
        ("sms", {"recipient": "+15550100104", "identifiers": {"cio_id": "a1"}}, (None, "cio_a1")),
        ("sms", {"identifiers": {"cio_id": "cio_a1"}}, (None, "cio_a1")),
        ("email", {}, (None, None)),
    ],
)
def test_a_person_is_an_id_else_an_address_else_a_cio_id(
    object_type: str, data: dict[str, object], expected: tuple[str | None, str | None]
) -> None:
    assert who(event(object_type, "sent", data)) == expected


def test_an_event_about_nobody_has_neither_key() -> None:
    body = track(event("email", "opened", {"customer_id": "", "identifiers": {"id": None}})).body

    assert "userId" not in body
    assert "anonymousId" not in body


@pytest.mark.parametrize("profile", ["rudderstack", "segment", "customerio"])
def test_a_person_is_the_same_in_every_profile(profile: str) -> None:
    body = track(event("email", "opened", {"customer_id": "", "recipient": ADA}), profile).body

    assert (body.get("userId"), body["anonymousId"]) == (None, ADA)


@pytest.mark.parametrize(
    ("object_type", "recipient", "trait"),
    [
        ("email", ADA, {"email": ADA}),
        ("sms", "+15550100104", {"phone": "+15550100104"}),
        ("whatsapp", "+1 (555) 010-0104", {"phone": "+1 (555) 010-0104"}),
        ("sms", ADA, None),
        ("slack", "#general", None),
        ("push", ADA, None),
    ],
)
def test_a_recipient_is_a_trait_only_where_it_is_what_it_looks_like(
    object_type: str, recipient: str, trait: dict[str, str] | None
) -> None:
    body = track(event(object_type, "sent", {"recipient": recipient})).body

    assert body["context"].get("traits") == trait
    assert body["properties"]["recipient"] == recipient


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1788200969, "2026-08-31T18:29:29.000Z"),
        (1788200969.25, "2026-08-31T18:29:29.250Z"),
        (1788200969123, "2026-08-31T18:29:29.123Z"),
        (1788200969123456, "2026-08-31T18:29:29.123Z"),
        (1788200969123456789, "2026-08-31T18:29:29.123Z"),
        ("1788200969", "2026-08-31T18:29:29.000Z"),
        (" 1788200969123 ", "2026-08-31T18:29:29.123Z"),
        ("1788200969.5", "2026-08-31T18:29:29.500Z"),
        ("2026-08-31T18:29:29Z", "2026-08-31T18:29:29.000Z"),
        ("2026-08-31 20:29:29+02:00", "2026-08-31T18:29:29.000Z"),
        ("2026-08-31T18:29:29", "2026-08-31T18:29:29.000Z"),
        ("20200101", "2020-01-01T00:00:00.000Z"),
    ],
)
def test_a_timestamp_is_read_in_any_unit_and_notation(timestamp: object, expected: str) -> None:
    body = track(event("email", "opened", {}, timestamp=timestamp)).body

    assert body["timestamp"] == body["originalTimestamp"] == expected
    assert "timestamp_invalid" not in body["context"]["customerio"]


@pytest.mark.parametrize(
    "timestamp",
    [
        None,
        "",
        "abc",
        "2020",
        0,
        -1,
        True,
        [],
        {},
        [1788200969],
        1e25,
        10**400,
        "9999-12-31T23:59:59-14:00",
        "١٢٣٤٥٦٧٨٩٠",
    ],
)
def test_a_timestamp_that_makes_no_sense_gives_way_to_the_time_of_receipt(timestamp: object) -> None:
    body = track(event("email", "opened", {}, timestamp=timestamp)).body

    assert body["timestamp"] == "2026-09-01T12:00:00.000Z"
    assert body["context"]["customerio"]["timestamp_invalid"] is True


def test_the_time_of_sending_is_left_to_the_destination() -> None:
    assert "sentAt" not in track(event("email", "opened", {})).body


def test_message_ids_are_version_five_uuids_of_source_event_and_type() -> None:
    for parts in [("production", "01E", "track"), ("s", "é🎉", "identify"), ("s", "e", "track", "opens")]:
        assert message_id(*parts) == str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


def test_a_forged_id_that_is_no_text_still_has_a_message_id() -> None:
    assert uuid.UUID(message_id("s", "\ud83d", "track")).version == 5


def test_track_and_identify_of_one_event_have_ids_of_their_own() -> None:
    first, second = normalize(received_fixture("customer_subscribed"), identify=True)

    assert first.body["messageId"] == message_id("production", first.event_id, "track")
    assert second.body["messageId"] == message_id("production", first.event_id, "identify")


def test_an_identify_follows_only_when_asked_for_and_when_it_says_something() -> None:
    subscribed, opened = received_fixture("customer_subscribed"), received_fixture("email_opened")
    nothing = received_fixture("customer_cio_subscription_preferences_changed__content_empty")
    nobody = received_fixture("customer_unsubscribed__nobody")

    assert [found.type for found in normalize(subscribed)] == [EventType.TRACK]
    assert [found.type for found in normalize(subscribed, identify=True)] == [EventType.TRACK, EventType.IDENTIFY]
    for received_event in (opened, nothing, nobody):
        assert len(normalize(received_event, identify=True)) == 1


def test_an_identify_carries_what_became_of_the_subscription() -> None:
    _, unsubscribed = normalize(received_fixture("email_unsubscribed"), "segment", identify=True)
    _, changed = normalize(
        received_fixture("customer_cio_subscription_preferences_changed"), "customerio", identify=True
    )

    assert unsubscribed.body["traits"] == {
        "email": "katherine@example.com",
        "cio_id": "a1b2c3d40004",
        "unsubscribed": True,
    }
    assert changed.body["traits"]["cio_subscription_preferences"] == {"topics": {"topic_1": True, "topic_4": False}}
    assert "unsubscribed" not in changed.body["traits"]


def test_the_two_shapes_of_email_unsubscribed_are_told_apart() -> None:
    delivery = normalize(received_fixture("email_unsubscribed"), "customerio")[0].body
    person = normalize(received_fixture("email_unsubscribed__customer_shape"), "customerio")[0].body

    assert (delivery["event"], delivery["properties"]["subscription_name"]) == (
        "Email Unsubscribed",
        "email_unsubscribed",
    )
    assert (person["event"], person["properties"]["subscription_name"]) == (
        "Unsubscribed",
        "customer_unsubscribed",
    )


def test_message_bodies_leave_only_when_wanted() -> None:
    dropped = normalize(received_fixture("email_sent"))[0].body["properties"]
    kept = normalize(received_fixture("email_sent"), keep_content=True)[0].body["properties"]

    assert "content" not in dropped
    assert "headers" not in dropped
    assert dropped["contentDropped"] is True
    assert kept["content"].startswith("<html>")
    assert kept["headers"]["X-Example-Batch"] == ["2026-09-a"]
    assert "contentDropped" not in kept


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "absent"),
        (" ", "empty"),
        ("{", "not JSON"),
        ("NaN", "not JSON"),
        ("[]", "not an object"),
        (5, "not an object"),
    ],
)
def test_a_preference_change_that_says_nothing_names_the_problem(content: object, problem: str) -> None:
    payload = event("customer", "cio_subscription_preferences_changed", {"customer_id": "c", "content": content})

    properties = track(payload).body["properties"]

    assert properties["contentProblem"] == problem
    assert "topics" not in properties


def test_the_attributes_in_an_old_payload_are_personal_and_dropped() -> None:
    for name in ("email_clicked__legacy_2018", "customer_unsubscribed__legacy_2018"):
        body = write_json(normalize(received_fixture(name))[0].body)

        assert b"birthday" not in body
        assert b"plan" not in body


@pytest.mark.parametrize(
    ("flags", "is_machine"),
    [
        ({"machine": True}, True),
        ({"machine": False}, False),
        ({"prefetched": True, "proxied": True}, True),
        ({"proxied": True}, False),
        ({"synthetic": True}, False),
        ({"machine": "true"}, True),
        ({"machine": "perhaps"}, False),
        ({}, False),
    ],
)
def test_opens_and_clicks_by_software_are_marked(flags: dict[str, object], is_machine: bool) -> None:
    found = track(event("email", "opened", flags))

    assert found.machine is is_machine
    assert found.body["properties"].get("isMachine", False) is is_machine


def test_the_first_device_that_failed_gives_the_reason() -> None:
    devices = [{"device_id": "a"}, {"device_id": "b", "failure_message": "Gone"}, {"failure_message": "Later"}]

    properties = track(event("push", "bounced", {"recipients": devices})).body["properties"]

    assert properties["reason"] == "Gone"
    assert properties["recipients"] == [
        {"deviceId": "a"},
        {"deviceId": "b", "failureMessage": "Gone"},
        {"failureMessage": "Later"},
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"campaign_id": 1}, "campaign"),
        ({"broadcast_id": None, "trigger_id": 58}, "broadcast"),
        ({"newsletter_id": None}, "newsletter"),
        ({"transactional_message_id": "welcome"}, "transactional"),
        ({}, None),
    ],
)
def test_the_kind_of_sender_is_told_by_its_fields(data: dict[str, object], expected: str | None) -> None:
    assert track(event("email", "sent", data)).body["properties"].get("senderType") == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"object_type": "email", "metric": "opened"}, ("email", "opened")),
        ({"object_type": " EMAIL ", "metric": "Opened"}, ("email", "opened")),
        ({"object_type_type": "sms", "metric": "subscribed"}, ("sms", "subscribed")),
        ({"metric": "cio_subscription_preferences_changed"}, ("customer", "cio_subscription_preferences_changed")),
        ({"metric": "opened"}, ("unknown", "opened")),
        ({"event_type": "email_opened"}, ("email", "opened")),
        ({"event_type": "in_app_opened"}, ("in_app", "opened")),
        ({"event_type": "in_app_"}, ("in_app", "unknown")),
        ({"event_type": "opened"}, ("opened", "unknown")),
        (
            {"event_type": "customer_subscription_preferences_changed"},
            ("customer", "cio_subscription_preferences_changed"),
        ),
        ({"object_type": "a\x00b", "metric": "\ud83d"}, ("a_b", "_")),
        ({"object_type": 5, "metric": {}}, ("unknown", "unknown")),
        ({"object_type": "x" * 10240, "metric": "y"}, ("x" * 100, "y")),
        ([], ("unknown", "unknown")),
        (None, ("unknown", "unknown")),
        ("email", ("unknown", "unknown")),
    ],
)
def test_a_name_is_lower_case_trimmed_and_safe(payload: object, expected: tuple[str, str]) -> None:
    assert event_name(payload) == expected


def test_unknown_fields_pass_and_take_nobodys_place() -> None:
    data = {"new_field": 1, "deliveryId": "theirs", "delivery_id": "ours", "isMachine": True, "__proto__": {"a": 1}}

    properties = track(event("email", "sent", data, workspace_id=5)).body["properties"]

    assert properties["newField"] == 1
    assert properties["workspaceId"] == 5
    assert properties["deliveryId"] == "ours"
    assert properties["__proto__"] == {"a": 1}
    assert properties["unplaced"] == {"deliveryId": "theirs", "isMachine": True}


def test_values_of_the_wrong_kind_are_kept_and_named() -> None:
    body = track(event("email", "sent", {"action_id": "three", "subject": ["a"], "identifiers": 5})).body

    assert body["properties"]["actionId"] == "three"
    assert body["context"]["customerio"]["invalid"] == ["data.action_id", "data.subject", "data.identifiers"]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"\xff\xfe", b"[" * 2000, b"5", b'"text"', b"[1]", b"null"])
@pytest.mark.parametrize("profile", ["rudderstack", "raw"])
def test_a_body_that_is_no_object_is_an_event_about_nothing(body: bytes, profile: str) -> None:
    (found,) = normalize(received(body), profile)

    assert found.name == "unknown_unknown"
    assert isinstance(found.body, dict)


def test_strict_mode_names_what_is_missing_and_what_is_wrong() -> None:
    payload = event("email", "sent", {"identifiers": 5, "recipient": " ", "link_id": "x"}, timestamp="soon")

    errors = validate(received(write_json(payload)))

    assert errors == {
        "timestamp": ["not a moment"],
        "data.delivery_id": ["missing"],
        "data.identifiers": ["not an object"],
        "data.recipient": ["missing"],
        "data.subject": ["missing"],
        "data.link_id": ["not a whole number"],
    }


def test_strict_mode_wants_a_sender_and_an_object() -> None:
    nameless = event("sms", "drafted", {"delivery_id": "d", "identifiers": {"id": "i"}})

    assert list(validate(received(write_json(nameless)))) == ["data.campaign_id"]
    assert list(validate(received(b"[]"))) == ["body"]
    assert list(validate(received(b"{"))) == ["body"]


def test_strict_mode_has_nothing_against_what_is_new_or_old() -> None:
    for name in (
        "rcs_delivered__unknown_object_type",
        "email_complained__unknown_metric",
        "email_delivered__legacy_2012",
    ):
        assert validate(received_fixture(name)) == {}


def test_every_digit_of_an_id_survives() -> None:
    body = normalize(received_fixture("email_opened__id_beyond_64_bits"))[0].body

    assert json.loads(write_json(body))["userId"] == "123456789012345678901234567890"

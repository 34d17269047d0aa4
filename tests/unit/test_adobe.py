"""ExperienceEvents: every document that is built, against Adobe's field definitions and the mapping table."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.destinations.adobe_events import EVENTS
from connector.destinations.adobe_field_group import field_group
from connector.errors import SettingsError
from connector.mapping import compile_action
from connector.model import Action, Batch, Event, Refused
from connector.normalize import normalize
from schemas.catalogue import DOCUMENTED
from tests.fixture_files import NAMES, RECEIVED_AT, received, received_fixture
from tests.request_fixtures import SENT_AT, deliveries_of
from tests.xdm import OPTIONS, XDM, adobe, entity_validator, read_xdm

ALL_GROUPS = "direct_marketing, channel, marketing, web, push, in_app, bot, journey_optimizer"
STANDARD_TYPES = frozenset(read_xdm("event-types")["enum"])
EXAMPLES = sorted(path.stem for path in (XDM / "documents").glob("*.json"))
VALIDATOR = entity_validator()


def event_of(name: str) -> Event:
    return normalize(received_fixture(name), "customerio")[0]


def changed(name: str, **data: Any) -> Event:
    """The fixture's event with other `data`."""
    payload = json.loads(received_fixture(name).body)
    payload["data"] |= data
    return normalize(received(json.dumps(payload).encode()), "customerio")[0]


def message_of(event: Event, **options: Any) -> dict[str, Any]:
    encoded = build_destination(adobe(**options)).encode(event)
    assert not isinstance(encoded, Refused), encoded.reason
    message: dict[str, Any] = json.loads(encoded)
    return message


def entity_of(event: Event | str, **options: Any) -> dict[str, Any]:
    event = event_of(event) if isinstance(event, str) else event
    entity: dict[str, Any] = message_of(event, **options)["body"]["xdmEntity"]
    return entity


def reason_of(event: Event | str, **options: Any) -> str:
    event = event_of(event) if isinstance(event, str) else event
    encoded = build_destination(adobe(**options)).encode(event)
    assert isinstance(encoded, Refused)
    return encoded.reason


# ── documents ──


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_complete_documents_come_out_exactly(name: str) -> None:
    assert message_of(event_of(name)) == read_xdm(f"documents/{name}")


@pytest.mark.parametrize("groups", ["direct_marketing, channel, marketing, web, push, in_app", ALL_GROUPS, "none"])
def test_every_document_holds_to_the_field_definitions(groups: str) -> None:
    destination = build_destination(
        adobe(field_groups=groups, without_identity="send", cio_id_namespace="cioId", soft_bounces=True)
    )
    for name in NAMES:
        encoded = destination.encode(event_of(name))
        assert not isinstance(encoded, Refused), f"{name}: {encoded.reason}"
        entity = json.loads(encoded)["body"]["xdmEntity"]
        problems = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(entity)]
        assert problems == [], name
        event_type = entity["eventType"]
        assert event_type in STANDARD_TYPES or event_type.startswith("customerio."), name


def test_the_definitions_would_find_an_unknown_key_a_wrong_type_and_a_missing_channel_id() -> None:
    entity = entity_of("email_clicked")

    assert list(VALIDATOR.iter_errors({**entity, "surprise": 1}))
    assert list(VALIDATOR.iter_errors({**entity, "marketing": {"trackingCode": 12}}))
    assert list(VALIDATOR.iter_errors({**entity, "channel": {"mode": "push"}}))
    assert list(VALIDATOR.iter_errors({**entity, "_acme": {"customerio": {"surprise": "x"}}}))


def test_every_documented_pair_has_a_row_or_follows_the_customer_s_rows() -> None:
    subscriptions = {
        pair for pair in DOCUMENTED if pair[1] in {metric for kind, metric in EVENTS if kind == "customer"}
    }

    assert set(DOCUMENTED) - set(EVENTS) <= subscriptions


@pytest.mark.parametrize("pair", EVENTS, ids="_".join)
def test_a_pair_has_the_event_type_the_measure_and_the_doer_of_its_row(pair: tuple[str, str]) -> None:
    row = EVENTS[pair]
    entity = entity_of("_".join(pair))

    measures = {name: value for name, value in entity.get("directMarketing", {}).items() if name != "messageID"}
    assert (entity["eventType"], entity["producedBy"]) == (row.event_type, row.produced_by)
    assert measures == ({row.measure: {"value": 1}} if row.measure else {})
    assert ("channel" in entity) == (pair[0] not in ("customer", "slack", "webhook"))


@pytest.mark.parametrize(
    ("name", "event_type", "by"),
    [
        ("email_complained__unknown_metric", "customerio.email.complained", "system"),
        ("rcs_delivered__unknown_object_type", "customerio.rcs.delivered", "system"),
        ("sms_unsubscribed", "customerio.customer.unsubscribed", "self"),
        ("whatsapp_subscribed", "customerio.customer.subscribed", "self"),
        (
            "push_cio_subscription_preferences_changed",
            "customerio.customer.subscription_preferences_changed",
            "self",
        ),
        ("email_unsubscribed__customer_shape", "directMarketing.emailUnsubscribed", "self"),
    ],
)
def test_other_pairs_follow_a_rule(name: str, event_type: str, by: str) -> None:
    entity = entity_of(name)

    assert (entity["eventType"], entity["producedBy"]) == (event_type, by)


def test_no_fact_of_a_message_is_lost() -> None:
    replied = entity_of("sms_replied")["_acme"]["customerio"]
    clicked = entity_of("in_app_clicked")
    changed_preferences = entity_of("customer_cio_subscription_preferences_changed")["_acme"]["customerio"]

    assert replied["inbound"] == {"eventId": "01KC9E020J78PS1SQNXG8377ZM", "to": "+15550109999"}
    assert clicked["inappMessageTracking"] == {"action": "show_me_button"}
    assert clicked["_acme"]["customerio"]["trackedResponse"] == "show_me_button"
    assert changed_preferences["subscriptionPreferences"] == '{"topics":{"topic_1":true,"topic_4":false}}'
    assert changed_preferences["emailAddress"] == "ada@example.com"


def test_no_message_body_leaves_whatever_the_settings_say() -> None:
    body = normalize(received_fixture("email_sent"), "customerio", keep_content=True)[0]

    message = json.dumps(message_of(body, keep_content=True))

    assert body.body["properties"]["content"]
    assert "<html" not in message.lower()
    assert "content" not in json.loads(message)["body"]["xdmEntity"]["_acme"]["customerio"]


def test_a_failure_that_a_device_tells_stands_with_the_device_only() -> None:
    bounced = entity_of("push_bounced")["_acme"]["customerio"]

    assert "failureMessage" not in bounced
    assert bounced["recipients"][0]["failureMessage"] == "UNREGISTERED"


def test_lists_and_texts_have_bounds_and_the_event_stays_below_ten_kilobytes() -> None:
    devices = [{"device_id": f"d{n}", "device_platform": "ios", "failure_message": "f" * 9_000} for n in range(40)]

    entity = entity_of(changed("push_bounced", recipients=devices, subject="s" * 9_000, failure_message="m" * 9_000))

    fields = entity["_acme"]["customerio"]
    assert [len(fields["recipients"]), len(fields["recipients"][0]["failureMessage"])] == [10, 256]
    assert [len(fields["subject"]), len(fields["failureMessage"])] == [1024, 2048]


def test_an_event_that_profile_would_drop_is_refused() -> None:
    event = changed("email_clicked", href="https://example.com/" + "x" * 10_000)

    assert "too large" in reason_of(event)


def test_half_a_character_does_not_cost_the_request() -> None:
    subject = entity_of("email_sent__lone_surrogate")["_acme"]["customerio"]["subject"]

    assert subject.encode()
    assert "\ufffd" in subject


# ── id and time ──


def test_the_id_is_the_event_s_and_the_same_for_every_profile_of_the_source() -> None:
    assert entity_of("email_opened")["_id"] == event_of("email_opened").event_id


def test_an_event_without_an_id_is_known_by_the_digest_of_its_body() -> None:
    event = event_of("email_opened__no_event_id")

    assert entity_of(event)["_id"] == event.event_id.removeprefix("sha256:")


@pytest.mark.parametrize(("event_id", "entity_id"), [("a:b:c", "abc"), ("ü/ ", None), ("x" * 500, None)])
def test_an_odd_id_becomes_one_that_xdm_takes(event_id: str, entity_id: str | None) -> None:
    made = entity_of(replace(event_of("email_opened"), event_id=event_id, body={**event_of("email_opened").body,
                                                                              "messageId": None}))["_id"]  # fmt: skip

    assert made == entity_id if entity_id else len(made) == 64


def test_a_distinct_action_s_event_has_an_id_of_its_own_that_stays() -> None:
    event = event_of("email_opened")
    copied = compile_action(Action("copy", distinct=True)).apply(event)

    assert entity_of(copied)["_id"] == copied.body["messageId"] != entity_of(event)["_id"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-60, "2026-09-01T11:59:00Z"), (60, "2026-09-01T12:00:00Z"), (10**7, "2026-09-01T12:00:00Z")],
)
def test_no_event_lies_in_the_future_of_its_receipt(seconds: int, text: str) -> None:
    payload = json.loads(received_fixture("email_opened").body)
    payload["timestamp"] = int((RECEIVED_AT + timedelta(seconds=seconds)).timestamp())

    assert entity_of(normalize(received(json.dumps(payload).encode()), "customerio")[0])["timestamp"] == text


def test_parts_of_a_second_are_kept() -> None:
    event = event_of("email_opened")

    body = {**event.body, "timestamp": "2026-08-31T20:30:47.120+02:00"}
    assert entity_of(replace(event, body=body))["timestamp"] == "2026-08-31T18:30:47.120Z"
    assert "moment" in reason_of(replace(event, body={**event.body, "timestamp": "yesterday"}))


# ── identity ──


def identities(event: Event | str, **options: Any) -> Any:
    return entity_of(event, **options).get("identityMap")


def person(**data: Any) -> Event:
    return changed("email_opened", **{"customer_id": "", "identifiers": {}, "recipient": "", **data})


def test_exactly_one_identity_is_primary_the_first_that_is_there() -> None:
    everything = {"identifiers": {"id": "u1", "email": " Ada@Example.com ", "cio_id": "c1"}}
    without_id = {"identifiers": {"email": "ada@example.com", "cio_id": "c1"}}

    assert identities(person(**everything), cio_id_namespace="cioId") == {
        "customerioId": [{"id": "u1", "primary": True}],
        "Email": [{"id": "ada@example.com", "primary": False}],
        "cioId": [{"id": "c1", "primary": False}],
    }
    assert identities(person(**without_id), cio_id_namespace="cioId") == {
        "Email": [{"id": "ada@example.com", "primary": True}],
        "cioId": [{"id": "c1", "primary": False}],
    }


def test_primary_only_links_nobody() -> None:
    assert identities("email_clicked", primary_only=True) == {"customerioId": [{"id": "usr_1002", "primary": True}]}


def test_namespaces_can_be_named_and_switched_off() -> None:
    assert identities("email_clicked", id_namespace="off") == {"Email": [{"id": "grace@example.com", "primary": True}]}
    assert list(identities("email_clicked", id_namespace="crmId", email_namespace="none")) == ["crmId"]


@pytest.mark.parametrize("value", ["null", "Anonymous", "INVALID", "undefined", "0", "x" * 1025])
def test_values_that_the_identity_service_blocks_are_no_identity(value: str) -> None:
    event = person(identifiers={"id": value, "email": "ada@example.com"})

    assert identities(event) == {"Email": [{"id": "ada@example.com", "primary": True}]}


def test_whom_a_message_went_to_is_no_identity() -> None:
    event = person(recipient="someone.else@example.com", identifiers={"id": "u1"})

    assert identities(event) == {"customerioId": [{"id": "u1", "primary": True}]}
    assert entity_of(event)["_acme"]["customerio"]["recipient"] == "someone.else@example.com"


def test_an_address_that_an_action_has_hashed_is_not_passed_off_as_one() -> None:
    event = event_of("email_clicked")
    body = {**event.body, "context": {**event.body["context"], "traits": {"email": "9f" * 32}}}

    assert list(identities(replace(event, body=body))) == ["customerioId"]


def test_an_event_about_nobody_is_a_dead_letter_or_sent_without_identities() -> None:
    nobody = "customer_unsubscribed__nobody"

    assert reason_of(nobody).startswith("no person")
    assert identities(nobody, without_identity="send") is None


# ── what can be chosen ──


def test_field_groups_that_the_schema_lacks_are_left_out() -> None:
    assert set(entity_of("email_clicked", field_groups="none")) == {
        "_id", "timestamp", "eventType", "producedBy", "identityMap", "_acme"
    }  # fmt: skip
    assert "web" not in entity_of("email_clicked", field_groups="channel, marketing")


@pytest.mark.parametrize(
    ("text", "is_soft"), [("421 busy", True), ("4.2.2 full", True), ("550 no", False), ("", False)]
)
def test_a_bounce_is_soft_when_its_message_says_so_and_that_is_wanted(text: str, is_soft: bool) -> None:
    event = changed("email_bounced", failure_message=text)

    told, hard = entity_of(event, soft_bounces=True), entity_of(event)

    assert (
        ("bounces" in told["directMarketing"]) == (told["eventType"] == "directMarketing.emailBouncedSoft") == is_soft
    )
    assert hard["eventType"] == "directMarketing.emailBounced"


def test_a_machine_s_click_keeps_its_type_and_may_lose_its_measure() -> None:
    counted = entity_of("email_clicked__machine", field_groups=ALL_GROUPS)
    uncounted = entity_of("email_clicked__machine", count_machines=False)

    assert counted["directMarketing"]["clicks"] == {"value": 1}
    assert counted["botDetection"] == {"score": 1}
    assert counted["_acme"]["customerio"]["isMachine"] is True
    assert "clicks" not in uncounted["directMarketing"]
    assert uncounted["eventType"] == "directMarketing.emailClicked"


def test_the_recipient_can_be_hashed_or_left_out() -> None:
    hashed = entity_of("email_clicked", recipient="hash")["_acme"]["customerio"]["recipient"]

    assert len(hashed) == 64
    assert "recipient" not in entity_of("email_clicked", recipient="drop")["_acme"]["customerio"]


@pytest.mark.parametrize(
    ("name", "event_type", "details"),
    [
        ("email_sent", "message.feedback", {"messageDeliveryfeedback": {"feedbackStatus": "sent"}}),
        (
            "email_bounced",
            "message.feedback",
            {
                "messageDeliveryfeedback": {
                    "feedbackStatus": "bounce",
                    "messageFailure": {"reason": "550 5.1.1 The recipient mailbox does not exist"},
                }
            },
        ),
        ("email_opened__prefetched", "message.tracking", {"messageInteraction": {"interactionType": "bot_open"}}),
        (
            "email_clicked__machine",
            "message.tracking",
            {
                "messageInteraction": {
                    "interactionType": "bot_click",
                    "url": "https://www.example.com/articles/compilers?utm_source=cio",
                    "urlID": "4",
                    "isBot": True,
                }
            },
        ),
        ("whatsapp_opened", "message.feedback", {"messageDeliveryfeedback": {"feedbackStatus": "read"}}),
    ],
)
def test_journey_optimizer_gets_its_own_words(name: str, event_type: str, details: dict[str, Any]) -> None:
    entity = entity_of(name, field_groups="journey_optimizer")

    assert entity["eventType"] == event_type
    assert entity["_experience"] == {"customerJourneyManagement": details}


def test_what_journey_optimizer_has_no_word_for_keeps_its_type() -> None:
    entity = entity_of("email_converted", field_groups="journey_optimizer")

    assert entity["eventType"] == "customerio.email.converted"
    assert "_experience" not in entity


def test_an_action_may_have_taken_anything_away() -> None:
    event = event_of("push_opened")

    bare = entity_of(replace(event, body={"timestamp": "2026-08-31T18:30:47Z", "userId": 7}))

    assert bare["identityMap"] == {"customerioId": [{"id": "7", "primary": True}]}
    assert bare["eventType"] == "pushTracking.applicationOpened"
    assert list(VALIDATOR.iter_errors(bare)) == []


# ── mode raw ──


def raw(event_name: str, **options: Any) -> dict[str, Any]:
    destination = build_destination(adobe(mode="raw", **options))
    encoded = destination.encode(normalize(received_fixture(event_name), "raw")[0])
    assert not isinstance(encoded, Refused)
    body: dict[str, Any] = json.loads(encoded)
    return body


@pytest.mark.parametrize("name", NAMES)
def test_raw_forwards_what_was_received(name: str) -> None:
    assert raw(name) == json.loads(received_fixture(name).body)


def test_raw_can_add_the_time_as_text() -> None:
    assert raw("email_clicked", time_key="occurred_at")["occurred_at"] == "2026-08-31T18:30:47.000Z"


def test_raw_leaves_out_a_large_content_unless_told_to_keep_it() -> None:
    payload = json.loads(received_fixture("email_sent").body)
    payload["data"] |= {"content": "c" * 20_000, "headers": "h" * 100}
    event = normalize(received(json.dumps(payload).encode()), "raw")[0]

    small = build_destination(adobe(mode="raw")).encode(event)
    whole = build_destination(adobe(mode="raw", keep_content=True)).encode(event)

    assert isinstance(small, bytes)
    assert isinstance(whole, bytes)
    assert json.loads(small)["data"]["truncated"] == ["content"]
    assert json.loads(small)["data"]["headers"] == "h" * 100
    assert json.loads(whole) == payload


@pytest.mark.parametrize(("max_events", "url"), [(1, "/collection/e75d0000"), (9, "/collection/batch/e75d0000")])
def test_raw_names_its_flow_in_a_header(max_events: int, url: str) -> None:
    destination = build_destination(adobe(mode="raw", max_events=max_events))
    deliveries = deliveries_of(destination, [{"event_id": "1"}, {"event_id": "2"}][: 1 if max_events == 1 else 2])

    request = destination.prepare(deliveries, SENT_AT)

    single = {"event_id": "1"}
    assert request.url.endswith(url)
    assert request.headers["x-adobe-flow-id"] == OPTIONS["flow_id"]
    assert json.loads(request.body) == (single if max_events == 1 else {"messages": [single, {"event_id": "2"}]})


# ── requests and settings ──


@pytest.mark.parametrize(
    ("given", "max_events", "sent_to"),
    [
        ("https://dcs.adobedc.net/collection/abc", 100, "https://dcs.adobedc.net/collection/batch/abc"),
        ("https://dcs.adobedc.net/collection/abc/", 1, "https://dcs.adobedc.net/collection/abc"),
        ("https://dcs.adobedc.net/collection/batch/abc", 100, "https://dcs.adobedc.net/collection/batch/abc"),
        ("https://dcs.adobedc.net/collection/batch/abc", 1, "https://dcs.adobedc.net/collection/abc"),
        ("https://dcs.adobedc.net/collection/abc?x-adobe-flow-id=f&a=b", 9,
         "https://dcs.adobedc.net/collection/batch/abc?x-adobe-flow-id=f&a=b"),
        ("https://dcs.adobedc.net/collection/abc?syncValidation=true", 1,
         "https://dcs.adobedc.net/collection/abc?syncValidation=true"),
    ],
)  # fmt: skip
def test_the_address_is_the_one_for_single_messages_or_for_many(given: str, max_events: int, sent_to: str) -> None:
    destination = build_destination(adobe(url=given, max_events=max_events))

    assert destination.prepare([], SENT_AT).url == sent_to


def test_the_flow_may_stand_in_the_address_that_customerio_was_given() -> None:
    url = "https://dcs.adobedc.net/collection/abc?x-adobe-flow-id=flow-1"
    destination = build_destination(adobe(mode="raw", url=url, flow_id=None))

    request = destination.prepare([], SENT_AT)

    assert request.url == "https://dcs.adobedc.net/collection/batch/abc"
    assert request.headers["x-adobe-flow-id"] == "flow-1"


def test_a_sandbox_and_further_headers_are_sent() -> None:
    destination = build_destination(adobe(sandbox="dev", headers={"x-gw-ims-org-id": "o"}))

    assert destination.prepare([], SENT_AT).headers == {
        "Content-Type": "application/json",
        "sandbox-name": "dev",
        "x-sandbox-name": "dev",
        "x-gw-ims-org-id": "o",
    }


def test_a_request_to_an_authenticated_inlet_carries_the_client_and_never_shows_its_secret() -> None:
    request = build_destination(adobe(client_id="id-1", client_secret="secret-1")).prepare([], SENT_AT)

    assert request.credentials is not None
    assert request.credentials.token_url == "https://ims-na1.adobelogin.com/ims/token/v3"
    assert "secret-1" not in repr(request)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"org_id": None, "tenant": None}, "org_id is missing; mode xdm needs it"),
        ({"tenant": "my tenant"}, "is not a tenant id"),
        ({"flow_id": None}, "flow_id is missing"),
        ({"url": "https://dcs.adobedc.net/"}, "/collection/"),
        ({"url": "https://dcs.adobedc.net/collection/a?syncValidation=true"}, "set batch.max_events to 1"),
        ({"field_groups": "channel, webb"}, "webb is not known"),
        ({"id_namespace": "a b"}, "id_namespace"),
        ({"id_namespace": "off", "email_namespace": "off"}, "every namespace is off"),
        ({"client_id": "only"}, "given together"),
        ({"client_id": "a", "client_secret": "b", "token_url": "ftp://x"}, "token_url must"),
        ({"headers": {"Content-Length": "1"}}, "headers: 'Content-Length' cannot be set"),
        ({"profile": "segment"}, "mode xdm needs profile customerio"),
        ({"mode": "raw", "profile": "customerio"}, "mode raw needs profile raw"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_all_that_is_wrong(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build_destination(adobe(**options))

    assert any(problem in found for found in caught.value.problems)
    assert all(found.startswith("destination adobe: ") for found in caught.value.problems)


def test_people_cannot_be_sent() -> None:
    with pytest.raises(SettingsError, match="leave `identify` out"):
        build_destination(replace(adobe(), identify=True))


def test_mode_raw_needs_nothing_but_the_address_and_the_flow() -> None:
    nothing = dict.fromkeys(("org_id", "dataset_id", "schema_id", "tenant"))

    assert build_destination(adobe(mode="raw", **nothing)).encode(event_of("email_opened"))


def test_a_configured_batch_leaves_room_around_the_messages() -> None:
    destination = build_destination(replace(adobe(), batch=Batch(100, 2_000, 0.5)))

    assert isinstance(destination.encode(changed("email_clicked", href="https://example.com/" + "x" * 1_500)), Refused)


# ── the tenant's field group ──


@pytest.mark.parametrize("tenant", ["acme", "_acme"])
def test_the_field_group_is_the_one_of_the_fixture(tenant: str) -> None:
    assert field_group(tenant) == read_xdm("tenant-field-group")


# ── the sample for the set-up of Adobe's own source ──


def paths_of(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {found for name, inner in value.items() for found in paths_of(inner, f"{path}.{name}")} or {path}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {found for inner in value for found in paths_of(inner, f"{path}[]")}
    return {path}


def test_the_sample_has_every_field_of_every_documented_event() -> None:
    sample = paths_of(read_xdm("source-sample"))
    for pair in DOCUMENTED:
        payload = json.loads(received_fixture("_".join(pair)).body)
        assert paths_of(payload) <= sample, pair

"""What only the customerio destination does: whose workspace it is, which names may go, what a strict answer says."""

import json
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.destinations.customerio import COMMANDS, EMAIL_EVENTS
from connector.errors import SettingsError
from connector.model import OutcomeKind, Refused, Response
from tests.request_fixtures import SENT_AT, deliveries_of, sample_connection, sample_event

BODY: dict[str, Any] = {"type": "track", "messageId": "m-1", "userId": "u", "event": "Push Opened"}


def encoded(options: dict[str, Any], **changes: Any) -> dict[str, Any] | str:
    """What becomes of an event with these settings: what is sent, or the reason why nothing is."""
    settings = {"workspace": "other", "event_prefix": None, **options}
    made = build_destination(sample_connection("customerio", **settings)).encode(sample_event({**BODY, **changes}))
    if isinstance(made, Refused):
        return made.reason
    body: dict[str, Any] = json.loads(made)
    return body


def name_of(sent: dict[str, Any] | str) -> Any:
    return sent["event"] if isinstance(sent, dict) else sent


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://cdp.customer.io/v1/batch"),
        ({"region": "eu"}, "https://cdp-eu.customer.io/v1/batch"),
        ({"url": "https://proxy.example.com/v1/"}, "https://proxy.example.com/v1/batch"),
    ],
)
def test_events_go_strictly_to_the_region_of_the_workspace(options: dict[str, Any], url: str) -> None:
    request = build_destination(sample_connection("customerio", **options)).prepare([], SENT_AT)

    assert request.url == url
    assert request.headers["X-Strict-Mode"] == "1"


def test_whose_workspace_it_is_must_be_said() -> None:
    with pytest.raises(SettingsError, match=r"workspace must be said: `other` .* can start campaigns"):
        build_destination(sample_connection("customerio", workspace=None))


def test_a_workspace_gets_its_own_events_under_other_names_only() -> None:
    with pytest.raises(SettingsError, match="with workspace: same an event_prefix is needed"):
        build_destination(sample_connection("customerio", workspace="same", event_prefix=None))


@pytest.mark.parametrize("workspace", ["other", "same"])
@pytest.mark.parametrize("name", [*COMMANDS, "user deleted", " User  Suppressed\n"])
def test_a_name_that_changes_a_workspace_is_never_sent(name: str, workspace: str) -> None:
    options = {"workspace": workspace, "semantic_email_events": True, "event_prefix": "Brand A"}

    assert "a command that changes the workspace" in encoded(options, event=name)


def test_a_prefix_that_makes_a_command_of_a_name_does_not_help() -> None:
    assert "a command" in encoded({"event_prefix": "User"}, event="Deleted")


@pytest.mark.parametrize("name", EMAIL_EVENTS)
@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, "Customer.io would take"),
        ({"event_prefix": "Brand A"}, "Brand A {name}"),
        ({"semantic_email_events": True}, "{name}"),
        ({"semantic_email_events": True, "event_prefix": "Brand A"}, "Brand A {name}"),
        ({"workspace": "same", "semantic_email_events": True, "event_prefix": "Brand A"}, "Brand A {name}"),
    ],
)
def test_names_of_its_own_email_go_renamed_or_when_it_is_asked_for(
    name: str, options: dict[str, Any], sent: str
) -> None:
    assert str(name_of(encoded(options, event=name))).startswith(sent.format(name=name))


def test_the_same_workspace_never_gets_its_own_email_by_name() -> None:
    options = {"workspace": "same", "semantic_email_events": True, "event_prefix": "Email"}

    assert "Customer.io would take 'Email Opened'" in encoded(options, event="Opened")


def test_other_names_go_as_they_are() -> None:
    assert name_of(encoded({})) == "Push Opened"


@pytest.mark.parametrize("kind", ["identify", "group", "alias"])
def test_people_are_changed_in_another_workspace_only(kind: str) -> None:
    same = {"workspace": "same", "event_prefix": "Brand A"}

    assert isinstance(encoded({}, type=kind), dict)
    assert f"a {kind} call would change the workspace that it comes from" in encoded(same, type=kind)


@pytest.mark.parametrize(
    ("options", "given", "sent"),
    [
        ({}, {"Customer.io": False}, None),
        ({}, {"Customer.io": False, "Slack": True}, {"Slack": True}),
        ({}, {"Slack": True}, {"Slack": True}),
        ({}, ["Customer.io"], ["Customer.io"]),
        ({"workspace": "same", "event_prefix": "A"}, {"Customer.io": False}, {"Customer.io": False}),
    ],
)
def test_the_mark_that_keeps_events_from_customerio_is_taken_out_where_they_are_to_arrive(
    options: dict[str, Any], given: Any, sent: Any
) -> None:
    body = encoded(options, integrations=given)

    assert isinstance(body, dict)
    assert body.get("integrations") == sent


REJECTED, TRANSIENT = OutcomeKind.REJECTED, OutcomeKind.TRANSIENT


@pytest.mark.parametrize(
    ("errors", "kinds"),
    [
        (["batch[1].userId: must not be blank"], [TRANSIENT, REJECTED, TRANSIENT]),
        (["batch.0.event is required", "batch[0].type"], [REJECTED, TRANSIENT, TRANSIENT]),
        ([{"field": "/batch/2/userId", "message": "blank"}], [TRANSIENT, TRANSIENT, REJECTED]),
        ([{"index": 2, "message": "blank"}], [TRANSIENT, TRANSIENT, REJECTED]),
        ({"batch[1].userId": ["blank"]}, [TRANSIENT, REJECTED, TRANSIENT]),
        (["batch[1] is bad", "something else"], [REJECTED] * 3),
        (["batch[3] is not there"], [REJECTED] * 3),
        ([{"index": True}], [REJECTED] * 3),
        ([], [REJECTED] * 3),
        ("batch[1]", [REJECTED] * 3),
        (None, [REJECTED] * 3),
    ],
)
def test_a_strict_answer_refuses_the_items_that_it_names_and_no_others(errors: Any, kinds: list[OutcomeKind]) -> None:
    destination = build_destination(sample_connection("customerio"))
    answer = Response(400, {}, json.dumps({"meta": {"errors": errors}}).encode())

    outcomes = destination.judge(answer, deliveries_of(destination, [BODY] * 3))

    assert [outcome.kind for outcome in outcomes] == kinds

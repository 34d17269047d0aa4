from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import pytest

from connector.destinations.base import Destination
from connector.mapping import DEFAULT_ACTIONS, FORMER_DEFAULT
from connector.model import (
    Action,
    Batch,
    Connection,
    Delivery,
    Event,
    EventType,
    OpenDelivery,
    Outcome,
    Privacy,
    Reader,
    Refused,
    Request,
    Response,
)
from connector.route import MAX_REMEMBERED_NAMES, MAX_REMEMBERED_TYPES, Filtered, Patterns, Route

READER = Reader("d", "production")
TRACK = Event(EventType.TRACK, "production", "e-1", "email", "opened", False, {"userId": "u", "event": "Email Opened"})
IDENTIFY = replace(TRACK, type=EventType.IDENTIFY, body={"userId": "u", "traits": {}})


class PlainDestination(Destination):
    """Encodes an event as its name; what it is told to refuse or to stumble over comes from the event itself."""

    type = "plain"
    options: ClassVar[Any] = {}
    max_batch = Batch(100, 1000, 1.0)
    needs_person = True

    def encode(self, event: Event) -> bytes | Refused:
        if event.body.get("refuse"):
            return Refused("too large")
        return str(event.body["event" if event.type == EventType.TRACK else "traits"]).encode()

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        raise NotImplementedError

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        raise NotImplementedError


def route_of(*actions: Action, **rules: Any) -> Route:
    return Route(PlainDestination(Connection("d", "plain", {}, actions=actions or (Action("all"),), **rules)))


@pytest.mark.parametrize(
    ("patterns", "name", "is_match"),
    [
        ((), "email_opened", True),
        (("email_*",), "email_opened", True),
        (("email_*",), "sms_opened", False),
        (("email_*", "!*_drafted"), "email_drafted", False),
        (("!*_drafted", "email_*"), "email_drafted", False),
        (("!*_drafted",), "sms_sent", True),
        (("!*_drafted",), "sms_drafted", False),
        (("email_open",), "email_opened", False),
        (("?ms_sent",), "sms_sent", True),
        (("sms_sent", "push_*"), "push_sent", True),
        (("*",), "odd\nname", True),
    ],
)
def test_patterns_include_and_exclude(patterns: tuple[str, ...], name: str, is_match: bool) -> None:
    compiled = Patterns(patterns)

    assert compiled.match(name) is is_match
    assert compiled.match(name) is is_match  # from memory


def test_a_flood_of_names_does_not_fill_the_memory() -> None:
    patterns = Patterns(["email_*"])

    for number in range(MAX_REMEMBERED_NAMES + 10):
        patterns.match(f"email_{number}")

    assert patterns.match("email_opened")
    assert len(patterns._remembered) <= MAX_REMEMBERED_NAMES


def test_every_action_that_matches_makes_a_delivery() -> None:
    route = route_of(
        Action("all"),
        Action("opens", where="metric == 'opened'", map="merge(@, {event: 'opened'})"),
        Action("clicks", where="metric == 'clicked'"),
        Action("off", enabled=False),
    )

    routed = route.deliveries(READER, 7, [TRACK])

    assert [(d.action, d.encoded, d.attempts) for d in routed.deliveries] == [
        ("all", b"Email Opened", 0),
        ("opens", b"opened", 0),
    ]
    assert {(d.reader, d.seq) for d in routed.deliveries} == {(READER, 7)}
    assert routed.filtered == [Filtered("where of action 'clicks'", EventType.TRACK, "clicks")]
    assert routed.dead == []


def test_track_and_identify_are_deliveries_of_their_own() -> None:
    routed = route_of().deliveries(READER, 1, [TRACK, IDENTIFY])

    assert len({delivery.id for delivery in routed.deliveries}) == 2


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        ({"events": ("sms_*",)}, "events"),
        ({"sources": ("other",)}, "source 'production' is not read"),
        ({"sources": ()}, "source 'production' is not read"),
        ({"actions": (Action("off", enabled=False),)}, "no action is enabled"),
    ],
)
def test_an_event_that_the_destination_does_not_take_is_filtered(rules: dict[str, Any], rule: str) -> None:
    route = Route(PlainDestination(Connection("d", "plain", {}, **rules)))

    routed = route.deliveries(READER, 1, [TRACK])

    assert (routed.deliveries, routed.dead, routed.filtered) == ([], [], [Filtered(rule, EventType.TRACK)])


def test_a_replay_may_name_a_source_that_is_not_read() -> None:
    route = route_of(sources=())

    assert len(route.deliveries(replace(READER, replay="r-1"), 1, [TRACK]).deliveries) == 1


def test_a_broken_action_harms_no_other() -> None:
    route = route_of(
        Action("broken", map="userId"),
        Action("fails", where="length(missing) > `1`"),
        Action("refused", map="merge(@, {refuse: `true`})"),
        Action("nobody", map="{event: event}"),
        Action("stumbles", map="{userId: userId}"),
        Action("good"),
    )

    routed = route.deliveries(READER, 1, [TRACK])

    assert [delivery.action for delivery in routed.deliveries] == ["good"]
    assert [(dead.type, dead.action) for dead in routed.dead] == [
        (EventType.TRACK, name) for name in ("broken", "fails", "refused", "nobody", "stumbles")
    ]
    reasons = {dead.action: dead.reason for dead in routed.dead}
    assert reasons["broken"].startswith("action 'broken', map: yields a string")
    assert reasons["fails"].startswith("action 'fails', where: length()")
    assert reasons["refused"] == "too large"
    assert reasons["nobody"] == "no person"
    assert reasons["stumbles"] == "cannot be encoded: KeyError"


def test_an_anonymous_person_is_a_person() -> None:
    anonymous = replace(TRACK, body={"anonymousId": "a@example.com", "event": "x"})

    assert len(route_of().deliveries(READER, 1, [anonymous]).deliveries) == 1


def test_a_retry_makes_only_what_is_still_open_and_remembers_its_tries() -> None:
    route = route_of(Action("one"), Action("two"))
    still_open = [OpenDelivery(EventType.TRACK, "two", attempts=3)]

    routed = route.deliveries(READER, 1, [TRACK, IDENTIFY], still_open)

    assert [(d.event.type, d.action, d.attempts) for d in routed.deliveries] == [(EventType.TRACK, "two", 3)]
    assert routed.dead == []


def test_an_open_delivery_that_the_rules_no_longer_make_is_dead_with_the_reason() -> None:
    route = route_of(Action("off", enabled=False), Action("sms", where="object_type == 'sms'"), Action("all"))
    still_open = [OpenDelivery(EventType.TRACK, name, 1) for name in ("gone", "off", "sms")]
    still_open.append(OpenDelivery(EventType.IDENTIFY, "all", 1))

    routed = route.deliveries(READER, 1, [TRACK], still_open)

    assert routed.deliveries == []
    assert [(dead.type, dead.action, dead.reason) for dead in routed.dead] == [
        ("track", "gone", "action 'gone' no longer exists"),
        ("track", "off", "action 'off' is disabled now"),
        ("track", "sms", "filtered now: where of action 'sms'"),
        ("identify", "all", "no identify is made of this event any more"),
    ]


def test_an_open_delivery_of_an_event_now_excluded_is_dead() -> None:
    routed = route_of(events=("!email_*",)).deliveries(READER, 1, [TRACK], [OpenDelivery(EventType.TRACK, "all", 1)])

    assert [dead.reason for dead in routed.dead] == ["filtered now: events"]


def test_a_name_can_be_asked_for_before_anything_is_normalized() -> None:
    route = route_of(events=("email_*",))

    assert route.is_wanted("email_sent")
    assert not route.is_wanted("sms_sent")


# ── default actions ──


def defaults_without(*off: str) -> tuple[Action, ...]:
    return tuple(replace(action, enabled=action.name not in off) for action in DEFAULT_ACTIONS)


@pytest.mark.parametrize(
    ("object_type", "action"),
    [("email", "email"), ("in_app", "in_app"), ("carrier_pigeon", "other"), ("other", "other"), ("unknown", "other")],
)
def test_an_event_is_taken_by_the_default_action_of_its_object_type_alone(object_type: str, action: str) -> None:
    routed = route_of(*DEFAULT_ACTIONS).deliveries(READER, 1, [replace(TRACK, object_type=object_type)])

    assert [delivery.action for delivery in routed.deliveries] == [action]
    assert routed.filtered == []


def test_what_a_default_action_that_is_off_would_take_is_filtered() -> None:
    routed = route_of(*defaults_without("email")).deliveries(READER, 1, [TRACK])

    assert routed.deliveries == []
    assert routed.filtered == [Filtered("its default action is switched off", EventType.TRACK)]


def test_an_own_action_can_take_the_place_of_a_default_one() -> None:
    own = Action("mine", where="metric == 'opened'")

    routed = route_of(own, *defaults_without("email")).deliveries(READER, 1, [TRACK])

    assert [delivery.action for delivery in routed.deliveries] == ["mine"]


def test_a_retry_from_before_there_were_default_actions_is_sent_under_its_old_name() -> None:
    waiting = [OpenDelivery(EventType.TRACK, FORMER_DEFAULT, 3)]

    routed = route_of(*DEFAULT_ACTIONS).deliveries(READER, 1, [TRACK], waiting)

    assert [(delivery.action, delivery.attempts) for delivery in routed.deliveries] == [(FORMER_DEFAULT, 3)]
    assert routed.dead == []


def test_a_retry_from_before_dies_with_the_reason_when_its_default_action_is_off() -> None:
    waiting = [OpenDelivery(EventType.TRACK, FORMER_DEFAULT, 3)]

    routed = route_of(*defaults_without("email")).deliveries(READER, 1, [TRACK], waiting)

    assert [dead.reason for dead in routed.dead] == ["filtered now: its default action is switched off"]


def test_made_up_object_types_do_not_fill_the_memory() -> None:
    route = route_of(*DEFAULT_ACTIONS)

    for number in range(MAX_REMEMBERED_TYPES + 10):
        route.deliveries(READER, 1, [replace(TRACK, object_type=f"type{number}")])

    assert len(route._actions_by_type) == MAX_REMEMBERED_TYPES


def test_the_rule_that_filters_names_the_preset() -> None:
    routed = route_of(Action("all", presets=("only-people",))).deliveries(READER, 1, [replace(TRACK, machine=True)])

    assert [kept.rule for kept in routed.filtered] == ["preset only-people of action 'all'"]


def test_privacy_comes_after_the_mapping_of_every_action() -> None:
    person = replace(TRACK, body={**TRACK.body, "context": {"traits": {"email": "ada@example.com"}}})
    copied = Action("copy", fields={"properties.to": "context.traits.email"})

    routed = route_of(copied, privacy=Privacy(drop=("context.traits.email",))).deliveries(READER, 1, [person])

    assert routed.deliveries[0].event.body["context"] == {"traits": {}}
    assert routed.deliveries[0].event.body["properties"] == {}

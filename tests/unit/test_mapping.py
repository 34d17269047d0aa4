import copy
from dataclasses import replace
from typing import Any

import pytest

from connector.errors import MappingError
from connector.mapping import can_both_match, compile_action, compile_expression, compile_where
from connector.mapping.expression import MAX_EXPRESSION_CHARACTERS
from connector.model import Action, Event, EventType
from connector.normalize import message_id

BODY: dict[str, Any] = {
    "type": "track",
    "event": "Email Opened",
    "messageId": "m-1",
    "userId": "u-1",
    "context": {"campaign": {"name": "spring"}, "ip": "192.0.2.1"},
    "properties": {"campaignId": 7, "tags": ["b", "a"], "blank": ""},
}
EVENT = Event(EventType.TRACK, "production", "e-1", "email", "opened", False, BODY)


def applied(**rule: Any) -> dict[str, Any]:
    return compile_action(Action("rule", **rule)).apply(EVENT).body


@pytest.mark.parametrize(
    ("where", "is_match"),
    [
        ("metric == 'opened' && !machine", True),
        ("machine", False),
        ("object_type == 'sms'", False),
        ("source == 'production'", True),
        ("properties.campaignId > `6`", True),
        ("properties.missing", False),
        ("properties.blank", False),
        ("`0`", True),  # as JMESPath has it
        ("`[]`", False),
        ("`{}`", False),
        ("contains(properties.tags, 'a')", True),
        ("event == 'Email Opened' || unknown_key", True),
    ],
)
def test_where_sees_the_event_and_what_it_is(where: str, is_match: bool) -> None:
    assert compile_action(Action("rule", where=where)).matches(EVENT) is is_match
    assert compile_where(where)(EVENT) is is_match


def test_an_action_without_where_takes_everything() -> None:
    action = compile_action(Action("all"))

    assert action.matches(EVENT)
    assert action.apply(EVENT) is EVENT


@pytest.mark.parametrize(
    ("fields", "path", "value"),
    [
        ({"context.campaign.id": "properties.campaignId"}, ("context", "campaign", "id"), 7),
        ({"a.b.c": "userId"}, ("a", "b", "c"), "u-1"),
        ({"event": "metric"}, ("event",), "opened"),
        ({"properties.first": "sort(properties.tags)[0]"}, ("properties", "first"), "a"),
        ({"event": "properties.missing"}, ("event",), "Email Opened"),  # null sets nothing
    ],
)
def test_fields_set_paths(fields: dict[str, str], path: tuple[str, ...], value: object) -> None:
    found: Any = applied(fields=fields)
    for part in path:
        found = found[part]

    assert found == value


def test_fields_all_see_the_event_as_it_came() -> None:
    body = applied(fields={"userId": "event", "event": "userId"})

    assert (body["userId"], body["event"]) == ("Email Opened", "u-1")


def test_the_literal_null_takes_a_path_away() -> None:
    body = applied(fields={"context.ip": "`null`", "userId": "`null`", "not.there": "`null`", "event.x": "`null`"})

    assert body["context"] == {"campaign": {"name": "spring"}}
    assert "userId" not in body
    assert body["event"] == "Email Opened"


def test_map_follows_fields_and_sees_the_whole_event_only() -> None:
    body = applied(fields={"extra": "'x'"}, map="merge(@, {channel: 'email', kind: metric})")

    assert body == {**BODY, "extra": "x", "channel": "email", "kind": None}


def test_the_event_that_came_is_never_changed() -> None:
    before = copy.deepcopy(BODY)

    applied(fields={"context.campaign.id": "`1`", "context.ip": "`null`"}, map="merge(@, {a: 'b'})", distinct=True)

    assert before == BODY


def test_a_distinct_action_has_its_own_message_id_that_is_always_the_same() -> None:
    body = applied(distinct=True, fields={"properties.id": "messageId"})

    expected = message_id("production", "e-1", EventType.TRACK, "rule")
    assert body["messageId"] == body["properties"]["id"] == expected != "m-1"


def test_an_event_without_a_message_id_is_given_none() -> None:
    raw = replace(EVENT, body={"metric": "opened"})

    assert compile_action(Action("rule", distinct=True)).apply(raw) is raw


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"map": "userId"}, "action 'rule', map: yields a string, not an object (in userId)"),
        ({"map": "missing"}, "action 'rule', map: yields null, not an object (in missing)"),
        ({"map": "properties.tags"}, "yields an array"),
        ({"map": "merge(userId)"}, "action 'rule', map: merge() does not take string (in merge(userId))"),
        ({"fields": {"a": "length(machine)"}}, "action 'rule', fields, a: length() does not take boolean"),
        ({"fields": {"event.x": "userId"}}, "action 'rule', fields, event.x: event is a string here"),
        ({"fields": {"a": "avg(`[1e308, 1e308]`) | ceil(@)"}}, "action 'rule', fields, a: OverflowError"),
    ],
)
def test_a_failure_names_the_action_and_the_expression_and_no_value(rule: dict[str, Any], reason: str) -> None:
    with pytest.raises(MappingError) as caught:
        applied(**rule)

    assert reason in str(caught.value)
    assert "u-1" not in str(caught.value)


def test_a_where_that_fails_is_a_mapping_error() -> None:
    with pytest.raises(MappingError, match=r"where: length\(\) does not take null"):
        compile_where("length(properties.missing) > `1`")(EVENT)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("metric = 'opened'", "unexpected '=' at column 8"),
        ("a b", "unexpected 'b' at column 3"),
        ("foo(", "the expression breaks off at column 5"),
        ("'open", "at column 1"),
        ("", "cannot be empty"),
        ("nosuch(@)", "there is no function nosuch()"),
        ("length(a, b)", "length() takes 1 arguments, not 2"),
        ("merge()", "merge() takes at least 1 arguments, not 0"),
        ("&a", "an &expression is only of use"),
        ("not_null(&a)", "an &expression is only of use"),
        ("!" * 200 + "a", "nested more than"),
        ("!" * 5000 + "a", "recursion"),
        ("a" * (MAX_EXPRESSION_CHARACTERS + 1), "longer than"),
    ],
)
def test_a_bad_expression_is_refused_with_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(MappingError) as caught:
        compile_expression(text, "where")

    assert str(caught.value).startswith("where: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["sort_by(a, &b)", "a[1:2]", "a[?b == `1`].c | [0]", "map(&x, @)", "merge(@, a, b)"])
def test_good_expressions_compile(text: str) -> None:
    assert compile_expression(text).text == text


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a.", " ", ".".join("a" * 30)])
def test_a_bad_path_is_refused(path: str) -> None:
    with pytest.raises(MappingError, match="is not a path"):
        compile_action(Action("rule", fields={path: "a"}))


@pytest.mark.parametrize(
    ("first", "second", "can"),
    [
        (None, "metric == 'opened'", True),
        ("metric == 'opened'", "metric == 'clicked'", False),
        ("metric == 'opened' && machine", "!machine && metric == 'clicked'", False),
        ("metric == 'opened' && machine", "metric == 'opened' && !machine", True),  # cannot be told
        ("metric == 'opened'", "object_type == 'sms'", True),
        ("metric == 'opened' || machine", "metric == 'clicked'", True),
    ],
)
def test_overlap_is_denied_only_where_it_can_be_told(first: str | None, second: str, can: bool) -> None:
    one, other = (compile_action(Action("rule", where=where)) for where in (first, second))

    assert can_both_match(one, other) is can_both_match(other, one) is can

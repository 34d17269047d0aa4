"""Every function that expressions have beside JMESPath's own, by example; and what no expression can do."""

import hashlib
import hmac
import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import MappingError
from connector.mapping import compile_action, compile_expression
from connector.mapping.functions import MAX_TEXT_CHARACTERS, OWN_FUNCTIONS
from connector.mapping.interpreter import MAX_SIZE, is_straight
from connector.model import Action, Event, EventType

BODY: dict[str, Any] = {
    "event": "Email Opened",
    "at": "2026-08-31T18:30:47.000Z",
    "seconds": 1788201047,
    "big": 12345678901234567890123,
    "context": {"traits": {"email": " Ada@Example.com ", "phone": "+1"}, "campaign": {"name": "spring"}},
    "properties": {"emailSubject": "Hi", "Campaign ID": 7, "tags": ["b", {"innerName": 1}], "ok": True},
}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("date(at, '%Y-%m-%d')", "2026-08-31"),
        ("date(at, '%d.%m.%Y %H:%M', 'Europe/Berlin')", "31.08.2026 20:30"),
        ("date(at, '%H:%M', 'UTC')", "18:30"),
        ("date(seconds, 'iso')", "2026-08-31T18:30:47.000Z"),
        ("date(`1788201047123`, 'iso')", "2026-08-31T18:30:47.123Z"),
        ("date(at, 'unix')", 1788201047),
        ("date('2026-08-31T18:30:47.5', 'unix_ms')", 1788201047500),
        ("date(at, 'date', 'Asia/Tokyo')", "2026-09-01"),
        ("date(missing, 'iso')", None),
        ("sha256(event)", sha256("Email Opened")),
        ("sha256(seconds)", sha256("1788201047")),
        ("sha256(missing)", None),
        ("hmac(event, 'key')", hmac.new(b"key", b"Email Opened", "sha256").hexdigest()),
        ("hmac(missing, 'key')", None),
        ("hash_email(context.traits.email)", sha256("ada@example.com")),
        ("snake('emailSubject')", "email_subject"),
        ("snake('HTTPServer Name-x')", "http_server_name_x"),
        ("snake('--')", "--"),
        ("camel('Email Opened')", "emailOpened"),
        ("camel('')", ""),
        ("title('email_opened')", "Email Opened"),
        ("title(missing)", None),
        ("lower(event)", "email opened"),
        ("upper(event)", "EMAIL OPENED"),
        (
            "snake_keys(properties)",
            {"email_subject": "Hi", "campaign_id": 7, "tags": ["b", {"inner_name": 1}], "ok": True},
        ),
        ("snake_keys(`{\"a b\": 1, \"a_b\": 2, \"A B\": 3}`)", {"a b": 1, "a_b": 2, "A B": 3}),
        ("camel_keys(`{\"a b\": 1}`)", {"aB": 1}),
        ("camel_keys(@, 'no.such', 'event').event", "Email Opened"),
        ("snake_keys(@, 'properties').properties.email_subject", "Hi"),
        ("template('{event} / {context.campaign.name}{missing}', @)", "Email Opened / spring"),
        ("template('{{{properties.Campaign ID}}} {properties.ok} {properties.tags.0}', @)", "{7} true b"),
        ("template('{@}', event)", "Email Opened"),
        ("replace(event, ' ', '_')", "Email_Opened"),
        ("replace(event, '', '_')", "Email Opened"),
        ("trim(context.traits.email)", "Ada@Example.com"),
        ("split(event, ' ')", ["Email", "Opened"]),
        ("split(event, '')", ["Email Opened"]),
        ("join('-', split(event, ' '))", "Email-Opened"),
        ("drop(context, 'traits.email', 'campaign', 'no.such')", {"traits": {"phone": "+1"}}),
        (
            "pick(@, 'event', 'context.traits.phone', 'no')",
            {"event": "Email Opened", "context": {"traits": {"phone": "+1"}}},
        ),
        ("pick(missing, 'a')", None),
        ("coalesce(missing, ' ', event)", "Email Opened"),
        ("coalesce(missing)", None),
    ],
)  # fmt: skip
def test_a_function_yields_what_its_documentation_says(text: str, value: object) -> None:
    assert compile_expression(text).evaluate(BODY) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("date(event, 'iso')", "date() cannot read this as a moment"),
        ("date(big, 'iso')", "date() cannot read this as a moment"),
        ("date(at, '%999999999d')", "date() knows iso, date"),
        ("date(at, 'iso', 'Mars/Base')", "date() does not know this time zone"),
        ("date(at, 'iso', '../../etc/passwd')", "date() does not know this time zone"),
        ("date(at, 'iso', 'UTC', 'UTC')", "date() does not know this time zone"),
        ("date(at, 'iso', seconds)", "date() does not know this time zone"),
        ("date(context, 'iso')", "date() does not take object"),
        ("lower(seconds)", "lower() does not take number"),
        ("hmac(event, '')", "hmac() needs a key"),
        ("drop(context, seconds)", "drop() does not take number"),
        ("drop(context, 'a', seconds)", "a path is written like"),
        ("drop(context, 'a..b')", "a path is written like"),
        ("snake_keys(@, seconds)", "a path is written like"),
    ],
)
def test_a_function_that_cannot_says_why_and_shows_no_value(text: str, reason: str) -> None:
    with pytest.raises(MappingError) as caught:
        compile_expression(text, "map").evaluate(BODY)

    assert str(caught.value).startswith(f"map: {reason}")
    assert "Email Opened" not in str(caught.value)


@pytest.mark.parametrize("text", ["hmac(@, 'topsecret')", r"hmac(@, 'top\'secret')", 'hmac(@, `"topsecret"`)'])
def test_no_reason_shows_the_key_of_a_hash(text: str) -> None:
    with pytest.raises(MappingError) as caught:
        compile_expression(text).evaluate({})

    assert "secret" not in str(caught.value)


def test_a_mistake_beside_a_key_does_not_show_it() -> None:
    with pytest.raises(MappingError) as caught:
        compile_expression("merge(@, hmac(x, 'topsecret') = 1")

    assert "secret" not in str(caught.value)


# ── bounds ──


@pytest.mark.parametrize(
    "text",
    [
        "[@, @] | " * 60 + "@",
        "{a: @, b: @} | " * 60 + "@",
        "[@, @][] | " * 60 + "@",
        "to_string([@, @, @, @]) | " * 30 + "@",
        "template('{@}{@}{@}{@}', @) | " * 30 + "@",
        "join(to_string(@), [to_string(@), to_string(@), to_string(@)]) | " * 10 + "@",
        "replace(to_string(@), 'a', to_string(@)) | " * 10 + "@",
        "[@, @] | " * 40 + "@ == ([@, @] | " + "[@, @] | " * 40 + "@)",
        "`[1,1,1,1]`[?" * 20 + "@" + "]" * 20,
        "map(&[@, @], [@, @]) | " * 60 + "@",
    ],
)
def test_no_expression_fills_the_memory_or_takes_for_ever(text: str) -> None:
    begun = time.perf_counter()

    with pytest.raises(MappingError, match=r"too large|longer than|steps"):
        compile_expression(text).evaluate(BODY)

    assert time.perf_counter() - begun < 5  # 0.2 s; seconds on a machine that is busy


def test_the_bounds_leave_room_for_the_largest_event() -> None:
    event = {"properties": {"content": "x" * (MAX_SIZE // 2)}}

    assert compile_expression("merge(@, {a: 'b'})").evaluate(event) == {**event, "a": "b"}
    with pytest.raises(MappingError, match=f"longer than {MAX_TEXT_CHARACTERS:,}"):
        compile_expression("template('{properties.content}', @)").evaluate(event)


@pytest.mark.parametrize(
    ("text", "straight"),
    [
        ("metric == 'opened' && !machine", True),
        ("contains(properties.tags, 'a') || length(event) > `3`", True),
        ("properties.tags[0]", True),
        ("properties.tags[*].a", False),
        ("[a, b]", False),
        ("length(to_string(@))", False),
    ],
)
def test_what_only_picks_and_compares_is_not_measured(text: str, straight: bool) -> None:
    assert is_straight(compile_expression(text).root) is straight


# ── whatever is written, whatever comes ──

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "é", ""]), inner, max_size=3)
    ),
    max_leaves=10,
)
ATOMS = [
    "@",
    "a",
    "b",
    "a.b",
    "a[0]",
    "a[*].b",
    "*",
    "`null`",
    "`-1`",
    '`[1, "x"]`',
    "'%Y'",
    "'a.b'",
    "''",
    "[a, b]",
    "{a: a}",
]
CALLS = [*sorted(OWN_FUNCTIONS), "merge", "sum", "avg", "to_string", "to_number", "keys", "sort", "max", "reverse"]
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("{0}({1})".format, st.sampled_from(CALLS), st.lists(inner, min_size=1, max_size=3).map(", ".join)),
        st.builds("{0} | {1}".format, inner, inner),
        st.builds("{0} == {1}".format, inner, inner),
        st.builds("{0}[?{1}]".format, st.sampled_from(["a", "@"]), inner),
        st.builds("sort_by({0}, &{1})".format, inner, inner),
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS, st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON, max_size=3))
def test_no_expression_and_no_event_raises_anything_but_a_mapping_error(text: str, body: dict[str, Any]) -> None:
    before = json.dumps(body)
    event = Event(EventType.TRACK, "s", "e", "email", "opened", False, body)

    with suppress(MappingError):
        action = compile_action(Action("x", where=text, fields={"a.b": text}, map=text))
        assert action.matches(event) in (True, False)
        assert isinstance(action.apply(event).body, dict)

    assert json.dumps(body) == before


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_no_text_raises_anything_but_a_mapping_error_when_compiled(text: str) -> None:
    with suppress(MappingError):
        compile_expression(text)

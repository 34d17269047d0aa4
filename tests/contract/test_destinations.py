"""What every destination type promises, whatever it is; a new one in the table is tested by itself."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.destinations import DESTINATION_TYPES, build_destination
from connector.destinations.base import Destination
from connector.errors import SettingsError
from connector.model import Batch, Connection, Outcome, OutcomeKind, Refused, Response
from tests.fixture_files import FIXTURES, NAMES, normalized_fixture
from tests.request_fixtures import (
    REQUESTS,
    SENT_AT,
    build_request,
    deliveries_of,
    sample_connection,
    sample_event,
    shown,
)

RESPONSES = FIXTURES / "responses"

# The same for every type that has nothing else to say about it.
CASES = [
    (200, OutcomeKind.DELIVERED),
    (201, OutcomeKind.DELIVERED),
    (202, OutcomeKind.DELIVERED),
    (204, OutcomeKind.DELIVERED),
    (301, OutcomeKind.MISCONFIGURED),
    (302, OutcomeKind.MISCONFIGURED),
    (308, OutcomeKind.MISCONFIGURED),
    (400, OutcomeKind.REJECTED),
    (401, OutcomeKind.UNAUTHORIZED),
    (403, OutcomeKind.UNAUTHORIZED),
    (404, OutcomeKind.MISCONFIGURED),
    (405, OutcomeKind.MISCONFIGURED),
    (408, OutcomeKind.TRANSIENT),
    (409, OutcomeKind.REJECTED),
    (413, OutcomeKind.TOO_LARGE),
    (422, OutcomeKind.REJECTED),
    (425, OutcomeKind.TRANSIENT),
    (429, OutcomeKind.THROTTLED),
    (499, OutcomeKind.REJECTED),
    (500, OutcomeKind.TRANSIENT),
    (502, OutcomeKind.TRANSIENT),
    (503, OutcomeKind.TRANSIENT),
    (504, OutcomeKind.TRANSIENT),
    (599, OutcomeKind.TRANSIENT),
    (100, OutcomeKind.TRANSIENT),
    (0, OutcomeKind.TRANSIENT),
    (-1, OutcomeKind.TRANSIENT),
    (600, OutcomeKind.TRANSIENT),
    (99999, OutcomeKind.TRANSIENT),
]
BODIES = [b"", b"ok", b"{}", b"null", b"[" * 100_000, b"\x00\xff\xfe", "ключ 🙂".encode(), b"<html>" * 50_000, b"\n \t"]


# Types that build a document of their own out of an event, instead of sending the event as it is.
REBUILDING = frozenset({"adobe"})
# Types that arrange the event anew, all of its properties in it.
RESHAPING = REBUILDING | {"customerio", "amplitude", "mixpanel", "posthog"}


@pytest.fixture(params=sorted(DESTINATION_TYPES))
def type_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def destination(type_name: str) -> Destination:
    return build_destination(sample_connection(type_name))


def standard_body(**changes: Any) -> dict[str, Any]:
    body = normalized_fixture("rudderstack", "email_opened")[0]
    assert isinstance(body, dict)
    return {**body, **changes}


def outcomes_of(destination: Destination, response: Response, count: int = 3) -> list[Outcome]:
    return destination.judge(response, deliveries_of(destination, [standard_body()] * count))


# ── judging ──


@pytest.mark.parametrize(("status", "kind"), CASES)
def test_a_status_is_judged_the_same_for_all_deliveries(
    destination: Destination, status: int, kind: OutcomeKind
) -> None:
    outcomes = outcomes_of(destination, Response(status, {}, b""))

    assert [outcome.kind for outcome in outcomes] == [kind] * 3
    assert all(str(status) in outcome.reason for outcome in outcomes if kind is not OutcomeKind.DELIVERED)


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("status", [200, 302, 400, 429, 500, 0])
def test_no_answer_makes_judging_fail(destination: Destination, status: int, body: bytes) -> None:
    headers = {
        "retry-after": body.decode("latin-1")[:100],
        "location": "\x00ü",
        "date": "never",
        "x-ratelimit-reset": "²",
    }

    outcomes = outcomes_of(destination, Response(status, headers, body))

    assert len(outcomes) == 3
    assert all(len(outcome.reason) < 500 and outcome.reason.isprintable() for outcome in outcomes)


def test_an_empty_batch_has_no_outcomes(destination: Destination) -> None:
    assert destination.judge(Response(500, {}, b""), []) == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "17"}, 17),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Tue, 01 Sep 2026 12:01:30 GMT", "date": "Tue, 01 Sep 2026 12:00:00 GMT"}, 90),
        ({"retry-after": "Tue, 01 Sep 2026 11:00:00 GMT", "date": "Tue, 01 Sep 2026 12:00:00 GMT"}, 0),
        ({"retry-after": "Tue, 01 Sep 2026 12:01:30 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Tue, 99 Sep 99999 12:01:30 GMT", "date": "x"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_wish_for_a_pause_is_read(
    destination: Destination, status: int, headers: dict[str, str], seconds: float | None
) -> None:
    assert outcomes_of(destination, Response(status, headers, b""))[0].retry_after_seconds == seconds


def test_a_reason_quotes_the_answer_on_one_line(destination: Destination) -> None:
    outcome = outcomes_of(destination, Response(400, {}, b"field\r\n\tuserId\x00is \x1b[31mmissing" + b"." * 1000))[0]

    assert "field userId is [31mmissing..." in outcome.reason
    assert len(outcome.reason) < 350


def test_no_reason_shows_a_secret_or_an_address_that_the_answer_repeats(destination: Destination) -> None:
    request = destination.prepare(deliveries_of(destination, [standard_body()]), SENT_AT)
    kinds = {option.kind for option in destination.options.values()}
    secrets = ["made-up-secret"] * ("secret" in kinds) + ["made-up-token"] * ("mapping" in kinds)
    secrets += [value.split()[-1] for name, value in request.headers.items() if name == "Authorization"]
    echo = f"bad request of ada@example.com with {secrets} {request.headers.get('Authorization')}".encode()

    for status in (302, 400, 401, 500):
        location = f"https://example.com/{'/'.join(secrets)}?key=made-up"
        reason = outcomes_of(destination, Response(status, {"location": location}, echo))[0].reason
        assert not [secret for secret in [*secrets, "ada@example.com"] if secret in reason]


@pytest.mark.parametrize("path", sorted(RESPONSES.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_destination_is_known_to_answer_is_understood(path: Path) -> None:
    fixture = json.loads(path.read_text(encoding="utf-8"))
    destination = build_destination(sample_connection(path.parent.name))
    response = Response(fixture["status"], fixture["headers"], fixture["body"].encode())

    outcome = outcomes_of(destination, response, 1)[0]

    assert outcome.kind == fixture["outcome"]
    assert outcome.retry_after_seconds == fixture.get("retry_after_seconds")
    assert path.stem.startswith(str(fixture["status"]))


def test_every_type_has_answers_among_the_fixtures(type_name: str) -> None:
    assert list((RESPONSES / type_name).glob("*.json"))


# ── encoding ──


@pytest.mark.parametrize("name", NAMES)
def test_every_normalized_fixture_is_one_line_of_json_or_refused_with_a_reason(
    destination: Destination, name: str
) -> None:
    for body in normalized_fixture(destination.connection.profile, name):
        assert isinstance(body, dict)
        encoded = destination.encode(sample_event(body))

        if isinstance(encoded, Refused):
            assert encoded.reason
        else:
            assert b"\n" not in encoded
            document = json.loads(encoded)
            assert destination.type in RESHAPING or {**document, "sentAt": 0} == {**body, "sentAt": 0}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": None, "userId": [], "event": {}, "messageId": 7},
        standard_body(userId=True),
        standard_body(type=["track"]),
        standard_body(properties=None),
        standard_body(properties=[1, 2]),
        standard_body(properties={"content": None, "x": "\ud800\udfff\x00\u2028"}),
        standard_body(number=2**100, small=1e-300, negative=-(2**63)),
        standard_body(number=float("nan"), large=2**100),
        standard_body(what={1, 2}),
        standard_body(messageId="\n\x00ü"),
    ],
    ids=range(11),
)
def test_encoding_never_fails(destination: Destination, body: dict[str, Any]) -> None:
    encoded = destination.encode(sample_event(body))

    assert encoded.reason if isinstance(encoded, Refused) else isinstance(json.loads(encoded), dict)


def test_nesting_beyond_all_depth_is_refused(destination: Destination) -> None:
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]

    encoded = destination.encode(sample_event(standard_body(properties={"nested": nested})))

    assert destination.type in REBUILDING or isinstance(encoded, Refused)
    assert not isinstance(encoded, Refused) or "JSON" in encoded.reason


@pytest.mark.parametrize("type_name", sorted(set(DESTINATION_TYPES) - REBUILDING))
def test_a_large_event_loses_its_content_then_its_headers_and_says_so(type_name: str) -> None:
    destination = build_destination(sample_connection(type_name))
    limit = destination.event_bytes(30_000)
    small = build_destination(limited(destination, limit))
    properties = {"subject": "hi", "headers": "h" * 20_000}

    both = text_of(small.encode(sample_event(standard_body(properties={**properties, "content": "c" * 9_000}))))
    one = text_of(small.encode(sample_event(standard_body(properties={**properties, "content": "c" * limit}))))
    huge = {"subject": "hi", "headers": "h" * limit, "content": "c"}
    none = text_of(small.encode(sample_event(standard_body(properties=huge))))

    assert all(part in both for part in ('"hi"', "h" * 20_000, "c" * 9_000))
    assert "truncated" not in both
    assert all(part in one for part in ('"hi"', "h" * 20_000, '"truncated":["content"]'))
    assert "cccc" not in one
    assert all(part in none for part in ('"hi"', '"truncated":["content","headers"]'))
    assert "hhhh" not in none


def test_encoding_leaves_the_event_as_it_was(destination: Destination) -> None:
    body = standard_body(properties={"content": "c" * 10_000_000})
    before = json.dumps(body)

    destination.encode(sample_event(body))

    assert json.dumps(body) == before


def test_an_event_that_stays_too_large_is_refused_with_both_sizes(destination: Destination) -> None:
    limit = destination.connection.batch.max_bytes

    encoded = destination.encode(sample_event(standard_body(userId="u" * limit)))

    assert isinstance(encoded, Refused)
    assert "too large" in encoded.reason or "id of its person is longer" in encoded.reason


@pytest.mark.parametrize("ids", [{}, {"userId": ""}, {"userId": "  ", "anonymousId": None}])
def test_an_event_with_nobody_in_it_is_refused_where_a_person_is_needed(
    destination: Destination, ids: dict[str, Any]
) -> None:
    body = {key: value for key, value in standard_body().items() if key != "userId"} | ids

    encoded = destination.encode(sample_event(body))

    assert isinstance(encoded, Refused) is destination.needs_person
    assert not isinstance(encoded, Refused) or encoded.reason.startswith("no person")


# ── building requests ──


@pytest.mark.parametrize("path", sorted(REQUESTS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_request_is_that_of_the_fixture(path: Path) -> None:
    expected = json.loads(path.read_text(encoding="utf-8"))

    assert shown(build_request(path.parent.name, path.stem)) == expected, "run: python -m tests.request_fixtures"


def test_every_type_has_requests_among_the_fixtures(type_name: str) -> None:
    assert len(list((REQUESTS / type_name).glob("*.json"))) >= 5


def test_the_same_batch_and_time_give_the_same_request(destination: Destination) -> None:
    deliveries = deliveries_of(destination, [standard_body(messageId=f"m-{n}") for n in range(3)])

    assert destination.prepare(deliveries, SENT_AT) == destination.prepare(deliveries, SENT_AT)


def test_a_later_try_differs_in_nothing_but_its_time(destination: Destination) -> None:
    deliveries = deliveries_of(destination, [standard_body()])
    first, second = (destination.prepare(deliveries, SENT_AT + timedelta(seconds=n)) for n in (0, 1))

    assert first.url == second.url
    assert first.body.replace(b"12:00:01.250Z", b"") == second.body.replace(b"12:00:02.250Z", b"")


def test_a_request_has_no_more_around_its_events_than_is_said(destination: Destination) -> None:
    full = build_destination(limited(destination, 900_000, max_events=50))
    deliveries = deliveries_of(full, [standard_body(messageId=f"m-{n}") for n in range(50)])

    request = full.prepare(deliveries, SENT_AT)

    encoded_bytes = sum(len(delivery.encoded) + 1 for delivery in deliveries)
    assert len(request.body) <= encoded_bytes + full.envelope_bytes()


def test_no_secret_stands_in_the_url(destination: Destination) -> None:
    request = destination.prepare(deliveries_of(destination, [standard_body()]), SENT_AT)

    assert "made-up" not in request.url


# ── settings ──


def test_the_default_batch_is_within_the_limits(type_name: str) -> None:
    default, limit = DESTINATION_TYPES[type_name].default_batch, DESTINATION_TYPES[type_name].max_batch

    assert 0 < default.max_events <= limit.max_events
    assert 0 < default.max_bytes <= limit.max_bytes
    assert 0 < default.max_wait_seconds <= limit.max_wait_seconds


def test_the_table_names_each_type_as_it_names_itself(type_name: str) -> None:
    assert DESTINATION_TYPES[type_name].type == type_name


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://example.com", "https://", "https://user:key@example.com", "https://a b/", "http://[::1",
     "http://h:x/"],
)  # fmt: skip
def test_an_address_that_cannot_work_is_refused_when_the_settings_are_read(type_name: str, url: str) -> None:
    option = DESTINATION_TYPES[type_name].options.get("url")
    if option is None or (not url and not option.required):
        return

    with pytest.raises(SettingsError, match="destination sample: url must"):
        build_destination(sample_connection(type_name, url=url))


def test_an_unknown_type_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="type 'carrier_pigeon' is not one of rudderstack, segment"):
        build_destination(Connection("sample", "carrier_pigeon", {}))


def limited(destination: Destination, max_bytes: int, max_events: int = 1) -> Connection:
    """The same connection with so many bytes for each event."""
    batch = Batch(max_events, max_bytes + destination.envelope_bytes(), 0.5)
    return sample_connection(destination.type, batch)


def json_of(encoded: bytes | Refused) -> dict[str, Any]:
    assert not isinstance(encoded, Refused), encoded.reason
    value: dict[str, Any] = json.loads(encoded)
    return value


def text_of(encoded: bytes | Refused) -> str:
    assert not isinstance(encoded, Refused), encoded.reason
    return encoded.decode()

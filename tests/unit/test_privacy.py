"""What `privacy` promises: what stood at a listed path is in no request, however it was mapped, copied or spelled."""

import copy
import hashlib
import hmac
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.destinations import build_destination
from connector.errors import MappingError
from connector.json_codec import write_json as json_bytes
from connector.mapping import DEFAULT_ACTIONS, compile_action, parse_privacy_path
from connector.mapping.privacy import MAX_REMEMBERED_STEPS, Redaction, compile_redaction
from connector.model import Action, Connection, Privacy, Reader, ReceivedEvent
from connector.normalize import PROFILES, normalize
from connector.route import Route
from tests.fixture_files import FIXTURES, NAMES

ADDRESS = "ada@example.com"
BODY: dict[str, Any] = {
    "type": "track",
    "event": "Email Clicked",
    "anonymousId": "Ada@Example.com",
    "context": {"traits": {"email": ADDRESS, "phone": "+1 555 0100", "cioId": "a3"}},
    "properties": {
        "recipient": "Ada <Ada@example.com>",
        "fromAddress": "shop@example.com",
        "link": {"url": "https://example.com/?to=ada%40example.com&x=1"},
        "note": "sent to ADA@example.com today",
        "recipients": [{"token": "t-1", "type": "ios"}, {"token": "t-2"}],
        "count": 7,
        "flag": True,
    },
}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def redacted(body: dict[str, Any] = BODY, original: dict[str, Any] | None = None, **privacy: Any) -> dict[str, Any]:
    redaction = compile_redaction(Privacy(**privacy))
    assert redaction is not None
    return redaction.apply(body, body if original is None else original)


def test_an_address_is_hashed_in_lower_case_without_blanks_or_a_name() -> None:
    body = {"a": " Ada@Example.com ", "b": "Ada <ADA@example.com>", "c": ADDRESS}

    assert redacted(body, hash=("a", "b", "c")) == dict.fromkeys("abc", sha256(ADDRESS))


def test_a_salt_makes_the_hash_a_keyed_one() -> None:
    assert redacted({"a": ADDRESS}, hash=("a",), salt="pepper") == {
        "a": hmac.new(b"pepper", ADDRESS.encode(), "sha256").hexdigest()
    }


def test_other_values_are_hashed_by_their_text_and_truths_stay() -> None:
    body = {"n": 7, "t": "x", "yes": True, "no": None, "in": {"deep": ["y", 2]}}

    hashed = redacted(body, hash=("*",))

    deep = {"deep": [sha256("y"), sha256("2")]}
    assert hashed == {"n": sha256("7"), "t": sha256("x"), "yes": True, "no": None, "in": deep}


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("context.traits.phone", ("context", "traits", "phone")),
        ("context.traits", ("context", "traits")),
        ("*.traits", ("context", "traits")),
        ("**.phone", ("context", "traits", "phone")),
        ("context.**.phone", ("context", "traits", "phone")),
        ("context.traits.cio_id", ("context", "traits", "cioId")),  # however it is written
        ("properties.from_address", ("properties", "fromAddress")),
        ("properties.count", ("properties", "count")),
    ],
)
def test_a_dropped_path_is_gone_and_all_else_stays(path: str, gone: tuple[str, ...]) -> None:
    expected = copy.deepcopy(BODY)
    inner = expected
    for part in gone[:-1]:
        inner = inner[part]
    del inner[gone[-1]]
    body = {**BODY, "anonymousId": "cio_a3"} if path in ("context.traits", "*.traits") else BODY
    if path in ("context.traits", "*.traits"):  # the address in it goes with it, everywhere
        body = {**body, "properties": {"count": 7}}
        expected = {**expected, "anonymousId": "cio_a3", "properties": {"count": 7}}

    assert redacted(body, drop=(path,)) == expected


@pytest.mark.parametrize("path", ["properties.recipients.*.token", "properties.recipients.token", "**.token"])
def test_a_path_goes_through_lists(path: str) -> None:
    assert redacted(drop=(path,))["properties"]["recipients"] == [{"type": "ios"}, {}]


def test_everything_below_a_path_can_be_dropped() -> None:
    made = redacted(drop=("properties.**", "context.*"))

    assert made == {**BODY, "properties": {}, "context": {}, "anonymousId": sha256(ADDRESS)}


def test_the_copies_of_a_hashed_address_are_hashed_too() -> None:
    made = redacted(hash=("context.traits.email",))

    hashed = sha256(ADDRESS)
    assert made["anonymousId"] == made["context"]["traits"]["email"] == made["properties"]["recipient"] == hashed
    assert made["properties"]["link"]["url"] == f"https://example.com/?to={hashed}&x=1"
    assert made["properties"]["note"] == f"sent to {hashed} today"
    assert made["properties"]["fromAddress"] == "shop@example.com"


def test_the_copies_of_a_dropped_address_go_and_an_id_becomes_a_pseudonym() -> None:
    made = redacted(drop=("context.traits.email",))

    assert made["anonymousId"] == sha256(ADDRESS)
    assert "recipient" not in made["properties"]
    assert made["properties"]["link"]["url"] == "https://example.com/?to=[removed]&x=1"
    assert made["properties"]["note"] == "sent to [removed] today"


def test_the_copies_of_a_phone_number_go_too() -> None:
    body = {**BODY, "properties": {"recipient": "+1 555 0100"}}

    assert redacted(body, drop=("context.traits.phone",))["properties"] == {}


def test_what_a_mapping_has_moved_is_recognised_by_the_event_as_it_came() -> None:
    mapped = {"who": ADDRESS, "properties": {"mail": ADDRESS}, "mails": [ADDRESS, "x"], ADDRESS: 1}

    made = redacted(mapped, original=BODY, drop=("context.traits.email",))

    assert made == {"properties": {}, "mails": ["x"], "[removed]": 1}


def test_drop_is_stronger_than_hash() -> None:
    assert redacted({"a": ADDRESS}, hash=("a",), drop=("a",)) == {}


def test_nothing_that_came_is_changed() -> None:
    before = copy.deepcopy(BODY)

    redacted(hash=("**.email",), drop=("**.recipient",))

    assert before == BODY


def test_without_privacy_there_is_nothing_to_do() -> None:
    assert compile_redaction(None) is None
    assert compile_redaction(Privacy(salt="pepper")) is None


@pytest.mark.parametrize("path", ["", ".", "a..b", " ", "a." + "b." * 30 + "c"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(MappingError, match="is not a path such as"):
        parse_privacy_path(path)


def test_made_up_names_do_not_fill_the_memory() -> None:
    redaction = compile_redaction(Privacy(drop=("**.email",)))
    assert isinstance(redaction, Redaction)

    redaction.apply({f"name{number}": 1 for number in range(MAX_REMEMBERED_STEPS + 100)}, {})

    assert len(redaction._steps) <= MAX_REMEMBERED_STEPS


def test_what_is_nested_too_deeply_is_a_mapping_error() -> None:
    body: dict[str, Any] = {}
    for _ in range(5000):
        body = {"a": body}

    with pytest.raises(MappingError, match="nested too deeply"):
        redacted(body, drop=("**.email",))


@pytest.mark.parametrize(
    "text",
    ["x" * 2_000_000, "@" * 2_000_000, "x" * 1_000_000 + "@" + "y" * 1_000_000, "a%40" * 500_000, "a@b.co " * 300_000],
    ids=range(5),
)
def test_no_text_takes_for_ever(text: str) -> None:
    redaction = compile_redaction(Privacy(hash=("listed", "email")))
    assert redaction is not None
    begun = time.perf_counter()

    made = redaction.apply({"email": ADDRESS, "copy": text + ADDRESS}, {})
    with suppress(MappingError):
        redaction.apply({"listed": text}, {})

    assert ADDRESS not in made["copy"]
    assert time.perf_counter() - begun < 5  # 0.1 s; seconds on a machine that is busy


def test_more_addresses_than_can_be_looked_for_are_an_error() -> None:
    with pytest.raises(MappingError, match="too many e-mail addresses"):
        redacted({"all": [f"a{number}@example.com" for number in range(200)]}, drop=("all",))


def test_copies_are_found_whatever_the_case_does_to_their_places() -> None:
    body = {"email": ADDRESS, "copy": f"İİİ Ada@Example.com İ {ADDRESS}"}

    assert redacted(body, drop=("email",))["copy"].count("[removed]") == 2


# ── presets ──


def mapped(name: str, *presets: str, profile: str = "rudderstack") -> list[dict[str, Any]]:
    received = ReceivedEvent("production", "e", (FIXTURES / "events" / f"{name}.json").read_bytes(), datetime.now(UTC))
    action = compile_action(Action("x", presets=presets))
    return [action.apply(event).body for event in normalize(received, profile) if action.matches(event)]


@pytest.mark.parametrize(
    ("preset", "taken"),
    [
        ("only-email", {"email_opened", "email_clicked__machine", "email_bounced"}),
        ("only-people", {"email_opened"}),
        ("no-machines", {"email_opened", "email_bounced", "sms_sent"}),
    ],
)
def test_a_preset_takes_what_it_says(preset: str, taken: set[str]) -> None:
    names = ("email_opened", "email_clicked__machine", "email_bounced", "sms_sent")

    assert {name for name in names if mapped(name, preset)} == taken


@pytest.mark.parametrize("profile", sorted(PROFILES))
@pytest.mark.parametrize("name", ["email_clicked", "email_delivered__deleted_person", "customer_subscribed"])
def test_hash_email_leaves_no_address_of_the_person(name: str, profile: str) -> None:
    (plain,), (hashed,) = mapped(name, profile=profile), mapped(name, "hash-email", profile=profile)

    assert "@example.com" in str(plain)
    assert "@" not in str(hashed)
    assert plain.keys() == hashed.keys()


def test_snake_case_spares_the_envelope_and_everything_does_not() -> None:
    (some,), (every,) = mapped("email_opened", "snake-case"), mapped("email_opened", "snake-case-everything")

    assert "messageId" in some
    assert "email_subject" in some["properties"]
    assert "message_id" in every


# ── no request holds what was listed ──

LOCAL_PARTS = st.from_regex(r"[A-Za-z0-9._%+-]{1,12}", fullmatch=True)
ADDRESSES = st.builds("{0}@{1}".format, LOCAL_PARTS, st.sampled_from(["Ex.org", "example.com"]))
WRAPPED = st.sampled_from(["{0}", " {0} ", "Ada <{0}>", "https://x.org/?a={1}&b=1", "to {0}, and to {0}"])


@settings(max_examples=60, deadline=None)
@given(
    ADDRESSES,
    st.lists(WRAPPED, min_size=4, max_size=4),
    st.sampled_from([{"drop": ("**.email", "data.recipient")}, {"hash": ("**.email", "data.recipient"), "salt": "s"}]),
    st.sampled_from(sorted(PROFILES)),
    st.sampled_from([None, "merge(@, {copy: context.traits.email, all: to_string(@)})", "snake_keys(@, 'context')"]),
)
def test_no_request_holds_a_listed_address(
    address: str, wraps: list[str], privacy: dict[str, Any], profile: str, mapping: str | None
) -> None:
    subject, link, reply_to, unknown = (wrap.format(address, quote(address, safe="")) for wrap in wraps)
    payload = {
        "event_id": "01",
        "object_type": "email",
        "metric": "clicked",
        "timestamp": 1788200000,
        "data": {
            "identifiers": {"email": address},
            "recipient": address.upper(),
            "subject": subject,
            "href": link,
            "reply_to": reply_to,
            "brand_new": {"deep": [unknown]},
        },
    }
    actions = DEFAULT_ACTIONS if mapping is None else (Action("mapped", map=mapping),)
    connection = Connection(
        "files", "file", {"path": "x"}, actions=actions, profile=profile, privacy=Privacy(**privacy)
    )
    received = ReceivedEvent("production", "01", json_bytes(payload), datetime(2026, 9, 1, tzinfo=UTC))

    routed = Route(build_destination(connection)).deliveries(
        Reader("files", "production"), 1, normalize(received, profile)
    )

    (delivery,) = routed.deliveries
    sent = build_destination(connection).prepare([delivery], datetime(2026, 9, 1, tzinfo=UTC)).body.decode().lower()
    assert address.lower() not in sent
    assert quote(address, safe="").lower() not in sent
    assert delivery.event.body.get("anonymousId") != address


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_example_passes_through_every_preset_and_privacy(name: str, profile: str) -> None:
    received = ReceivedEvent("production", "e", (FIXTURES / "events" / f"{name}.json").read_bytes(), datetime.now(UTC))
    privacy = Privacy(drop=("**.phone",), hash=("**.email", "**.recipient"), salt="s")
    action = compile_action(Action("x", presets=("hash-email", "snake-case")), privacy)

    for event in normalize(received, profile, identify=True, keep_content=True):
        assert isinstance(action.apply(event).body, dict)

"""Write keys and signatures: the vectors of the provider, and everything that is not one of them."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.model import SignatureMode, Source
from connector.verify import (
    SIGNATURE_REASONS,
    KeyRing,
    SignatureState,
    age_seconds,
    fingerprint,
    judge_signature,
    mask,
    prove,
    sign,
)

VECTORS = json.loads((Path(__file__).parents[2] / "fixtures" / "signatures.json").read_text("utf-8"))
KEY = "a-signing-key"
TIMESTAMP = "1788200005"
BODY = b'{"event_id":"1"}'


def body_of(vector: dict[str, Any]) -> bytes:
    return base64.b64decode(vector["body_base64"]) if "body_base64" in vector else vector["body_utf8"].encode()


def source(mode: SignatureMode, *signing_keys: str) -> Source:
    return Source("production", ("write-key",), signing_keys, mode)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_a_genuine_signature_is_proven_by_its_key(vector: dict[str, Any]) -> None:
    body = body_of(vector)

    assert body.decode("utf-8") == vector["body_utf8"]
    assert sign(vector["signing_key"], vector["timestamp"], body) == vector["signature"]
    assert prove([vector["signing_key"]], vector["signature"], vector["timestamp"], body) == fingerprint(
        vector["signing_key"]
    )


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_a_false_signature_is_not_proven(vector: dict[str, Any]) -> None:
    assert prove([vector["signing_key"]], vector["signature"], vector["timestamp"], body_of(vector)) is None


def test_any_of_several_keys_proves() -> None:
    signature = sign("new", TIMESTAMP, BODY)

    assert prove(["old", "new"], signature, TIMESTAMP, BODY) == fingerprint("new")


@pytest.mark.parametrize("signature", ["", "é" * 64, "\x00", "０" * 64, "a" * 63, "a" * 10_000, "\ud800"])
def test_an_odd_signature_is_merely_wrong(signature: str) -> None:
    assert prove([KEY], signature, TIMESTAMP, BODY) is None


def test_the_case_of_the_hex_digits_does_not_matter() -> None:
    assert prove([KEY], sign(KEY, TIMESTAMP, BODY).upper(), TIMESTAMP, BODY) == fingerprint(KEY)


@given(st.text(), st.text(), st.binary())
def test_no_header_makes_proving_raise(signature: str, timestamp: str, body: bytes) -> None:
    assert prove([KEY], signature, timestamp, body) is None


@pytest.mark.parametrize(
    ("mode", "signature", "reason", "is_provisional", "state"),
    [
        (SignatureMode.OFF, "wrong", None, False, None),
        (SignatureMode.OBSERVE, None, None, False, SignatureState.MISSING),
        (SignatureMode.OBSERVE, "wrong", None, False, SignatureState.WRONG),
        (SignatureMode.OBSERVE, "right", None, False, SignatureState.GENUINE),
        (SignatureMode.ENFORCE, None, "the signature is missing", False, SignatureState.MISSING),
        (SignatureMode.ENFORCE, "wrong", "the signature is wrong", False, SignatureState.WRONG),
        (SignatureMode.ENFORCE, "right", None, False, SignatureState.GENUINE),
        (SignatureMode.AUTO, None, None, True, SignatureState.MISSING),
        (SignatureMode.AUTO, "wrong", None, True, SignatureState.WRONG),
        (SignatureMode.AUTO, "right", None, False, SignatureState.GENUINE),
    ],
)
def test_the_mode_decides_what_a_signature_means(
    mode: SignatureMode, signature: str | None, reason: str | None, is_provisional: bool, state: SignatureState | None
) -> None:
    given_signature = sign(KEY, TIMESTAMP, BODY) if signature == "right" else signature

    judgement = judge_signature(source(mode, KEY), given_signature, TIMESTAMP, BODY)

    assert judgement.quarantine_reason == reason
    assert judgement.is_provisional is is_provisional
    assert judgement.doubt == (SIGNATURE_REASONS[state] if is_provisional and state is not None else "")
    assert judgement.unproven_keys == ((fingerprint(KEY),) if mode is SignatureMode.AUTO else ())
    assert judgement.state is state
    assert judgement.proof == (fingerprint(KEY) if state is SignatureState.GENUINE else None)


def test_a_signature_without_a_timestamp_counts_as_missing() -> None:
    judgement = judge_signature(source(SignatureMode.ENFORCE, KEY), sign(KEY, "", BODY), None, BODY)

    assert judgement.state is SignatureState.MISSING


def test_each_of_a_sources_keys_finds_it() -> None:
    one, two = Source("one", ("a", "b")), Source("two", ("c",))
    ring = KeyRing([one, two], b"secret")

    assert [ring.find(key) for key in ("a", "b", "c", "d", "")] == [one, one, two, None, None]


def test_a_key_with_odd_characters_is_merely_unknown() -> None:
    assert KeyRing([Source("one", ("a",))], b"secret").find("\ud800é") is None


def test_a_masked_key_shows_a_third_at_most() -> None:
    assert mask("abcdefghijklmnop") == "abcd… (16 characters)"
    assert mask("abcdef") == "ab… (6 characters)"
    assert mask("ab") == "… (2 characters)"
    assert mask("\nbcdefghijkl") == "?bcd… (12 characters)"


@pytest.mark.parametrize(
    ("timestamp", "age"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("9" * 5000, None),
        ("1788200005", 5.0),
        (" 1788200020 ", -10.0),
    ],
)
def test_the_age_of_a_timestamp_is_measured(timestamp: str | None, age: float | None) -> None:
    assert age_seconds(timestamp, datetime.fromtimestamp(1788200010, UTC)) == age

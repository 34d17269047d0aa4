"""JSON in and out at the edges where the two libraries differ."""

import pytest

from connector.errors import PayloadError
from connector.json_codec import MAX_DEPTH, read_json, write_json


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, 10**30, -(10**30)])
def test_an_integer_keeps_every_digit_wherever_it_stands(number: int) -> None:
    for value in ({"id": number}, {"a": {"b": [1, number]}}, [number]):
        assert read_json(write_json(value)) == value


@pytest.mark.parametrize("text", ["\ud83d", "a\x00b", "日本 🎉"])
def test_a_string_survives_whatever_it_holds(text: str) -> None:
    assert read_json(write_json({text: [text]})) == {text: [text]}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b"[Infinity]", b"[1e400]", b'["\\ud83d", 1e400]', b"\xff", b"1" * 5000]
)
def test_what_is_no_json_is_a_payload_error(body: bytes) -> None:
    with pytest.raises(PayloadError):
        read_json(body)


def test_nesting_is_read_to_a_bound_and_what_is_read_can_be_written() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH

    assert write_json({"around": read_json(deepest)}) == b'{"around":' + deepest + b"}"
    for levels in (MAX_DEPTH + 1, 900, 5000, 200_000):
        with pytest.raises(PayloadError):
            read_json(b"[" * levels + b"]" * levels)

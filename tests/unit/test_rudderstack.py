"""What only the rudderstack destination does."""

import gzip
import json
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.destinations.rudderstack import MAX_EVENT_BYTES
from connector.model import Refused, Response
from tests.request_fixtures import SENT_AT, deliveries_of, sample_connection, sample_event

BODY: dict[str, Any] = {"type": "track", "messageId": "m-1", "userId": "u", "event": "Email Opened"}


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example.com",
        "https://x.example.com/",
        "https://x.example.com/v1",
        "https://x.example.com/v1/",
        " https://x.example.com/v1/batch ",
    ],
)
def test_the_address_may_be_given_with_or_without_its_path(url: str) -> None:
    destination = build_destination(sample_connection("rudderstack", url=url))

    assert destination.prepare([], SENT_AT).url == "https://x.example.com/v1/batch"


def test_a_path_before_the_version_is_kept() -> None:
    destination = build_destination(sample_connection("rudderstack", url="https://example.com/rudder/"))

    assert destination.prepare([], SENT_AT).url == "https://example.com/rudder/v1/batch"


def test_the_write_key_is_the_user_name_of_basic_authorization() -> None:
    destination = build_destination(sample_connection("rudderstack", write_key="key"))

    assert destination.prepare([], SENT_AT).headers["Authorization"] == "Basic a2V5Og=="


def test_the_batch_and_each_event_carry_the_time_of_the_call() -> None:
    destination = build_destination(sample_connection("rudderstack"))

    request = destination.prepare(deliveries_of(destination, [BODY, BODY]), SENT_AT)

    sent_at = "2026-09-01T12:00:01.250Z"
    assert json.loads(request.body) == {"batch": [{**BODY, "sentAt": sent_at}] * 2, "sentAt": sent_at}


def test_a_compressed_request_holds_the_same_and_is_the_same_each_time() -> None:
    plain, packed = (build_destination(sample_connection("rudderstack", gzip=gzip)) for gzip in (False, True))
    deliveries = deliveries_of(plain, [BODY])

    request = packed.prepare(deliveries, SENT_AT)

    assert request.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(request.body) == plain.prepare(deliveries, SENT_AT).body
    assert request == packed.prepare(deliveries, SENT_AT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"userId": None}, "no person"),
        ({"userId": None, "anonymousId": "ada@example.com"}, ""),
        ({"userId": 7}, ""),
        ({"type": "trak"}, "its type is not one of alias, group"),
        ({"event": " "}, "a track call without an event name"),
        ({"type": "identify", "event": None}, ""),
    ],
)
def test_what_the_data_plane_would_refuse_is_refused_before(changes: dict[str, Any], reason: str) -> None:
    encoded = build_destination(sample_connection("rudderstack")).encode(sample_event({**BODY, **changes}))

    assert (reason in encoded.reason) if isinstance(encoded, Refused) else not reason


def test_an_event_of_more_than_32_kilobytes_is_cut_or_refused() -> None:
    destination = build_destination(sample_connection("rudderstack"))
    fits = "x" * (MAX_EVENT_BYTES - 500)

    kept = destination.encode(sample_event({**BODY, "properties": {"content": fits}}))
    cut = destination.encode(sample_event({**BODY, "properties": {"content": fits + "x" * 500}}))
    refused = destination.encode(sample_event({**BODY, "properties": {"subject": fits + "x" * 500}}))

    assert isinstance(kept, bytes)
    assert isinstance(cut, bytes)
    assert len(kept) > 31_000 > len(cut)
    assert json.loads(cut)["properties"] == {"truncated": ["content"]}
    assert isinstance(refused, Refused)
    assert refused.reason.endswith("at most 32000 are taken")


def test_the_reason_of_a_refused_key_says_what_to_do() -> None:
    destination = build_destination(sample_connection("rudderstack"))
    deliveries = deliveries_of(destination, [BODY])

    outcome = destination.judge(Response(401, {}, b"invalid write key\n"), deliveries)[0]

    assert outcome.reason == "answered 401 Unauthorized, check its key: invalid write key"


def test_the_reason_of_a_redirect_says_where_to() -> None:
    destination = build_destination(sample_connection("rudderstack"))
    deliveries = deliveries_of(destination, [BODY])

    outcome = destination.judge(Response(308, {"location": "https://new.example.com/v1/batch?a=b"}, b""), deliveries)[0]

    assert outcome.reason == (
        "answered 308 Permanent Redirect, a redirect to https://new.example.com/v1/batch, which is not followed, "
        "check its url"
    )

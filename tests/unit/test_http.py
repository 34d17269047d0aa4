"""What only the http destination does: the body's shape, headers, and the Standard Webhooks signature."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.destinations.http import HttpDestination
from connector.errors import SettingsError
from connector.model import Batch, Delivery, EventType, Reader, Request
from tests.request_fixtures import SENT_AT, deliveries_of, sample_connection, sample_event

MANY = Batch(max_events=10, max_bytes=100_000, max_wait_seconds=0.5)
BODY: dict[str, Any] = {"type": "track", "messageId": "m-1", "userId": "u", "event": "Email Opened"}
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


def request_of(*bodies: dict[str, Any], batch: Batch | None = None, **options: Any) -> Request:
    destination = build_destination(sample_connection("http", batch, **options))
    return destination.prepare(deliveries_of(destination, list(bodies)), SENT_AT)


def test_a_single_event_is_the_body() -> None:
    request = request_of(BODY)

    assert (
        request.body == b'{"sentAt":"2026-09-01T12:00:01.250Z",' + json.dumps(BODY, separators=(",", ":")).encode()[1:]
    )


@pytest.mark.parametrize("count", [1, 3])
def test_with_larger_batches_the_body_is_an_array_however_many_there_are(count: int) -> None:
    request = request_of(*[BODY] * count, batch=MANY)

    assert [event["messageId"] for event in json.loads(request.body)] == ["m-1"] * count


def test_an_event_that_names_its_own_sending_time_keeps_it() -> None:
    request = request_of({**BODY, "sentAt": "2020-01-01T00:00:00.000Z"})

    assert json.loads(request.body)["sentAt"] == "2020-01-01T00:00:00.000Z"


def test_an_event_of_the_raw_profile_is_left_as_it_is() -> None:
    body = {"event_id": "1", "metric": "opened", "data": {}}

    assert json.loads(request_of(body).body) == body


@pytest.mark.parametrize(
    "url", ["https://example.com/hooks/", "https://example.com/hooks", "https://example.com/?a=b/"]
)
def test_the_address_is_called_as_it_is_given(url: str) -> None:
    assert request_of(BODY, url=url).url == url


def test_method_and_headers_are_those_of_the_settings() -> None:
    request = request_of(BODY, method="PUT", headers={"content-type": "application/cloudevents+json", "X-Version": 2})

    assert request.method == "PUT"
    assert {name: request.headers[name] for name in ("content-type", "X-Version")} == {
        "content-type": "application/cloudevents+json",
        "X-Version": "2",
    }
    assert "Content-Type" not in request.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"X Y": "1"},
        {"": "1"},
        {"X-A": "a\r\nX-B: b"},
        {"X-A": "ключ"},
        {"Content-Length": "3"},
        {"transfer-encoding": "x"},
    ],
)
def test_headers_that_no_request_can_have_are_refused_when_the_settings_are_read(headers: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="destination sample: headers:"):
        build_destination(sample_connection("http", headers=headers))


# ── signature ──


def test_the_signature_is_that_of_the_standard() -> None:
    # The example of the Standard Webhooks libraries.
    destination = build_destination(sample_connection("http", signing_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    event = sample_event({"messageId": "msg_p5jXN8AQM9LWM0D4loKWxJek"})
    delivery = Delivery(Reader("sample", "production"), 1, "all", event, b'{"test": 2432232314}')

    headers = destination.prepare([delivery], datetime.fromtimestamp(1614265330, UTC)).headers

    assert headers[ID] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert headers[TIMESTAMP] == "1614265330"
    assert headers[SIGNATURE] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed() -> None:
    assert not {ID, TIMESTAMP, SIGNATURE} & set(request_of(BODY, signing_secret=None).headers)


def test_several_secrets_make_several_signatures() -> None:
    one, two = (request_of(BODY, signing_secret=secret).headers[SIGNATURE] for secret in ("old-secret", "new-secret"))

    assert request_of(BODY, signing_secret="old-secret new-secret").headers[SIGNATURE] == f"{one} {two}"


def test_a_secret_that_only_looks_like_base64_is_refused_when_the_settings_are_read() -> None:
    with pytest.raises(SettingsError, match="signing_secret: after whsec_ there must be base64"):
        build_destination(sample_connection("http", signing_secret="whsec_not base64!"))


def test_a_batch_has_one_id_for_every_try_and_another_for_other_events() -> None:
    same = {request_of(BODY, {**BODY, "messageId": "m-2"}, batch=MANY).headers[ID] for _ in range(2)}
    other = request_of(BODY, {**BODY, "messageId": "m-3"}, batch=MANY).headers[ID]

    assert len(same) == 1
    assert other not in same


@pytest.mark.parametrize("message_id", ["a.b", "a b", "ü", "x" * 101, "line\nbreak", "\ud800", 7.5, None])
def test_a_message_id_that_no_header_could_carry_becomes_one_that_can(message_id: object) -> None:
    ids = {request_of({**BODY, "messageId": message_id}).headers[ID] for _ in range(2)}

    assert len(ids) == 1
    assert ids.pop().replace("-", "").isalnum()


def test_without_a_message_id_the_delivery_names_the_request() -> None:
    destination = build_destination(sample_connection("http"))
    assert isinstance(destination, HttpDestination)
    events = [sample_event({}, event_id=event_id) for event_id in ("one", "two")]
    deliveries = [Delivery(Reader("sample", "production"), 1, "all", event, b"{}") for event in events]

    first, second = (destination.prepare([delivery], SENT_AT).headers[ID] for delivery in deliveries)

    assert first != second
    assert events[0].type is EventType.TRACK

"""What only Kafka does: topics, keys, headers, reports on single messages, the client's settings."""

import json
import sys
from base64 import b64decode
from typing import Any

import pytest

from connector.destinations import build_destination
from connector.destinations.base import Destination
from connector.errors import SettingsError
from connector.model import Connection, Event, EventType, OutcomeKind, Refused, Response
from tests.request_fixtures import SENT_AT, deliveries_of, sample_event

BODY: dict[str, Any] = {"type": "track", "messageId": "m-1", "userId": "u-1", "event": "Email Opened"}


def made(**options: Any) -> Destination:
    return build_destination(Connection("bus", "kafka", {"brokers": "broker-1:9093,broker-2", **options}))


def messages(destination: Destination, *bodies: dict[str, Any]) -> list[Any]:
    request = destination.prepare(deliveries_of(destination, list(bodies)), SENT_AT)
    found: list[Any] = json.loads(request.headers["messages"])
    return found


def settings(destination: Destination) -> dict[str, Any]:
    header = destination.prepare([], SENT_AT).headers["Authorization"]
    found: dict[str, Any] = json.loads(b64decode(header.split()[1]))
    return found


def kinds(reports: list[Any]) -> list[OutcomeKind]:
    destination = made()
    response = Response(207, {}, json.dumps(reports).encode())
    return [one.kind for one in destination.judge(response, deliveries_of(destination, [BODY] * len(reports)))]


# ── messages ──


def test_a_message_has_a_topic_a_key_and_headers() -> None:
    assert messages(made(), BODY) == [
        [
            "customerio.production",
            "u-1",
            {"messageId": "m-1", "event": "email_opened", "source": "production", "type": "track"},
        ]
    ]


def test_the_values_are_the_events_in_order() -> None:
    destination = made()

    request = destination.prepare(deliveries_of(destination, [BODY, {**BODY, "text": "two\nlines"}]), SENT_AT)

    assert [json.loads(line).get("text") for line in request.body.splitlines()] == [None, "two\nlines"]
    assert request.url == "kafka://broker-1:9093,broker-2:9092"


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        ({"userId": "u", "anonymousId": "a"}, "u"),
        ({"userId": 7}, "7"),
        ({"userId": "  ", "anonymousId": "a"}, "a"),
        ({"userId": None}, "01KND30RQSPPWRPQN804FE7M60"),
        ({"userId": {"id": 1}}, "01KND30RQSPPWRPQN804FE7M60"),
        ({"userId": "u" * 2000, "anonymousId": "a"}, "a"),
        ({"userId": "\ud800"}, "\\ud800"),
    ],
)
def test_the_key_is_the_person(ids: dict[str, Any], key: str) -> None:
    assert messages(made(), {**BODY, "userId": None, **ids})[0][1] == key


def test_a_topic_is_made_of_what_is_known() -> None:
    destination = made(topic="cio.{source}.{event}-{type}")
    event = Event(EventType.TRACK, "Nord & Süd", "e-1", "email", "Ünknown/../x" * 50, False, BODY)
    encoded = destination.encode(event)

    assert not isinstance(encoded, Refused)
    delivery = deliveries_of(destination, [BODY])[0]
    assert messages(destination, BODY)[0][0] == "cio.production.email_opened-track"
    odd = type(delivery)(delivery.reader, 1, "all", event, encoded)
    topic = json.loads(destination.prepare([odd], SENT_AT).headers["messages"])[0][0]
    assert topic.startswith("cio.Nord-S-d.email_-nknown-..-x")
    assert len(topic) == 249


def test_a_message_that_no_broker_would_take_is_refused() -> None:
    destination = build_destination(Connection("bus", "kafka", {"brokers": "b", "max_message_bytes": 50_000}))

    small = destination.encode(sample_event({**BODY, "properties": {"content": "c" * 60_000}}))

    assert not isinstance(small, Refused)
    assert b'"truncated":["content"]' in small
    assert isinstance(destination.encode(sample_event({**BODY, "text": "t" * 60_000})), Refused)


# ── reports ──


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("MSG_SIZE_TOO_LARGE", OutcomeKind.REJECTED),
        ("TOPIC_AUTHORIZATION_FAILED", OutcomeKind.UNAUTHORIZED),
        ("_AUTHENTICATION", OutcomeKind.UNAUTHORIZED),
        ("_UNKNOWN_TOPIC", OutcomeKind.MISCONFIGURED),
        ("_MSG_TIMED_OUT", OutcomeKind.TRANSIENT),
        ("NOT_ENOUGH_REPLICAS", OutcomeKind.TRANSIENT),
        ("something new", OutcomeKind.TRANSIENT),
        (None, OutcomeKind.TRANSIENT),
    ],
)
def test_each_message_has_an_outcome_of_its_own(error: Any, kind: OutcomeKind) -> None:
    assert kinds([None, {"error": error, "reason": "why"}, None]) == [
        OutcomeKind.DELIVERED,
        kind,
        OutcomeKind.DELIVERED,
    ]


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b"[null]", b"[null,1]", b"[null,null,null]", b'["x","y"]'])
def test_reports_that_do_not_fit_are_no_proof_of_anything(body: bytes) -> None:
    destination = made()

    outcomes = destination.judge(Response(207, {}, body), deliveries_of(destination, [BODY] * 2))

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.TRANSIENT] * 2


def test_a_reason_says_what_to_do() -> None:
    destination = made()
    body = b'[{"error": "UNKNOWN_TOPIC_OR_PART", "reason": "Broker: Unknown topic"}]'

    reason = destination.judge(Response(207, {}, body), deliveries_of(destination, [BODY]))[0].reason

    assert reason == "UNKNOWN_TOPIC_OR_PART, create the topic, or check `topic`: Broker: Unknown topic"


# ── settings ──


def test_without_a_user_tls_alone_is_spoken() -> None:
    assert settings(made()) == {
        "bootstrap.servers": "broker-1:9093,broker-2:9092",
        "security.protocol": "SSL",
        "compression.type": "lz4",
        "message.max.bytes": 1_000_000,
    }


def test_a_user_is_proven_by_sasl() -> None:
    found = settings(made(username="ada", password="made-up", sasl_mechanism="SCRAM-SHA-512", tls=False))

    assert found["security.protocol"] == "SASL_PLAINTEXT"
    assert (found["sasl.username"], found["sasl.password"]) == ("ada", "made-up")
    assert found["sasl.mechanism"] == "SCRAM-SHA-512"


def test_certificates_are_handed_on() -> None:
    found = settings(made(ca_file="/ca.pem", client_certificate="/me.pem", client_key="/me.key"))

    assert found["ssl.ca.location"] == "/ca.pem"
    assert (found["ssl.certificate.location"], found["ssl.key.location"]) == ("/me.pem", "/me.key")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"brokers": ","}, "brokers must be like"),
        ({"brokers": "https://broker:9092"}, "brokers must be like"),
        ({"brokers": "user@broker:9092"}, "brokers must be like"),
        ({"topic": "{day}"}, "topic: {day} is not one of {source}, {event}"),
        ({"topic": "a b"}, "topic: 'a b' cannot be a name"),
        ({"topic": "a/b"}, "topic: 'a/b' cannot be a name"),
        ({"username": "ada"}, "username and password belong together"),
        ({"client_key": "/me.key"}, "client_certificate and client_key belong together"),
        ({"max_message_bytes": 10}, "max_message_bytes must be from"),
    ],
)
def test_what_cannot_work_is_refused_when_the_settings_are_read(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        made(**options)

    assert problem in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "understood"),
    [("a", "a:9092"), (" a:1 , b:2,", "a:1,b:2"), ("[::1]", "[::1]:9092"), ("[::1]:5", "[::1]:5")],
)
def test_brokers_are_read_as_people_write_them(given: str, understood: str) -> None:
    assert made(brokers=given).prepare([], SENT_AT).url == f"kafka://{understood}"


def test_the_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)

    with pytest.raises(SettingsError, match=r"needs confluent_kafka.*: pip install -r requirements-kafka\.txt"):
        made()

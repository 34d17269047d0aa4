"""Kafka: a message for each event, its person as the key; the kafka transport produces them.

The transport reports on each message; which report means what is decided here. Names of errors:
https://kafka.apache.org/protocol.html#protocol_error_codes, and with an underscore those of librdkafka itself.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from connector.destinations.base import (
    Destination,
    Option,
    encode_within,
    excerpt,
    is_filled,
    require_packages,
    stamped,
)
from connector.destinations.objects import checked_template
from connector.errors import PayloadError, SettingsError
from connector.json_codec import read_json, write_json
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

REQUIREMENTS = "requirements-kafka.txt"
TOPIC_WORDS = ("source", "event", "object_type", "metric", "type")
MAX_TOPIC_CHARACTERS = 249
MESSAGE_BYTES = 1_000_000  # `message.max.bytes` of librdkafka; brokers take a little more by default
MAX_MESSAGE_BYTES = 20_000_000
MIN_MESSAGE_BYTES = 10_000
FRAMING_BYTES = 4_096  # of a message, for its headers, its lengths and the batch around it
MAX_KEY_BYTES = 1_024  # a key is an id; what is longer is one that nobody meant
BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
DEFAULT_PORT = 9092
SOME_FAILED = 207  # of a response: the body has a report on each message

REPORT_KINDS: Mapping[str, OutcomeKind] = {
    "MSG_SIZE_TOO_LARGE": OutcomeKind.REJECTED,
    "INVALID_RECORD": OutcomeKind.REJECTED,
    "POLICY_VIOLATION": OutcomeKind.REJECTED,
    "RECORD_LIST_TOO_LARGE": OutcomeKind.TOO_LARGE,
    "THROTTLING_QUOTA_EXCEEDED": OutcomeKind.THROTTLED,
    "TOPIC_AUTHORIZATION_FAILED": OutcomeKind.UNAUTHORIZED,
    "CLUSTER_AUTHORIZATION_FAILED": OutcomeKind.UNAUTHORIZED,
    "SASL_AUTHENTICATION_FAILED": OutcomeKind.UNAUTHORIZED,
    "UNSUPPORTED_SASL_MECHANISM": OutcomeKind.UNAUTHORIZED,
    "ILLEGAL_SASL_STATE": OutcomeKind.UNAUTHORIZED,
    "_AUTHENTICATION": OutcomeKind.UNAUTHORIZED,
    "UNKNOWN_TOPIC_OR_PART": OutcomeKind.MISCONFIGURED,
    "TOPIC_EXCEPTION": OutcomeKind.MISCONFIGURED,
    "_UNKNOWN_TOPIC": OutcomeKind.MISCONFIGURED,
    "INVALID_REQUIRED_ACKS": OutcomeKind.MISCONFIGURED,
    "UNSUPPORTED_VERSION": OutcomeKind.MISCONFIGURED,
}
ADVICE: Mapping[OutcomeKind, str] = {
    OutcomeKind.UNAUTHORIZED: "check its user and the rights on the topic",
    OutcomeKind.MISCONFIGURED: "create the topic, or check `topic`",
}


class KafkaDestination(Destination):
    type: ClassVar[str] = "kafka"
    transport: ClassVar[str] = "kafka"
    default_batch: ClassVar[Batch] = Batch(max_events=1000, max_bytes=5_000_000, max_wait_seconds=0.1)
    max_batch: ClassVar[Batch] = Batch(max_events=10_000, max_bytes=20_000_000, max_wait_seconds=60.0)
    advice: ClassVar[Mapping[OutcomeKind, str]] = ADVICE
    options: ClassVar[Mapping[str, Option]] = {
        "brokers": Option("text", "Where to begin, `host:port`, several with commas between.", required=True),
        "topic": Option(
            "text", "The topic of an event; may be made of what is known of it.", default="customerio.{source}"
        ),
        "tls": Option("boolean", "Whether the brokers are spoken to by TLS.", default=True),
        "ca_file": Option("path", "The authorities that vouch for the brokers; default: the system's."),
        "client_certificate": Option("path", "What proves us to the brokers, with mutual TLS."),
        "client_key": Option("path", "The private key that goes with it."),
        "username": Option("text", "The user, with SASL."),
        "password": Option("secret", "The user's password."),
        "sasl_mechanism": Option(
            "choice",
            "How the user is proven.",
            default="PLAIN",
            choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
        ),
        "compression": Option(
            "choice", "Of message batches.", default="lz4", choices=("none", "gzip", "snappy", "lz4", "zstd")
        ),
        "max_message_bytes": Option("integer", "The most that the brokers take as one message.", default=MESSAGE_BYTES),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        require_packages(connection, ("confluent_kafka",), REQUIREMENTS)
        self._brokers = checked_brokers(connection.name, str(self.option("brokers")))
        self._topic = checked_template(connection.name, "topic", str(self.option("topic")), TOPIC_WORDS, r"[\w.-]*")
        message_bytes = int(self.option("max_message_bytes"))
        if not MIN_MESSAGE_BYTES <= message_bytes <= MAX_MESSAGE_BYTES:
            limits = f"from {MIN_MESSAGE_BYTES} to {MAX_MESSAGE_BYTES}"
            raise SettingsError([f"destination {connection.name}: max_message_bytes must be {limits}"])
        secret = b64encode(write_json(self._client_settings(message_bytes))).decode()
        self._secrets = (secret, *self._secrets)
        self._headers = {"Authorization": f"Settings {secret}"}
        self._max_event_bytes = self.event_bytes(message_bytes - FRAMING_BYTES - MAX_KEY_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        return encode_within(event.body, self._max_event_bytes, with_sent_at=True)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        """A line for each message's value; where it goes, its key and its headers are in the header `messages`."""
        messages = [
            [self._topic_of(delivery.event), key_of(delivery.event), headers_of(delivery.event)] for delivery in batch
        ]
        headers = {**self._headers, "messages": write_json(messages).decode("utf-8", "replace")}
        body = b"".join(line + b"\n" for line in stamped(batch, sent_at))
        return Request("PRODUCE", f"kafka://{self._brokers}", headers, body)

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """A status speaks of all; 207 brings a report for each message, null for one that is stored."""
        if response.status != SOME_FAILED:
            return super().judge(response, batch)
        reports = reports_of(response.body, len(batch))
        if reports is None:
            return [self.outcome(OutcomeKind.TRANSIENT, response, "without a report on each message")] * len(batch)
        return [self._judge_report(report) for report in reports]

    def _judge_report(self, report: Mapping[str, Any] | None) -> Outcome:
        if report is None:
            return Outcome(OutcomeKind.DELIVERED)
        error = str(report.get("error"))
        kind = REPORT_KINDS.get(error, OutcomeKind.TRANSIENT)
        parts = [excerpt(error.encode(), self._secrets), ADVICE.get(kind, "")]
        text = ", ".join(part for part in parts if part)
        return Outcome(kind, f"{text}: {excerpt(str(report.get('reason')).encode(), self._secrets)}")

    def _topic_of(self, event: Event) -> str:
        words = {"source": event.source, "event": event.name, "object_type": event.object_type}
        words |= {"metric": event.metric, "type": str(event.type)}
        safe = {word: re.sub(r"[^A-Za-z0-9._-]+", "-", value) for word, value in words.items()}
        return self._topic.format_map(safe)[:MAX_TOPIC_CHARACTERS]

    def _client_settings(self, message_bytes: int) -> dict[str, Any]:
        """What librdkafka is made with. https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md"""
        username, password = self.option("username"), self.option("password")
        about = f"destination {self.connection.name}"
        if bool(username) != bool(password):
            raise SettingsError([f"{about}: username and password belong together"])
        if bool(self.option("client_certificate")) != bool(self.option("client_key")):
            raise SettingsError([f"{about}: client_certificate and client_key belong together"])
        settings = {
            "bootstrap.servers": self._brokers,
            "security.protocol": ("SASL_" if username else "") + ("SSL" if self.option("tls") else "PLAINTEXT"),
            "compression.type": str(self.option("compression")),
            "message.max.bytes": message_bytes,
        }
        if username:
            settings |= {
                "sasl.mechanism": str(self.option("sasl_mechanism")),
                "sasl.username": str(username),
                "sasl.password": str(password),
            }
        if self.option("tls"):
            files = {
                "ssl.ca.location": self.option("ca_file"),
                "ssl.certificate.location": self.option("client_certificate"),
                "ssl.key.location": self.option("client_key"),
            }
            settings |= {name: str(path) for name, path in files.items() if path}
        return settings


def checked_brokers(destination: str, text: str) -> str:
    """`host:port,host:port`. Raises SettingsError when one is none."""
    brokers = [broker.strip() for broker in text.split(",") if broker.strip()]
    if not brokers or not all(BROKER.fullmatch(broker) for broker in brokers):
        raise SettingsError([f"destination {destination}: brokers must be like broker-1:9092,broker-2:9092"])
    return ",".join(
        broker if re.search(r":\d+$", broker.rpartition("]")[2]) else f"{broker}:{DEFAULT_PORT}" for broker in brokers
    )


def key_of(event: Event) -> str:
    """The person, so that the events of one keep their order; the event's own id when nobody is in it."""
    for name in ("userId", "anonymousId"):
        value = event.body.get(name)
        if is_filled(value) and len(str(value).encode("utf-8", "replace")) <= MAX_KEY_BYTES:
            return plain(value)
    return plain(event.event_id)[:MAX_KEY_BYTES]


def headers_of(event: Event) -> dict[str, str]:
    return {
        "messageId": plain(event.body.get("messageId") or event.event_id)[:MAX_KEY_BYTES],
        "event": event.name[:MAX_KEY_BYTES],
        "source": event.source,
        "type": str(event.type),
    }


def plain(value: Any) -> str:
    """As text that UTF-8 has words for."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def reports_of(body: bytes, count: int) -> list[Mapping[str, Any] | None] | None:
    """The reports on so many messages; None when these are not that."""
    try:
        reports = read_json(body)
    except PayloadError:
        return None
    is_whole = isinstance(reports, list) and len(reports) == count
    return reports if is_whole and all(one is None or isinstance(one, dict) for one in reports) else None

"""Produces messages to Kafka with an idempotent producer that waits for all in-sync replicas; the only user of
confluent-kafka.

A request's body has a message's value on each line; its header `messages` their topics, keys and headers, and
`Authorization` the client's settings, as JSON in base64.
"""

import threading
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from connector.errors import TransportError
from connector.json_codec import read_json, write_json
from connector.model import Request, Response
from connector.transports.address_guard import AddressGuard, Deadline, Network, Resolver, resolve_by_system

# Who has no kafka destination has no confluent-kafka; who has is told the command before anything here is called.
try:
    from confluent_kafka import KafkaError, KafkaException, Message, Producer
except ImportError:
    KafkaException = Exception  # type: ignore[assignment, misc]  # a name for `except`, where nothing ever raises it

STORED = Response(200, {}, b"")
SOME_FAILED = 207
REFUSED = 401
POLL_SECONDS = 0.05  # between two looks whether all reports are in
MARGIN_SECONDS = 0.5  # that librdkafka gives a message up before the request's time is over
GRACE_SECONDS = 1.0  # after the request's time, for reports on what was begun late
LEAST_SECONDS = 1.0  # that librdkafka is given for anything
BROKERS_CHECKED_SECONDS = 300.0  # a cluster may move; then its new addresses are judged
AUTHENTICATION_ERRORS = frozenset({"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"})
# What any destination is produced with; see librdkafka's CONFIGURATION.md.
PRODUCER_SETTINGS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",  # as Java's clients: a person is in the same partition whoever produces
    "linger.ms": 5,
    "reconnect.backoff.ms": 250,
    "log_level": 0,  # errors come back as reports, and are told there
}


@dataclass(slots=True)
class Client:
    """A producer, and the last that it said about its connections."""

    producer: "Producer" = field(init=False)
    checked_at: float | None = None  # when the brokers' addresses were last judged
    trouble: "KafkaError | None" = None
    is_broken: bool = False  # an idempotent producer may end for good; then another one is made

    def note(self, error: "KafkaError") -> None:
        self.trouble = error
        self.is_broken = self.is_broken or error.fatal()

    @property
    def is_refused(self) -> bool:
        return self.trouble is not None and self.trouble.name() in AUTHENTICATION_ERRORS


class Reports:
    """What became of the messages of one request, as far as it is known."""

    def __init__(self, count: int) -> None:
        self.errors: list[KafkaError | None] = [None] * count
        self.open = set(range(count))

    def note(self, number: int, error: "KafkaError | None", message: "Message | None" = None) -> None:
        self.errors[number] = error
        self.open.discard(number)

    @property
    def are_good(self) -> bool:
        return not self.open and not any(self.errors)


class KafkaTransport:
    """Shared by threads; a producer is made at the first request with its settings, and used again."""

    def __init__(self, allow_networks: Sequence[Network] = (), resolve: Resolver = resolve_by_system) -> None:
        self._guard = AddressGuard(allow_networks, resolve)
        self._clients: dict[tuple[str, float], Client] = {}
        self._clients_guard = threading.Lock()

    def send(self, request: Request, timeout_seconds: float) -> Response:
        """200 when all in-sync replicas have all messages, 401 when the brokers do not take the user, else 207 with a
        report on each, null for one that is stored. Raises TransportError when nothing was produced."""
        deadline = time.monotonic() + timeout_seconds
        key = (request.headers["Authorization"], timeout_seconds)
        with self._clients_guard:  # once, however many threads begin at the same time
            client = self._ready_client(key, request.url.partition("://")[2], deadline)
        if client.checked_at is None:
            return Response(REFUSED, {}, told(client.trouble, client).encode())
        reports = produce(client, request, deadline)
        if client.is_broken:
            with self._clients_guard:
                self._clients.pop(key, None)
        if reports.are_good:
            client.trouble = None
            return STORED
        return Response(SOME_FAILED, {}, write_json(reported(reports, client)))

    def close(self) -> None:
        with self._clients_guard:
            clients = list(self._clients.values())
            self._clients.clear()
        for client in clients:
            client.producer.flush(LEAST_SECONDS)

    def _ready_client(self, key: tuple[str, float], brokers: str, deadline: float) -> Client:
        """A client whose brokers' addresses are permitted; one that they refused has never been checked."""
        client = self._clients.get(key)
        try:
            if client is None:
                for host, _, port in (broker.rpartition(":") for broker in brokers.split(",")):
                    self._refuse_inner(host.strip("[]"), int(port), deadline)
                client = self._clients[key] = open_client(read_json(b64decode(key[0].partition(" ")[2])), key[1])
            now = time.monotonic()
            if client.checked_at is None or now - client.checked_at > BROKERS_CHECKED_SECONDS:
                client.checked_at = client.trouble = None
                for broker in client.producer.list_topics(timeout=left(deadline)).brokers.values():
                    self._refuse_inner(broker.host, broker.port, deadline)
                client.checked_at = now
        except KafkaException as error:
            if client is not None:
                client.producer.poll(0)  # for what it has to say of its connections
                if client.is_refused:
                    return client
            raise TransportError(f"{brokers}: {told(error.args[0], client)}") from error
        return client

    def _refuse_inner(self, host: str, port: int, deadline: float) -> None:
        limit = Deadline()
        limit.start(left(deadline))
        try:
            self._guard.refuse_inner(host, port, limit)
        except TimeoutError as error:
            raise TransportError(f"the name {host} cannot be resolved in time") from error


def open_client(settings: Mapping[str, Any], timeout_seconds: float) -> Client:
    """Raises TransportError for a file that is not there, KafkaException when the settings cannot work otherwise."""
    for name, value in settings.items():
        if name.endswith(".location") and not Path(value).exists():  # librdkafka names neither the file nor the fault
            raise TransportError(f"{value}: there is no such file")
    message_milliseconds = int(max(LEAST_SECONDS, timeout_seconds - MARGIN_SECONDS) * 1000)
    client = Client()
    client.producer = Producer(
        {
            **PRODUCER_SETTINGS,
            **settings,
            "message.timeout.ms": message_milliseconds,
            # How long a topic may be unknown before its messages are: a new one needs a moment to be known everywhere.
            "topic.metadata.propagation.max.ms": message_milliseconds // 2,
            "error_cb": client.note,
        }
    )
    return client


def produce(client: Client, request: Request, deadline: float) -> Reports:
    """Returns when there is a report on each message, or no more time."""
    messages = read_json(request.headers["messages"].encode())
    reports = Reports(len(messages))
    for number, (message, value) in enumerate(zip(messages, request.body.splitlines(), strict=True)):
        enqueue(client.producer, message, value, partial(reports.note, number), deadline)
    while reports.open and time.monotonic() < deadline + GRACE_SECONDS:
        client.producer.poll(POLL_SECONDS)
    for error in reports.errors:
        if error is not None and (error.fatal() or error.name() == "_FATAL"):
            client.is_broken = True
    return reports


def enqueue(producer: "Producer", message: Sequence[Any], value: bytes, note: Any, deadline: float) -> None:
    """Into librdkafka's own queue, which empties itself; what it does not take is reported at once."""
    topic, key, headers = message
    while True:
        try:
            producer.produce(topic, value=value, key=key, headers=headers, on_delivery=note)
            producer.poll(0)
            return
        except BufferError:  # full: other threads' messages are under way
            if time.monotonic() >= deadline:
                note(KafkaError(KafkaError._QUEUE_FULL))
                return
            producer.poll(POLL_SECONDS)
        except KafkaException as error:
            note(error.args[0])
            return


def reported(reports: Reports, client: Client) -> list[dict[str, str] | None]:
    """For each message: null when it is stored, else the error's name and what it means."""
    found: list[dict[str, str] | None] = []
    for number, error in enumerate(reports.errors):
        if number in reports.open:
            found.append({"error": "_TIMED_OUT", "reason": "no report came in time"})
        elif error is None:
            found.append(None)
        else:
            # A message that waited in vain says only that; why, the connections have said.
            cause = client.trouble if client.is_refused and error.name() == "_MSG_TIMED_OUT" else error
            found.append({"error": str(cause and cause.name()), "reason": told(error, client)})
    return found


def told(error: "KafkaError | None", client: Client | None) -> str:
    """What is wrong, for a person, with what the connections said last. librdkafka puts no secret into either."""
    said = [one.str() for one in (error, client.trouble if client else None) if one is not None]
    return "; ".join(dict.fromkeys(said))


def left(deadline: float) -> float:
    return max(LEAST_SECONDS, deadline - time.monotonic())

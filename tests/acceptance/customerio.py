"""Customer.io as it calls us: events one after the other on kept connections, each repeated until it is answered 200.
And the oracle, which compares what was answered 200 with what arrived.
"""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tests.acceptance.service import WRITE_KEY, HttpAnswer, Service, read_answer, wait_until
from tests.stubs import RudderStub

REPEAT_SECONDS = 0.05  # before an event that was not answered 200 is sent again; the real one waits longer
NO_ANSWER = 0  # counted beside the statuses: refused, reset, or silent
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_numbers = itertools.count(1)


def new_id() -> str:
    """A ULID as Customer.io makes them: time first, so they come in order; unique within the test run."""
    milliseconds, number = int(time.time() * 1000), next(_numbers)
    return _crockford(milliseconds, 10) + _crockford(number, 16)


def _crockford(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(CROCKFORD[digit])
    return "".join(reversed(digits))


def event(event_id: str | None = None, metric: str = "opened", subject: str = "Your receipt", **more: Any) -> bytes:
    """The body of an e-mail event."""
    return json.dumps(
        {
            "event_id": event_id or new_id(),
            "object_type": "email",
            "metric": metric,
            "timestamp": int(time.time()),
            "data": {
                "customer_id": "usr_1001",
                "delivery_id": "dgOq5gYBAAGF",
                "identifiers": {"id": "usr_1001", "email": "ada@example.com", "cio_id": "a1b2c3d40001"},
                "recipient": "ada@example.com",
                "subject": subject,
                **more,
            },
        }
    ).encode()


def post_all(service: Service, bodies: Iterable[bytes], write_key: str = WRITE_KEY) -> list[HttpAnswer]:
    """One after the other on one connection, each answered."""
    connection = service.connect()
    answers = []
    for body in bodies:
        started_at = time.monotonic()
        connection.request("POST", f"/v1/webhook?writeKey={write_key}", body)
        answers.append(read_answer(connection, started_at))
    connection.close()
    return answers


def post_events(service: Service, number: int, **more: Any) -> list[str]:
    """So many e-mail events, all answered 200; their ids."""
    ids = [new_id() for _ in range(number)]
    answers = post_all(service, (event(event_id, **more) for event_id in ids))
    assert {answer.status for answer in answers} == {200}
    return ids


@dataclass
class Load:
    """A `with` block during which events keep coming from several senders."""

    service: Service
    senders: int = 4
    events_per_second: float = 120.0  # of all senders together
    gives_up: bool = False  # True: an event that was not answered 200 is not sent again
    answered: list[str] = field(default_factory=list)  # event ids answered 200, in order
    outcomes: Counter[int] = field(default_factory=Counter)  # status: answers
    failures: Counter[str] = field(default_factory=Counter)  # why there was no answer, in words
    slowest: float = 0.0  # seconds to an answer

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._send_on, daemon=True) for _ in range(self.senders)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float = 30.0) -> None:
        """Returns once so many further events were answered 200."""
        wanted = len(self.answered) + more
        wait_until(lambda: len(self.answered) >= wanted, f"{more} further events are answered 200", seconds)

    def _send_on(self) -> None:
        pause = self.senders / self.events_per_second
        connection = self.service.connect()
        while not self._stopping.is_set():
            event_id = new_id()
            body = event(event_id)
            while not self._send(connection, event_id, body) and not self.gives_up:
                if self._stopping.wait(REPEAT_SECONDS):
                    break
            self._stopping.wait(pause)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, event_id: str, body: bytes) -> bool:
        started_at = time.monotonic()
        age = "new" if connection.sock is None else "kept"
        try:
            connection.request("POST", f"/v1/webhook?writeKey={WRITE_KEY}", body)
            status = read_answer(connection, started_at).status
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens a new one
            status = NO_ANSWER
            with self._lock:
                self.failures[f"{type(error).__name__} on a {age} connection"] += 1
        with self._lock:
            self.outcomes[status] += 1
            self.slowest = max(self.slowest, time.monotonic() - started_at)
            if status == 200:
                self.answered.append(event_id)
        return status == 200


def assert_all_arrive(stub: RudderStub, answered: Iterable[str], seconds: float = 60.0, what: str = "") -> None:
    """Every event answered 200 arrives, under one messageId each; prints the counts."""
    wanted = set(answered)
    try:
        wait_until(lambda: wanted <= stub.arrived.keys(), "everything answered 200 has arrived", seconds)
    finally:
        arrived = stub.arrived
        doubled = sum(arrived[event_id] - 1 for event_id in wanted if event_id in arrived)
        delivered = len(wanted & arrived.keys())
        counts = f"accepted {len(wanted)}, delivered {delivered}, lost {len(wanted) - delivered}, doubled {doubled}"
        print(f"{what or 'oracle'}: {counts}")
    assert len(stub.message_ids) == len(arrived)

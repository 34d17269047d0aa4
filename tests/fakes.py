"""Stand-ins that keep the contracts of the real ones, without disk, network or waiting."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from connector.destinations.base import Destination
from connector.errors import JournalError
from connector.model import Batch, Delivery, Event, Receipt, ReceivedEvent, Refused, Request, Response


class FakeClock:
    """Stands still until it is moved; sleeping moves it."""

    def __init__(self, start: datetime = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class FakeStore:
    """Stores in memory as group commit stores in the journal; `error` makes it refuse."""

    def __init__(self) -> None:
        self.received: list[ReceivedEvent] = []
        self.error: Exception | None = None
        self._ids: set[tuple[str, str]] = set()

    def store(self, received: ReceivedEvent, timeout_seconds: float) -> Receipt:
        if self.error is not None:
            raise self.error
        self.received.append(received)
        if received.quarantine_reason is not None:
            return Receipt.QUARANTINED
        key = (received.source, received.event_id)
        if key in self._ids:
            return Receipt.DUPLICATE
        self._ids.add(key)
        return Receipt.STORED

    def fail(self, text: str) -> None:
        self.error = JournalError(text)


def accept(request: Request) -> Response:
    return Response(200, {}, b"ok")


class FakeTransport:
    """Answers as `answer` says, which may be replaced at any time, and keeps what was sent."""

    def __init__(self, answer: Callable[[Request], Response] = accept) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.is_closed = False

    def send(self, request: Request, timeout_seconds: float) -> Response:
        self.requests.append(request)
        self.is_closed = False
        return self.answer(request)

    def close(self) -> None:
        self.is_closed = True


class StubDestination(Destination):
    """Takes anything: a request's body is a JSON array of events; answers are judged as over any HTTP."""

    type: ClassVar[str] = "stub"
    options: ClassVar[Any] = {}
    max_batch: ClassVar[Batch] = Batch(max_events=10_000, max_bytes=10_000_000, max_wait_seconds=60.0)

    def encode(self, event: Event) -> bytes | Refused:
        return json.dumps(event.body).encode()

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        body = b"[" + b",".join(delivery.encoded for delivery in batch) + b"]"
        return Request("POST", "https://stub.example/", {}, body)

    def envelope_bytes(self) -> int:
        return 2

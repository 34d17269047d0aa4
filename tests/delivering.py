"""A worker with a real journal, a scripted transport and a clock that moves when somebody sleeps."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from connector.destinations.base import Destination
from connector.errors import JournalError, TransportError
from connector.journal.base import DeadLetter
from connector.journal.sqlite import SqliteJournal
from connector.model import (
    Attempt,
    Batch,
    Claimed,
    Connection,
    Reader,
    ReceivedEvent,
    Request,
    Response,
    Settlement,
)
from connector.pace import Mood, Pace
from connector.replay import Routes
from connector.worker import IDLE_SECONDS, DestinationWorker, WorkerPorts
from tests.fakes import FakeClock, FakeTransport, StubDestination

READER = Reader("stub", "production")
CONNECTION = Connection("stub", "stub", {}, start="beginning", batch=Batch(100, 1_000_000, 0.5))


class LockableJournal(SqliteJournal):
    """Refuses, as a locked file or a full disk makes it refuse, while it is told to."""

    is_locked = False  # for settling
    unreadable: frozenset[Reader] = frozenset()

    def claim(self, reader: Reader, limit: int) -> list[Claimed]:
        if reader in self.unreadable:
            raise JournalError("locked")
        return super().claim(reader, limit)

    def settle(self, reader: Reader, settlements: Iterable[Settlement]) -> None:
        if self.is_locked:
            raise JournalError("locked")
        super().settle(reader, settlements)


class EventfulClock(FakeClock):
    """Something happens while somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.on_sleep: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.on_sleep()


class Rig:
    """One destination's worker, as the delivering process has it."""

    def __init__(self, folder: Path, kind: type[Destination] = StubDestination, **changes: Any) -> None:
        self.clock = EventfulClock()
        self.journal = LockableJournal(folder / "journal.db", self.clock, reserve_bytes=0)
        self.transport = FakeTransport()
        self.attempts: list[Attempt] = []
        self.counts: Counter[str] = Counter()
        self.readers: list[Reader] = [READER]
        self.kind = kind
        self.make_routes = Routes
        self.worker = self.new_worker(**changes)
        self.journal.add_reader(READER, "beginning")

    def new_worker(self, **changes: Any) -> DestinationWorker:
        """As after a restart, or a change of settings."""
        self.destination = self.kind(replace(CONNECTION, **changes))
        ports = WorkerPorts(
            transport=self.transport,
            journal=self.journal,
            readers=lambda: list(self.readers),
            routes=self.make_routes(self.destination, self.journal),
            clock=self.clock,
            record=self.attempts.append,
            count=self.count,
            chance=lambda: 0.5,
        )
        self.worker = DestinationWorker(self.destination, Pace(self.destination.connection, self.clock.now()), ports)
        return self.worker

    def count(self, outcome: str, number: int) -> None:
        self.counts[outcome] += number

    def receive(self, number: int, first: int = 1, source: str = "production", **payload: Any) -> None:
        """So many events, `e1` and on."""
        self.journal.append(
            [
                received(f"e{index}", source, self.clock.now(), **payload)
                for index in range(first, first + number)
            ]
        )  # fmt: skip

    def run(self, seconds: float = 0.0, idle_seconds: float = 1.0) -> None:
        """Calls `run_once` as a thread would, for so long; without seconds, until there is nothing to do at once."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while True:
            pause = self.worker.run_once()
            if pause:
                left = (end - self.clock.now()).total_seconds()
                if left <= 0:
                    return
                self.clock.advance(min(left, idle_seconds if pause == IDLE_SECONDS else pause))

    @property
    def sent(self) -> list[list[str]]:
        """For each request the ids of its events."""
        return [ids_of(request) for request in self.transport.requests]

    @property
    def delivered(self) -> Counter[str]:
        """Event id → how often it was delivered."""
        return Counter(
            delivery.event.event_id
            for made in self.attempts
            for delivery, outcome in zip(made.deliveries, made.outcomes, strict=True)
            if outcome.kind == "delivered"
        )

    @property
    def dead(self) -> list[DeadLetter]:
        return self.journal.dead_letters()

    @property
    def mood(self) -> Mood:
        return self.worker.standing.mood

    @property
    def waiting(self) -> tuple[int, int]:
        """Events not got to yet, and deliveries that wait for another try."""
        backlog = self.journal.backlog(READER)
        return backlog.waiting, backlog.retrying


def received(event_id: str, source: str, at: datetime, **payload: Any) -> ReceivedEvent:
    body = {
        "event_id": event_id,
        "object_type": "email",
        "metric": "opened",
        "timestamp": 1756663200,
        "data": {"customer_id": "u-1", "recipient": "person@example.com"},
        **payload,
    }
    return ReceivedEvent(source, event_id, json.dumps(body).encode(), at)


def events_of(request: Request) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(request.body)
    return events


def ids_of(request: Request) -> list[str]:
    return [
        event["properties"]["eventId"] if "properties" in event else event["messageId"] for event in events_of(request)
    ]


def always(status: int, **headers: str) -> Callable[[Request], Response]:
    """The same answer to everything; `retry_after="2"` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: Response(status, named, b"")


def in_turn(*statuses: int) -> Callable[[Request], Response]:
    """These, one after another, then 200 for ever."""
    left = list(statuses)
    return lambda request: Response(left.pop(0) if left else 200, {}, b"")


def choke_on(poisonous: Sequence[str], status: int) -> Callable[[Request], Response]:
    """One bad event takes its whole request with it."""
    return lambda request: Response(status if set(ids_of(request)) & set(poisonous) else 200, {}, b"")


def refuse_connections(request: Request) -> Response:
    raise TransportError("connection refused")

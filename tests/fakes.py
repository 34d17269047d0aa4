"""Stand-ins that keep the contracts of the real ones, without disk, network or waiting."""

from datetime import UTC, datetime, timedelta

from connector.errors import JournalError
from connector.model import Receipt, ReceivedEvent


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

"""Short words for the journal's suite: events that come in, and verdicts on what was claimed."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connector.journal.base import Journal
from connector.model import (
    Claimed,
    EventType,
    NextStep,
    Reader,
    Receipt,
    ReceivedEvent,
    Settlement,
    Verdict,
)

LEASE_SECONDS = 60.0
DAY = 86400.0
START = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
SOURCE = "production"
READER = Reader("hook", SOURCE)


def event(number: int, source: str = SOURCE, at: datetime | float = 0.0, **changes: Any) -> ReceivedEvent:
    """The event of this number; `at` is a moment, or so many seconds after START."""
    moment = at if isinstance(at, datetime) else START + timedelta(seconds=at)
    fields: dict[str, Any] = {
        "source": source,
        "event_id": f"event-{number:05}",
        "body": b'{"number":%d}' % number,
        "received_at": moment,
    }
    return ReceivedEvent(**(fields | changes))


def events(count: int, first: int = 1, source: str = SOURCE) -> list[ReceivedEvent]:
    """So many events, a second apart."""
    return [event(number, source, at=float(number)) for number in range(first, first + count)]


def store(journal: Journal, count: int, first: int = 1, source: str = SOURCE) -> None:
    assert journal.append(events(count, first, source)) == [Receipt.STORED] * count


def ids(found: Iterable[Claimed | ReceivedEvent]) -> list[int]:
    """The numbers of these events, in their order."""
    events = [item.received if isinstance(item, Claimed) else item for item in found]
    return [int(event.event_id.removeprefix("event-")) for event in events]


def step(verdict: Verdict, action: str = "all", **changes: Any) -> NextStep:
    return NextStep(EventType.TRACK, action, verdict, **changes)


def done(*claimed: Claimed) -> list[Settlement]:
    return [Settlement(item.received.seq, (step(Verdict.DONE),)) for item in claimed]


def released(*claimed: Claimed) -> list[Settlement]:
    return [Settlement(item.received.seq, (step(Verdict.RELEASE),)) for item in claimed]


def dead(*claimed: Claimed, reason: str = "refused") -> list[Settlement]:
    return [Settlement(item.received.seq, (step(Verdict.DEAD, attempts=1, reason=reason),)) for item in claimed]


def retry(*claimed: Claimed, at: datetime, attempts: int = 1) -> list[Settlement]:
    return [Settlement(item.received.seq, (step(Verdict.RETRY, at=at, attempts=attempts),)) for item in claimed]


def settle_all(journal: Journal, reader: Reader = READER, limit: int = 100) -> list[int]:
    """Claims and delivers until nothing is left; returns the numbers in the order they were handed out."""
    delivered: list[int] = []
    while claimed := journal.claim(reader, limit):
        delivered += ids(claimed)
        journal.settle(reader, done(*claimed))
    return delivered


def make_dead(journal: Journal, count: int = 1, reader: Reader = READER) -> Sequence[int]:
    """Makes dead letters of the next events; returns the letters' ids."""
    journal.settle(reader, dead(*journal.claim(reader, count)))
    return [letter.id for letter in journal.dead_letters()]


def second(number: float) -> datetime:
    return START + timedelta(seconds=number)


def replayed(
    journal: Journal, since: datetime | None = None, until: datetime | None = None, where: str | None = None
) -> Reader:
    """The reader of a new replay."""
    [state] = journal.replay("hook", [SOURCE], since, until, where)
    return Reader("hook", state.source, state.id)

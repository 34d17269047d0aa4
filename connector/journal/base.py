"""The Journal interface: everything that must not be lost. One test suite runs over every engine.

No row is written per event and destination: a reader is a cursor plus its exceptions (waiting retries, dead letters).
Clock and lease length are given when a journal is built, so no method takes the time of day. Every method may raise
JournalError; only `append` also raises JournalFullError.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.model import Claimed, EventType, Reader, Receipt, ReceivedEvent, Retention, Settlement


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a reader still has before it."""

    waiting: int  # events past the cursor
    retrying: int  # deliveries that failed and wait for their next try
    dead: int  # dead letters that a person has not yet dealt with
    oldest_at: datetime | None  # receive time of the oldest event past the cursor


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery given up."""

    id: int  # for a person to name it by
    reader: Reader
    seq: int
    event_id: str
    type: EventType
    action: str
    attempts: int
    reason: str
    died_at: datetime


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A received event that cannot be trusted or read. `body` is None where the bound left room for the hash only."""

    id: int
    source: str
    event_id: str
    reason: str
    received_at: datetime
    size: int
    sha256: str
    count: int  # how often these very bytes came
    body: bytes | None


@dataclass(frozen=True, slots=True)
class ReplayState:
    """A replay and how far it is."""

    id: str
    destination: str
    source: str
    since: datetime | None
    until: datetime | None
    where: str | None  # JMESPath, beside the destination's own events and actions
    state: str  # running | done | cancelled
    total: int  # events in the range when it began
    passed: int  # of these, how many the cursor has passed
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Exceptional:
    """A delivery of an event that is not simply done: it failed and waits, was given up, or dropped by a person."""

    type: EventType
    action: str
    state: str  # waiting | dead | dropped
    attempts: int
    at: datetime  # waiting: not before; dead and dropped: since
    reason: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """How far one reader is with one event."""

    reader: Reader
    is_passed: bool  # the cursor has passed it: every delivery that is not among the exceptions is done
    exceptions: tuple[Exceptional, ...]


class Journal(ABC):
    # ── receiving ──

    @abstractmethod
    def append(self, received: Sequence[ReceivedEvent]) -> list[Receipt]:
        """Durable when it returns: one receipt per event, in order.

        A repeat of an accepted `event_id` of the same source within 8 days is DUPLICATE and changes nothing. One with
        a quarantine reason, or a provisional one of a source that has been proven, is QUARANTINED and claims no id.
        Raises JournalFullError or JournalError; then none of them is stored, and the caller must not answer 2xx.
        """

    @abstractmethod
    def proven_keys(self) -> dict[str, frozenset[str]]:
        """Per source, the fingerprints of the signing keys that have ever proven an event genuine."""

    @abstractmethod
    def check_writable(self) -> None:
        """Returns when an append would be stored now; raises JournalError with the reason when not."""

    # ── delivering ──

    @abstractmethod
    def add_reader(self, reader: Reader, start: str | datetime) -> None:
        """Makes the reader known; a new one starts at "now", "beginning", or a moment. A known one is left alone."""

    @abstractmethod
    def claim(self, reader: Reader, limit: int) -> list[Claimed]:
        """The reader's next work, in journal order: due retries first, then events past the cursor; at most `limit`.

        What is claimed is hidden from other workers until the lease ends or it is settled. A lost lease is not an
        attempt. Returns [] when there is nothing to do, or when another worker holds the reader.
        """

    @abstractmethod
    def settle(self, reader: Reader, settlements: Iterable[Settlement]) -> None:
        """What becomes of claimed events. Call it on the journal that claimed them.

        The cursor passes nothing unsettled. Settling twice, or after the lease went to another, changes nothing.
        RELEASE puts a delivery back as if it had never been claimed.
        """

    @abstractmethod
    def backlog(self, reader: Reader) -> Backlog:
        """How much waits, and since when; cheap at any size."""

    @abstractmethod
    def readers(self) -> list[Reader]:
        """All that are known, replays included while they run."""

    # ── the past ──

    @abstractmethod
    def scan(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        source: str | None = None,
        after_seq: int = 0,
    ) -> Iterator[ReceivedEvent]:
        """Accepted events in order of arrival, `since` ≤ received_at < `until`. Erased ones are left out."""

    @abstractmethod
    def find(self, event_id: str) -> list[ReceivedEvent]:
        """The accepted events with this id, of any source, as far as they are kept."""

    @abstractmethod
    def latest(self, limit: int, source: str | None = None) -> list[ReceivedEvent]:
        """The newest accepted events, in order of arrival; for a person who looks at what comes in."""

    @abstractmethod
    def whereabouts(self, seq: int) -> list[Whereabouts]:
        """What each reader of the event's source has made of it; replays only where their range holds it.

        A reader that was made after the event, and started after it, counts it as passed.
        """

    @abstractmethod
    def count(self, since: datetime | None, until: datetime | None, source: str | None = None) -> int:
        """How many events a scan would give, erased ones included; cheap enough for a dry run."""

    @abstractmethod
    def replay(
        self,
        destination: str,
        sources: Sequence[str],
        since: datetime | None,
        until: datetime | None,
        where: str | None,
    ) -> list[ReplayState]:
        """Puts a range of the past before the destination again, behind its present: one replay per source."""

    @abstractmethod
    def replays(self) -> list[ReplayState]:
        """All, newest first."""

    @abstractmethod
    def cancel_replay(self, replay_id: str) -> bool:
        """What it has not sent yet is not sent; False when there is no such running replay."""

    # ── what a person deals with ──

    @abstractmethod
    def dead_letters(self, destination: str | None = None, limit: int = 100, after_id: int = 0) -> list[DeadLetter]:
        """Oldest first."""

    @abstractmethod
    def retry_dead(self, ids: Sequence[int]) -> int:
        """They wait again, due at once, with their tries counted from nothing; how many did."""

    @abstractmethod
    def drop_dead(self, ids: Sequence[int]) -> int:
        """A person wants no more of them: nothing brings them back, what became of the event can still be told; how
        many there were."""

    @abstractmethod
    def quarantined(self, source: str | None = None, limit: int = 100, after_id: int = 0) -> list[Quarantined]:
        """Oldest first, bodies included."""

    @abstractmethod
    def release_quarantined(self, ids: Sequence[int]) -> list[Receipt]:
        """Appends them anew, as trusted, and takes them out of quarantine; those without a body stay."""

    @abstractmethod
    def drop_quarantined(self, ids: Sequence[int]) -> int:
        """They are gone for good; how many went."""

    # ── keeping ──

    @abstractmethod
    def prune(self, retention: Retention, destinations: Collection[str] | None = None) -> int:
        """One bounded step of forgetting: ids older than 8 days, and events beyond the limits; how many events went.

        What a known reader still waits for is counted as its dead letter before it goes; with `destinations`, only
        theirs count, since one that was taken out of the configuration waits for nothing.
        """

    @abstractmethod
    def erase(self, seqs: Sequence[int]) -> int:
        """The bodies are gone, the places in the order stay, and so does the memory of the ids; how many were."""

    @abstractmethod
    def note_revision(self, destination: str, fingerprint: str, definition: str) -> None:
        """Remembers which actions are in force for the destination from where its cursor stands; once per change."""

    @abstractmethod
    def revision_at(self, destination: str, seq: int) -> str | None:
        """The definition that was in force when the destination came to this event, so that what was filtered can be
        worked out again; None when none was noted."""

    @abstractmethod
    def flaws(self, limit_seconds: float) -> list[str] | None:
        """What is broken in the store itself, such as pages that a bad disk has changed; None when looking would take
        longer than that."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of files and leases."""

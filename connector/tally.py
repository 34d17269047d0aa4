"""Counts that cost nothing: receiving adds here, something else takes them away from time to time and keeps them."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

# Upper bounds, in seconds, of the time from a request's head to its answer: Customer.io gives up after 4.
ANSWER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
ANSWER_LABELS = (*(str(bound) for bound in ANSWER_SECONDS), "+Inf")
# Upper bounds, in seconds, of a signature timestamp's age, with the words that the status page uses.
AGES = ((-60.0, "future"), (10.0, "10 s"), (60.0, "1 min"), (600.0, "10 min"), (3600.0, "1 h"))
OLDER = "older"
UNREADABLE = "unreadable"
MAX_REJECTED = 200  # different (key, address) pairs between two takes; a guesser must not fill the memory

MAX_UNKNOWN_NAMES = 100  # different names of new events; past it they are counted together
MAX_NAME_CHARACTERS = 80
OTHERS = "(others)"

CountKey = tuple[str, str, str]  # kind, subject, outcome

# Kinds of count.
# subject: source; outcome: stored, duplicate, quarantined, explained, too_large, broken, stalled, unavailable
RECEIVED = "received"
ANSWER_TIME = "answer_seconds"  # subject: source; outcome: upper bound of the bucket
ANSWER_TIME_SUM = "answer_microseconds"  # subject: source; outcome "sum"; the count is microseconds
SIGNATURE = "signature"  # subject: source; outcome: genuine, wrong, missing
SIGNATURE_AGE = "signature_age"  # subject: source; outcome: a word of AGES
REJECTED = "rejected_key"  # subject ""; outcome: missing, unknown
DELIVERED = "delivered"  # subject: destination; outcome: delivered, retry, dead, filtered
ATTEMPTED = "attempted"  # subject: destination; outcome: an OutcomeKind, counted by requests
UNKNOWN_EVENT = "unknown_event"  # subject: source; outcome: the event's name


@dataclass(frozen=True, slots=True)
class Rejection:
    """Calls with one rejected key from one address, since the last take."""

    masked_key: str
    address: str
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """What has been counted since the last take."""

    counts: Mapping[CountKey, int]
    rejections: tuple[Rejection, ...]


class Tally:
    """Counters of one process. Made for greenlets of one thread: adding never yields, so no lock is needed."""

    def __init__(self) -> None:
        self._counts: dict[CountKey, int] = {}
        self._rejected: dict[tuple[str, str], tuple[int, datetime]] = {}
        self._unknown_names: set[str] = set()

    def add(self, kind: str, subject: str, outcome: str, count: int = 1) -> None:
        key = (kind, subject, outcome)
        counts = self._counts
        counts[key] = counts.get(key, 0) + count

    def add_answer(self, source: str, outcome: str, seconds: float) -> None:
        """One answered call and how long it took."""
        self.add(RECEIVED, source, outcome)
        self.add(ANSWER_TIME, source, ANSWER_LABELS[bisect_left(ANSWER_SECONDS, seconds)])
        self.add(ANSWER_TIME_SUM, source, "sum", max(0, int(seconds * 1_000_000)))

    def add_signature(self, source: str, state: str, age_seconds: float | None) -> None:
        """One judged signature and the age of its timestamp."""
        self.add(SIGNATURE, source, state)
        if age_seconds is None:
            word = UNREADABLE
        else:
            word = next((word for bound, word in AGES if age_seconds <= bound), OLDER)
        self.add(SIGNATURE_AGE, source, word)

    def add_unknown(self, source: str, name: str) -> str | None:
        """One event of a kind that is not documented; its name, fit for a page, when this process sees it first."""
        shown = "".join(mark if mark.isprintable() else "?" for mark in name[:MAX_NAME_CHARACTERS])
        is_new = shown not in self._unknown_names
        if is_new and len(self._unknown_names) >= MAX_UNKNOWN_NAMES:
            shown, is_new = OTHERS, OTHERS not in self._unknown_names
        self._unknown_names.add(shown)
        self.add(UNKNOWN_EVENT, source, shown)
        return shown if is_new else None

    def reject_key(self, outcome: str, masked_key: str, address: str, at: datetime) -> None:
        """One call with a missing or unknown key; past the bound only the total grows."""
        self.add(REJECTED, "", outcome)
        key = (masked_key, address)
        seen = self._rejected.get(key)
        if seen is not None or len(self._rejected) < MAX_REJECTED:
            self._rejected[key] = ((seen[0] if seen else 0) + 1, at)

    def take(self) -> Taken:
        """Everything since the last take; whoever calls must keep it, or give it back."""
        counts, self._counts = self._counts, {}
        rejected, self._rejected = self._rejected, {}
        return Taken(counts, tuple(Rejection(*key, *value) for key, value in rejected.items()))

    def give_back(self, taken: Taken) -> None:
        """What could not be kept counts again at the next take."""
        for key, count in taken.counts.items():
            self._counts[key] = self._counts.get(key, 0) + count
        for rejection in taken.rejections:
            caller = (rejection.masked_key, rejection.address)
            count, at = self._rejected.get(caller, (0, rejection.last_at))
            self._rejected[caller] = (count + rejection.count, max(at, rejection.last_at))

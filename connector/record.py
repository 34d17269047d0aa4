"""Step 7: what happened, gathered from all threads of a process and written to the ledger now and then.

Delivering never waits for the ledger; a kill loses at most the last moments of it, and the log has those.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from connector.clock import Clock
from connector.ledger import AttemptRow, DestinationState, Ledger, LedgerError, attempt_row
from connector.model import Attempt, OutcomeKind
from connector.tally import ATTEMPTED

# While the ledger cannot be written; beyond that the log alone has them.
MAX_ATTEMPTS_KEPT = 10_000
MAX_ATTEMPT_CHARACTERS = 16_000_000  # of all that are kept
MAX_COUNTS_KEPT = 20_000  # beyond that the counts stay right, and the minutes are forgotten

CountsByMinute = Counter[tuple[datetime, str, str, str]]

log = logging.getLogger(__name__)


class Record:
    """Counters, attempts and states of one process. Thread-safe; adding is cheap."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: CountsByMinute = Counter()
        self._attempts: list[AttemptRow] = []
        self._attempt_characters = 0
        self._states: dict[str, DestinationState] = {}
        self._known_states: dict[str, DestinationState] = {}  # as the ledger has them

    def count(self, kind: str, subject: str, outcome: str, number: int = 1) -> None:
        if number:
            minute = self._clock.now().replace(second=0, microsecond=0)
            with self._lock:
                self._counts[minute, kind, subject, outcome] += number

    def attempt(self, made: Attempt) -> None:
        """Keeps what a person may ask, not the events themselves: many attempts wait when the ledger is away."""
        worst = next((item.kind for item in made.outcomes if item.kind is not OutcomeKind.DELIVERED), None)
        self.count(ATTEMPTED, made.destination, worst or OutcomeKind.DELIVERED)
        row = attempt_row(made)
        with self._lock:
            self._keep([row])

    def state(self, state: DestinationState) -> None:
        with self._lock:
            self._states[state.destination] = state

    def flush(self) -> None:
        """Writes what has gathered; what cannot be written now waits for the next time. Never raises."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            attempts, self._attempts, self._attempt_characters = self._attempts, [], 0
            states, self._states = self._states, {}
        changed = {name: state for name, state in states.items() if self._known_states.get(name) != state}
        try:
            self._ledger.record(attempts)
            attempts = []
            self._ledger.add_counts(counts, self._clock.now())
            counts = Counter()
            self._ledger.set_states(changed.values())
            self._known_states |= changed
        except LedgerError as error:
            log.warning("%s; counts and attempts wait", error)
            self._take_back(counts, attempts, states)

    def _take_back(
        self, counts: CountsByMinute, attempts: list[AttemptRow], states: Mapping[str, DestinationState]
    ) -> None:
        with self._lock:
            self._counts.update(counts)
            if len(self._counts) > MAX_COUNTS_KEPT:
                self._counts = _without_minutes(self._counts)
            newer, self._attempts, self._attempt_characters = self._attempts, [], 0
            self._keep(attempts)
            self._keep(newer)
            self._states = {**states, **self._states}

    def _keep(self, attempts: Iterable[AttemptRow]) -> None:
        for row in attempts:
            size = len(row["deliveries"])
            if len(self._attempts) >= MAX_ATTEMPTS_KEPT or self._attempt_characters + size > MAX_ATTEMPT_CHARACTERS:
                return
            self._attempts.append(row)
            self._attempt_characters += size


def _without_minutes(counts: CountsByMinute) -> CountsByMinute:
    """All of them as counts of the latest minute."""
    latest = max(minute for minute, *_ in counts)
    merged: CountsByMinute = Counter()
    for (_, kind, subject, outcome), number in counts.items():
        merged[latest, kind, subject, outcome] += number
    return merged

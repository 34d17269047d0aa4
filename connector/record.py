"""Step 7: what happened, gathered from all threads of a process and written to the ledger now and then.

Delivering never waits for the ledger; a kill loses at most the last moments of it, and the log has those.
"""

import logging
import threading
from collections import Counter
from datetime import datetime

from connector.clock import Clock
from connector.ledger import DestinationState, Ledger, LedgerError
from connector.model import Attempt, OutcomeKind
from connector.tally import ATTEMPTED

MAX_ATTEMPTS_KEPT = 10_000  # while the ledger cannot be written; beyond that the log alone has them


log = logging.getLogger(__name__)


class Record:
    """Counters, attempts and states of one process. Thread-safe; adding is cheap."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[datetime, str, str, str]] = Counter()
        self._attempts: list[Attempt] = []
        self._states: dict[str, DestinationState] = {}

    def count(self, kind: str, subject: str, outcome: str, number: int = 1) -> None:
        if number:
            minute = self._clock.now().replace(second=0, microsecond=0)
            with self._lock:
                self._counts[minute, kind, subject, outcome] += number

    def attempt(self, made: Attempt) -> None:
        worst = next((item.kind for item in made.outcomes if item.kind is not OutcomeKind.DELIVERED), None)
        self.count(ATTEMPTED, made.destination, worst or OutcomeKind.DELIVERED)
        with self._lock:
            if len(self._attempts) < MAX_ATTEMPTS_KEPT:
                self._attempts.append(made)

    def state(self, state: DestinationState) -> None:
        with self._lock:
            self._states[state.destination] = state

    def flush(self) -> None:
        """Writes what has gathered; what cannot be written now waits for the next time. Never raises."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            attempts, self._attempts = self._attempts, []
            states, self._states = self._states, {}
        try:
            self._ledger.record(attempts)
            attempts = []
            self._ledger.add_counts(counts, self._clock.now())
            counts = Counter()
            self._ledger.set_states(states.values())
        except LedgerError as error:
            log.warning("%s; counts and attempts wait", error)
            with self._lock:
                self._counts.update(counts)
                self._attempts = (attempts + self._attempts)[:MAX_ATTEMPTS_KEPT]
                self._states = {**states, **self._states}

"""Keeps one worker per destination running, as the connections file says now, and does the housekeeping beside them.

A changed destination gets a new worker; the old one first brings to its end what it has claimed.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from connector.clock import Clock
from connector.connections import LiveConnections
from connector.errors import ConnectorError, JournalError
from connector.journal.base import Journal
from connector.ledger import DELIVERING_AT, DestinationState, Ledger, LedgerError, attempts_limit
from connector.model import Connection, Connections, Reader
from connector.record import Record
from connector.worker import DestinationWorker

TICK_SECONDS = 0.25  # between two looks at the file, the replays and the counts
UPKEEP_EVERY = timedelta(seconds=30)
ERROR_PAUSE_SECONDS = 1.0  # after an error that no worker foresaw, lest it fill the log
MINUTES_KEPT = timedelta(days=400)  # of minute counts, so that a year can be compared with the last

log = logging.getLogger(__name__)

Build = Callable[[Connection, Callable[[], Sequence[Reader]]], DestinationWorker]


@dataclass(slots=True)
class Running:
    """One destination's worker and its threads; `readers` is replaced as a whole, never changed."""

    connection: Connection
    started_at: datetime
    worker: DestinationWorker | None = None
    threads: list[threading.Thread] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    readers: tuple[Reader, ...] = ()


class Supervisor:
    """The delivering process. `run` returns when `stopping` is set and every worker has settled what it claimed."""

    def __init__(
        self,
        connections: LiveConnections,
        build: Build,
        journal: Journal,
        ledger: Ledger,
        record: Record,
        clock: Clock,
    ) -> None:
        self._connections = connections
        self._build = build
        self._journal = journal
        self._ledger = ledger
        self._record = record
        self._clock = clock
        self._running: dict[str, Running] = {}
        self._taken_up: Connections | None = None
        self._told_problem: str | None = None
        self._upkeep_at = clock.now()

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self.tick()
            except ConnectorError as error:
                log.error("%s; tried again in a second", error)
                stopping.wait(ERROR_PAUSE_SECONDS)
            stopping.wait(TICK_SECONDS)
        self._stop(list(self._running.values()))
        self._record.flush()

    def tick(self) -> None:
        """Takes up a changed file, looks for replays, writes down what happened, keeps house."""
        connections = self._refreshed()
        if connections is not self._taken_up:
            self._take_up(connections)
            self._taken_up = connections
        self._refresh_readers(connections)
        for running in self._running.values():
            self._record.state(self._state_of(running))
        self._record.flush()
        now = self._clock.now()
        if now >= self._upkeep_at:
            self._upkeep_at = now + UPKEEP_EVERY
            self._keep_house(connections)

    def _refreshed(self) -> Connections:
        """Those in force; a refusal of the changed file is logged once."""
        self._connections.refresh()
        problem = self._connections.problem
        if problem and problem != self._told_problem:
            log.error("the changed connections file is refused, the last good one stays in force:\n%s", problem)
        self._told_problem = problem
        return self._connections.current

    def _take_up(self, connections: Connections) -> None:
        wanted = {connection.name: connection for connection in connections.destinations}
        gone = [
            running for running in self._running.values() if wanted.get(running.connection.name) != running.connection
        ]
        self._stop(gone)
        for running in gone:
            del self._running[running.connection.name]
        know_readers(self._journal, connections)
        for connection in wanted.values():
            if connection.name not in self._running:
                self._note_revision(connection)
                self._running[connection.name] = running = Running(connection, self._clock.now())
                running.readers = self._present(connection, connections)
                if connection.enabled:
                    self._start(running)
        log.info("connections in force: %d sources, %d destinations", len(connections.sources), len(wanted))

    def _start(self, running: Running) -> None:
        worker = self._build(running.connection, lambda: running.readers)
        running.worker = worker
        for number in range(running.connection.concurrency):
            thread = threading.Thread(
                target=_work, args=(worker, running.stopping), name=f"{running.connection.name}-{number}", daemon=True
            )
            running.threads.append(thread)
            thread.start()

    def _stop(self, running: Sequence[Running]) -> None:
        for one in running:
            one.stopping.set()
        for one in running:
            for thread in one.threads:
                thread.join()

    def _present(self, connection: Connection, connections: Connections) -> tuple[Reader, ...]:
        enabled = {source.name for source in connections.sources if source.enabled}
        return tuple(Reader(connection.name, name) for name in _sources_of(connection, connections) if name in enabled)

    def _refresh_readers(self, connections: Connections) -> None:
        replays = [reader for reader in self._journal.readers() if reader.replay]
        for running in self._running.values():
            name = running.connection.name
            mine = tuple(reader for reader in replays if reader.destination == name)
            running.readers = self._present(running.connection, connections) + mine

    def _note_revision(self, connection: Connection) -> None:
        """What decides whether an event is filtered, so that it can be told later."""
        definition = json.dumps(
            {
                "events": connection.events,
                "profile": connection.profile,
                "identify": connection.identify,
                "keep_content": connection.keep_content,
                "actions": [asdict(action) for action in connection.actions],
            },
            sort_keys=True,
            default=dict,
        )
        fingerprint = hashlib.sha256(definition.encode()).hexdigest()[:16]
        self._journal.note_revision(connection.name, fingerprint, definition)

    def _state_of(self, running: Running) -> DestinationState:
        worker = running.worker
        if worker is None:
            return DestinationState(running.connection.name, "disabled", "", self._clock.now(), None, None, "")
        standing = worker.standing
        return DestinationState(
            running.connection.name,
            standing.mood,
            standing.reason,
            standing.since or running.started_at,
            worker.last_delivered_at,
            worker.last_error_at,
            worker.last_error,
        )

    def _keep_house(self, connections: Connections) -> None:
        now = self._clock.now()
        retention = connections.retention
        try:
            while removed := self._journal.prune(retention):
                log.info("retention removed %d events", removed)
            self._ledger.set_fact(DELIVERING_AT, now.isoformat(), now)
            self._ledger.prune(attempts_limit(now, retention.attempts_seconds), now - MINUTES_KEPT)
        except (JournalError, LedgerError) as error:
            log.warning("keeping house: %s", error)


def know_readers(journal: Journal, connections: Connections) -> None:
    """Makes every reader of these connections known; also of what is disabled: its cursor waits from now on.

    A web process calls it before it takes the first event, lest that comes before a reader that starts "now".
    """
    for connection in connections.destinations:
        for source in _sources_of(connection, connections):
            journal.add_reader(Reader(connection.name, source), connection.start)


def _sources_of(connection: Connection, connections: Connections) -> list[str]:
    known = [source.name for source in connections.sources]
    return known if connection.sources is None else [name for name in connection.sources if name in known]


def _work(worker: DestinationWorker, stopping: threading.Event) -> None:
    """`run_once` for ever. What it did not foresee is logged and costs a pause, not the thread."""
    while not stopping.is_set():
        try:
            pause = worker.run_once()
        except ConnectorError as error:
            log.error("destination %s: %s", worker.destination.connection.name, error)
            pause = ERROR_PAUSE_SECONDS
        except Exception:
            log.exception("destination %s: an unforeseen error", worker.destination.connection.name)
            pause = ERROR_PAUSE_SECONDS
        if pause:
            stopping.wait(min(pause, 1.0))

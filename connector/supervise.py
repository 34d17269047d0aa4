"""Keeps one worker per destination running, as the connections file says now, and does the housekeeping beside them.

A changed destination gets a new worker as soon as the old one has brought its request to an end; meanwhile all others
go on. One that cannot be built is held, and says so.
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
from connector.pace import Mood
from connector.record import Record
from connector.worker import DestinationWorker

TICK_SECONDS = 0.25  # between two looks at the file, the replays and the counts
UPKEEP_EVERY = timedelta(seconds=30)
PRUNE_SECONDS = 0.5  # of one look, lest much to forget hold up everything else
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
    fault: str = ""  # why it has no worker though it is enabled

    @property
    def is_alive(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def begin_stop(self) -> None:
        self.stopping.set()
        if self.worker:
            self.worker.stop()

    def finish_stop(self) -> None:
        """Returns when its threads have ended, each after the request that it was at."""
        for thread in self.threads:
            thread.join()
        if self.worker:
            self.worker.close()


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
        self._ending: list[Running] = []
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
            except Exception:
                log.exception("an unforeseen error; tried again in a second")
                stopping.wait(ERROR_PAUSE_SECONDS)
            stopping.wait(TICK_SECONDS)
        self.stop()

    def stop(self) -> None:
        """Returns when every worker has ended and what happened is written down."""
        last = [*self._ending, *self._running.values()]
        for running in last:
            running.begin_stop()
        for running in last:
            running.finish_stop()
            self._record.state(self._state_of(running))
        self._record.flush()

    def tick(self) -> None:
        """Takes up a changed file, looks for replays, writes down what happened, keeps house. May raise JournalError;
        what is left undone then is done by a later tick."""
        connections = self._refreshed()
        try:
            self._take_up(connections)
            self._refresh_readers(connections)
            if self._clock.now() >= self._upkeep_at:
                self._keep_house(connections)
        finally:
            for running in self._running.values():
                self._record.state(self._state_of(running))
            self._record.flush()

    def _refreshed(self) -> Connections:
        """Those in force; a refusal of the changed file is logged once."""
        self._connections.refresh()
        problem = self._connections.problem
        if problem and problem != self._told_problem:
            log.error("the changed connections file is refused, the last good one stays in force:\n%s", problem)
        self._told_problem = problem
        return self._connections.current

    def _take_up(self, connections: Connections) -> None:
        """Ends what is gone or changed, and starts what is new, once its predecessor has ended."""
        if connections is not self._taken_up:
            know_readers(self._journal, connections)
        wanted = {connection.name: connection for connection in connections.destinations}
        for name, running in list(self._running.items()):
            if wanted.get(name) != running.connection:
                running.begin_stop()
                self._ending.append(self._running.pop(name))
        for running in [running for running in self._ending if not running.is_alive]:
            self._ending.remove(running)
            running.finish_stop()
        ending = {running.connection.name for running in self._ending}
        for name, connection in wanted.items():
            if name not in self._running and name not in ending:
                self._note_revision(connection)
                self._running[name] = self._started(connection, connections)
        if connections is not self._taken_up:
            self._taken_up = connections
            sources = ", ".join(source.name for source in connections.sources)
            log.info("connections in force: sources %s; destinations %s", sources, ", ".join(wanted) or "none")

    def _started(self, connection: Connection, connections: Connections) -> Running:
        running = Running(connection, self._clock.now(), readers=self._present(connection, connections))
        if not connection.enabled:
            return running
        try:
            worker = self._build(connection, lambda: running.readers)
        except Exception as error:  # whatever is wrong with this one, the others are to run
            running.fault = f"it cannot be started: {error}"
            log.error("destination %s: %s", connection.name, running.fault, exc_info=_unforeseen(error))
            return running
        running.worker = worker
        for number in range(connection.concurrency):
            thread = threading.Thread(
                target=_work, args=(worker, running.stopping), name=f"{connection.name}-{number}", daemon=True
            )
            running.threads.append(thread)
            thread.start()
        return running

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
        worker, name = running.worker, running.connection.name
        if worker is None and running.fault:
            return DestinationState(name, Mood.HELD, running.fault, running.started_at, None, running.started_at, "")
        if worker is None:
            return DestinationState(name, "disabled", "", running.started_at, None, None, "")
        standing = worker.standing
        return DestinationState(
            name,
            standing.mood,
            standing.reason,
            standing.since or running.started_at,
            worker.last_delivered_at,
            worker.last_error_at,
            worker.last_error,
        )

    def _keep_house(self, connections: Connections) -> None:
        """Forgets what is past its limits, for a moment; when there is more, the next tick goes on."""
        now = self._clock.now()
        retention = connections.retention
        destinations = [connection.name for connection in connections.destinations]
        end = now + timedelta(seconds=PRUNE_SECONDS)
        self._upkeep_at = now + UPKEEP_EVERY
        try:
            while removed := self._journal.prune(retention, destinations):
                log.info("retention removed %d events", removed)
                if self._clock.now() >= end:
                    self._upkeep_at = now
                    break
        except JournalError as error:
            log.warning("keeping house: %s", error)
        try:
            self._ledger.set_fact(DELIVERING_AT, now.isoformat(), now)
            self._ledger.prune(attempts_limit(now, retention.attempts_seconds), now - MINUTES_KEPT)
        except LedgerError as error:
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


def _unforeseen(error: Exception) -> Exception | None:
    """Whose traceback belongs into the log."""
    return None if isinstance(error, ConnectorError) else error


def _work(worker: DestinationWorker, stopping: threading.Event) -> None:
    """`run_once` for ever. What it did not foresee is logged and costs a pause, not the thread."""
    while not stopping.is_set():
        try:
            pause = worker.run_once()
        except Exception as error:
            log.error("destination %s: %s", worker.destination.connection.name, error, exc_info=_unforeseen(error))
            pause = ERROR_PAUSE_SECONDS
        if pause:
            stopping.wait(min(pause, ERROR_PAUSE_SECONDS))

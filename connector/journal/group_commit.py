"""Group commit: what waits in a web worker is stored as one append, in a real thread, never on gevent's hub.

    request greenlets ─ store() ─▶ waiting ─▶ writer greenlet ─▶ journal.append (thread) ─▶ wakes the requests

While one append runs the next group gathers, so the group grows with the load and a lone request waits for nobody.
A request that gave up (503) is taken out of the group unless its append has begun; then it is stored after all, and
Customer.io's repeat of it is a duplicate.
"""

from collections import deque
from collections.abc import Sequence
from typing import cast

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from connector.errors import JournalError
from connector.journal.base import Journal
from connector.model import Receipt, ReceivedEvent

# A commit costs as much as thirty events, so what is on its way is worth a moment; a lone request finds the hub idle.
GATHER_SECONDS = 0.003
MAX_GROUP_EVENTS = 500
MAX_GROUP_BYTES = 16 * 1024 * 1024  # a group of the largest bodies must still commit well within a request's patience


class GroupCommit:
    """One per web worker process, made after the fork."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: deque[tuple[ReceivedEvent, AsyncResult[Receipt]]] = deque()
        self._wake = Event()
        self._thread = ThreadPool(1)
        self._writer: gevent.Greenlet[[], None] | None = None

    def store(self, received: ReceivedEvent, timeout_seconds: float) -> Receipt:
        """Durable when it returns. Raises JournalError when it was not stored in time, or could not be stored."""
        if self._writer is None or self._writer.dead:
            self._writer = gevent.spawn(self._write_groups)
        result: AsyncResult[Receipt] = AsyncResult()
        entry = (received, result)
        self._waiting.append(entry)
        self._wake.set()
        try:
            return cast(Receipt, result.get(timeout=timeout_seconds))
        except gevent.Timeout:
            if entry in self._waiting:
                self._waiting.remove(entry)
            raise JournalError(f"not stored within {timeout_seconds:g} s") from None

    def _write_groups(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                with gevent.Timeout(GATHER_SECONDS, False):  # type: ignore[arg-type]  # False: end quietly
                    gevent.idle()  # what has arrived already joins the group
                group = self._next_group()
                outcomes = self._thread.apply(self._append, ([received for received, _ in group],))
                for (_, result), outcome in zip(group, outcomes, strict=True):
                    if isinstance(outcome, Exception):
                        result.set_exception(outcome)
                    else:
                        result.set(outcome)

    def _append(self, events: list[ReceivedEvent]) -> Sequence[Receipt | Exception]:
        """One outcome per event. Errors are values here: gevent prints the traceback of what a thread raises."""
        try:
            return self._journal.append(events)
        except JournalError as error:
            return [error] * len(events)
        except Exception as error:  # whatever it is, those who wait must hear of it
            if len(events) == 1:
                return [error]
            # An event that the journal chokes on must not harm its neighbours.
            return [outcome for event in events for outcome in self._append([event])]

    def _next_group(self) -> list[tuple[ReceivedEvent, "AsyncResult[Receipt]"]]:
        group: list[tuple[ReceivedEvent, AsyncResult[Receipt]]] = []
        size = 0
        while self._waiting and len(group) < MAX_GROUP_EVENTS and size < MAX_GROUP_BYTES:
            entry = self._waiting.popleft()
            size += len(entry[0].body)
            group.append(entry)
        return group

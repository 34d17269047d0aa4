"""Replays: the past before a destination again. Which rules apply to one, what it would send, and how it is begun."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.destinations.base import Destination
from connector.errors import JournalError, MappingError
from connector.journal.base import Journal
from connector.model import Reader
from connector.normalize import normalize
from connector.route import Route

NOTHING = "`false`"  # a filter

log = logging.getLogger(__name__)


class Routes:
    """A destination's rules for the present, and, narrowed by their own filters, for its replays."""

    def __init__(self, destination: Destination, journal: Journal) -> None:
        self._destination = destination
        self._journal = journal
        self._present = Route(destination)
        self._of_replays: dict[str, Route] = {}

    def of(self, reader: Reader) -> Route:
        """The rules for this reader's events. Raises JournalError when they cannot be looked up."""
        if not reader.replay:
            return self._present
        known = self._of_replays.get(reader.replay)
        if known is None:
            known = self._of_replays[reader.replay] = self._narrowed(reader.replay)
        return known

    def _narrowed(self, replay_id: str) -> Route:
        for state in self._journal.replays():
            if state.id == replay_id:
                return self._filtered(replay_id, state.where) if state.where else self._present
        # Never the present rules instead: without its filter it might send what nobody wanted sent.
        raise JournalError(f"replay {replay_id} is not in the journal")

    def _filtered(self, replay_id: str, where: str) -> Route:
        try:
            return Route(self._destination, where)
        except MappingError as error:
            # It was checked when it was made, by another version perhaps. It must not stand in the present's way.
            log.error("replay %s is cancelled, its filter cannot be used: %s", replay_id, error)
            self._journal.cancel_replay(replay_id)
            return Route(self._destination, NOTHING)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a replay would do with the range as it is now."""

    events: int
    deliveries: int
    dead: int  # dead letters at once: nobody in them, too large, a mapping that fails
    filtered: dict[str, int]  # by rule


def forecast(
    journal: Journal,
    destination: Destination,
    sources: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    where: str | None,
    on_event: Callable[[], None],
) -> Forecast:
    """Works out every event of the range without sending anything. Raises MappingError when `where` does not compile.

    `on_event` is called for each event, for a progress bar; `journal.count` tells how many there are.
    """
    route = Route(destination, where)
    connection = destination.connection
    events = deliveries = dead = 0
    filtered: Counter[str] = Counter()
    for source in sources:
        for received in journal.scan(since, until, source):
            normalized = normalize(
                received, connection.profile, identify=connection.identify, keep_content=connection.keep_content
            )
            routed = route.deliveries(Reader(connection.name, source, "forecast"), received.seq, normalized)
            events += 1
            deliveries += len(routed.deliveries)
            dead += len(routed.dead)
            filtered.update(rule.rule for rule in routed.filtered)
            on_event()
    return Forecast(events, deliveries, dead, dict(filtered))

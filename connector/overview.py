"""What there is to know just now: one reading of journal, ledger, configuration and disk, for pages and commands.

No secret and no person's data is in it. What cannot be read is left out and named.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from connector import tally
from connector.clock import Clock
from connector.errors import ConnectorError
from connector.journal.base import Backlog, Journal
from connector.ledger import DestinationState, Ledger, RejectedKey
from connector.model import Connection, Connections, SignatureMode, Source
from connector.verify import fingerprint

T = TypeVar("T")

NO_BACKLOG = Backlog(waiting=0, retrying=0, dead=0, oldest_at=None)
MAX_ERROR_CHARS = 300
SHOWN_REJECTED_KEYS = 20


@dataclass(frozen=True, slots=True)
class SourceOverview:
    name: str
    enabled: bool
    signature: SignatureMode
    is_proven: bool  # one of its present signing keys has proven an event
    is_enforced: bool  # what is not genuine goes to quarantine
    last_received_at: datetime | None
    received: Mapping[str, int]  # outcome: calls
    signatures: Mapping[str, int]  # state: calls
    ages: Mapping[str, int]  # age of the timestamp, in words: calls
    unknown_events: Mapping[str, int]  # name: events


@dataclass(frozen=True, slots=True)
class DestinationOverview:
    name: str
    type: str
    state: str
    reason: str
    since: datetime | None
    last_delivered_at: datetime | None
    last_error_at: datetime | None
    last_error: str
    backlog: Backlog  # of all its sources and replays together
    by_source: Mapping[str, Backlog]


@dataclass(frozen=True, slots=True)
class Overview:
    at: datetime
    sources: tuple[SourceOverview, ...]
    destinations: tuple[DestinationOverview, ...]
    rejected_keys: tuple[RejectedKey, ...]
    configuration: str  # fingerprint of the one in force
    refusal: str | None  # why a changed one is not
    disk_free_bytes: int | None
    disk_total_bytes: int | None
    unreadable: tuple[str, ...]  # what could not be read, and why
    counts: Mapping[tally.CountKey, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FactSources:
    """Where an overview is read from."""

    journal: Journal
    ledger: Ledger
    connections: Callable[[], Connections]
    refusal: Callable[[], str | None]
    data_dir: Path
    clock: Clock


def read_overview(facts: FactSources) -> Overview:
    """May take as long as a locked database makes it wait: never call it on a web worker's hub. Never raises."""
    unreadable: list[str] = []

    def read(what: str, reading: Callable[[], T]) -> T | None:
        try:
            return reading()
        except (ConnectorError, OSError) as error:
            unreadable.append(f"{what}: {error}")
            return None

    connections = facts.connections()
    counts = read("counts", facts.ledger.totals) or {}
    last_counted = read("times of counts", facts.ledger.last_counted) or {}
    rejected = read("rejected keys", lambda: facts.ledger.rejected_keys(SHOWN_REJECTED_KEYS)) or []
    states = read("states of destinations", facts.ledger.destination_states) or {}
    proven = read("proven signing keys", facts.journal.proven_keys) or {}
    backlogs = read("backlog", lambda: _backlogs(facts.journal)) or {}
    disk = read("disk", lambda: shutil.disk_usage(facts.data_dir))
    return Overview(
        at=facts.clock.now(),
        sources=tuple(
            _source(source, counts, last_counted, proven.get(source.name, frozenset()))
            for source in connections.sources
        ),
        destinations=tuple(
            _destination(connection, states.get(connection.name), backlogs.get(connection.name, {}))
            for connection in connections.destinations
        ),
        rejected_keys=tuple(rejected),
        configuration=connections.fingerprint,
        refusal=facts.refusal(),
        disk_free_bytes=None if disk is None else disk.free,
        disk_total_bytes=None if disk is None else disk.total,
        unreadable=tuple(unreadable),
        counts=counts,
    )


def _backlogs(journal: Journal) -> dict[str, dict[str, Backlog]]:
    """Destination → source → how much waits."""
    found: dict[str, dict[str, Backlog]] = defaultdict(dict)
    for reader in journal.readers():
        by_source = found[reader.destination]
        by_source[reader.source] = _sum(by_source.get(reader.source, NO_BACKLOG), journal.backlog(reader))
    return found


def _sum(one: Backlog, other: Backlog) -> Backlog:
    moments = [moment for moment in (one.oldest_at, other.oldest_at) if moment is not None]
    return Backlog(
        waiting=one.waiting + other.waiting,
        retrying=one.retrying + other.retrying,
        dead=one.dead + other.dead,
        oldest_at=min(moments, default=None),
    )


def _source(
    source: Source,
    counts: Mapping[tally.CountKey, int],
    last_counted: Mapping[tally.CountKey, datetime],
    proven: frozenset[str],
) -> SourceOverview:
    is_proven = not proven.isdisjoint(map(fingerprint, source.signing_keys))
    moments = [
        at for (kind, subject, _), at in last_counted.items() if (kind, subject) == (tally.RECEIVED, source.name)
    ]
    return SourceOverview(
        name=source.name,
        enabled=source.enabled,
        signature=source.signature,
        is_proven=is_proven,
        is_enforced=source.signature is SignatureMode.ENFORCE or (source.signature is SignatureMode.AUTO and is_proven),
        last_received_at=max(moments, default=None),
        received=of(counts, tally.RECEIVED, source.name),
        signatures=of(counts, tally.SIGNATURE, source.name),
        ages=of(counts, tally.SIGNATURE_AGE, source.name),
        unknown_events=of(counts, tally.UNKNOWN_EVENT, source.name),
    )


def of(counts: Mapping[tally.CountKey, int], kind: str, subject: str) -> dict[str, int]:
    """Outcome → number, for one kind and subject."""
    wanted = (kind, subject)
    return {outcome: number for (*about, outcome), number in counts.items() if tuple(about) == wanted}


def _destination(
    connection: Connection, state: DestinationState | None, by_source: Mapping[str, Backlog]
) -> DestinationOverview:
    backlog = NO_BACKLOG
    for one in by_source.values():
        backlog = _sum(backlog, one)
    if not connection.enabled:
        shown, reason = "disabled", "switched off in the configuration; its events wait"
    elif state is None:
        shown, reason = "not started", "the delivering process has not reported about it yet"
    else:
        shown, reason = state.state, state.reason
    return DestinationOverview(
        name=connection.name,
        type=connection.type,
        state=shown,
        reason=reason,
        since=state.since if state is not None and connection.enabled else None,
        last_delivered_at=state.last_delivered_at if state else None,
        last_error_at=state.last_error_at if state else None,
        last_error=state.last_error[:MAX_ERROR_CHARS] if state else "",
        backlog=backlog,
        by_source=dict(by_source),
    )

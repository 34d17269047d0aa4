"""The loop 4 → 7 for one destination: claim, normalize, route, deliver, settle. `run_once` holds the logic.

What a crash between any two steps leaves behind is a claim that nobody settled: the cursor has not moved, and the next
worker does the same again. Everything that must survive is written by `settle`, in one transaction.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connector.clock import Clock
from connector.deliver import attempt, pack
from connector.destinations.base import Destination
from connector.journal.base import Journal
from connector.model import Attempt, Claimed, Delivery, NextStep, Outcome, OutcomeKind, Reader, Settlement, Verdict
from connector.normalize import normalize
from connector.pace import REFUSING, Go, Mood, Pace, Permission, Standing
from connector.replay import Routes
from connector.retry import is_to_be_halved, next_step, step
from connector.transports.base import Transport

IDLE_SECONDS = 0.05  # between two looks at an empty journal; well below the 0.5 s that an event may take
GATHER_SECONDS = 0.02  # between two looks while a batch fills

Place = tuple[Reader, int]  # an event at a reader


@dataclass(slots=True)
class Group:
    """What one claim is about to become."""

    claimed: dict[Place, Claimed]
    deliveries: list[Delivery] = field(default_factory=list)
    steps: dict[Place, list[NextStep]] = field(default_factory=lambda: defaultdict(list))
    filtered: int = 0


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """What a worker asks of its surroundings."""

    transport: Transport
    journal: Journal
    readers: Callable[[], Sequence[Reader]]  # those to read now: the present ones, then the replays
    routes: Routes  # its rules, for the present and for each replay
    clock: Clock
    record: Callable[[Attempt], None]
    count: Callable[[str, int], None]  # what became of how many: delivered, retry, dead, filtered
    chance: Callable[[], float]  # from 0 up to 1


class DestinationWorker:
    """One destination. Several threads may call `run_once` at the same time: that is its concurrency."""

    def __init__(self, destination: Destination, pace: Pace, ports: WorkerPorts) -> None:
        self.destination = destination
        self._pace = pace
        self._pace_lock = threading.Lock()
        self._ports = ports
        self._turn = 0  # which source is asked first
        self.last_delivered_at: datetime | None = None
        self.last_error_at: datetime | None = None
        self.last_error = ""

    def run_once(self) -> float:
        """One claim brought as far as it gets; returns the seconds until it is worth calling again, 0 for at once."""
        permission = self._ask()
        if permission.go is Go.WAIT:
            return self._seconds_until(permission)
        claimed = self._gather(permission)
        if not claimed:
            return IDLE_SECONDS
        group = self._prepare(claimed)
        permission = self._begin(len(group.deliveries))
        outcomes = self._send(group.deliveries, permission) if permission.go is not Go.WAIT else {}
        self._decide(group, outcomes, permission)
        self._settle(group)
        return 0.0 if permission.go is not Go.WAIT else self._seconds_until(permission)

    @property
    def standing(self) -> Standing:
        """How the destination is doing."""
        with self._pace_lock:
            return self._pace.standing

    # ── may we, and what ──

    def _ask(self) -> Permission:
        with self._pace_lock:
            return self._pace.permission(self._ports.clock.now())

    def _begin(self, deliveries: int) -> Permission:
        """Asked again, since filling the batch took time and other threads may have learnt something meanwhile."""
        now = self._ports.clock.now()
        with self._pace_lock:
            permission = self._pace.permission(now)
            if deliveries and permission.go is not Go.WAIT:
                self._pace.begin(permission, deliveries, now)
        return permission

    def _seconds_until(self, permission: Permission) -> float:
        until = permission.until or self._ports.clock.now()
        return max(0.0, (until - self._ports.clock.now()).total_seconds())

    def _gather(self, permission: Permission) -> dict[Place, Claimed]:
        """A batch's worth of work; waits for it to fill for as long as the oldest event may wait."""
        limit = permission.max_events
        claimed = self._claim(limit)
        wait = timedelta(seconds=self.destination.connection.batch.max_wait_seconds)
        if not claimed or permission.go is Go.PROBE:
            return claimed
        give_up_at = min(item.received.received_at for item in claimed.values()) + wait
        while len(claimed) < limit and (left := (give_up_at - self._ports.clock.now()).total_seconds()) > 0:
            self._ports.clock.sleep(min(left, GATHER_SECONDS))
            claimed |= self._claim(limit - len(claimed))
        return claimed

    def _claim(self, limit: int) -> dict[Place, Claimed]:
        """From the present first, its sources taking turns; then, for what room is left, from replays."""
        claimed: dict[Place, Claimed] = {}
        readers = self._ports.readers()
        present = [reader for reader in readers if not reader.replay]
        self._turn = turn = (self._turn + 1) % max(1, len(present))
        for reader in (*present[turn:], *present[:turn], *(reader for reader in readers if reader.replay)):
            if len(claimed) >= limit:
                break
            for item in self._ports.journal.claim(reader, limit - len(claimed)):
                claimed[reader, item.received.seq] = item
        return claimed

    # ── 4 normalize, 5 route ──

    def _prepare(self, claimed: dict[Place, Claimed]) -> Group:
        connection = self.destination.connection
        group = Group(claimed)
        for place, item in claimed.items():
            reader, seq = place
            events = normalize(
                item.received,
                connection.profile,
                identify=connection.identify,
                keep_content=connection.keep_content,
            )
            routed = self._ports.routes.of(reader).deliveries(reader, seq, events, item.open)
            group.deliveries += routed.deliveries
            group.filtered += len(routed.filtered)
            group.steps[place] += [
                NextStep(dead.type, dead.action, Verdict.DEAD, reason=dead.reason) for dead in routed.dead
            ]
        return group

    # ── 6 deliver ──

    def _send(self, deliveries: Sequence[Delivery], permission: Permission) -> dict[int, Outcome]:
        """An outcome for each delivery, by its place in the list, that was tried: once one shows that the destination
        is not well, the rest is not."""
        connection = self.destination.connection
        numbers = {id(delivery): number for number, delivery in enumerate(deliveries)}
        outcomes: dict[int, Outcome] = {}
        waiting: deque[Sequence[Delivery]] = deque(
            pack(deliveries, connection.batch, self.destination.envelope_bytes())
        )
        while waiting:
            part = waiting.popleft()
            made = attempt(self.destination, self._ports.transport, part, self._ports.clock)
            self._ports.record(made)
            is_well = self._heed(made)
            if is_to_be_halved(part, made.outcomes, made.response is not None) and (
                is_well or permission.go is Go.PROBE
            ):
                _put_halves(waiting, part, made.outcomes)
                continue
            for delivery, outcome in zip(part, made.outcomes, strict=True):
                outcomes[numbers[id(delivery)]] = outcome
            if not is_well and permission.go is not Go.PROBE:
                break
        return outcomes

    def _heed(self, made: Attempt) -> bool:
        """Tells the pace what came of a request; True while nothing is in the way of the next one."""
        now = self._ports.clock.now()
        self._remember(made.outcomes, now)
        with self._pace_lock:
            self._pace.record(made.outcomes, now)
            return self._pace.standing.mood is Mood.DELIVERING

    def _remember(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """For /status."""
        failed = next((outcome for outcome in outcomes if outcome.kind is not OutcomeKind.DELIVERED), None)
        if failed is not None:
            self.last_error_at, self.last_error = now, failed.reason
        if any(outcome.kind is OutcomeKind.DELIVERED for outcome in outcomes):
            self.last_delivered_at = now

    # ── 7 record ──

    def _decide(self, group: Group, outcomes: dict[int, Outcome], permission: Permission) -> None:
        """A step for each delivery: by its outcome, or put back where it was not tried."""
        now = self._ports.clock.now()
        toll = None
        if outcomes:
            with self._pace_lock:
                toll = self._pace.conclude(permission, list(outcomes.values()), now)
        retry = self.destination.connection.retry
        for number, delivery in enumerate(group.deliveries):
            outcome = outcomes.get(number)
            if outcome is None or toll is None:
                decided = step(delivery, Verdict.RELEASE)
            else:
                decided = next_step(delivery, outcome, retry, now, self._ports.chance(), toll.counts, toll.rest_seconds)
            group.steps[delivery.reader, delivery.seq].append(decided)

    def _settle(self, group: Group) -> None:
        by_reader: dict[Reader, list[Settlement]] = defaultdict(list)
        verdicts = dict.fromkeys(Verdict, 0)
        for place in group.claimed:
            reader, seq = place
            steps = tuple(group.steps[place])
            by_reader[reader].append(Settlement(seq, steps))
            for decided in steps:
                verdicts[decided.verdict] += 1
        for reader, settlements in by_reader.items():
            self._ports.journal.settle(reader, settlements)
        count = self._ports.count
        count("delivered", verdicts[Verdict.DONE])
        count("retry", verdicts[Verdict.RETRY])
        count("dead", verdicts[Verdict.DEAD])
        count("filtered", group.filtered)


def _put_halves(waiting: deque[Sequence[Delivery]], part: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
    """A refusal is followed to the culprit at once, which keeps the order; errors are tried in breadth, so that the
    good halves show between them that the destination is alive."""
    middle = len(part) // 2
    if outcomes[0].kind in REFUSING:
        waiting.extendleft((part[middle:], part[:middle]))
    else:
        waiting.extend((part[:middle], part[middle:]))

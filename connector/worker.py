"""The loop 4 → 7 for one destination: claim, normalize, route, deliver, settle. `run_once` holds the logic.

What a crash between any two steps leaves behind is a claim that nobody settled: the cursor has not moved, and the next
worker does the same again. Everything that must survive is written by `settle`, in one transaction.
"""

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connector.clock import Clock
from connector.deliver import attempt, pack
from connector.destinations.base import Destination
from connector.errors import JournalError
from connector.journal.base import Journal
from connector.model import (
    WHOLE_EVENT,
    Attempt,
    Claimed,
    Delivery,
    EventType,
    NextStep,
    OpenDelivery,
    Outcome,
    OutcomeKind,
    Reader,
    Settlement,
    Verdict,
)
from connector.normalize import normalize
from connector.pace import REFUSING, Go, Mood, Pace, Permission, Standing
from connector.replay import Routes
from connector.retry import NOT_ITS_FAULT, is_to_be_halved, next_step, step
from connector.route import Routed
from connector.transports.base import Transport

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.05  # between two looks at an empty journal; well below the 0.5 s that an event may take
GATHER_SECONDS = 0.02  # between two looks while a batch fills
GATHER_SHARE = 0.01  # of the time that it may take to fill: minutes need no look fifty times a second
MAX_GATHER_SECONDS = 0.5  # a stop waits for it
UNTOUCHED = (NextStep(EventType.TRACK, WHOLE_EVENT, Verdict.RELEASE),)  # the event, as if it had never been claimed

Place = tuple[Reader, int]  # an event at a reader


@dataclass(slots=True)
class Group:
    """What one claim is about to become."""

    claimed: dict[Place, Claimed]
    deliveries: list[Delivery] = field(default_factory=list)
    steps: dict[Place, list[NextStep]] = field(default_factory=lambda: defaultdict(list))
    whole: set[Place] = field(default_factory=set)  # dead as a whole before, now all deliveries are made of them
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
        self._stopping = threading.Event()
        self._unsettled: deque[tuple[Reader, Sequence[Settlement]]] = deque()
        self._told: set[str] = set()  # kinds of unforeseen errors whose traceback stands in the log
        self.last_delivered_at: datetime | None = None
        self.last_error_at: datetime | None = None
        self.last_error = ""

    def run_once(self) -> float:
        """One claim brought as far as it gets; returns the seconds until it is worth calling again, 0 for at once.

        Raises JournalError; what was decided by then is kept and settled by the next call, ahead of everything else.
        """
        self._settle_rest()
        permission = self._ask()
        if permission.go is Go.WAIT:
            return self._seconds_until(permission)
        claimed: dict[Place, Claimed] = {}
        try:
            self._gather(claimed, permission)
            if not claimed:
                return IDLE_SECONDS
            group = self._prepare(claimed)
            permission = self._deliver(group)
        except Exception:
            self._put_back(claimed)
            raise
        self._settle(group)
        return 0.0 if permission.go is not Go.WAIT else self._seconds_until(permission)

    def stop(self) -> None:
        """A request under way is brought to its end, no other is begun; what was claimed for it is put back."""
        self._stopping.set()

    def close(self) -> None:
        """After the last `run_once`: writes down what could not be settled before, and lets go of connections."""
        try:
            self._settle_rest()
        except JournalError as error:
            log.error("%s; what was delivered at last will be sent again", error)
        self._ports.transport.close()

    @property
    def standing(self) -> Standing:
        """How the destination is doing."""
        with self._pace_lock:
            return self._pace.standing

    # ── may we, and what ──

    def _ask(self) -> Permission:
        with self._pace_lock:
            return self._pace.permission(self._ports.clock.now())

    def _begin(self, deliveries: int) -> tuple[Permission, int]:
        """Asked again, since filling the batch took time and other threads may have learnt something meanwhile; with
        how many of the deliveries may leave now."""
        now = self._ports.clock.now()
        with self._pace_lock:
            permission = self._pace.permission(now)
            if permission.go is Go.WAIT or self._stopping.is_set():
                return permission, 0
            if permission.go is Go.PROBE:
                deliveries = min(deliveries, permission.max_events)
            if deliveries:
                self._pace.begin(permission, deliveries, now)
        return permission, deliveries

    def _seconds_until(self, permission: Permission) -> float:
        until = permission.until or self._ports.clock.now()
        return max(0.0, (until - self._ports.clock.now()).total_seconds())

    def _gather(self, claimed: dict[Place, Claimed], permission: Permission) -> None:
        """A batch's worth of work; waits for it to fill for as long as the oldest event may wait."""
        limit = permission.max_events
        self._claim(claimed, limit)
        wait = timedelta(seconds=self.destination.connection.batch.max_wait_seconds)
        if not claimed or len(claimed) >= limit or permission.go is Go.PROBE:
            return
        now = self._ports.clock.now()
        # No longer than `wait` from now: a clock that was set back makes events seem to come from the future.
        give_up_at = min(now, *(item.received.received_at for item in claimed.values())) + wait
        pause = min(max(GATHER_SECONDS, GATHER_SHARE * wait.total_seconds()), MAX_GATHER_SECONDS)
        while len(claimed) < limit and not self._stopping.is_set():
            left = (give_up_at - self._ports.clock.now()).total_seconds()
            if left <= 0:
                return
            self._ports.clock.sleep(min(left, pause))
            self._claim(claimed, limit)

    def _claim(self, claimed: dict[Place, Claimed], limit: int) -> None:
        """From the present first, its sources taking turns; then, for what room is left, from replays."""
        readers = self._ports.readers()
        present = [reader for reader in readers if not reader.replay]
        self._turn = turn = (self._turn + 1) % max(1, len(present))
        for reader in (*present[turn:], *present[:turn], *(reader for reader in readers if reader.replay)):
            if len(claimed) >= limit:
                break
            for item in self._ports.journal.claim(reader, limit - len(claimed)):
                claimed[reader, item.received.seq] = item

    # ── 4 normalize, 5 route ──

    def _prepare(self, claimed: dict[Place, Claimed]) -> Group:
        group = Group(claimed)
        for place, item in claimed.items():
            routed = self._routed(group, place, item)
            group.deliveries += routed.deliveries
            group.filtered += len(routed.filtered)
            if routed.dead:
                group.steps[place] += [
                    NextStep(dead.type, dead.action, Verdict.DEAD, reason=dead.reason) for dead in routed.dead
                ]
        return group

    def _routed(self, group: Group, place: Place, item: Claimed) -> Routed:
        """What today's settings make of one event. A defect of ours that it lays bare makes it a dead letter, which a
        person can retry once that is mended; its neighbours go on."""
        connection, (reader, seq) = self.destination.connection, place
        waiting = item.open
        if waiting is not None and any(delivery.action == WHOLE_EVENT for delivery in waiting):
            group.whole.add(place)
            group.steps[place] += [
                NextStep(one.type, WHOLE_EVENT, Verdict.DONE) for one in waiting if one.action == WHOLE_EVENT
            ]
            waiting = None
        route = self._ports.routes.of(reader)
        try:
            events = normalize(
                item.received,
                connection.profile,
                identify=connection.identify,
                keep_content=connection.keep_content,
            )
            return route.deliveries(reader, seq, events, waiting)
        except Exception as error:
            self._tell(error, item.received.event_id)
            reason = f"cannot be normalized: {type(error).__name__}"
            lost = item.open or (OpenDelivery(EventType.TRACK, WHOLE_EVENT, 0),)
            group.steps[place] = [NextStep(one.type, one.action, Verdict.DEAD, None, 0, reason) for one in lost]
            group.whole.discard(place)
            return Routed()

    def _tell(self, error: Exception, event_id: str) -> None:
        """In the log, with a traceback the first time."""
        kind = type(error).__name__
        log.error(
            "destination %s: event %s cannot be normalized: %s",
            self.destination.connection.name,
            event_id,
            kind,
            exc_info=None if kind in self._told else error,
        )
        self._told.add(kind)

    # ── 6 deliver ──

    def _deliver(self, group: Group) -> Permission:
        """Sends what may be sent now, and decides on everything; returns the permission that it went by."""
        permission, number = self._begin(len(group.deliveries))
        outcomes = self._send(group.deliveries[:number], permission) if number else {}
        self._decide(group, outcomes, permission)
        return permission

    def _send(self, deliveries: Sequence[Delivery], permission: Permission) -> dict[int, Outcome]:
        """An outcome for each delivery, by its place in the list, that was tried: once one shows that the destination
        is not well, the rest is not."""
        connection = self.destination.connection
        numbers = {id(delivery): number for number, delivery in enumerate(deliveries)}
        outcomes: dict[int, Outcome] = {}
        waiting: deque[Sequence[Delivery]] = deque(
            pack(deliveries, connection.batch, self.destination.envelope_bytes(), self.destination.lane)
        )
        while waiting and not self._stopping.is_set():
            part = waiting.popleft()
            made = attempt(self.destination, self._ports.transport, part, self._ports.clock)
            self._ports.record(made)
            is_well = self._heed(made)
            goes_on = is_well or (permission.go is Go.PROBE and made.outcomes[0].kind not in NOT_ITS_FAULT)
            if is_to_be_halved(part, made.outcomes, made.response is not None):
                if goes_on:
                    _put_halves(waiting, part, made.outcomes)
                    continue
                if made.outcomes[0].kind in REFUSING:
                    break  # one of them is to blame, but which was not found out: none may die of this answer
            for delivery, outcome in zip(part, made.outcomes, strict=True):
                outcomes[numbers[id(delivery)]] = outcome
            if not goes_on:
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
            place = delivery.reader, delivery.seq
            if place in group.whole and decided.verdict is Verdict.RELEASE:
                # There is nothing to put it back to: what was claimed is the event as a whole, not this delivery.
                decided = step(delivery, Verdict.RETRY, now)
            group.steps[place].append(decided)

    def _settle(self, group: Group) -> None:
        by_reader: dict[Reader, list[Settlement]] = defaultdict(list)
        verdicts = dict.fromkeys(Verdict, 0)
        for place in group.claimed:
            reader, seq = place
            steps = tuple(group.steps[place])
            by_reader[reader].append(Settlement(seq, steps))
            for decided in steps:
                verdicts[decided.verdict] += 1
        self._unsettled.extend(by_reader.items())
        count = self._ports.count
        count("delivered", verdicts[Verdict.DONE])
        count("retry", verdicts[Verdict.RETRY])
        count("dead", verdicts[Verdict.DEAD])
        count("filtered", group.filtered)
        self._settle_rest()

    def _settle_rest(self) -> None:
        """Nothing that was decided waits any more. Raises JournalError; then it waits on, since forgetting it would
        hide its events until their lease ends, and send them twice."""
        while self._unsettled:
            try:
                reader, settlements = self._unsettled.popleft()
            except IndexError:  # another thread has just taken the last
                return
            try:
                self._ports.journal.settle(reader, settlements)
            except JournalError:
                self._unsettled.appendleft((reader, settlements))
                raise

    def _put_back(self, claimed: dict[Place, Claimed]) -> None:
        """As if none of it had ever been claimed."""
        by_reader: dict[Reader, list[Settlement]] = defaultdict(list)
        for reader, seq in claimed:
            by_reader[reader].append(Settlement(seq, UNTOUCHED))
        self._unsettled.extend(by_reader.items())
        try:
            self._settle_rest()
        except JournalError as error:
            log.warning("%s; tried again", error)


def _put_halves(waiting: deque[Sequence[Delivery]], part: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
    """A refusal is followed to the culprit at once, which keeps the order; errors are tried in breadth, so that the
    good halves show between them that the destination is alive."""
    middle = len(part) // 2
    if outcomes[0].kind in REFUSING:
        waiting.extendleft((part[middle:], part[:middle]))
    else:
        waiting.extend((part[:middle], part[middle:]))

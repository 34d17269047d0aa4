"""May this destination be called now? Its rate, its wish for a pause, its breaker, its hold. Pure: time is handed in.

What becomes of a delivery is the business of retry.py; the states are drawn in docs/states.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from connector.model import Connection, Outcome, OutcomeKind

FAILURES_TO_OPEN = 5  # whole requests in a row without an answer of use: no longer bad luck
REFUSALS_TO_HOLD = 5  # events refused in a row with none delivered between: the set-up is wrong, not the events
MAX_REFUSALS_TO_HOLD = 80  # what the number above grows to when it has been wrong; less than a batch
PROBE_EVENTS = 5  # a few, so that one bad event seldom hides that the destination is well again
PROBE_PAUSES_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)  # the last one repeats
HOLD_PAUSE_SECONDS = 300.0  # a person has to act; until then one probe in five minutes
THROTTLE_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # for a 429 that names no pause
MIN_THROTTLE_SECONDS = 1.0  # "Retry-After: 0" would be a hot loop
MAX_THROTTLE_SECONDS = 3600.0  # a destination may ask for more; a person would not believe it
REST_FACTOR = 1.5  # events of a failed probe rest longer than the next probe waits, so that it tries others
HELD_PROBES_BEFORE_REST = 2  # repaired credentials should find the held events first, not after a rest
PROBE_LOST_SECONDS = 60.0  # beyond its time-out: then nobody will report what came of the probe
BURST_SECONDS = 0.2  # of the rate, that may leave at once
NO_LIMIT = 1_000_000_000  # more events than any batch has
REFUSING = frozenset({OutcomeKind.REJECTED, OutcomeKind.TOO_LARGE})  # the event, for good


class Mood(StrEnum):
    """How a destination is doing; one at a time."""

    DELIVERING = "delivering"  # nothing is in the way
    THROTTLED = "throttled"  # it asked for a pause (429); then one request, and all again after a success
    FAILING = "failing"  # the breaker is open: nothing of use came back for a while; probed ever more seldom
    HELD = "held"  # its key or its address is wrong, or it refuses everything; a person has to act


@dataclass(frozen=True, slots=True)
class Standing:
    """What /status and /metrics show of a destination."""

    mood: Mood
    reason: str  # for a person; "" while delivering
    since: datetime | None  # None: from the start
    until: datetime | None  # when it is tried next; None while delivering


class Go(StrEnum):
    SEND = "send"
    PROBE = "probe"  # send, but few and one request at a time
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Permission:
    """The answer to: may this destination be called now?"""

    go: Go
    max_events: int = 0  # SEND and PROBE: at most so many events
    until: datetime | None = None  # WAIT: ask again then
    why: str = ""  # WAIT: for a person


@dataclass(frozen=True, slots=True)
class Toll:
    """What an attempt costs its deliveries; handed on to `next_step`."""

    counts: bool  # False: it uses up no retry and kills nothing
    rest_seconds: float | None = None  # not counted, and to wait so long that others are tried first


class Pace:
    """The pace of one destination, since the process began or its settings changed: then a new one is made.

    Ask `permission` and call `begin`, with no other thread in between; `record` after each request, and `conclude`
    once, after the last one of the batch and its halves. A probe whose sender dies is forgotten after a while, and a
    late answer to an earlier request ends no pause. Not for several threads at once: who shares it holds a lock.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._batch_events = connection.batch.max_events
        self._probe_lost = timedelta(seconds=connection.timeout_seconds + PROBE_LOST_SECONDS)
        self._bucket = Bucket.of(connection, now)
        self._standing = Standing(Mood.DELIVERING, "", None, None)
        self._failures = 0  # requests in a row that failed as a whole
        self._refusals = 0  # events in a row that were refused
        self._refusals_to_hold = REFUSALS_TO_HOLD
        self._probes = 0  # in a row that changed nothing for the better
        self._probing_until: datetime | None = None  # a probe is under way, until then at the latest
        self._is_refusing = False  # held because every event is refused, not for its key or address

    @property
    def standing(self) -> Standing:
        return self._standing

    def permission(self, now: datetime) -> Permission:
        """Changes nothing; what is permitted is taken with `begin`."""
        standing, probing_until = self._standing, self._probing_until
        if standing.mood is not Mood.DELIVERING:
            if standing.until and now < standing.until:
                return Permission(Go.WAIT, until=standing.until, why=standing.reason)
            if probing_until and now < probing_until:
                return Permission(Go.WAIT, until=probing_until, why=f"a probe is under way; {standing.reason}")
        allowed, ready_at = self._bucket.allowed(now)
        if not allowed:
            return Permission(Go.WAIT, until=ready_at, why="the rate limit is reached")
        if standing.mood is Mood.DELIVERING:
            return Permission(Go.SEND, min(allowed, self._batch_events))
        few = PROBE_EVENTS if standing.mood is Mood.FAILING else self._batch_events
        return Permission(Go.PROBE, min(allowed, few, self._batch_events))

    def begin(self, permission: Permission, events: int, now: datetime) -> None:
        """So many events leave now; of probes, this is the one under way until `conclude`."""
        self._bucket = self._bucket.less(events, now)
        if permission.go is Go.PROBE:
            self._probing_until = now + self._probe_lost

    def record(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """What came of one request, be it a batch or a half of one; no answer counts as TRANSIENT for all."""
        by_kind = {outcome.kind: outcome for outcome in reversed(outcomes)}
        if fault := by_kind.get(OutcomeKind.UNAUTHORIZED) or by_kind.get(OutcomeKind.MISCONFIGURED):
            if self._standing.mood is not Mood.HELD or self._is_refusing:
                self._enter(Mood.HELD, fault.reason, now, HOLD_PAUSE_SECONDS)
            self._standing = replace(self._standing, reason=fault.reason)
        elif throttled := by_kind.get(OutcomeKind.THROTTLED):
            self._throttle(throttled, now)
        elif by_kind.keys() == {OutcomeKind.TRANSIENT}:
            self._fail(outcomes[0], now)
        elif by_kind:
            self._answer(OutcomeKind.DELIVERED in by_kind, now)

    def conclude(self, permission: Permission, outcomes: Sequence[Outcome], now: datetime) -> Toll:
        """What came of the whole batch, an outcome for each delivery; what the attempt costs them.

        A probe that finds the destination no better costs nothing, nor does a batch that shows the set-up to be wrong.
        """
        was_probe = permission.go is Go.PROBE
        if was_probe:
            self._probing_until = None
        shows_wrong_set_up = self._count_refusals(outcomes, now)
        if was_probe and self._standing.mood is not Mood.DELIVERING:
            return self._after_failed_probe(now)
        return Toll(counts=not shows_wrong_set_up)

    def probe_now(self, now: datetime) -> None:
        """A person thinks that it is well again: the next probe is due at once."""
        if self._standing.until:
            self._standing = replace(self._standing, until=min(self._standing.until, now))

    def _fail(self, outcome: Outcome, now: datetime) -> None:
        self._failures += 1
        mood, is_probing = self._standing.mood, self._probing_until is not None
        is_enough = self._failures >= FAILURES_TO_OPEN if mood is Mood.DELIVERING else is_probing
        if mood is Mood.FAILING:
            self._standing = replace(self._standing, reason=outcome.reason)
        elif is_enough:
            self._enter(Mood.FAILING, outcome.reason, now, PROBE_PAUSES_SECONDS[0])

    def _answer(self, has_delivered: bool, now: datetime) -> None:
        """It took or refused events one way or the other, so it is alive, and so are its key and address."""
        self._failures = 0
        mood, is_probing = self._standing.mood, self._probing_until is not None
        # A pause or a hold is not ended by a late answer to what left before it began.
        is_proof = mood is Mood.FAILING or (is_probing and mood is not Mood.DELIVERING)
        if is_proof and (has_delivered or not self._is_refusing):
            if self._is_refusing:
                # The set-up was right after all, some events were bad. Let those die before holding again for them.
                self._refusals_to_hold = min(2 * self._refusals_to_hold, MAX_REFUSALS_TO_HOLD)
            self._standing = Standing(Mood.DELIVERING, "", now, None)
            self._probes = 0
            self._is_refusing = False

    def _count_refusals(self, outcomes: Sequence[Outcome], now: datetime) -> bool:
        """Whether so many events were refused, and none delivered between, that the set-up must be wrong."""
        kinds = {outcome.kind for outcome in outcomes}
        if OutcomeKind.DELIVERED in kinds:
            self._refusals = 0
        if not kinds or not kinds <= REFUSING:
            return False
        self._refusals += len(outcomes)
        if self._refusals < self._refusals_to_hold:
            return False
        if not self._is_refusing:
            self._enter(Mood.HELD, f"every event is refused: {outcomes[0].reason}", now, HOLD_PAUSE_SECONDS)
            self._is_refusing = True
        return True

    def _after_failed_probe(self, now: datetime) -> Toll:
        self._probes += 1
        mood = self._standing.mood
        if mood is Mood.THROTTLED:  # `record` has set the pause
            return Toll(counts=False)
        pause = HOLD_PAUSE_SECONDS if mood is Mood.HELD else stage(PROBE_PAUSES_SECONDS, self._probes)
        self._standing = replace(self._standing, until=now + timedelta(seconds=pause))
        is_to_rest = mood is Mood.FAILING or self._probes > HELD_PROBES_BEFORE_REST
        return Toll(counts=False, rest_seconds=REST_FACTOR * pause if is_to_rest else None)

    def _throttle(self, outcome: Outcome, now: datetime) -> None:
        wish = outcome.retry_after_seconds
        if self._standing.mood is not Mood.THROTTLED:
            pause = THROTTLE_PAUSES_SECONDS[0] if wish is None else bounded(wish)
            self._enter(Mood.THROTTLED, outcome.reason, now, pause)
            return
        # A later answer to a request that left before the pause began only lengthens it when it says so.
        growing = stage(THROTTLE_PAUSES_SECONDS, self._probes + 1) if self._probing_until else 0.0
        pause_end = now + timedelta(seconds=growing if wish is None else bounded(wish))
        until = max(pause_end, self._standing.until or pause_end)
        self._standing = replace(self._standing, reason=outcome.reason, until=until)

    def _enter(self, mood: Mood, reason: str, now: datetime, pause_seconds: float) -> None:
        self._standing = Standing(mood, reason, now, now + timedelta(seconds=pause_seconds))
        self._probes = 0
        self._is_refusing = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: how many events may leave now, for a steady rate without large bursts."""

    rate: float | None  # events a second; None: no limit
    capacity: float
    least: float  # worth a request: rather wait a moment than send the events one by one
    tokens: float
    filled_at: datetime

    @classmethod
    def of(cls, connection: Connection, now: datetime) -> "Bucket":
        rate, batch = connection.events_per_second, connection.batch
        if rate is None:
            return cls(None, 0, 0, 0, now)
        capacity = max(1.0, min(rate, max(batch.max_events, BURST_SECONDS * rate)))
        least = min(capacity, batch.max_events, max(1.0, rate * batch.max_wait_seconds))
        return cls(rate, capacity, least, capacity, now)

    def allowed(self, now: datetime) -> tuple[int, datetime]:
        """How many events may leave now; when none, from when on some may."""
        if self.rate is None:
            return NO_LIMIT, now
        tokens = self._tokens_at(now)
        # A thousandth of an event is a rounding error of the clock, not a breach of the limit.
        if tokens + 0.001 >= self.least:
            return int(tokens + 0.001), now
        return 0, now + timedelta(seconds=(self.least - tokens) / self.rate)

    def less(self, events: int, now: datetime) -> "Bucket":
        if self.rate is None:
            return self
        return replace(self, tokens=self._tokens_at(now) - events, filled_at=now)

    def _tokens_at(self, now: datetime) -> float:
        # A clock that is set back fills the bucket once; otherwise nothing would leave until it has caught up.
        seconds = abs((now - self.filled_at).total_seconds())
        return min(self.capacity, self.tokens + seconds * (self.rate or 0.0))


def stage(pauses: Sequence[float], times: int) -> float:
    """The pause after so many earlier ones; the last one repeats."""
    return pauses[min(times, len(pauses) - 1)]


def bounded(wish_seconds: float) -> float:
    return min(max(wish_seconds, MIN_THROTTLE_SECONDS), MAX_THROTTLE_SECONDS)

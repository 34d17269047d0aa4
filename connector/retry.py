"""What becomes of a delivery after an attempt: done, again later, dead, or as if it had never been tried. Pure.

Whether a destination may be called at all is the business of pace.py.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from connector.model import Delivery, NextStep, Outcome, OutcomeKind, Retry, Verdict

JITTER = 0.2  # of a pause, up and down, so that what failed together does not come back as one crowd
MAX_RETRY_AFTER_SECONDS = 3600.0  # a destination may ask for more; a person would not believe it
HALVED_FROM_TRY = 3  # a batch that draws its third 5xx may have one event in it that nobody can digest

# The events themselves are at fault, for good.
DEFINITIVE = frozenset({OutcomeKind.REJECTED, OutcomeKind.TOO_LARGE})
# The destination, its key, or its address is at fault: the destination is paused, the event loses nothing.
NOT_ITS_FAULT = frozenset({OutcomeKind.THROTTLED, OutcomeKind.UNAUTHORIZED, OutcomeKind.MISCONFIGURED})


def next_step(
    delivery: Delivery,
    outcome: Outcome,
    retry: Retry,
    now: datetime,
    jitter: float,
    counts: bool = True,
    rest_seconds: float | None = None,
) -> NextStep:
    """The verdict on a delivery that was sent alone, or whose batch is not to be halved.

    `jitter` is chance, from 0 up to 1. `counts` and `rest_seconds` are pace.py's word on the whole batch: an attempt
    that does not count uses up no retry and kills nothing; the delivery is released, or rests where others should be
    tried before it.
    """
    if outcome.kind is OutcomeKind.DELIVERED:
        return step(delivery, Verdict.DONE, reason=outcome.reason)
    if not counts or outcome.kind in NOT_ITS_FAULT:
        if counts or rest_seconds is None:
            return step(delivery, Verdict.RELEASE, reason=outcome.reason)
        return step(delivery, Verdict.RETRY, now + timedelta(seconds=rest_seconds), 0, outcome.reason)
    tries = delivery.attempts + 1
    if outcome.kind in DEFINITIVE:
        return step(delivery, Verdict.DEAD, None, 1, outcome.reason)
    if tries > retry.retries:
        return step(delivery, Verdict.DEAD, None, 1, f"all {tries} attempts failed, at last: {outcome.reason}")
    pause = pause_seconds(delivery.attempts, outcome.retry_after_seconds, retry, jitter)
    return step(delivery, Verdict.RETRY, now + timedelta(seconds=pause), 1, outcome.reason)


def pause_seconds(attempts: int, retry_after_seconds: float | None, retry: Retry, jitter: float) -> float:
    """The pause before the retry after `attempts` earlier tries; never shorter than the destination asks for."""
    delays = retry.delays_seconds or (0.0,)
    delay = delays[min(attempts, len(delays) - 1)] * (1 - JITTER + 2 * JITTER * jitter)
    return max(delay, min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS))


def is_to_be_halved(batch: Sequence[Delivery], outcomes: Sequence[Outcome], is_answered: bool) -> bool:
    """Whether the two halves are to be sent at once, instead of judging the deliveries by this answer.

    So it is when the whole was refused, or answered 5xx for the third time: one event may be to blame for all. Send
    the halves of both halves after both halves (first in, first out): the good ones show that the destination lives.
    """
    if len(batch) < 2 or len(set(outcomes)) != 1:  # outcomes that differ speak of single events
        return False
    if outcomes[0].kind in DEFINITIVE:
        return True
    tries = max(delivery.attempts for delivery in batch) + 1
    return is_answered and outcomes[0].kind is OutcomeKind.TRANSIENT and tries >= HALVED_FROM_TRY


def step(
    delivery: Delivery, verdict: Verdict, at: datetime | None = None, counted: int = 0, reason: str = ""
) -> NextStep:
    event = delivery.event
    return NextStep(event.type, delivery.action, verdict, at, delivery.attempts + counted, reason)

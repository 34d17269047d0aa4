"""The retry law: what becomes of a delivery after an attempt."""

from datetime import UTC, datetime, timedelta

import pytest

from connector.model import (
    Connection,
    Delivery,
    Event,
    EventType,
    Outcome,
    OutcomeKind,
    Reader,
    Retry,
    Verdict,
)
from connector.retry import is_to_be_halved, next_step, pause_seconds

NOW = datetime(2026, 8, 31, 18, 30, tzinfo=UTC)
RETRY = Connection(name="rudder", type="rudderstack", options={}).retry
MIDDLE = 0.5  # jitter that leaves a pause as it is


def delivery(attempts: int = 0, seq: int = 1) -> Delivery:
    event = Event(EventType.TRACK, "production", f"event-{seq}", "email", "opened", False, {})
    return Delivery(Reader("rudder", "production"), seq, "all", event, b"{}", attempts)


def test_a_delivered_event_is_done():
    step = next_step(delivery(3), Outcome(OutcomeKind.DELIVERED), RETRY, NOW, MIDDLE)

    assert (step.verdict, step.type, step.action, step.at) == (Verdict.DONE, EventType.TRACK, "all", None)


def test_the_default_pauses_make_three_hours():
    assert len(RETRY.delays_seconds) == RETRY.retries == 14
    assert round(sum(RETRY.delays_seconds) / 60) == 3 * 60


def test_a_transient_failure_waits_for_the_next_pause():
    steps = [next_step(delivery(n), Outcome(OutcomeKind.TRANSIENT, "500"), RETRY, NOW, MIDDLE) for n in range(14)]

    assert [(step.at - NOW).total_seconds() for step in steps if step.at] == list(RETRY.delays_seconds)
    assert [step.attempts for step in steps] == list(range(1, 15))
    assert {step.verdict for step in steps} == {Verdict.RETRY}


def test_after_the_last_retry_the_delivery_is_dead_and_says_why():
    step = next_step(delivery(14), Outcome(OutcomeKind.TRANSIENT, "answered 500"), RETRY, NOW, MIDDLE)

    assert (step.verdict, step.attempts, step.at) == (Verdict.DEAD, 15, None)
    assert step.reason == "all 15 attempts failed, at last: answered 500"


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 80), (0.5, 100), (0.999999, 120)])
def test_a_pause_is_spread_by_a_fifth_either_way(jitter, seconds):
    assert pause_seconds(0, None, Retry(3, (100,)), jitter) == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(None, 10), (0, 10), (3, 10), (30, 30), (3600, 3600), (86_400, 3600), (1e300, 3600)]
)
def test_retry_after_lengthens_a_pause_up_to_an_hour_and_never_shortens_it(retry_after, seconds):
    assert pause_seconds(0, retry_after, Retry(3, (10,)), MIDDLE) == seconds


@pytest.mark.parametrize(("delays", "pauses"), [((5, 7), [5, 7, 7, 7]), ((), [0, 0, 0, 0])])
def test_the_last_pause_repeats(delays, pauses):
    assert [pause_seconds(attempts, None, Retry(9, delays), MIDDLE) for attempts in range(4)] == pauses


def test_without_retries_the_first_failure_is_the_end():
    step = next_step(delivery(), Outcome(OutcomeKind.TRANSIENT, "no answer"), Retry(0, ()), NOW, MIDDLE)

    assert (step.verdict, step.attempts) == (Verdict.DEAD, 1)


@pytest.mark.parametrize("kind", [OutcomeKind.REJECTED, OutcomeKind.TOO_LARGE])
def test_a_definitive_refusal_is_a_dead_letter_at_once(kind):
    step = next_step(delivery(2), Outcome(kind, "answered 400"), RETRY, NOW, MIDDLE)

    assert (step.verdict, step.attempts, step.reason) == (Verdict.DEAD, 3, "answered 400")


@pytest.mark.parametrize("kind", [OutcomeKind.THROTTLED, OutcomeKind.UNAUTHORIZED, OutcomeKind.MISCONFIGURED])
def test_a_fault_of_the_destination_costs_the_event_nothing(kind):
    step = next_step(delivery(14), Outcome(kind, "answered"), RETRY, NOW, MIDDLE)

    assert (step.verdict, step.attempts, step.at) == (Verdict.RELEASE, 14, None)


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind is not OutcomeKind.DELIVERED])
def test_an_attempt_that_does_not_count_releases_whatever_the_answer(kind):
    step = next_step(delivery(14), Outcome(kind, "x"), RETRY, NOW, MIDDLE, counts=False)

    assert (step.verdict, step.attempts) == (Verdict.RELEASE, 14)


def test_an_attempt_that_does_not_count_may_rest_without_using_up_a_retry():
    outcome = Outcome(OutcomeKind.TRANSIENT, "answered 500")

    step = next_step(delivery(14), outcome, RETRY, NOW, MIDDLE, counts=False, rest_seconds=90)

    assert (step.verdict, step.attempts, step.at) == (Verdict.RETRY, 14, NOW + timedelta(seconds=90))


def test_what_was_delivered_is_done_even_if_the_attempt_does_not_count():
    step = next_step(delivery(), Outcome(OutcomeKind.DELIVERED), RETRY, NOW, MIDDLE, counts=False, rest_seconds=90)

    assert step.verdict is Verdict.DONE


@pytest.mark.parametrize(
    ("kind", "attempts", "is_answered", "expected"),
    [
        (OutcomeKind.REJECTED, 0, True, True),
        (OutcomeKind.TOO_LARGE, 0, True, True),
        (OutcomeKind.TRANSIENT, 0, True, False),
        (OutcomeKind.TRANSIENT, 1, True, False),
        (OutcomeKind.TRANSIENT, 2, True, True),
        (OutcomeKind.TRANSIENT, 9, True, True),
        (OutcomeKind.TRANSIENT, 9, False, False),
        (OutcomeKind.DELIVERED, 0, True, False),
        (OutcomeKind.THROTTLED, 9, True, False),
        (OutcomeKind.UNAUTHORIZED, 9, True, False),
        (OutcomeKind.MISCONFIGURED, 9, True, False),
    ],
)
def test_a_batch_is_halved_when_one_event_may_be_to_blame_for_all(kind, attempts, is_answered, expected):
    batch = [delivery(attempts, seq) for seq in range(4)]

    assert is_to_be_halved(batch, [Outcome(kind, "the same")] * 4, is_answered) is expected


def test_a_single_delivery_is_never_halved():
    assert not is_to_be_halved([delivery()], [Outcome(OutcomeKind.REJECTED)], True)


def test_outcomes_of_single_events_are_final():
    outcomes = [Outcome(OutcomeKind.REJECTED, "no id"), Outcome(OutcomeKind.REJECTED, "no name")]

    assert not is_to_be_halved([delivery(seq=1), delivery(seq=2)], outcomes, True)

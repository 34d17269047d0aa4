"""The pace of a destination: rate, throttling, breaker, hold. Time is handed in."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connector.model import Batch, Connection, Outcome, OutcomeKind
from connector.pace import Go, Mood, Pace, Permission, Toll

BATCH = Batch(100, 450_000, 0.5)
START = datetime(2026, 8, 31, 18, 30, tzinfo=UTC)
OK = Outcome(OutcomeKind.DELIVERED)
FAILED = Outcome(OutcomeKind.TRANSIENT, "answered 500")
REFUSED = Outcome(OutcomeKind.REJECTED, "answered 400")
UNAUTHORIZED = Outcome(OutcomeKind.UNAUTHORIZED, "answered 401, check its key")
MOVED = Outcome(OutcomeKind.MISCONFIGURED, "answered 404, check its url")
THROTTLED = Outcome(OutcomeKind.THROTTLED, "answered 429")


def throttled(seconds: float) -> Outcome:
    return Outcome(OutcomeKind.THROTTLED, "answered 429", seconds)


class Drive:
    """A destination's pace and the time; sends batches as the worker does."""

    def __init__(self, events_per_second: float | None = None, batch: Batch = BATCH) -> None:
        connection = Connection("rudder", "rudderstack", {}, batch=batch, events_per_second=events_per_second)
        self.now = START
        self.pace = Pace(connection, START)

    def wait(self, seconds: float) -> "Drive":
        self.now += timedelta(seconds=seconds)
        return self

    def ask(self) -> Permission:
        return self.pace.permission(self.now)

    def send(self, outcomes: Sequence[Outcome]) -> Toll:
        """One request, permitted now."""
        permission = self.ask()
        assert permission.go is not Go.WAIT, permission.why
        self.pace.begin(permission, len(outcomes), self.now)
        self.pace.record(outcomes, self.now)
        return self.pace.conclude(permission, outcomes, self.now)

    def until_next_try(self) -> float:
        permission = self.ask()
        assert permission.go is Go.WAIT
        assert permission.until is not None
        return (permission.until - self.now).total_seconds()

    @property
    def mood(self) -> Mood:
        return self.pace.standing.mood


def failing() -> Drive:
    drive = Drive()
    for _ in range(5):
        drive.send([FAILED] * 3)
    assert drive.mood is Mood.FAILING
    return drive


# ── the breaker ──


def test_a_fresh_destination_may_be_called_with_a_full_batch():
    assert Drive().ask() == Permission(Go.SEND, 100)


def test_five_failures_in_a_row_open_the_breaker_and_all_of_them_count():
    drive = Drive()

    tolls = [drive.send([FAILED] * 100) for _ in range(5)]

    assert tolls == [Toll(counts=True)] * 5
    assert drive.mood is Mood.FAILING
    assert (drive.pace.standing.reason, drive.pace.standing.since) == ("answered 500", START)


@pytest.mark.parametrize("good", [[OK], [OK, FAILED], [REFUSED], [REFUSED, FAILED]])
def test_any_sign_of_life_between_keeps_the_breaker_closed(good):
    drive = Drive()

    for outcomes in [[FAILED]] * 4 + [good] + [[FAILED]] * 4:
        drive.send(outcomes)

    assert drive.mood is Mood.DELIVERING


def test_an_open_breaker_is_probed_ever_more_seldom_with_a_few_events():
    drive = failing()
    pauses, tolls = [], []

    for _ in range(9):
        pauses.append(drive.until_next_try())
        drive.wait(pauses[-1])
        assert drive.ask() == Permission(Go.PROBE, 5)
        tolls.append(drive.send([FAILED] * 5))

    assert pauses == [1, 2, 5, 10, 20, 30, 60, 60, 60]
    assert not any(toll.counts for toll in tolls)
    assert drive.pace.standing.since == START


def test_events_of_a_failed_probe_rest_until_after_the_next_probe():
    drive = failing()

    drive.wait(1)
    toll = drive.send([FAILED])

    assert toll.rest_seconds is not None
    assert toll.rest_seconds > drive.until_next_try()


def test_only_one_probe_is_under_way_at_a_time():
    drive = failing().wait(1)
    drive.pace.begin(drive.ask(), 5, drive.now)

    assert drive.ask().go is Go.WAIT
    assert "a probe is under way" in drive.ask().why


def test_a_probe_that_nobody_reports_on_is_forgotten():
    drive = failing().wait(1)
    drive.pace.begin(drive.ask(), 5, drive.now)

    drive.wait(drive.until_next_try())

    assert drive.ask().go is Go.PROBE


def test_a_successful_probe_closes_the_breaker():
    drive = failing().wait(1)

    toll = drive.send([OK] * 5)

    assert toll == Toll(counts=True)
    assert (drive.mood, drive.ask()) == (Mood.DELIVERING, Permission(Go.SEND, 100))


def test_a_late_success_of_an_earlier_request_closes_the_breaker():
    drive = Drive()
    early = drive.ask()
    for _ in range(5):
        drive.send([FAILED])

    drive.pace.record([OK], drive.now)

    assert drive.pace.conclude(early, [OK], drive.now) == Toll(counts=True)
    assert drive.mood is Mood.DELIVERING


def test_late_failures_of_earlier_requests_put_off_no_probe():
    drive = failing()

    drive.wait(0.5)
    drive.pace.record([FAILED], drive.now)

    assert drive.until_next_try() == 0.5


def test_a_probe_that_is_refused_shows_that_the_destination_lives():
    drive = failing().wait(1)

    assert drive.send([REFUSED]) == Toll(counts=True)
    assert drive.mood is Mood.DELIVERING


def test_the_pauses_begin_anew_when_the_breaker_opens_again():
    drive = failing().wait(1)
    drive.send([FAILED])
    drive.wait(2).send([OK])

    for _ in range(5):
        drive.send([FAILED])

    assert drive.until_next_try() == 1


# ── throttling ──


@pytest.mark.parametrize(("wish", "pause"), [(0, 1), (0.2, 1), (17, 17), (3600, 3600), (1e12, 3600)])
def test_a_throttled_destination_is_left_alone_as_long_as_it_asks_within_bounds(wish, pause):
    drive = Drive()

    drive.send([throttled(wish)] * 100)

    assert drive.mood is Mood.THROTTLED
    assert drive.until_next_try() == pause


def test_without_a_wish_the_pause_grows_to_a_minute():
    drive = Drive()
    drive.send([THROTTLED])
    pauses = []

    for _ in range(8):
        pauses.append(drive.until_next_try())
        assert drive.wait(pauses[-1]).send([THROTTLED]) == Toll(counts=False)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_after_a_throttled_pause_one_full_batch_goes_and_a_success_ends_it():
    drive = Drive()
    drive.send([THROTTLED])

    assert drive.wait(1).ask() == Permission(Go.PROBE, 100)
    drive.send([OK] * 100)

    assert drive.mood is Mood.DELIVERING
    drive.send([THROTTLED])
    assert drive.until_next_try() == 1


def test_a_late_success_does_not_end_a_pause_that_was_asked_for():
    drive = Drive()
    drive.send([throttled(30)])

    drive.pace.record([OK], drive.now)

    assert drive.until_next_try() == 30


def test_late_throttled_answers_do_not_let_the_pause_grow():
    drive = Drive()
    drive.send([THROTTLED])

    for _ in range(4):
        drive.pace.record([THROTTLED], drive.now)

    assert drive.until_next_try() == 1


# ── the hold ──


@pytest.mark.parametrize("fault", [UNAUTHORIZED, MOVED])
def test_a_wrong_key_or_address_holds_the_destination_and_says_why(fault):
    drive = Drive()

    drive.send([fault] * 100)

    assert (drive.mood, drive.pace.standing.reason) == (Mood.HELD, fault.reason)
    assert drive.ask().why == fault.reason
    assert drive.until_next_try() == 300


def test_a_held_destination_is_probed_every_five_minutes():
    drive = Drive()
    drive.send([UNAUTHORIZED] * 100)

    for _ in range(5):
        drive.wait(drive.until_next_try())
        toll = drive.send([UNAUTHORIZED] * 100)
        assert not toll.counts
        assert drive.until_next_try() == 300

    assert drive.pace.standing.since == START


def test_events_of_the_first_held_probes_do_not_rest_but_those_of_later_ones_do():
    drive = Drive()
    drive.send([UNAUTHORIZED])
    tolls = []

    for _ in range(4):
        drive.wait(300)
        tolls.append(drive.send([UNAUTHORIZED]))

    assert [toll.rest_seconds for toll in tolls] == [None, None, 450, 450]


def test_a_repaired_key_is_noticed_by_the_next_probe():
    drive = Drive()
    drive.send([UNAUTHORIZED])

    drive.wait(300).send([OK])

    assert drive.ask() == Permission(Go.SEND, 100)


def test_a_person_can_have_a_held_destination_tried_at_once():
    drive = Drive()
    drive.send([UNAUTHORIZED])

    drive.pace.probe_now(drive.now)

    assert drive.ask().go is Go.PROBE


def test_asking_for_a_probe_changes_nothing_while_delivering():
    drive = Drive()

    drive.pace.probe_now(drive.now)

    assert drive.ask() == Permission(Go.SEND, 100)


def test_a_repaired_key_with_one_bad_event_ends_the_hold_and_the_event():
    drive = Drive()
    drive.send([UNAUTHORIZED])

    assert drive.wait(300).send([REFUSED]) == Toll(counts=True)
    assert drive.mood is Mood.DELIVERING


def test_a_batch_of_which_every_event_is_refused_holds_the_destination_and_kills_none():
    drive = Drive()

    toll = drive.send([REFUSED] * 100)

    assert toll == Toll(counts=False)
    assert drive.mood is Mood.HELD
    assert drive.pace.standing.reason == "every event is refused: answered 400"


def test_a_batch_with_one_delivered_event_lets_the_refused_ones_die():
    drive = Drive()

    assert drive.send([REFUSED] * 99 + [OK]) == Toll(counts=True)
    assert drive.mood is Mood.DELIVERING


def test_single_refusals_with_deliveries_between_never_hold():
    drive = Drive()

    for _ in range(20):
        assert drive.send([REFUSED]) == Toll(counts=True)
        drive.send([OK])

    assert drive.mood is Mood.DELIVERING


def test_the_fifth_single_refusal_in_a_row_holds():
    drive = Drive(batch=Batch(1, 450_000, 0.5))

    tolls = [drive.send([REFUSED]).counts for _ in range(5)]

    assert tolls == [True, True, True, True, False]
    assert drive.mood is Mood.HELD


def test_a_destination_held_for_refusing_is_probed_with_a_full_batch_and_one_success_frees_it():
    drive = Drive()
    drive.send([REFUSED] * 100)

    assert not drive.wait(300).send([REFUSED] * 100).counts
    assert drive.wait(300).ask() == Permission(Go.PROBE, 100)
    assert drive.send([REFUSED] * 99 + [OK]).counts
    assert drive.mood is Mood.DELIVERING


def test_a_run_of_bad_events_holds_once_and_then_dies():
    drive = Drive()
    drive.send([REFUSED] * 5)
    drive.wait(300).send([OK])

    toll = drive.send([REFUSED] * 5)

    assert (toll, drive.mood) == (Toll(counts=True), Mood.DELIVERING)
    assert drive.send([REFUSED] * 5) == Toll(counts=False)


def test_a_whole_batch_of_refusals_holds_however_often_that_was_wrong():
    drive = Drive()
    for _ in range(10):
        drive.send([REFUSED] * 100)
        drive.wait(300).send([OK])

    assert drive.send([REFUSED] * 100) == Toll(counts=False)


def test_halves_are_reported_one_by_one_and_the_batch_once():
    drive = Drive()
    permission = drive.ask()
    drive.pace.begin(permission, 8, drive.now)
    for outcomes in ([REFUSED] * 8, [REFUSED] * 4, [OK] * 4, [REFUSED] * 2, [REFUSED] * 2):
        drive.pace.record(outcomes, drive.now)

    toll = drive.pace.conclude(permission, [REFUSED] * 4 + [OK] * 4, drive.now)

    assert (toll, drive.mood) == (Toll(counts=True), Mood.DELIVERING)


@pytest.mark.parametrize(
    ("first", "then", "mood"),
    [
        (UNAUTHORIZED, FAILED, Mood.FAILING),
        (UNAUTHORIZED, THROTTLED, Mood.THROTTLED),
        (UNAUTHORIZED, MOVED, Mood.HELD),
        (THROTTLED, UNAUTHORIZED, Mood.HELD),
        (THROTTLED, FAILED, Mood.FAILING),
        (THROTTLED, OK, Mood.DELIVERING),
        (THROTTLED, REFUSED, Mood.DELIVERING),
    ],
)
def test_the_answer_to_a_probe_says_how_the_destination_is_now(first, then, mood):
    drive = Drive()
    drive.send([first])
    drive.wait(drive.until_next_try())

    drive.send([then])

    assert drive.mood is mood
    assert drive.pace.standing.reason == (then.reason if mood is not Mood.DELIVERING else "")


@pytest.mark.parametrize(("then", "mood"), [(UNAUTHORIZED, Mood.HELD), (THROTTLED, Mood.THROTTLED)])
def test_a_failing_destination_can_turn_out_to_be_something_else(then, mood):
    drive = failing().wait(1)

    assert not drive.send([then]).counts
    assert drive.mood is mood


# ── the rate ──


def spend(drive: Drive, seconds: float) -> int:
    """Sends as often as it is allowed to; how many events left."""
    end, sent = drive.now + timedelta(seconds=seconds), 0
    while drive.now < end:
        permission = drive.ask()
        if permission.go is Go.WAIT and permission.until:
            drive.now = permission.until
            continue
        drive.send([OK] * permission.max_events)
        sent += permission.max_events
    return sent


@pytest.mark.parametrize("rate", [0.5, 1, 7, 100, 2_000])
@pytest.mark.parametrize("max_events", [1, 100])
def test_the_rate_is_held_over_time_and_used_to_the_full(rate, max_events):
    drive = Drive(rate, Batch(max_events, 450_000, 0.5))

    sent = spend(drive, 10)

    assert 0.9 * 10 * rate <= sent <= 11 * rate + 1


def test_at_a_limited_rate_events_leave_in_full_batches():
    drive = Drive(500)
    drive.send([OK] * 100)

    assert drive.ask().go is Go.WAIT
    assert drive.ask().why == "the rate limit is reached"
    assert drive.until_next_try() == pytest.approx(0.2)
    assert drive.wait(0.2).ask() == Permission(Go.SEND, 100)


def test_a_clock_that_is_set_back_blocks_nothing():
    drive = Drive(100)
    drive.send([OK] * 100)

    drive.wait(-3600)
    sent = spend(drive, 10)

    assert 900 <= sent <= 1200

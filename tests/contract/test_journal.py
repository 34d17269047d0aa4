"""Every engine of the journal keeps these promises to its readers: claiming, settling, retries, backlog."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from connector.journal.base import Backlog, Journal
from connector.model import EventType, OpenDelivery, Reader, Settlement, Verdict
from tests.contract.journal_words import (
    LEASE_SECONDS,
    READER,
    START,
    done,
    event,
    ids,
    released,
    retry,
    settle_all,
    step,
    store,
)

Open = Callable[[], Journal]
PassTime = Callable[[float], None]


@pytest.fixture
def reading(journal: Journal) -> Journal:
    """A journal with a reader that starts at the beginning."""
    journal.add_reader(READER, "beginning")
    return journal


# ── readers ──


def test_an_unknown_reader_has_nothing(journal: Journal) -> None:
    store(journal, 1)

    assert journal.claim(READER, 10) == []
    assert journal.backlog(READER) == Backlog(0, 0, 0, None)
    journal.settle(READER, [Settlement(1)])


def test_a_new_reader_starts_now_at_the_beginning_or_at_a_moment(journal: Journal) -> None:
    store(journal, 5)
    starts: dict[str, str | datetime] = {
        "now": "now",
        "all": "beginning",
        "moment": START + timedelta(seconds=4),
        "text": "2026-09-01T12:00:04Z",
    }
    for name, start in starts.items():
        journal.add_reader(Reader(name, "production"), start)
    store(journal, 1, first=6)

    read = {name: settle_all(journal, Reader(name, "production")) for name in starts}

    assert read == {"now": [6], "all": [1, 2, 3, 4, 5, 6], "moment": [4, 5, 6], "text": [4, 5, 6]}


def test_a_reader_that_starts_at_a_moment_misses_nothing_that_overtook(journal: Journal) -> None:
    journal.append([event(1, at=-5), event(2, at=0.02), event(3, at=0.01), event(4, at=1)])

    journal.add_reader(READER, START)

    assert settle_all(journal) == [2, 3, 4]


def test_a_reader_may_start_in_the_future(journal: Journal) -> None:
    store(journal, 2)

    journal.add_reader(READER, START + timedelta(days=1))
    store(journal, 1, first=3)

    assert settle_all(journal) == [3]


def test_a_known_reader_is_left_alone(reading: Journal) -> None:
    store(reading, 2)

    reading.add_reader(READER, "now")

    assert settle_all(reading) == [1, 2]


def test_readers_lists_all_that_are_known(journal: Journal) -> None:
    known = [READER, Reader("hook", "staging"), Reader("file", "production")]
    for reader in known:
        journal.add_reader(reader, "now")

    assert journal.readers() == known


def test_each_reader_has_a_cursor_of_its_own_and_sees_its_source_only(journal: Journal) -> None:
    readers = [READER, Reader("hook", "staging"), Reader("file", "production")]
    for reader in readers:
        journal.add_reader(reader, "beginning")
    for number in range(1, 5):
        store(journal, 1, number, "production" if number % 2 else "staging")

    assert [settle_all(journal, reader) for reader in readers] == [[1, 3], [2, 4], [1, 3]]


# ── claim and settle ──


def test_claims_come_in_journal_order_within_the_limit(reading: Journal) -> None:
    store(reading, 5)

    assert [ids(reading.claim(READER, 2)) for _ in range(4)] == [[1, 2], [3, 4], [5], []]


def test_what_was_settled_never_comes_again(reading: Journal, open_journal: Open) -> None:
    store(reading, 3)
    assert settle_all(reading) == [1, 2, 3]

    reading.close()

    assert settle_all(open_journal()) == []


def test_what_was_claimed_and_not_settled_comes_again_after_a_restart(reading: Journal, open_journal: Open) -> None:
    store(reading, 3)
    reading.claim(READER, 2)

    reading.close()

    assert settle_all(open_journal()) == [1, 2, 3]


def test_the_cursor_passes_nothing_unsettled(reading: Journal, open_journal: Open) -> None:
    store(reading, 4)
    first, *others = reading.claim(READER, 4)
    reading.settle(READER, done(*reversed(others)))

    reading.close()

    assert ids(open_journal().claim(READER, 10))[0] == 1
    assert reading.backlog(READER).oldest_at == first.received.received_at


def test_settling_out_of_order_ends_at_the_last_event(reading: Journal, open_journal: Open) -> None:
    store(reading, 4)
    claimed = reading.claim(READER, 4)

    for item in (claimed[2], claimed[0], claimed[3], claimed[1]):
        reading.settle(READER, done(item))

    assert reading.backlog(READER) == Backlog(0, 0, 0, None)
    reading.close()
    assert open_journal().claim(READER, 10) == []


def test_claims_are_hidden_from_another_process_until_they_are_given_back(reading: Journal, open_journal: Open) -> None:
    store(reading, 3)
    reading.claim(READER, 1)
    other = open_journal()

    assert other.claim(READER, 10) == []
    reading.close()
    assert ids(other.claim(READER, 10)) == [1, 2, 3]


def test_a_third_process_does_not_take_what_a_living_second_one_holds(reading: Journal, open_journal: Open) -> None:
    other_reader = Reader("file", "production")
    reading.add_reader(other_reader, "beginning")
    store(reading, 1)
    second, third = open_journal(), open_journal()
    reading.claim(READER, 1)
    second.claim(other_reader, 1)

    reading.close()

    assert third.claim(other_reader, 1) == []
    assert ids(third.claim(READER, 1)) == [1]


def test_a_lease_that_ran_out_is_taken_by_another_and_is_no_attempt(
    reading: Journal, open_journal: Open, pass_time: PassTime
) -> None:
    store(reading, 2)
    claimed = reading.claim(READER, 2)
    other = open_journal()
    pass_time(LEASE_SECONDS + 1)

    taken = other.claim(READER, 10)
    reading.settle(READER, done(*claimed))

    assert ids(taken) == [1, 2]
    assert [item.open for item in taken] == [None, None]
    assert other.backlog(READER).waiting == 2
    other.settle(READER, done(*taken))
    assert other.backlog(READER).waiting == 0


def test_a_claim_whose_lease_ran_out_is_handed_out_again_by_the_same_process(
    reading: Journal, pass_time: PassTime
) -> None:
    store(reading, 2)
    claimed = reading.claim(READER, 2)
    reading.settle(READER, done(claimed[1]))

    pass_time(LEASE_SECONDS + 1)

    again = reading.claim(READER, 10)
    assert (ids(again), again[0].open) == ([1], None)


def test_a_lease_is_prolonged_by_working(reading: Journal, open_journal: Open, pass_time: PassTime) -> None:
    store(reading, 20)
    other = open_journal()

    for number in range(1, 21):
        claimed = reading.claim(READER, 1)
        assert ids(claimed) == [number]
        assert other.claim(READER, 1) == []
        reading.settle(READER, done(*claimed))
        pass_time(LEASE_SECONDS / 4)


def test_settling_after_the_lease_but_before_anyone_took_it_counts(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 1)
    claimed = reading.claim(READER, 1)

    pass_time(LEASE_SECONDS + 1)
    reading.settle(READER, done(*claimed))

    assert reading.claim(READER, 1) == []


def test_settling_twice_changes_nothing(reading: Journal) -> None:
    store(reading, 2)
    first, second = reading.claim(READER, 2)
    reading.settle(READER, retry(first, at=START))
    reading.settle(READER, done(second))

    reading.settle(READER, done(first))
    reading.settle(READER, retry(second, at=START))

    assert reading.backlog(READER) == Backlog(0, 1, 0, None)


def test_settling_what_was_never_claimed_changes_nothing(reading: Journal) -> None:
    store(reading, 2)
    [first] = reading.claim(READER, 1)

    reading.settle(READER, [Settlement(first.received.seq + 1, (step(Verdict.DONE),)), Settlement(10**9)])

    assert reading.backlog(READER).waiting == 2


def test_an_event_without_verdicts_is_settled(reading: Journal) -> None:
    store(reading, 1)
    [claimed] = reading.claim(READER, 1)

    reading.settle(READER, [Settlement(claimed.received.seq)])

    assert reading.backlog(READER) == Backlog(0, 0, 0, None)
    assert reading.claim(READER, 1) == []


def test_an_event_that_was_settled_before_a_crash_is_not_fresh_to_the_next_process(
    reading: Journal, open_journal: Open
) -> None:
    store(reading, 3)
    claimed = reading.claim(READER, 3)
    reading.settle(READER, retry(claimed[1], at=START, attempts=5))
    reading.close()
    successor = open_journal()

    again = successor.claim(READER, 10)

    assert [(item.received.event_id, item.open) for item in again] == [
        ("event-00002", (OpenDelivery(EventType.TRACK, "all", 5),)),
        ("event-00001", None),
        ("event-00003", None),
    ]
    successor.settle(READER, done(*again))
    assert successor.backlog(READER) == Backlog(0, 0, 0, None)


# ── release ──


def test_a_released_event_comes_again_before_newer_ones_as_if_never_claimed(reading: Journal) -> None:
    store(reading, 4)
    reading.settle(READER, released(*reading.claim(READER, 2)))

    again = reading.claim(READER, 3)

    assert (ids(again), {item.open for item in again}) == ([1, 2, 3], {None})


def test_a_released_event_holds_the_cursor(reading: Journal, open_journal: Open) -> None:
    store(reading, 3)
    first, *others = reading.claim(READER, 3)

    reading.settle(READER, [*done(*others), *released(first)])

    reading.close()
    assert ids(open_journal().claim(READER, 1)) == [1]


def test_a_released_retry_keeps_its_count_and_stays_due(reading: Journal) -> None:
    store(reading, 1)
    reading.settle(READER, retry(*reading.claim(READER, 1), at=START, attempts=3))

    for _ in range(2):
        [claimed] = reading.claim(READER, 1)
        assert claimed.open == (OpenDelivery(EventType.TRACK, "all", 3),)
        reading.settle(READER, released(claimed))


def test_a_released_delivery_beside_one_that_is_done_waits_alone(reading: Journal) -> None:
    store(reading, 1)
    [claimed] = reading.claim(READER, 1)

    reading.settle(READER, [Settlement(claimed.received.seq, (step(Verdict.DONE, "a"), step(Verdict.RELEASE, "b")))])

    [again] = reading.claim(READER, 1)
    assert again.open == (OpenDelivery(EventType.TRACK, "b", 0),)


# ── retries ──


def test_a_retry_waits_until_it_is_due(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 2)
    first, second = reading.claim(READER, 2)
    reading.settle(READER, [*retry(first, at=START + timedelta(seconds=30), attempts=2), *done(second)])

    pass_time(29.9)
    assert reading.claim(READER, 10) == []
    pass_time(0.1)

    [claimed] = reading.claim(READER, 10)
    assert (ids([claimed]), claimed.open) == ([1], (OpenDelivery(EventType.TRACK, "all", 2),))
    assert claimed.received.body == first.received.body


def test_due_retries_come_before_fresh_events(reading: Journal) -> None:
    store(reading, 4)
    reading.settle(READER, retry(*reversed(reading.claim(READER, 2)), at=START))

    assert ids(reading.claim(READER, 3)) == [1, 2, 3]


def test_a_waiting_retry_does_not_hold_the_cursor(reading: Journal, open_journal: Open, pass_time: PassTime) -> None:
    store(reading, 2)
    first, second = reading.claim(READER, 2)
    reading.settle(READER, [*retry(first, at=START + timedelta(hours=1)), *done(second)])
    reading.close()
    successor = open_journal()

    assert successor.backlog(READER) == Backlog(0, 1, 0, None)
    assert successor.claim(READER, 10) == []
    pass_time(3600)
    assert ids(successor.claim(READER, 10)) == [1]


def test_a_claimed_retry_is_hidden_until_its_lease_ends(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 1)
    reading.settle(READER, retry(*reading.claim(READER, 1), at=START, attempts=4))
    assert ids(reading.claim(READER, 1)) == [1]

    assert reading.claim(READER, 1) == []
    pass_time(LEASE_SECONDS + 1)

    [again] = reading.claim(READER, 1)
    assert again.open == (OpenDelivery(EventType.TRACK, "all", 4),)


def test_claimed_retries_with_many_actions_do_not_hide_other_due_ones(reading: Journal) -> None:
    store(reading, 2)
    for claimed in reading.claim(READER, 2):
        steps = tuple(step(Verdict.RETRY, name, at=START, attempts=1) for name in ("a", "b", "c", "d"))
        reading.settle(READER, [Settlement(claimed.received.seq, steps)])

    assert [ids(reading.claim(READER, 1)) for _ in range(3)] == [[1], [2], []]


def test_actions_of_one_event_succeed_and_fail_apart(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 1)
    [claimed] = reading.claim(READER, 1)
    steps = (
        step(Verdict.DONE, "a"),
        step(Verdict.RETRY, "b", at=START, attempts=1),
        step(Verdict.RETRY, "c", at=START + timedelta(seconds=9), attempts=1),
        step(Verdict.DEAD, "d", attempts=1, reason="refused"),
    )
    reading.settle(READER, [Settlement(claimed.received.seq, steps)])
    assert reading.backlog(READER) == Backlog(0, 2, 1, None)

    [again] = reading.claim(READER, 1)
    assert again.open == (OpenDelivery(EventType.TRACK, "b", 1),)
    reading.settle(READER, [Settlement(again.received.seq, (step(Verdict.DONE, "b"),))])

    pass_time(9)
    [again] = reading.claim(READER, 1)
    assert again.open == (OpenDelivery(EventType.TRACK, "c", 1),)
    reading.settle(READER, [Settlement(again.received.seq, (step(Verdict.DEAD, "c", attempts=2, reason="late"),))])
    assert reading.backlog(READER) == Backlog(0, 0, 2, None)


def test_a_retry_that_no_action_wants_any_more_is_settled(reading: Journal) -> None:
    store(reading, 1)
    reading.settle(READER, retry(*reading.claim(READER, 1), at=START))
    [claimed] = reading.claim(READER, 1)

    reading.settle(READER, [Settlement(claimed.received.seq)])

    assert reading.claim(READER, 1) == []
    assert reading.backlog(READER) == Backlog(0, 0, 0, None)


# ── backlog ──


def test_the_backlog_counts_what_is_past_the_cursor_and_since_when(reading: Journal) -> None:
    store(reading, 3)
    store(reading, 2, first=4, source="staging")

    assert reading.backlog(READER) == Backlog(3, 0, 0, START + timedelta(seconds=1))
    reading.settle(READER, done(*reading.claim(READER, 1)))
    assert reading.backlog(READER) == Backlog(2, 0, 0, START + timedelta(seconds=2))
    settle_all(reading)
    assert reading.backlog(READER) == Backlog(0, 0, 0, None)


def test_a_reader_that_starts_now_has_no_backlog(journal: Journal) -> None:
    store(journal, 3)

    journal.add_reader(READER, "now")

    assert journal.backlog(READER) == Backlog(0, 0, 0, None)
    store(journal, 1, first=4)
    assert journal.backlog(READER).waiting == 1

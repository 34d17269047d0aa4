"""Every engine of the journal keeps these promises about what it keeps: retention, erasing, revisions."""

from collections.abc import Callable

import pytest

from connector.journal.base import Backlog, Journal
from connector.model import Reader, Retention, Settlement, Verdict
from tests.contract.journal_words import (
    DAY,
    LEASE_SECONDS,
    READER,
    SOURCE,
    START,
    done,
    event,
    ids,
    replayed,
    retry,
    second,
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


# ── retention ──


def test_by_default_everything_is_kept_for_ever(journal: Journal, pass_time: PassTime) -> None:
    store(journal, 3)
    pass_time(3650 * DAY)

    assert journal.prune(Retention()) == 0

    assert ids(journal.scan()) == [1, 2, 3]


def test_events_beyond_the_age_go_and_younger_ones_stay(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 5)
    settle_all(reading)
    pass_time(103)

    assert reading.prune(Retention(events_seconds=100)) == 2

    assert ids(reading.scan()) == [3, 4, 5]
    assert reading.count(None, None) == 3
    assert reading.find("event-00001") == []
    assert reading.dead_letters() == []
    assert reading.prune(Retention(events_seconds=100)) == 0


def test_what_a_reader_still_waits_for_becomes_its_dead_letter_first(reading: Journal, pass_time: PassTime) -> None:
    ahead, elsewhere = Reader("ahead", SOURCE), Reader("hook", "staging")
    for reader in (ahead, elsewhere):
        reading.add_reader(reader, "beginning")
    store(reading, 3)
    settle_all(reading, ahead)
    reading.settle(READER, done(*reading.claim(READER, 1)))
    pass_time(102.5)

    assert reading.prune(Retention(events_seconds=100)) == 2

    assert [(letter.reader, letter.event_id) for letter in reading.dead_letters()] == [(READER, "event-00002")]
    assert "retention" in reading.dead_letters()[0].reason
    assert reading.backlog(READER) == Backlog(1, 0, 1, second(3))
    assert reading.retry_dead([reading.dead_letters()[0].id]) == 0
    assert settle_all(reading) == [3]
    assert reading.backlog(READER) == Backlog(0, 0, 1, None)


def test_a_waiting_retry_that_retention_takes_becomes_a_dead_letter(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 1)
    reading.settle(READER, retry(*reading.claim(READER, 1), at=second(10**6), attempts=7))
    pass_time(200)

    reading.prune(Retention(events_seconds=100))

    [letter] = reading.dead_letters()
    assert (letter.action, letter.attempts) == ("all", 7)
    assert reading.backlog(READER) == Backlog(0, 0, 1, None)


def test_what_a_replay_still_waits_for_becomes_its_dead_letter(journal: Journal, pass_time: PassTime) -> None:
    store(journal, 4)
    reader = replayed(journal, since=second(2), until=second(4))
    journal.settle(reader, done(*journal.claim(reader, 1)))
    pass_time(200)

    journal.prune(Retention(events_seconds=100))

    assert [(letter.reader, letter.event_id) for letter in journal.dead_letters()] == [(reader, "event-00003")]
    assert journal.claim(reader, 10) == []
    assert [state.state for state in journal.replays()] == ["done"]


def test_retention_waits_for_what_is_on_its_way(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 3)
    claimed = reading.claim(READER, 2)
    pass_time(LEASE_SECONDS - 1)

    assert reading.prune(Retention(events_seconds=1)) == 0

    reading.settle(READER, done(*claimed))
    assert reading.prune(Retention(events_seconds=1)) == 3
    assert [letter.event_id for letter in reading.dead_letters()] == ["event-00003"]


def test_what_another_process_removed_on_its_way_is_no_dead_letter_once_delivered(
    reading: Journal, open_journal: Open, pass_time: PassTime
) -> None:
    store(reading, 2)
    first, last = reading.claim(READER, 2)
    pass_time(10)
    assert open_journal().prune(Retention(events_seconds=1)) == 2
    assert reading.backlog(READER).dead == 2

    reading.settle(READER, [*done(first), *retry(last, at=second(99), attempts=1)])

    assert [(letter.event_id, letter.action) for letter in reading.dead_letters()] == [("event-00002", "all")]
    assert reading.backlog(READER) == Backlog(0, 0, 1, None)
    store(reading, 1, first=3)
    assert reading.backlog(READER).waiting == 1
    assert settle_all(reading) == [3]


def test_what_was_delivered_behind_a_stuck_event_is_no_dead_letter(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 3)
    stuck, *others = reading.claim(READER, 3)
    reading.settle(READER, [*done(*others), Settlement(stuck.received.seq, (step(Verdict.RELEASE),))])
    pass_time(10)

    reading.prune(Retention(events_seconds=1))

    assert [letter.event_id for letter in reading.dead_letters()] == ["event-00001"]
    assert reading.backlog(READER) == Backlog(0, 0, 1, None)
    store(reading, 1, first=4)
    assert settle_all(reading) == [4]


def test_a_new_reader_of_the_beginning_starts_where_retention_left_off(journal: Journal, pass_time: PassTime) -> None:
    store(journal, 5)
    pass_time(103.5)
    journal.prune(Retention(events_seconds=100))
    pass_time(20 * DAY)
    journal.prune(Retention(events_seconds=20 * DAY + 101))

    journal.add_reader(READER, "beginning")

    assert journal.backlog(READER).waiting == 2
    assert settle_all(journal) == [4, 5]


def test_the_order_goes_on_when_everything_was_removed(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 3)
    settle_all(reading)
    pass_time(20 * DAY)
    while reading.prune(Retention(events_seconds=1)):
        pass
    reading.prune(Retention(events_seconds=1))

    store(reading, 2, first=4)

    assert reading.backlog(READER).waiting == 2
    assert settle_all(reading) == [4, 5]


def test_the_size_limit_takes_the_oldest_until_it_is_kept_and_no_more(reading: Journal) -> None:
    body = b"x" * 1500
    for first in range(1, 4001, 500):
        reading.append([event(number, body=body) for number in range(first, first + 500)])
    settle_all(reading)

    removed = 0
    for _ in range(10):
        removed += reading.prune(Retention(events_bytes=4_000_000))

    assert 1000 < removed < 4000
    assert ids(reading.scan()) == list(range(removed + 1, 4001))


# ── erasing ──


def test_an_erased_event_has_no_body_and_is_not_handed_out(reading: Journal, open_journal: Open) -> None:
    store(reading, 3)
    [target] = reading.find("event-00002")

    assert reading.erase([target.seq, 10**9]) == 1

    assert reading.erase([target.seq]) == 0
    assert ids(reading.scan()) == [1, 3]
    assert reading.find("event-00002") == []
    assert reading.count(None, None) == 3
    assert settle_all(reading) == [1, 3]
    assert reading.backlog(READER) == Backlog(0, 0, 1, None)
    assert [(letter.event_id, letter.action) for letter in reading.dead_letters()] == [("event-00002", "*")]


def test_an_erased_event_whose_retry_waits_becomes_a_dead_letter(reading: Journal) -> None:
    store(reading, 1)
    [claimed] = reading.claim(READER, 1)
    reading.settle(READER, retry(claimed, at=second(9)))

    reading.erase([claimed.received.seq])

    assert reading.backlog(READER) == Backlog(0, 0, 1, None)
    assert "erased" in reading.dead_letters()[0].reason


def test_an_event_that_was_erased_on_its_way_does_not_wait_for_ever(reading: Journal) -> None:
    store(reading, 2)
    claimed = reading.claim(READER, 2)
    reading.erase([item.received.seq for item in claimed])

    reading.settle(READER, [*done(claimed[0]), *retry(claimed[1], at=START, attempts=1)])

    assert reading.claim(READER, 10) == []
    assert reading.backlog(READER).retrying == 0
    assert [(letter.event_id, letter.action) for letter in reading.dead_letters()] == [("event-00002", "all")]


def test_an_erased_event_that_was_given_back_does_not_stop_a_replay(journal: Journal) -> None:
    store(journal, 2)
    reader = replayed(journal)
    first, other = journal.claim(reader, 2)
    journal.settle(reader, [*done(other), Settlement(first.received.seq, (step(Verdict.RELEASE),))])

    journal.erase([first.received.seq])

    assert journal.claim(reader, 10) == []
    assert [state.state for state in journal.replays()] == ["done"]


# ── revisions ──


def test_a_revision_is_in_force_for_what_came_after_it_was_noted(reading: Journal) -> None:
    reading.note_revision("hook", "1", "first")
    store(reading, 2)
    settle_all(reading)
    reading.note_revision("hook", "1", "not written again")
    reading.note_revision("hook", "2", "second")
    store(reading, 1, first=3)
    first, _, third = (received.seq for received in reading.scan())

    assert reading.revision_at("hook", first) == "first"
    assert reading.revision_at("hook", third) == "second"
    assert reading.revision_at("file", first) is None

"""Every engine of the journal keeps these promises about the past: scanning, replays, dead letters."""

from collections.abc import Callable

import pytest

from connector.journal.base import Backlog, Journal
from connector.model import EventType, OpenDelivery, Reader, ReceivedEvent, Settlement, Verdict
from tests.contract.journal_words import (
    READER,
    SOURCE,
    START,
    dead,
    done,
    event,
    ids,
    make_dead,
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


# ── scan, find, latest, count ──


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, [1, 2, 3, 4, 5]),
        (2, None, [2, 3, 4, 5]),
        (None, 4, [1, 2, 3]),
        (2, 4, [2, 3]),
        (2.5, 3.5, [3]),
        (4, 2, []),
        (9, None, []),
        (None, 0, []),
    ],
)
def test_scan_and_count_take_a_range_of_receive_times(
    journal: Journal, since: float | None, until: float | None, expected: list[int]
) -> None:
    store(journal, 5)
    bounds = (None if since is None else second(since), None if until is None else second(until))

    assert ids(journal.scan(*bounds)) == expected
    if expected:
        assert journal.count(*bounds) == len(expected)


def test_scan_goes_in_order_of_arrival_and_misses_nothing_that_overtook(journal: Journal) -> None:
    journal.append([event(1, at=0.3), event(2, at=0.1), event(3, at=0.2), event(4, at=30), event(5, at=29.5)])

    assert ids(journal.scan(second(0.1), second(30))) == [1, 2, 3, 5]
    assert ids(journal.scan(second(0.25))) == [1, 4, 5]
    assert ids(journal.scan(None, second(0.15))) == [2]


def test_scan_follows_a_source_and_goes_on_from_a_place(journal: Journal) -> None:
    store(journal, 2)
    store(journal, 2, first=3, source="staging")
    store(journal, 2, first=5)
    first, *_ = journal.scan()

    assert ids(journal.scan(source="staging")) == [3, 4]
    assert ids(journal.scan(source=SOURCE, after_seq=first.seq)) == [2, 5, 6]
    assert list(journal.scan(source="nobody")) == []
    assert journal.count(None, None, "staging") == 2


def test_scan_gives_more_than_one_page_and_lets_others_write_meanwhile(journal: Journal) -> None:
    store(journal, 1200)

    seen: list[ReceivedEvent] = []
    for received in journal.scan():
        if not seen:
            store(journal, 1, first=1201)
        seen.append(received)

    assert ids(seen)[:1200] == list(range(1, 1201))


def test_find_gives_the_events_with_this_id_of_any_source(journal: Journal) -> None:
    store(journal, 2)
    store(journal, 1, source="staging")

    assert [received.source for received in journal.find("event-00001")] == [SOURCE, "staging"]
    assert journal.find("nothing") == []


def test_latest_gives_the_newest_in_order_of_arrival(journal: Journal) -> None:
    store(journal, 5)
    store(journal, 1, first=6, source="staging")

    assert ids(journal.latest(2)) == [5, 6]
    assert ids(journal.latest(2, SOURCE)) == [4, 5]
    assert journal.latest(0) == []


def test_whereabouts_tell_how_far_each_reader_is(reading: Journal) -> None:
    ahead = Reader("ahead", SOURCE)
    reading.add_reader(ahead, "beginning")
    store(reading, 1)
    settle_all(reading, ahead)
    [claimed] = reading.claim(READER, 1)
    reading.settle(READER, dead(claimed))

    behind = Reader("behind", SOURCE)
    reading.add_reader(behind, "beginning")

    found = {item.reader: item for item in reading.whereabouts(claimed.received.seq)}
    assert (found[ahead].is_passed, found[ahead].exceptions) == (True, ())
    assert [(item.state, item.reason) for item in found[READER].exceptions] == [("dead", "refused")]
    assert not found[behind].is_passed


# ── replays ──


def test_a_replay_hands_out_its_range_again_and_is_done(reading: Journal) -> None:
    store(reading, 5)
    settle_all(reading)

    reader = replayed(reading, since=second(2), until=second(5), where="metric == 'opened'")

    [state] = reading.replays()
    assert (state.destination, state.source, state.state, state.total, state.passed) == (
        "hook",
        SOURCE,
        "running",
        3,
        0,
    )
    assert (state.since, state.until, state.where) == (second(2), second(5), "metric == 'opened'")
    assert reader in reading.readers()
    assert reading.backlog(reader) == Backlog(3, 0, 0, second(2))
    assert settle_all(reading, reader, limit=2) == [2, 3, 4]
    [state] = reading.replays()
    assert (state.state, state.passed) == ("done", 3)
    assert reader not in reading.readers()
    assert reading.backlog(reader) == Backlog(0, 0, 0, None)


def test_a_replay_holds_what_was_there_when_it_began_and_leaves_the_present_alone(reading: Journal) -> None:
    store(reading, 3)
    settle_all(reading)
    reader = replayed(reading)

    store(reading, 2, first=4)

    assert settle_all(reading, reader) == [1, 2, 3]
    assert settle_all(reading) == [4, 5]


def test_a_replay_of_several_sources_is_one_each(journal: Journal) -> None:
    store(journal, 2)
    store(journal, 1, first=3, source="staging")

    states = journal.replay("hook", [SOURCE, "staging"], None, None, None)

    assert [(state.source, state.total) for state in states] == [(SOURCE, 2), ("staging", 1)]
    assert [settle_all(journal, Reader("hook", state.source, state.id)) for state in states] == [[1, 2], [3]]
    assert [state.id for state in journal.replays()] == [state.id for state in reversed(states)]


def test_the_dry_run_count_is_the_total_of_the_replay(journal: Journal) -> None:
    store(journal, 9)

    count = journal.count(second(3), second(8), SOURCE)
    [state] = journal.replay("hook", [SOURCE], second(3), second(8), None)

    assert state.total == count == 5


def test_a_replay_takes_what_arrived_out_of_order(journal: Journal) -> None:
    journal.append([event(1, at=10.02), event(2, at=9.99), event(3, at=10.01), event(4, at=11), event(5, at=10.5)])

    reader = replayed(journal, since=second(10), until=second(11))

    assert settle_all(journal, reader) == [1, 3, 5]


def test_an_empty_replay_is_done_at_the_first_look(journal: Journal) -> None:
    store(journal, 2)
    reader = replayed(journal, since=second(60))

    assert journal.claim(reader, 1) == []

    assert [state.state for state in journal.replays()] == ["done"]


def test_a_cancelled_replay_sends_nothing_more(journal: Journal, open_journal: Open) -> None:
    store(journal, 3)
    reader = replayed(journal)
    first = journal.claim(reader, 1)

    assert open_journal().cancel_replay(reader.replay)

    assert journal.claim(reader, 1) == []
    journal.settle(reader, done(*first))
    assert [state.state for state in journal.replays()] == ["cancelled"]
    assert reader not in journal.readers()
    assert not journal.cancel_replay(reader.replay)
    assert not journal.cancel_replay("")
    assert not journal.cancel_replay("replay-404")


def test_cancelling_drops_the_retries_of_the_replay_and_of_nothing_else(reading: Journal) -> None:
    store(reading, 1)
    reading.settle(READER, retry(*reading.claim(READER, 1), at=START))
    reader = replayed(reading)
    reading.settle(reader, retry(*reading.claim(reader, 1), at=START))

    reading.cancel_replay(reader.replay)

    assert reading.backlog(reader).retrying == 0
    assert reading.backlog(READER).retrying == 1


def test_a_replay_is_not_done_while_a_retry_waits(journal: Journal, pass_time: PassTime) -> None:
    store(journal, 2)
    reader = replayed(journal)
    first, other = journal.claim(reader, 2)
    journal.settle(reader, [*retry(first, at=second(30), attempts=1), *done(other)])

    assert journal.claim(reader, 2) == []
    assert [state.state for state in journal.replays()] == ["running"]
    pass_time(30)

    [again] = journal.claim(reader, 2)
    assert again.open == (OpenDelivery(EventType.TRACK, "all", 1),)
    journal.settle(reader, done(again))
    assert journal.claim(reader, 2) == []
    assert [state.state for state in journal.replays()] == ["done"]


def test_a_replay_goes_on_after_a_restart_where_it_was(journal: Journal, open_journal: Open) -> None:
    store(journal, 4)
    reader = replayed(journal)
    journal.settle(reader, done(*journal.claim(reader, 2)))
    journal.close()
    successor = open_journal()

    assert [state.passed for state in successor.replays()] == [2]
    assert settle_all(successor, reader) == [3, 4]
    assert [(state.state, state.passed) for state in successor.replays()] == [("done", 4)]


def test_a_retried_dead_letter_wakes_a_replay_that_is_done(journal: Journal) -> None:
    store(journal, 1)
    reader = replayed(journal)
    letters = make_dead(journal, reader=reader)
    assert journal.claim(reader, 1) == []
    assert [state.state for state in journal.replays()] == ["done"]

    assert journal.retry_dead(letters) == 1

    assert settle_all(journal, reader) == [1]
    assert [state.state for state in journal.replays()] == ["done"]


def test_a_retried_dead_letter_of_a_cancelled_replay_brings_back_nothing_else(journal: Journal) -> None:
    store(journal, 3)
    reader = replayed(journal)
    letters = make_dead(journal, reader=reader)
    journal.cancel_replay(reader.replay)

    assert journal.retry_dead(letters) == 1

    assert settle_all(journal, reader) == [1]


# ── dead letters ──


def test_a_dead_letter_says_whose_it_was_and_why(reading: Journal, pass_time: PassTime) -> None:
    store(reading, 1)
    [claimed] = reading.claim(READER, 1)
    pass_time(5)
    steps = tuple(step(Verdict.DEAD, action, attempts=3, reason="no") for action in ("a", "b"))

    reading.settle(READER, [Settlement(claimed.received.seq, steps)])

    letters = reading.dead_letters()
    assert [(letter.action, letter.reason, letter.attempts) for letter in letters] == [("a", "no", 3), ("b", "no", 3)]
    letter = letters[0]
    assert (letter.reader, letter.seq, letter.event_id) == (READER, claimed.received.seq, "event-00001")
    assert (letter.type, letter.died_at) == (EventType.TRACK, second(5))


def test_dead_letters_come_oldest_first_in_pages_and_by_destination(reading: Journal) -> None:
    other = Reader("file", SOURCE)
    reading.add_reader(other, "beginning")
    store(reading, 3)
    for reader in (READER, other) * 3:
        reading.settle(reader, dead(*reading.claim(reader, 1)))

    letters = reading.dead_letters()

    assert [(letter.reader, letter.event_id[-1]) for letter in letters] == [
        (reader, number) for number in "123" for reader in (READER, other)
    ]
    assert reading.dead_letters(limit=2) == letters[:2]
    assert reading.dead_letters(limit=2, after_id=letters[1].id) == letters[2:4]
    assert reading.dead_letters("file", limit=2, after_id=letters[1].id) == letters[3::2]
    assert reading.dead_letters("nobody") == []


def test_a_retried_dead_letter_is_due_at_once_with_its_tries_counted_from_nothing(reading: Journal) -> None:
    store(reading, 1)
    letters = make_dead(reading)
    assert reading.backlog(READER) == Backlog(0, 0, 1, None)

    assert reading.retry_dead([*letters, 10**9]) == 1

    assert reading.retry_dead(letters) == 0
    [claimed] = reading.claim(READER, 1)
    assert claimed.open == (OpenDelivery(EventType.TRACK, "all", 0),)
    reading.settle(READER, done(claimed))
    assert reading.backlog(READER) == Backlog(0, 0, 0, None)


def test_a_dropped_dead_letter_is_gone(reading: Journal) -> None:
    store(reading, 2)
    letters = make_dead(reading, 2)

    assert reading.drop_dead([letters[0], 10**9]) == 1

    assert [letter.id for letter in reading.dead_letters()] == letters[1:]
    assert reading.backlog(READER).dead == 1
    assert reading.claim(READER, 1) == []


def test_a_dead_letter_survives_a_restart_and_costs_the_cursor_nothing(reading: Journal, open_journal: Open) -> None:
    store(reading, 2)
    make_dead(reading)
    settle_all(reading)
    reading.close()
    successor = open_journal()

    assert successor.backlog(READER) == Backlog(0, 0, 1, None)
    assert successor.claim(READER, 1) == []

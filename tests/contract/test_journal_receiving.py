"""Every engine of the journal keeps these promises about what comes in: append, repeats, proofs."""

from collections.abc import Callable

import pytest

from connector.journal.base import Journal
from connector.model import Receipt, Retention
from tests.contract.journal_words import (
    DAY,
    READER,
    event,
    ids,
    store,
)

Open = Callable[[], Journal]
PassTime = Callable[[float], None]


@pytest.fixture
def reading(journal: Journal) -> Journal:
    """A journal with a reader that starts at the beginning."""
    journal.add_reader(READER, "beginning")
    return journal


# ── append: what is kept, what is a repeat ──


def test_what_was_appended_is_read_back_as_it_came(reading: Journal) -> None:
    came = event(1, body=b"\x00\xff not even JSON", headers={"x-cio-timestamp": "1"}, event_id="é\x00😀")

    assert reading.append([came]) == [Receipt.STORED]

    [claimed] = reading.claim(READER, 10)
    got = claimed.received
    assert (got.source, got.event_id, got.body, got.headers) == (came.source, came.event_id, came.body, came.headers)
    assert got.received_at == came.received_at
    assert claimed.open is None


def test_places_in_the_order_rise_with_each_append(journal: Journal) -> None:
    store(journal, 3)
    store(journal, 3, first=4)

    seqs = [received.seq for received in journal.scan()]

    assert seqs == sorted(set(seqs))
    assert ids(journal.scan()) == [1, 2, 3, 4, 5, 6]


def test_an_empty_group_is_nothing(journal: Journal) -> None:
    assert journal.append([]) == []


def test_a_group_larger_than_one_statement_is_stored_whole(journal: Journal) -> None:
    store(journal, 701)

    assert ids(journal.scan()) == list(range(1, 702))


def test_a_repeat_within_the_group_is_a_duplicate(journal: Journal) -> None:
    assert journal.append([event(1), event(2), event(1)]) == [Receipt.STORED, Receipt.STORED, Receipt.DUPLICATE]
    assert ids(journal.scan()) == [1, 2]


def test_a_repeat_changes_nothing_of_what_is_kept(journal: Journal) -> None:
    store(journal, 1)

    assert journal.append([event(1, body=b"another")]) == [Receipt.DUPLICATE]

    assert [received.body for received in journal.find("event-00001")] == [event(1).body]


def test_a_repeat_is_recognised_by_another_process_and_after_a_restart(journal: Journal, open_journal: Open) -> None:
    store(journal, 1)

    assert open_journal().append([event(1)]) == [Receipt.DUPLICATE]
    journal.close()
    assert open_journal().append([event(1)]) == [Receipt.DUPLICATE]


def test_the_same_id_of_another_source_is_another_event(journal: Journal) -> None:
    group = [event(1), event(1, source="staging"), event(1), event(1, source="staging")]

    receipts = journal.append(group)

    assert receipts == [Receipt.STORED, Receipt.STORED, Receipt.DUPLICATE, Receipt.DUPLICATE]


@pytest.mark.parametrize("days", [1, 7, 8, 30])
def test_a_repeat_is_recognised_for_as_long_as_the_event_is_kept(
    journal: Journal, pass_time: PassTime, days: int
) -> None:
    store(journal, 1)

    pass_time(days * DAY)
    journal.prune(Retention())

    assert journal.append([event(1)]) == [Receipt.DUPLICATE]


def test_a_repeat_is_recognised_for_eight_days_though_the_event_is_not_kept(
    journal: Journal, pass_time: PassTime
) -> None:
    store(journal, 1)
    pass_time(10)
    assert journal.prune(Retention(events_seconds=5)) == 1

    pass_time(8 * DAY)
    journal.prune(Retention(events_seconds=5))

    assert list(journal.scan()) == []
    assert journal.append([event(1)]) == [Receipt.DUPLICATE]


def test_an_id_is_forgotten_when_neither_the_event_nor_the_eight_days_remain(
    journal: Journal, pass_time: PassTime
) -> None:
    store(journal, 1)

    pass_time(10 * DAY)
    journal.prune(Retention(events_seconds=5))

    assert journal.append([event(1, at=10 * DAY)]) == [Receipt.STORED]


def test_an_erased_event_is_still_remembered(journal: Journal) -> None:
    store(journal, 1)

    assert journal.erase([received.seq for received in journal.scan()]) == 1

    assert journal.append([event(1)]) == [Receipt.DUPLICATE]


def test_a_journal_that_can_be_written_says_so(journal: Journal) -> None:
    journal.check_writable()

    store(journal, 1)


# ── append: signatures in mode auto ──


def test_a_provisional_event_is_accepted_while_no_key_of_its_source_is_proven(journal: Journal) -> None:
    assert journal.append([event(1, is_provisional=True, unproven_keys=("a", "b"))]) == [Receipt.STORED]
    assert journal.proven_keys() == {}


def test_a_provisional_event_is_quarantined_once_one_of_its_keys_is_proven(
    journal: Journal, open_journal: Open
) -> None:
    journal.append([event(1, proof="b", unproven_keys=("a", "b"))])

    doubtful = event(2, is_provisional=True, unproven_keys=("a", "b"), doubt="the signature is wrong")

    assert open_journal().append([doubtful]) == [Receipt.QUARANTINED]
    assert [one.reason for one in journal.quarantined()] == ["the signature is wrong"]
    assert journal.proven_keys() == {"production": frozenset({"b"})}


def test_proof_and_doubt_in_one_group_are_no_race(journal: Journal) -> None:
    doubtful = event(1, is_provisional=True, unproven_keys=("a",))
    genuine = event(2, proof="a", unproven_keys=("a",))

    assert journal.append([doubtful, genuine]) == [Receipt.QUARANTINED, Receipt.STORED]


def test_a_proof_counts_for_its_own_source_and_its_own_key(journal: Journal) -> None:
    journal.append([event(1, proof="a")])

    other_source = event(2, source="staging", is_provisional=True, unproven_keys=("a",))
    rotated_key = event(3, is_provisional=True, unproven_keys=("c",))

    assert journal.append([other_source, rotated_key]) == [Receipt.STORED, Receipt.STORED]

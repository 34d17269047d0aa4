"""Every engine of the journal keeps these promises about what it was told not to trust."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from connector.journal.base import Journal
from connector.model import Receipt, ReceivedEvent
from tests.contract.journal_words import READER, SOURCE, START, event, ids, settle_all, store

PassTime = Callable[[float], None]


def forged(number: int, **changes: Any) -> ReceivedEvent:
    return event(number, **({"quarantine_reason": "the signature is wrong"} | changes))


def test_a_quarantined_event_is_kept_whole_and_delivered_to_nobody(journal: Journal) -> None:
    journal.add_reader(READER, "beginning")
    body = b"\xff not JSON"

    assert journal.append([forged(1, body=body, quarantine_reason="not JSON")]) == [Receipt.QUARANTINED]

    [kept] = journal.quarantined()
    assert (kept.source, kept.event_id, kept.reason) == (SOURCE, "event-00001", "not JSON")
    assert (kept.body, kept.size, kept.count, kept.received_at) == (body, len(body), 1, START)
    assert kept.sha256 == hashlib.sha256(body).hexdigest()
    assert journal.claim(READER, 1) == []
    assert list(journal.scan()) == []
    assert journal.backlog(READER).waiting == 0


def test_a_forged_event_does_not_make_the_genuine_one_a_repeat(journal: Journal) -> None:
    journal.append([forged(1), forged(2)])

    assert journal.append([event(1)]) == [Receipt.STORED]
    assert journal.append([forged(1), event(1)]) == [Receipt.QUARANTINED, Receipt.DUPLICATE]
    assert journal.append([forged(3), event(3)]) == [Receipt.QUARANTINED, Receipt.STORED]
    assert ids(journal.scan()) == [1, 3]


def test_the_very_same_bytes_are_counted_not_kept_again(journal: Journal) -> None:
    for _ in range(3):
        journal.append([forged(1), forged(1)])

    [kept] = journal.quarantined()
    assert kept.count == 6


def test_the_same_bytes_for_another_reason_or_source_are_kept_apart(journal: Journal) -> None:
    journal.append([forged(1), forged(1, quarantine_reason="not an object"), forged(1, source="staging")])

    assert [kept.count for kept in journal.quarantined()] == [1, 1, 1]


def test_quarantine_is_listed_oldest_first_in_pages_and_by_source(journal: Journal) -> None:
    journal.append([forged(number, source="staging" if number == 2 else SOURCE) for number in range(1, 5)])

    everything = journal.quarantined()

    assert [kept.event_id for kept in everything] == [f"event-0000{number}" for number in range(1, 5)]
    assert journal.quarantined(limit=2) == everything[:2]
    assert journal.quarantined(limit=2, after_id=everything[1].id) == everything[2:]
    assert [kept.event_id for kept in journal.quarantined(SOURCE, limit=2)] == ["event-00001", "event-00003"]
    assert journal.quarantined("nobody") == []


@pytest.mark.usefixtures("small_quarantine")
def test_past_the_bound_of_bodies_only_the_hash_and_the_count_are_kept(journal: Journal) -> None:
    journal.append([forged(number) for number in range(1, 6)])
    journal.append([forged(5), forged(1)])

    kept = journal.quarantined()

    assert [item.body is not None for item in kept] == [True, True, True, False, False]
    assert [item.count for item in kept] == [2, 1, 1, 1, 2]
    assert kept[4].sha256 == hashlib.sha256(event(5).body).hexdigest()


@pytest.mark.usefixtures("small_quarantine")
def test_past_the_bound_of_bytes_only_the_hash_and_the_count_are_kept(journal: Journal) -> None:
    journal.append([forged(1, body=b"x" * 90), forged(2, body=b"y" * 11), forged(3, body=b"z" * 10)])

    assert [item.body is not None for item in journal.quarantined()] == [True, False, True]


@pytest.mark.usefixtures("small_quarantine")
def test_past_the_bound_of_hashes_one_row_counts_the_rest(journal: Journal) -> None:
    for number in range(1, 101):
        assert journal.append([forged(number)]) == [Receipt.QUARANTINED]
    journal.append([forged(2), forged(4)])

    kept = journal.quarantined()

    assert [item.count for item in kept] == [1, 2, 1, 2, 1, 95]


@pytest.mark.usefixtures("small_quarantine")
def test_a_flood_of_one_source_leaves_room_for_another(journal: Journal) -> None:
    journal.append([forged(number) for number in range(1, 50)])

    journal.append([forged(1, source="staging")])

    assert [item.body for item in journal.quarantined("staging")] == [event(1).body]


@pytest.mark.usefixtures("small_quarantine")
def test_dropping_makes_room(journal: Journal) -> None:
    journal.append([forged(number) for number in range(1, 10)])
    found = [item.id for item in journal.quarantined()]

    assert journal.drop_quarantined([*found, 10**9]) == len(found)

    assert journal.drop_quarantined(found) == 0
    journal.append([forged(number) for number in range(10, 13)])
    assert [item.body is not None for item in journal.quarantined()] == [True, True, True]


def test_a_released_event_is_appended_anew_as_trusted(journal: Journal, pass_time: PassTime) -> None:
    journal.add_reader(READER, "beginning")
    store(journal, 1)
    journal.append([forged(2, headers={"x-cio-timestamp": "1"})])
    pass_time(30)
    store(journal, 1, first=3)

    assert journal.release_quarantined([journal.quarantined()[0].id]) == [Receipt.STORED]

    assert journal.quarantined() == []
    assert settle_all(journal) == [1, 3, 2]
    [released] = journal.find("event-00002")
    assert (released.headers, released.body) == ({"x-cio-timestamp": "1"}, event(2).body)
    assert (released.received_at - START).total_seconds() == 30
    assert journal.append([event(2)]) == [Receipt.DUPLICATE]


def test_releasing_a_repeat_of_an_accepted_event_delivers_nothing_twice(journal: Journal) -> None:
    journal.append([forged(1), event(1)])

    assert journal.release_quarantined([journal.quarantined()[0].id, 10**9]) == [Receipt.DUPLICATE]

    assert journal.quarantined() == []
    assert ids(journal.scan()) == [1]


@pytest.mark.usefixtures("small_quarantine")
def test_what_has_no_body_cannot_be_released_and_stays(journal: Journal) -> None:
    journal.append([forged(number) for number in range(1, 5)])
    without_body = journal.quarantined()[3]

    assert journal.release_quarantined([without_body.id]) == []

    assert [item.id for item in journal.quarantined()][3] == without_body.id


def test_a_released_event_stays_accepted_though_its_source_is_proven(journal: Journal) -> None:
    journal.append([event(1, proof="a", unproven_keys=("a",))])
    journal.append([event(2, is_provisional=True, unproven_keys=("a",))])

    assert journal.release_quarantined([item.id for item in journal.quarantined()]) == [Receipt.STORED]

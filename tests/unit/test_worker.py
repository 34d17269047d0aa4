"""The loop of one destination when nothing is wrong with it: batches, order, rules, retries, and what a stop leaves."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from connector.model import (
    Action,
    Batch,
    Delivery,
    Event,
    Outcome,
    OutcomeKind,
    Reader,
    Refused,
    Response,
    Retry,
)
from connector.worker import IDLE_SECONDS
from tests.delivering import Rig, choke_on, in_turn, received
from tests.fakes import StubDestination

OTHER = Reader("stub", "other")
FAST = Retry(3, (1, 2, 4))
TWO_ACTIONS = (Action("one"), Action("two", fields={"context.second": "`true`"}))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# ── batches ──


def test_events_that_wait_share_requests_in_journal_order(rig: Rig) -> None:
    rig.receive(250)

    rig.run()

    assert [len(ids) for ids in rig.sent] == [100, 100, 50]
    assert [event_id for ids in rig.sent for event_id in ids] == [f"e{number}" for number in range(1, 251)]
    assert rig.counts["delivered"] == 250
    assert rig.waiting == (0, 0)


def test_a_request_stays_within_its_bytes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, batch=Batch(100, 2_500, 0.5))
    rig.receive(10)

    rig.run()

    assert len(rig.sent) > 3
    assert max(len(request.body) for request in rig.transport.requests) <= 2_500
    assert rig.delivered == Counter({f"e{number}": 1 for number in range(1, 11)})


def test_a_batch_that_is_not_full_leaves_when_its_oldest_event_has_waited_long_enough(rig: Rig) -> None:
    rig.receive(2)
    received_at = rig.clock.now()

    rig.worker.run_once()

    assert (rig.clock.now() - received_at).total_seconds() == pytest.approx(0.5)
    assert rig.sent == [["e1", "e2"]]


def test_a_full_batch_leaves_at_once(rig: Rig) -> None:
    rig.receive(100)
    received_at = rig.clock.now()

    rig.worker.run_once()

    assert rig.clock.now() == received_at


def test_what_comes_while_a_batch_fills_goes_along(rig: Rig) -> None:
    rig.receive(1)
    numbers = iter(range(2, 100))
    rig.clock.on_sleep = lambda: rig.receive(1, first=next(numbers))

    rig.worker.run_once()

    assert 20 <= len(rig.sent[0]) <= 30  # one more each 20 ms of the half second


def test_a_clock_that_was_set_back_makes_no_batch_wait_longer(rig: Rig) -> None:
    rig.receive(1)
    rig.clock.advance(-3600)
    before = rig.clock.now()

    rig.worker.run_once()

    assert (rig.clock.now() - before).total_seconds() == pytest.approx(0.5)
    assert rig.sent == [["e1"]]


def test_an_empty_journal_is_looked_at_again_soon(rig: Rig) -> None:
    assert rig.worker.run_once() == IDLE_SECONDS
    assert rig.attempts == []


def test_a_busy_source_starves_no_other(rig: Rig) -> None:
    rig.readers.append(OTHER)
    rig.journal.add_reader(OTHER, "beginning")
    rig.receive(300)
    rig.receive(10, first=1001, source="other")

    rig.worker.run_once()
    rig.worker.run_once()

    assert "e1001" in {event_id for ids in rig.sent for event_id in ids}


def test_the_rate_limit_holds_over_batches(tmp_path: Path) -> None:
    rig = Rig(tmp_path, events_per_second=50.0)
    rig.receive(500)

    rig.run(seconds=5)

    assert 250 <= rig.counts["delivered"] <= 300


# ── what the rules make of events ──


def test_what_is_filtered_is_settled_and_counted_without_a_request(tmp_path: Path) -> None:
    rig = Rig(tmp_path, events=("sms_*",))
    rig.receive(5)

    rig.run()

    assert rig.sent == []
    assert rig.counts["filtered"] == 5
    assert rig.waiting == (0, 0)


class PickyDestination(StubDestination):
    needs_person: ClassVar[bool] = True

    def encode(self, event: Event) -> bytes | Refused:
        return Refused("too large") if event.name == "email_sent" else super().encode(event)


def test_what_cannot_be_sent_is_dead_without_an_attempt_and_its_neighbours_go_on(tmp_path: Path) -> None:
    stumbling = (Action("all", where="metric != 'failed' || length(`1`) == `1`"),)
    rig = Rig(tmp_path, PickyDestination, actions=stumbling)
    rig.receive(1)
    rig.receive(1, first=2, data={})
    rig.receive(1, first=3, metric="sent")
    rig.receive(1, first=4, metric="failed")
    rig.receive(1, first=5)

    rig.run()

    assert rig.sent == [["e1", "e5"]]
    reasons = {letter.event_id: letter.reason for letter in rig.dead}
    assert reasons.keys() == {"e2", "e3", "e4"}
    assert reasons["e2"] == "no person"
    assert reasons["e3"] == "too large"
    assert "where" in reasons["e4"]
    assert rig.counts["dead"] == 3
    assert {letter.attempts for letter in rig.dead} == {0}


def test_the_actions_of_one_event_succeed_and_fail_apart(tmp_path: Path) -> None:
    rig = Rig(tmp_path, actions=TWO_ACTIONS, retry=FAST, batch=Batch(1, 1_000_000, 0.5))
    rig.receive(1)
    rig.transport.answer = in_turn(200, 503)

    rig.run(seconds=10)

    actions = [(delivery.action, delivery.attempts) for made in rig.attempts for delivery in made.deliveries]
    assert actions == [("one", 0), ("two", 0), ("two", 1)]
    assert rig.waiting == (0, 0)


def test_track_and_identify_of_one_event_succeed_and_fail_apart(tmp_path: Path) -> None:
    rig = Rig(tmp_path, identify=True, retry=FAST, batch=Batch(1, 1_000_000, 0.5))
    rig.receive(1, object_type="customer", metric="subscribed")
    rig.transport.answer = in_turn(503, 200)

    rig.run(seconds=10)

    types = [delivery.event.type for made in rig.attempts for delivery in made.deliveries]
    assert types == ["track", "identify", "track"]
    assert rig.waiting == (0, 0)


# ── retries ──


def test_a_failed_delivery_is_tried_again_after_its_pause_and_not_before(rig: Rig) -> None:
    rig.receive(1)
    rig.transport.answer = in_turn(503, 503)

    rig.run(seconds=10, idle_seconds=0.1)

    assert rig.sent == [["e1"]] * 3
    pauses = [
        later.started_at - earlier.started_at for earlier, later in zip(rig.attempts, rig.attempts[1:], strict=False)
    ]
    assert [round(pause.total_seconds()) for pause in pauses] == [1, 2]
    assert rig.counts == {"retry": 2, "delivered": 1, "dead": 0, "filtered": 0}


def test_a_delivery_is_given_up_when_all_its_tries_are_used(tmp_path: Path) -> None:
    rig = Rig(tmp_path, retry=FAST)
    rig.receive(1)
    rig.transport.answer = choke_on(["e1"], 500)
    neighbours = iter(range(2, 1000))

    for _ in range(40):  # which show that the destination lives
        rig.receive(1, first=next(neighbours))
        rig.run(seconds=1)

    (letter,) = rig.dead
    assert (letter.event_id, letter.attempts) == ("e1", 4)
    assert letter.reason.startswith("all 4 attempts failed, at last: answered 500")
    assert rig.delivered.total() == 40


def test_one_that_fails_does_not_keep_later_events_waiting(tmp_path: Path) -> None:
    rig = Rig(tmp_path, batch=Batch(1, 1_000_000, 0.5))
    rig.receive(3)
    rig.transport.answer = in_turn(500)

    rig.run(seconds=5)

    assert rig.sent == [["e1"], ["e2"], ["e3"], ["e1"]]


def test_a_retry_goes_by_the_settings_of_today(rig: Rig) -> None:
    rig.receive(1)
    rig.transport.answer = in_turn(503)
    rig.run(seconds=0.1)

    rig.new_worker(actions=(Action("all", fields={"context.mended": "`true`"}),))
    rig.run(seconds=5)

    assert [b"mended" in request.body for request in rig.transport.requests] == [False, True]


def test_a_retry_of_an_action_that_is_gone_is_dead_and_says_so(rig: Rig) -> None:
    rig.receive(1)
    rig.transport.answer = in_turn(503)
    rig.run(seconds=0.1)

    rig.new_worker(actions=(Action("another"),))
    rig.run(seconds=5)

    assert [letter.reason for letter in rig.dead] == ["action 'all' no longer exists"]
    assert len(rig.sent) == 1


class ItemisedDestination(StubDestination):
    """Its answers speak of single events, as 207 does: one digit for each."""

    kinds: ClassVar[dict[int, OutcomeKind]] = {
        2: OutcomeKind.DELIVERED,
        4: OutcomeKind.REJECTED,
        5: OutcomeKind.TRANSIENT,
        9: OutcomeKind.THROTTLED,
    }

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        return [Outcome(self.kinds[digit - ord("0")], "as told") for digit in response.body]


def test_an_answer_that_accepts_some_and_refuses_others_is_followed_item_by_item(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ItemisedDestination)
    rig.receive(4)
    answers = iter([b"2459", b"22"])
    rig.transport.answer = lambda request: Response(207, {}, next(answers))

    rig.run(seconds=5)

    assert [sorted(ids) for ids in rig.sent] == [["e1", "e2", "e3", "e4"], ["e3", "e4"]]
    assert [letter.event_id for letter in rig.dead] == ["e2"]
    attempts = {delivery.event.event_id: delivery.attempts for delivery in rig.attempts[1].deliveries}
    assert attempts == {"e3": 1, "e4": 0}


def test_two_events_with_one_place_in_two_sources_are_two(rig: Rig) -> None:
    rig.readers.append(OTHER)
    rig.journal.add_reader(OTHER, "beginning")
    rig.journal.append([received("same", "production", rig.clock.now()), received("same", "other", rig.clock.now())])

    rig.run()

    assert rig.delivered == {"same": 2}

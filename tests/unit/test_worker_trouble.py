"""The loop of one destination when the destination is in trouble: refusals, poison, holds, the breaker, throttling."""

from collections.abc import Callable
from pathlib import Path

import pytest

from connector.model import Action, Batch, Request, Response
from tests.delivering import Rig, always, choke_on, ids_of, in_turn, refuse_connections
from tests.fakes import accept

HOUR = 3600.0


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def events(first: int, last: int) -> set[str]:
    return {f"e{number}" for number in range(first, last + 1)}


# ── one bad event among good ones ──


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_batch_is_halved_until_the_culprit_stands_alone(rig: Rig, status: int) -> None:
    rig.receive(100)
    rig.transport.answer = choke_on(["e37"], status)

    rig.run()

    (letter,) = rig.dead
    assert (letter.event_id, letter.attempts) == ("e37", 1)
    assert f"answered {status}" in letter.reason
    assert dict(rig.delivered) == dict.fromkeys(events(1, 100) - {"e37"}, 1)
    assert len(rig.sent) <= 15  # twice the logarithm of 100
    assert rig.mood == "delivering"


def test_a_refused_batch_keeps_its_order(rig: Rig) -> None:
    rig.receive(16)
    rig.transport.answer = choke_on(["e6"], 400)

    rig.run()

    arrived = [event_id for ids in rig.sent if "e6" not in ids for event_id in ids]
    assert arrived == [f"e{number}" for number in range(1, 17) if number != 6]


def test_an_event_that_draws_500_costs_its_neighbours_nothing_but_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.receive(100)
    rig.transport.answer = choke_on(["e37"], 500)

    rig.run(seconds=30)

    assert dict(rig.delivered) == dict.fromkeys(events(1, 100) - {"e37"}, 1)
    assert rig.waiting == (0, 1)
    assert rig.dead == []
    assert rig.mood == "delivering"


def test_a_batch_is_halved_on_its_third_5xx_and_not_before(rig: Rig) -> None:
    rig.receive(4)
    rig.transport.answer = choke_on(["e1"], 500)

    rig.run(seconds=10)

    assert [len(ids) for ids in rig.sent[:5]] == [4, 4, 4, 2, 2]


def test_no_answer_at_all_is_no_reason_to_halve(rig: Rig) -> None:
    rig.receive(4)
    rig.transport.answer = refuse_connections

    rig.run(seconds=20)

    assert {len(ids) for ids in rig.sent} == {4, 1}  # together, or, having failed often, alone


def test_a_lasting_poison_dies_with_its_tries_while_the_others_pass(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.transport.answer = choke_on(["e5"], 500)

    for number in range(1, 201):
        rig.receive(1, first=number)
        rig.run(seconds=60, idle_seconds=20)

    (letter,) = rig.dead
    assert (letter.event_id, letter.attempts) == ("e5", 15)
    assert rig.delivered.keys() == events(1, 200) - {"e5"}
    assert rig.mood == "delivering"


def test_a_hold_that_comes_while_a_batch_is_refused_lets_none_of_it_die(tmp_path: Path) -> None:
    rig = Rig(tmp_path, batch=Batch(2, 1_000_000, 0.0), actions=(Action("one"), Action("two")))
    rig.receive(3)

    def refuse_after_a_hold(request: Request) -> Response:
        rig.transport.answer = always(401)
        rig.worker.run_once()  # as another thread of the destination does, with e3
        rig.transport.answer = accept
        return Response(400, {}, b"")

    def take_the_first(request: Request) -> Response:
        rig.transport.answer = refuse_after_a_hold
        return accept(request)

    rig.transport.answer = take_the_first
    rig.run()
    assert rig.mood == "held"
    assert [ids_of(request) for request in rig.transport.requests] == [["e1", "e1"], ["e2", "e2"], ["e3", "e3"]]

    rig.run(seconds=HOUR, idle_seconds=60)

    assert rig.dead == []
    assert rig.delivered == {"e1": 2, "e2": 2, "e3": 2}


# ── the set-up is wrong ──


def test_when_every_event_is_refused_the_destination_is_held_and_nothing_dies(rig: Rig) -> None:
    rig.receive(20)
    rig.transport.answer = always(400)

    rig.run(seconds=2 * HOUR, idle_seconds=60)

    assert rig.mood == "held"
    assert rig.dead == []
    assert rig.worker.standing.reason.startswith("every event is refused: answered 400")
    rig.transport.answer = accept
    rig.run(seconds=HOUR, idle_seconds=10)
    assert rig.delivered.keys() == events(1, 20)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405])
def test_a_wrong_key_or_address_holds_the_destination_and_costs_the_events_nothing(rig: Rig, status: int) -> None:
    rig.receive(3)
    rig.transport.answer = always(status)

    rig.run(seconds=6 * HOUR, idle_seconds=60)

    assert rig.mood == "held"
    assert rig.dead == []
    assert len(rig.sent) <= 6 * 12 + 1  # one probe every five minutes
    rig.transport.answer = accept
    rig.run(seconds=600, idle_seconds=10)
    assert {one.attempts for made in rig.attempts for one in made.deliveries} == {0}
    assert rig.delivered == {"e1": 1, "e2": 1, "e3": 1}
    assert rig.mood == "delivering"


def test_changed_settings_are_tried_at_once(rig: Rig) -> None:
    rig.receive(3)
    rig.transport.answer = always(401)
    rig.run(seconds=1)
    assert rig.delivered == {}

    rig.new_worker(timeout_seconds=11.0)
    rig.transport.answer = accept
    rig.run()

    assert rig.delivered == {"e1": 1, "e2": 1, "e3": 1}


def test_a_probe_for_a_key_is_one_request(tmp_path: Path) -> None:
    rig = Rig(tmp_path, batch=Batch(10, 700, 0.0))  # bytes for one event
    rig.receive(5)
    rig.transport.answer = always(401)

    rig.run(seconds=299)
    assert rig.sent == [["e1"]]
    rig.run(seconds=10)

    assert rig.sent == [["e1"], ["e1"]]


# ── it fails as a whole ──


@pytest.mark.parametrize("answer", [always(503), always(999), refuse_connections])
def test_a_failing_destination_is_probed_and_recovers(rig: Rig, answer: Callable[[Request], Response]) -> None:
    rig.receive(200)
    rig.transport.answer = answer

    rig.run(seconds=4 * HOUR, idle_seconds=30)

    assert rig.mood == "failing"
    assert rig.dead == []  # though the retries of one delivery end after 3 hours
    assert max(one.attempts for made in rig.attempts for one in made.deliveries) <= 5
    assert len(rig.sent) < 4 * 60 * 9 + 90  # a probe a minute: five events, halved to see whether one is to blame
    rig.transport.answer = accept
    rig.run(seconds=300)
    assert rig.mood == "delivering"
    assert rig.delivered.keys() == events(1, 200)


def test_one_event_that_fails_does_not_hide_that_the_destination_is_well_again(rig: Rig) -> None:
    rig.receive(20)
    rig.transport.answer = always(500)
    rig.run(seconds=600)
    rig.transport.answer = choke_on(["e1", "e2"], 500)

    rig.run(seconds=600)
    rig.receive(1, first=21)
    rig.run(seconds=120)

    assert rig.delivered.keys() == events(3, 21)
    assert rig.mood == "delivering"


# ── it asks for a pause ──


def test_a_429_with_retry_after_is_obeyed_and_costs_nothing(rig: Rig) -> None:
    rig.receive(3)
    answers = iter([always(429, retry_after="30")])
    rig.transport.answer = lambda request: next(answers, accept)(request)

    rig.run(seconds=60)

    first, second = rig.attempts
    assert (second.started_at - first.started_at).total_seconds() >= 30
    assert [one.attempts for one in second.deliveries] == [0, 0, 0]
    assert rig.counts["retry"] == 0


def test_a_destination_that_throttles_for_hours_loses_nothing(rig: Rig) -> None:
    rig.receive(3)
    rig.transport.answer = always(429)

    rig.run(seconds=8 * HOUR, idle_seconds=60)

    assert rig.dead == []
    assert len(rig.sent) < 8 * 60 + 10
    rig.transport.answer = accept
    rig.run(seconds=120)
    assert rig.delivered == {"e1": 1, "e2": 1, "e3": 1}


# ── what pages show ──


def test_the_last_error_and_the_last_delivery_are_remembered(rig: Rig) -> None:
    rig.receive(1)
    rig.transport.answer = in_turn(500)
    rig.run(seconds=10)

    assert rig.worker.last_error == "answered 500 Internal Server Error"
    assert rig.worker.last_error_at is not None
    assert rig.worker.last_delivered_at is not None
    assert rig.worker.last_delivered_at > rig.worker.last_error_at


def test_the_choking_stub_chokes() -> None:
    request = Request("POST", "", {}, b'[{"messageId": "a"}]')

    assert ids_of(request) == ["a"]
    assert choke_on(["a"], 500)(request).status == 500

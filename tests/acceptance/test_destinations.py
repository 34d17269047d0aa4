"""Destinations that misbehave, in real processes: what each of them costs, and whom."""

import time
from collections.abc import Callable

import pytest

from connector.journal.base import DeadLetter
from tests.acceptance.customerio import assert_all_arrive, event, new_id, post_all, post_events
from tests.acceptance.service import RUDDER_KEY, Service, rudder, wait_until
from tests.stubs import (
    MARK,
    Behaviour,
    RudderStub,
    accept,
    always,
    choke_on_marked,
    cut,
    demand_key,
    drip,
    garbage,
    redirect,
    silent,
)

PROMPT_SECONDS = 3.0  # from the answer to the arrival at a destination that is well
EVENTS = 50

MakeStub = Callable[[], RudderStub]
MakeService = Callable[..., Service]

# What a destination may do to us, and what becomes of it.
FAULTS: dict[str, tuple[Behaviour, str]] = {
    "answers-500": (always(500, b"oh no"), "failing"),
    "answers-503": (always(503, b"", retry_after="1"), "failing"),
    "answers-garbage": (garbage, "failing"),
    "is-silent": (silent, "failing"),
    "drips": (drip, "failing"),
    "cuts": (cut, "failing"),
    "answers-429": (always(429, b"slow down", retry_after="1"), "throttled"),
    "answers-401": (always(401, b"Invalid Authorization Header"), "held"),
    "answers-404": (always(404, b"no such source"), "held"),
    "redirects": (redirect, "held"),
}


def dead_letters(service: Service, destination: str) -> list[DeadLetter]:
    with service.journal() as journal:
        return journal.dead_letters(destination)


def test_destinations_that_fail_in_every_way_cost_a_living_one_nothing_and_get_all_once_they_are_well(
    make_service: MakeService, stub: RudderStub, make_stub: MakeStub
) -> None:
    faulty = {name: make_stub() for name in FAULTS}
    unplugged = make_stub()
    unplugged.stop()
    for name, (behaviour, _) in FAULTS.items():
        faulty[name].behaviour = behaviour
    destinations = [rudder(stub, "living"), *(rudder(faulty[name], name) for name in FAULTS)]
    service = make_service()
    service.configure([*destinations, rudder(unplugged, "is-unplugged")])
    service.start()

    answered_at = {}
    for _ in range(EVENTS):
        (event_id,) = post_events(service, 1)
        answered_at[event_id] = time.monotonic()

    assert_all_arrive(stub, answered_at, 10.0, "living")
    assert max(stub.arrived_at(event_id) - at for event_id, at in answered_at.items()) < PROMPT_SECONDS
    for name, (_, state) in FAULTS.items():
        wait_until(lambda: service.destination(name)["state"] == state, f"{name} is {state}")  # noqa: B023  # at once
    wait_until(lambda: service.destination("is-unplugged")["state"] == "failing", "the unplugged one is failing")
    assert service.destination("living")["state"] == "delivering"

    plugged_in = make_stub()
    for repaired in faulty.values():
        repaired.behaviour = accept
    # A new time-out is what tells the held ones that a person has acted.
    destinations = [{**destination, "timeout": 2} for destination in destinations]
    service.configure([*destinations, rudder(plugged_in, "is-unplugged")])

    for name, repaired in {**faulty, "is-unplugged": plugged_in}.items():
        assert_all_arrive(repaired, answered_at, 30.0, name)
        assert dead_letters(service, name) == []
    assert set(stub.arrived.values()) == {1}


def test_a_destination_that_asks_for_a_pause_gets_it_and_it_uses_up_no_retries(
    make_service: MakeService, stub: RudderStub
) -> None:
    service = make_service()
    service.configure([rudder(stub, retry={"retries": 0})])
    service.start()
    stub.behaviour = always(429, b"slow down", retry_after="3")
    answered = post_events(service, EVENTS)
    wait_until(lambda: stub.calls, "the destination is called")

    stub.behaviour = accept

    assert_all_arrive(stub, answered, 15.0)
    throttled, after = stub.calls[0], stub.calls[1]
    assert 2.9 < after.at - throttled.at < 6.0
    assert dead_letters(service, "rudder") == []


def test_half_a_batch_refused_is_half_a_batch_delivered(make_service: MakeService, stub: RudderStub) -> None:
    service = make_service()
    service.configure([rudder(stub, batch={"max_wait": 1.0})])
    service.start()
    stub.behaviour = choke_on_marked(400)
    good, bad = [new_id() for _ in range(10)], [new_id() for _ in range(10)]

    post_all(
        service,
        (body for pair in zip(good, bad, strict=True) for body in (event(pair[0]), event(pair[1], subject=MARK))),
    )

    assert_all_arrive(stub, good, 15.0)
    wait_until(lambda: len(dead_letters(service, "rudder")) == len(bad), "the other half is dead letters")
    assert sorted(dead.event_id for dead in dead_letters(service, "rudder")) == bad
    assert stub.arrived.keys() == set(good)
    assert service.destination("rudder")["state"] == "delivering"


@pytest.mark.parametrize(("status", "reason"), [(400, "answered 400"), (500, "all 4 attempts failed")])
def test_one_poisonous_event_among_99_good_ones_harms_only_itself(
    make_service: MakeService, stub: RudderStub, status: int, reason: str
) -> None:
    service = make_service()
    service.configure([rudder(stub, batch={"max_wait": 2.0}, retry={"retries": 3, "delays": [0.1]})])
    service.start()
    stub.behaviour = choke_on_marked(status)
    ids = [new_id() for _ in range(100)]
    poisonous = ids[42]

    post_all(service, (event(one, subject=MARK if one == poisonous else "Your receipt") for one in ids))

    assert_all_arrive(stub, set(ids) - {poisonous}, 30.0, f"answered {status}")
    wait_until(lambda: dead_letters(service, "rudder"), "the poisonous one is a dead letter")
    (dead,) = dead_letters(service, "rudder")
    assert dead.event_id == poisonous
    assert reason in dead.reason
    assert len(stub.arrived) == 99
    assert len(stub.calls[0].events) == 100


def test_an_event_beyond_the_limit_is_cut_to_fit_or_given_up_alone(make_service: MakeService, stub: RudderStub) -> None:
    service = make_service()
    service.configure([rudder(stub, content="keep", batch={"max_wait": 1.0})])
    service.start()
    ids = [new_id() for _ in range(10)]
    wordy, hopeless = ids[3], ids[6]
    too_much = "ü" * 40_000
    more = {wordy: {"content": too_much}, hopeless: {"new_field": too_much}}

    post_all(service, (event(one, **more.get(one, {})) for one in ids))

    assert_all_arrive(stub, set(ids) - {hopeless}, 10.0)
    (cut_down,) = [taken for taken in stub.taken if taken["properties"]["eventId"] == wordy]
    assert cut_down["properties"]["truncated"] == ["content"]
    wait_until(lambda: dead_letters(service, "rudder"), "the hopeless one is a dead letter")
    (dead,) = dead_letters(service, "rudder")
    assert (dead.event_id, "too large" in dead.reason) == (hopeless, True)


def test_wrong_credentials_hold_the_destination_and_cost_no_event_and_repaired_ones_are_tried_at_once(
    make_service: MakeService, stub: RudderStub
) -> None:
    stub.behaviour = demand_key(RUDDER_KEY)
    service = make_service()
    service.configure([rudder(stub, write_key="an old key", retry={"retries": 0})])
    service.start()

    answered = post_events(service, EVENTS)
    wait_until(lambda: service.destination("rudder")["state"] == "held", "the destination is held")

    shown = service.destination("rudder")
    assert "401" in shown["reason"]
    assert shown["backlog"]["dead"] == 0
    calls = len(stub.calls)
    answered += post_events(service, EVENTS)
    assert len(stub.calls) == calls  # held: not battered

    service.configure([rudder(stub, retry={"retries": 0})])
    assert_all_arrive(stub, answered, 10.0)
    assert dead_letters(service, "rudder") == []
    wait_until(lambda: service.destination("rudder")["state"] == "delivering", "it says that it is well again")


def test_a_destination_that_is_well_again_is_found_out_without_anybody_acting(
    make_service: MakeService, stub: RudderStub
) -> None:
    service = make_service()
    service.configure([rudder(stub)])
    service.start()
    stub.behaviour = always(500)
    answered = post_events(service, EVENTS)
    wait_until(lambda: service.destination("rudder")["state"] == "failing", "the destination is failing")

    stub.behaviour = accept

    assert_all_arrive(stub, answered, 15.0)
    assert dead_letters(service, "rudder") == []


def test_events_of_one_batch_arrive_in_the_order_of_their_arrival_here(
    make_service: MakeService, stub: RudderStub
) -> None:
    service = make_service()
    service.configure([rudder(stub, concurrency=1)])
    service.start()

    answered = post_events(service, 2 * EVENTS)

    assert_all_arrive(stub, answered, 10.0)
    assert [taken["properties"]["eventId"] for taken in stub.taken] == answered

"""The past: replays with a filter and with a cancel, and what retention takes from a destination that is dead."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.acceptance.customerio import assert_all_arrive, event, new_id, post_all, post_events
from tests.acceptance.service import Service, rudder, wait_until
from tests.stubs import RudderStub, always, slowly

KEPT_SECONDS = 6

MakeService = Callable[..., Service]
MakeStub = Callable[[], RudderStub]


def run_json(service: Service, *arguments: str) -> Any:
    done = service.command(*arguments, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_the_past_is_replayed_to_a_new_destination_through_a_filter(
    make_service: MakeService, stub: RudderStub, make_stub: MakeStub
) -> None:
    added = make_stub()
    service = make_service()
    service.configure([rudder(stub)])
    service.start()
    opened, clicked = [new_id() for _ in range(60)], [new_id() for _ in range(60)]
    post_all(service, (event(event_id, "opened") for event_id in opened))
    post_all(service, (event(event_id, "clicked") for event_id in clicked))
    assert_all_arrive(stub, opened + clicked)
    service.configure([rudder(stub), rudder(added, "added")])
    wait_until(lambda: "added" in [shown["name"] for shown in service.status()["destinations"]], "it is taken up")

    where = ("--where", "metric == 'clicked'")
    forecast = run_json(service, "replay", "added", *where, "--dry-run")
    (replayed,) = run_json(service, "replay", "added", *where, "--wait")

    assert (forecast["events"], forecast["deliveries"]) == (120, 60)
    assert replayed["state"] == "done"
    assert added.arrived.keys() == set(clicked)
    assert set(added.arrived.values()) == {1}
    same = {taken["properties"]["eventId"]: taken["messageId"] for taken in stub.taken}
    assert all(same[taken["properties"]["eventId"]] == taken["messageId"] for taken in added.taken)
    assert set(stub.arrived.values()) == {1}


def test_a_cancelled_replay_sends_no_more_and_the_present_goes_on(make_service: MakeService, stub: RudderStub) -> None:
    service = make_service()
    service.configure([rudder(stub, batch={"max_wait": 0.1, "max_events": 5})])
    service.start()
    past = post_events(service, 200)
    assert_all_arrive(stub, past)
    stub.behaviour = slowly(0.25)

    (begun,) = run_json(service, "replay", "rudder")
    wait_until(lambda: max(stub.arrived.values()) == 2, "the replay sends")
    run_json(service, "replay", "cancel", begun["id"])

    present = post_events(service, 5)
    assert_all_arrive(stub, present, 10.0)
    (state,) = run_json(service, "replay", "list")
    assert state["state"] == "cancelled"
    again = [event_id for event_id in past if stub.arrived[event_id] == 2]
    assert 0 < len(again) < len(past)
    assert_all_arrive(stub, post_events(service, 5), 10.0)
    assert [event_id for event_id in past if stub.arrived[event_id] == 2] == again


def test_the_present_goes_before_a_replay(make_service: MakeService, stub: RudderStub) -> None:
    service = make_service()
    service.configure([rudder(stub, batch={"max_wait": 0.1, "max_events": 5})])
    service.start()
    past = post_events(service, 200)
    assert_all_arrive(stub, past)
    stub.behaviour = slowly(0.25)
    run_json(service, "replay", "rudder")
    wait_until(lambda: max(stub.arrived.values()) == 2, "the replay sends")

    present = post_events(service, 5)

    assert_all_arrive(stub, present, 10.0)
    assert sum(stub.arrived[event_id] == 2 for event_id in past) < len(past) / 2


def test_what_retention_takes_from_a_dead_destination_is_counted_as_its_dead_letters(
    make_service: MakeService, stub: RudderStub, make_stub: MakeStub
) -> None:
    dead = make_stub()
    dead.behaviour = always(401)
    service = make_service()
    service.configure([rudder(stub, "living"), rudder(dead, "dead")], retention={"events": f"{KEPT_SECONDS}s"})
    service.start()
    answered = post_events(service, 30)
    answered_at = time.monotonic()
    assert_all_arrive(stub, answered, 10.0)
    assert run_json(service, "dead", "list", "--destination", "dead") == []

    def dead_letters() -> int:
        with service.journal() as journal:
            return len(journal.dead_letters("dead"))

    wait_until(lambda: time.monotonic() > answered_at + KEPT_SECONDS, "the limit has passed")
    service.kill(service.delivering())  # it keeps house when it starts, then every half a minute
    wait_until(lambda: dead_letters() == len(answered), "all of them are dead letters of the dead one", 45.0)

    with service.journal() as journal:
        letters = journal.dead_letters()
    assert {letter.reader.destination for letter in letters} == {"dead"}
    assert {letter.event_id for letter in letters} == set(answered)
    assert all("retention" in letter.reason for letter in letters)
    repeats = post_all(service, map(event, answered))
    assert {answer.headers["x-connector-outcome"] for answer in repeats} == {"duplicate"}

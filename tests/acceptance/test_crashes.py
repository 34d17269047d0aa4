"""kill -9 in the middle of load, again and again: whatever was answered 200 arrives."""

from collections.abc import Callable

import pytest

from tests.acceptance.customerio import Load, assert_all_arrive, post_events
from tests.acceptance.service import Service, rudder, wait_until
from tests.stubs import RudderStub, slowly

ROUNDS = 3
EVENTS_BETWEEN = 60  # answered between two kills
ANSWER_SECONDS = 0.3  # that the destination takes: many a kill falls between sending and hearing of it
BATCH_EVENTS = 20
KILLS_OF_DELIVERY = 5

Kill = Callable[[Service], None]


def kill_a_web_worker(service: Service) -> None:
    service.kill(service.web_workers()[0])


def kill_all_web_workers(service: Service) -> None:
    service.kill(*service.web_workers())


def kill_the_delivering_process(service: Service) -> None:
    service.kill(service.delivering())


def kill_both(service: Service) -> None:
    service.kill(service.delivering(), *service.web_workers())


def is_whole(service: Service) -> bool:
    return len(service.web_workers()) >= 2 and service.delivering() is not None


KILLS = (kill_a_web_worker, kill_all_web_workers, kill_the_delivering_process, kill_both)


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.__name__)
def test_nothing_answered_200_is_lost_however_often_a_process_is_killed(
    service: Service, stub: RudderStub, kill: Kill
) -> None:
    stub.behaviour = slowly(ANSWER_SECONDS)

    with Load(service) as load:
        for _ in range(ROUNDS):
            load.wait_for(EVENTS_BETWEEN)
            wait_until(lambda: is_whole(service), "killed processes are started again")
            kill(service)
        load.wait_for(EVENTS_BETWEEN)

    assert_all_arrive(stub, load.answered, what=kill.__name__)


def test_nothing_answered_200_is_lost_when_the_master_is_killed_and_started_again(
    service: Service, stub: RudderStub
) -> None:
    stub.behaviour = slowly(ANSWER_SECONDS)

    with Load(service) as load:
        for _ in range(ROUNDS):
            load.wait_for(EVENTS_BETWEEN)
            service.kill_master()
            service.start()
        load.wait_for(EVENTS_BETWEEN)

    assert_all_arrive(stub, load.answered, what="kill_the_master")


def test_a_delivering_process_killed_again_and_again_repeats_at_most_what_was_on_its_way(
    make_service: Callable[..., Service], stub: RudderStub
) -> None:
    service = make_service(CONNECTOR_DELIVER="no")
    service.configure([rudder(stub, batch={"max_wait": 0.1, "max_events": BATCH_EVENTS})])
    service.start()
    stub.behaviour = slowly(0.05)
    answered = post_events(service, 600)

    for kill in range(1, KILLS_OF_DELIVERY + 1):
        process, calls = service.start_delivering(), len(stub.calls)
        wait_until(lambda: len(stub.calls) >= calls + kill, "it delivers")  # noqa: B023  # at once
        process.kill()
        process.wait()
    last = service.start_delivering()

    assert_all_arrive(stub, answered, what="killed again and again")
    doubled = sum(stub.arrived.values()) - len(answered)
    assert doubled <= KILLS_OF_DELIVERY * BATCH_EVENTS
    last.terminate()
    assert last.wait(15) == 0


def test_what_the_master_leaves_behind_when_it_is_killed_ends_by_itself(service: Service, stub: RudderStub) -> None:
    service.kill_master()

    wait_until(lambda: not service.members(), "workers and delivering process have ended")


def test_the_memory_of_ids_survives_kills(service: Service, stub: RudderStub) -> None:
    with Load(service) as load:
        load.wait_for(EVENTS_BETWEEN)
        kill_both(service)
        load.wait_for(EVENTS_BETWEEN)
    assert_all_arrive(stub, load.answered)
    before = stub.arrived

    repeats = [service.post(b'{"event_id":"%s"}' % event_id.encode()) for event_id in load.answered]

    assert {answer.headers["x-connector-outcome"] for answer in repeats} == {"duplicate"}
    assert stub.arrived == before

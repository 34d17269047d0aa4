"""Reloads and stops under load: nobody is refused or reset by a reload, and a stop keeps what it answered 200."""

import time
from collections.abc import Callable
from contextlib import closing

from tests.acceptance.customerio import Load, assert_all_arrive, event, new_id, post_events
from tests.acceptance.service import WRITE_KEY, Service, read_answer, rudder, wait_until
from tests.stubs import RudderStub, accept, silent

IDLE_CONNECTIONS = 6
STOP_SECONDS = 15.0
UNDER_WAY_SECONDS = 0.3  # until a worker has read what was sent of a request
# Whoever calls a service that stops, and has nobody who keeps its port open. Those whom it has taken in are answered.
TURNED_AWAY = {"ConnectionRefusedError on a new connection", "ConnectionResetError on a new connection"}


def test_a_reload_under_load_refuses_resets_and_fails_nobody(service: Service, stub: RudderStub) -> None:
    idle = [service.connect() for _ in range(IDLE_CONNECTIONS)]
    for connection in idle:
        connection.request("GET", "/healthz")
        assert read_answer(connection, 0.0).status == 200

    with Load(service) as load:
        for _ in range(2):
            load.wait_for(60)
            old = {*service.web_workers(), service.delivering()}
            service.reload()
            wait_until(lambda: len(set(service.web_workers()) - old) == 2, "new web workers have started")  # noqa: B023
            wait_until(lambda: service.delivering() not in {*old, None}, "a new delivering process runs")  # noqa: B023
        load.wait_for(60)
        used = []
        for connection in idle:
            used.append(new_id())
            connection.request("POST", f"/v1/webhook?writeKey={WRITE_KEY}", event(used[-1]))
            assert read_answer(connection, 0.0).status == 200
            connection.close()

    assert load.failures == {}
    assert set(load.outcomes) == {200}
    assert_all_arrive(stub, [*load.answered, *used], what="two reloads")


def test_a_stop_under_load_keeps_what_was_answered_200_and_a_start_delivers_it(
    service: Service, stub: RudderStub
) -> None:
    with Load(service, gives_up=True) as load:
        load.wait_for(60)
        started_at = time.monotonic()
        exit_code = service.stop()
        seconds = time.monotonic() - started_at

    assert exit_code == 0
    assert seconds < STOP_SECONDS
    wait_until(lambda: not service.members(), "no process is left")
    assert set(load.outcomes) <= {200, 503, 0}
    assert set(load.failures) <= TURNED_AWAY, load.failures
    service.start()
    assert_all_arrive(stub, load.answered, what=f"stopped in {seconds:.1f} s, started again")


def test_a_stop_while_a_destination_says_nothing_is_not_held_up_and_loses_nothing(
    make_service: Callable[..., Service], stub: RudderStub
) -> None:
    service = make_service()
    service.configure([rudder(stub, timeout=5)])
    service.start()
    stub.behaviour = silent
    answered = post_events(service, 20)
    wait_until(lambda: stub.calls, "the destination is called")

    assert service.stop() == 0

    stub.behaviour = accept
    service.start()
    assert_all_arrive(stub, answered)


def test_ctrl_c_answers_the_request_that_is_under_way_and_ends_quietly(service: Service, stub: RudderStub) -> None:
    body = event(event_id := new_id())
    connection = service.connect()
    connection.putrequest("POST", f"/v1/webhook?writeKey={WRITE_KEY}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:20])
    time.sleep(UNDER_WAY_SECONDS)

    service.interrupt()
    wait_until(lambda: "Handling signal: int" in service.log, "the master has heard it")
    with closing(connection):
        connection.send(body[20:])
        answer = read_answer(connection, 0.0)

    assert service.process is not None
    assert (answer.status, service.process.wait(STOP_SECONDS)) == (200, 0)
    assert "Traceback" not in service.log
    service.start()
    assert_all_arrive(stub, [event_id])

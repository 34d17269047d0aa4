"""connector.yaml changed while the service runs: what is good is taken up, what is broken is refused and shown."""

import json
from collections.abc import Callable

from tests.acceptance.customerio import Load, assert_all_arrive, event, new_id, post_all, post_events
from tests.acceptance.service import Service, rudder, source, wait_until
from tests.stubs import RudderStub

TAKE_UP_SECONDS = 10.0

MakeService = Callable[..., Service]
MakeStub = Callable[[], RudderStub]


def names(service: Service) -> list[str]:
    return [shown["name"] for shown in service.status()["destinations"]]


def test_a_destination_added_under_load_gets_what_comes_from_then_on_and_the_others_notice_nothing(
    make_service: MakeService, stub: RudderStub, make_stub: MakeStub
) -> None:
    added = make_stub()
    service = make_service()
    service.configure([rudder(stub)])
    service.start()

    with Load(service) as load:
        load.wait_for(60)
        service.configure([rudder(stub), rudder(added, "added")])
        wait_until(lambda: added.arrived, "the added destination gets events", TAKE_UP_SECONDS)
        seen_by = len(load.answered)
        load.wait_for(60)

    assert set(load.outcomes) == {200}
    assert_all_arrive(stub, load.answered, what="the old one")
    assert_all_arrive(added, load.answered[seen_by:], what="the added one, from then on")
    assert set(stub.arrived.values()) == {1}


def test_a_new_destination_that_starts_at_the_beginning_gets_all_of_the_past(
    make_service: MakeService, stub: RudderStub, make_stub: MakeStub
) -> None:
    added = make_stub()
    service = make_service()
    service.configure([rudder(stub)])
    service.start()
    past = post_events(service, 150)

    service.configure([rudder(stub), rudder(added, "added", start="beginning")])

    assert_all_arrive(added, past, 10.0)


def test_a_broken_file_is_refused_visibly_and_the_last_good_one_stays_in_force(
    make_service: MakeService, stub: RudderStub
) -> None:
    service = make_service()
    service.configure([rudder(stub)])
    service.start()
    good = (service.folder / "connector.yaml").read_text()

    service.write_config("sources:\n  - name: production\n    write_keys: [a]\n    signatur: off\n")

    # Either worker may answer, and each looks at the file on its own.
    wait_until(
        lambda: "connector.yaml:4" in (service.status()["refusal"] or ""), "the refusal is on /status", TAKE_UP_SECONDS
    )
    wait_until(lambda: "connector.yaml:4" in service.log, "the refusal is in the log", TAKE_UP_SECONDS)
    check = service.command("check", "--json")
    assert check.returncode == 1
    verdict = json.loads(check.stdout)
    assert not verdict["ok"]
    assert "connector.yaml:4" in verdict["problems"][0]
    assert_all_arrive(stub, post_events(service, 10))

    service.write_config(good)
    wait_until(lambda: service.status()["refusal"] is None, "the good file is in force", TAKE_UP_SECONDS)
    assert service.command("check").returncode == 0


def test_a_broken_file_found_at_a_start_does_not_keep_the_service_from_receiving(
    make_service: MakeService, stub: RudderStub
) -> None:
    service = make_service()
    service.configure([rudder(stub)])
    service.start()
    service.stop()
    service.write_config("sources: [")

    service.start()

    assert_all_arrive(stub, post_events(service, 10))
    assert service.status()["refusal"]


def test_a_write_key_added_and_one_removed_count_at_once(make_service: MakeService, stub: RudderStub) -> None:
    service = make_service()
    service.configure([rudder(stub)], sources=[source(write_key="old-key")])
    service.start()
    assert service.post(event(), "old-key").status == 200
    assert service.post(event(), "new-key").status == 401

    service.configure([rudder(stub)], sources=[source(write_key="new-key")])

    # Two in a row from each worker: both have taken it up.
    wait_until(lambda: {service.post(event(), "new-key").status for _ in range(6)} == {200}, "the new key is right")
    wait_until(lambda: {service.post(event(), "old-key").status for _ in range(6)} == {401}, "the old key is wrong")
    wait_until(lambda: service.status()["rejected_keys"], "rejected keys are shown", TAKE_UP_SECONDS)
    shown = service.status()["rejected_keys"]
    assert all(rejected["masked_key"].endswith("(7 characters)") for rejected in shown)
    assert "old-key" not in service.get("/status").body.decode()


def test_a_disabled_source_is_stored_and_delivered_once_it_is_enabled_again(
    make_service: MakeService, stub: RudderStub
) -> None:
    service = make_service()
    both = [source(), source("staging", "staging-key", enabled=False)]
    service.configure([rudder(stub)], sources=both)
    service.start()

    kept = [new_id() for _ in range(20)]
    answers = post_all(service, map(event, kept), "staging-key")
    live = post_events(service, 20)

    assert {(answer.status, answer.headers["x-connector-outcome"]) for answer in answers} == {(200, "stored")}
    assert_all_arrive(stub, live)
    assert stub.arrived.keys() == set(live)
    service.configure([rudder(stub)], sources=[source(), source("staging", "staging-key")])
    assert_all_arrive(stub, [*live, *kept], 10.0)


def test_a_disabled_destination_waits_and_goes_on_from_where_it_stood(
    make_service: MakeService, stub: RudderStub
) -> None:
    service = make_service()
    service.configure([rudder(stub, enabled=False)])
    service.start()
    kept = post_events(service, 20)
    assert service.destination("rudder")["state"] == "disabled"
    assert service.destination("rudder")["backlog"]["waiting"] == 20

    service.configure([rudder(stub)])

    assert_all_arrive(stub, kept, 10.0)

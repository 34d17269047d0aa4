"""From nothing to the first event: an empty folder, one command, three variables, the URL that it prints."""

import re
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.acceptance.customerio import assert_all_arrive, event, new_id
from tests.acceptance.service import RUDDER_KEY, Service, wait_until
from tests.stubs import RudderStub, demand_key

UP = (sys.executable, "-m", "connector", "up")
PRINTED_URL = re.compile(r"http://\S+/v1/webhook\?writeKey=(\S+)")


def test_three_variables_and_no_file_bring_the_first_event_to_rudderstack(
    make_service: Callable[..., Service], stub: RudderStub
) -> None:
    stub.behaviour = demand_key(RUDDER_KEY)
    service = make_service(
        DESTINATION_TYPE="rudderstack", DESTINATION_URL=stub.url, DESTINATION_WRITE_KEY=RUDDER_KEY
    ).start(UP)

    printed = PRINTED_URL.search(service.log)
    assert printed is not None
    assert urlsplit(printed[0]).port == service.port
    env = service.folder / ".env"
    assert f"WRITE_KEY={printed[1]}" in env.read_text()
    assert env.stat().st_mode & 0o777 == 0o600
    event_id = new_id()
    assert service.post(event(event_id), printed[1]).status == 200
    assert_all_arrive(stub, [event_id], 10.0)


def test_no_variable_at_all_writes_events_to_a_file(make_service: Callable[..., Service]) -> None:
    service = make_service().start(UP)
    printed = PRINTED_URL.search(service.log)
    assert printed is not None
    event_id = new_id()

    assert service.post(event(event_id), printed[1]).status == 200

    events = service.data / "events"
    wait_until(lambda: any(event_id in path.read_text() for path in events.glob("*.ndjson")), "the event is in a file")


def test_a_second_start_keeps_the_key_and_the_events(make_service: Callable[..., Service], stub: RudderStub) -> None:
    service = make_service(DESTINATION_URL=stub.url, DESTINATION_WRITE_KEY=RUDDER_KEY).start(UP)
    first = (service.folder / ".env").read_text()
    printed = PRINTED_URL.search(service.log)
    assert printed is not None
    event_id = new_id()
    assert service.post(event(event_id), printed[1]).headers["x-connector-outcome"] == "stored"
    assert_all_arrive(stub, [event_id])
    assert service.stop() == 0

    service.start(UP)

    assert (service.folder / ".env").read_text() == first
    assert service.post(event(event_id), printed[1]).headers["x-connector-outcome"] == "duplicate"

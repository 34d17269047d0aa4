"""customerio, amplitude, mixpanel and posthog: a real worker, journal and HTTP, at stand-ins of their providers."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from connector.destinations import DESTINATION_TYPES
from connector.model import Batch
from connector.normalize import normalize
from connector.pace import Mood
from connector.transports.http import HttpTransport
from tests.delivering import READER, Rig
from tests.fixture_files import NAMES, received_fixture
from tests.integration.analytics_stubs import APIS, KEY, AnalyticsStub

CREDENTIALS = {"customerio": "api_key", "amplitude": "api_key", "mixpanel": "token", "posthog": "api_key"}
OPTIONS: Mapping[str, Mapping[str, Any]] = {"customerio": {"workspace": "other", "event_prefix": "Brand A"}}


@pytest.fixture(params=sorted(APIS))
def type_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def serve() -> Iterator[Callable[[str], AnalyticsStub]]:
    """A stand-in for the provider of this type."""
    stubs: list[AnalyticsStub] = []

    def start(type_name: str) -> AnalyticsStub:
        stubs.append(AnalyticsStub(APIS[type_name]))
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.stop()
        assert stub.faults == []


@pytest.fixture
def stub(serve: Callable[[str], AnalyticsStub], type_name: str) -> AnalyticsStub:
    return serve(type_name)


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    transport = HttpTransport((ip_network("127.0.0.0/8"),), "test")
    yield transport
    transport.close()


def rig_for(folder: Path, type_name: str, stub: AnalyticsStub, transport: HttpTransport, key: str = KEY) -> Rig:
    """A worker of this type that delivers to the stand-in, people included."""
    options = {**OPTIONS.get(type_name, {}), CREDENTIALS[type_name]: key, "url": stub.url}
    rig = Rig(
        folder,
        DESTINATION_TYPES[type_name],
        type=type_name,
        options=options,
        profile="customerio",
        identify=True,
        batch=Batch(100, 450_000, 0.5),
    )
    rig.transport.answer = lambda request: transport.send(request, 5)
    return rig


def arrived(type_name: str, stub: AnalyticsStub) -> Counter[tuple[str, str]]:
    """(what was done, by whom) of all that was taken."""
    name, person = {
        "customerio": ("event", "userId"),
        "amplitude": ("event_type", "user_id"),
        "mixpanel": ("event", ""),
        "posthog": ("event", "distinct_id"),
    }[type_name]
    return Counter(
        (str(event[name]), str(event["properties"]["distinct_id"] if type_name == "mixpanel" else event.get(person)))
        for event in stub.taken.events
        if event.get("type") != "identify"
    )


def test_every_fixture_arrives_once_or_is_a_dead_letter_with_the_reason(
    type_name: str, stub: AnalyticsStub, transport: HttpTransport, tmp_path: Path
) -> None:
    rig = rig_for(tmp_path, type_name, stub, transport)
    fixtures = {one.event_id: one for one in map(received_fixture, NAMES) if one.body.startswith(b"{")}
    expected = sum(len(normalize(one, "customerio", identify=True)) for one in fixtures.values())
    assert len(fixtures) > 60

    rig.journal.append(list(fixtures.values()))
    rig.run(seconds=5)

    taken = len(stub.taken.events) + len(stub.taken.people)
    assert rig.waiting == (0, 0)
    assert taken + len(rig.dead) == expected
    assert taken > 60
    assert set(stub.taken.statuses) == {200}
    assert {letter.reason.partition(":")[0] for letter in rig.dead} <= {"no person"}


def test_one_bad_event_is_a_dead_letter_and_its_neighbours_arrive_once(
    type_name: str, stub: AnalyticsStub, transport: HttpTransport, tmp_path: Path
) -> None:
    rig = rig_for(tmp_path, type_name, stub, transport)
    stub.taken.is_bad = lambda event: "poisonous" in str(event)

    rig.receive(49)
    rig.receive(1, first=50, data={"customer_id": "u-bad", "recipient": "p@example.com", "subject": "poisonous"})
    rig.receive(49, first=51)
    rig.run(seconds=60)

    assert [letter.event_id for letter in rig.dead] == ["e50"]
    assert len(stub.taken.events) == 98
    assert rig.waiting == (0, 0)
    assert rig.mood is Mood.DELIVERING


def test_a_wrong_key_holds_the_destination_and_kills_nothing(
    type_name: str, stub: AnalyticsStub, transport: HttpTransport, tmp_path: Path
) -> None:
    rig = rig_for(tmp_path, type_name, stub, transport, key="wrong-key")
    rig.receive(3)
    rig.run()

    assert rig.mood is Mood.HELD
    assert rig.dead == []

    rig.new_worker(**{**vars_of(rig), "options": {**rig.destination.connection.options, CREDENTIALS[type_name]: KEY}})
    rig.run(seconds=1)

    assert len(stub.taken.events) == 3
    assert "wrong-key" not in str([made.outcomes for made in rig.attempts])


def vars_of(rig: Rig) -> dict[str, Any]:
    connection = rig.destination.connection
    names = ("type", "profile", "identify", "batch")
    return {name: getattr(connection, name) for name in names}


def test_a_large_batch_stays_within_the_limits(
    type_name: str, stub: AnalyticsStub, transport: HttpTransport, tmp_path: Path
) -> None:
    rig = rig_for(tmp_path, type_name, stub, transport)
    data = {"customer_id": "u-1", "recipient": "p@example.com", "subject": "s" * 10_000}

    rig.receive(100, data=data)
    rig.run(seconds=5)

    assert len(stub.taken.events) == 100
    assert set(stub.taken.statuses) == {200}
    assert len(stub.taken.statuses) >= 3


def test_people_are_set_beside_their_events(
    serve: Callable[[str], AnalyticsStub], transport: HttpTransport, tmp_path: Path
) -> None:
    for type_name in ("amplitude", "mixpanel", "posthog"):
        stub = serve(type_name)
        rig = rig_for(tmp_path / type_name, type_name, stub, transport)

        rig.journal.append([received_fixture("customer_subscribed")])
        rig.run(seconds=5)

        assert "alan@example.com" in str(stub.taken.people)
        assert arrived(type_name, stub) == {("Subscribed", "usr_1003"): 1}


def test_a_workspace_gets_the_events_under_their_prefix(
    serve: Callable[[str], AnalyticsStub], transport: HttpTransport, tmp_path: Path
) -> None:
    stub = serve("customerio")
    rig = rig_for(tmp_path, "customerio", stub, transport)

    rig.receive(2)
    rig.run(seconds=1)

    assert arrived("customerio", stub) == {("Brand A Email Opened", "u-1"): 2}


def test_one_person_whom_amplitude_slows_down_holds_up_nobody_else(
    serve: Callable[[str], AnalyticsStub], transport: HttpTransport, tmp_path: Path
) -> None:
    stub = serve("amplitude")
    stub.taken.too_fast = {"busy"}
    rig = rig_for(tmp_path, "amplitude", stub, transport)
    rig.receive(5)
    rig.receive(2, first=6, data={"customer_id": "busy"})

    rig.run(seconds=5)
    soon = arrived("amplitude", stub)
    rig.run(seconds=30)

    assert soon == {("Email Opened", "u-1"): 5}
    assert arrived("amplitude", stub) == {("Email Opened", "u-1"): 5, ("Email Opened", "busy"): 2}
    assert rig.dead == []


def test_events_wait_while_posthog_drops_them_for_its_billing_limit(
    serve: Callable[[str], AnalyticsStub], transport: HttpTransport, tmp_path: Path
) -> None:
    stub = serve("posthog")
    stub.taken.is_beyond_quota = True
    rig = rig_for(tmp_path, "posthog", stub, transport)
    rig.receive(3)

    rig.run(seconds=600)
    assert rig.mood is Mood.THROTTLED
    assert rig.journal.backlog(READER).waiting == 3
    stub.taken.is_beyond_quota = False
    rig.run(seconds=120)

    assert len(stub.taken.events) == 3
    assert rig.dead == []

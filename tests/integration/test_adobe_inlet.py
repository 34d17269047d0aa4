"""The whole way of an event to Adobe: journal, worker, HTTP, a stand-in that enforces the documented limits."""

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from connector.clock import SystemClock
from connector.deliver import attempt
from connector.destinations.adobe import AdobeDestination
from connector.model import Connection, Delivery, Event, OutcomeKind, Reader, ReceivedEvent, Refused
from connector.normalize import normalize
from connector.pace import Mood
from connector.transports.http import HttpTransport
from schemas.catalogue import DOCUMENTED
from tests.adobe_stub import BATCH, CLIENT, SINGLE, TOKEN, AdobeStub, Reply, reply
from tests.delivering import Rig
from tests.fixture_files import received_fixture
from tests.xdm import OPTIONS, adobe, entity_validator

LOOPBACK = (ip_network("127.0.0.0/8"),)
VALIDATOR = entity_validator()
PAYLOADS = ["_".join(pair) for pair in sorted(DOCUMENTED)]


def fault_of(entity: Any) -> str:
    return "; ".join(f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(entity))


@pytest.fixture
def serve() -> Iterator[Callable[..., AdobeStub]]:
    stubs: list[AdobeStub] = []

    def start(**kwargs: Any) -> AdobeStub:
        stubs.append(AdobeStub(**kwargs).start())
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.stop()


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    transport = HttpTransport(LOOPBACK, "connector/test")
    yield transport
    transport.close()


def connection_to(stub: AdobeStub, **options: Any) -> Connection:
    return adobe(**{"url": stub.url, "token_url": stub.token_url, **options})


def deliveries(destination: AdobeDestination, events: list[Event]) -> list[Delivery]:
    made = []
    for seq, event in enumerate(events, 1):
        encoded = destination.encode(event)
        assert not isinstance(encoded, Refused), encoded.reason
        made.append(Delivery(Reader("adobe", "production"), seq, "all", event, encoded))
    return made


def events_of(names: list[str], profile: str = "customerio") -> list[Event]:
    return [normalize(received_fixture(name), profile)[0] for name in names]


def sent(connection: Connection, transport: HttpTransport, names: list[str]) -> list[OutcomeKind]:
    destination = AdobeDestination(connection)
    batch = deliveries(destination, events_of(names, connection.profile))
    return [outcome.kind for outcome in attempt(destination, transport, batch, SystemClock()).outcomes]


# ── what arrives ──


def test_every_documented_event_arrives_once_and_holds_to_the_schema(serve: Any, transport: HttpTransport) -> None:
    stub = serve(fault_of=fault_of)

    outcomes = sent(connection_to(stub), transport, PAYLOADS)

    assert set(outcomes) == {OutcomeKind.DELIVERED}
    assert stub.faults == []
    assert len({entity["_id"] for entity in stub.taken}) == len(PAYLOADS)
    assert [target for target, _ in stub.requests] == [BATCH]


def test_a_single_message_goes_to_the_single_address(serve: Any, transport: HttpTransport) -> None:
    stub = serve(fault_of=fault_of)

    outcomes = sent(connection_to(stub, max_events=1, sandbox="dev"), transport, ["email_clicked"])

    target, headers = stub.requests[0]
    assert (outcomes, target, len(stub.taken)) == ([OutcomeKind.DELIVERED], SINGLE, 1)
    assert (headers["sandbox-name"], headers["x-sandbox-name"]) == ("dev", "dev")


@pytest.mark.parametrize("max_events", [1, 100])
def test_raw_mode_feeds_the_provider_s_own_source_unchanged(
    serve: Any, transport: HttpTransport, max_events: int
) -> None:
    stub = serve()
    names = PAYLOADS[:1] if max_events == 1 else PAYLOADS
    url = f"{stub.url}?x-adobe-flow-id=flow-1"

    outcomes = sent(connection_to(stub, mode="raw", url=url, flow_id=None, max_events=max_events), transport, names)

    assert set(outcomes) == {OutcomeKind.DELIVERED}
    assert stub.taken == [json.loads(received_fixture(name).body) for name in names]
    assert stub.requests[0][1]["x-adobe-flow-id"] == "flow-1"


# ── access tokens ──


def test_one_token_serves_many_requests_and_is_in_no_answer(serve: Any, transport: HttpTransport) -> None:
    stub = serve(is_authenticated=True)

    for _ in range(3):
        assert set(sent(connection_to(stub, **CLIENT), transport, ["email_clicked"])) == {OutcomeKind.DELIVERED}

    assert [target for target, _ in stub.requests] == [TOKEN, BATCH, BATCH, BATCH]


def test_an_expired_token_is_renewed_once_without_an_event_noticing(serve: Any, transport: HttpTransport) -> None:
    stub = serve(is_authenticated=True)
    connection = connection_to(stub, **CLIENT)
    sent(connection, transport, ["email_clicked"])
    stub.expire_tokens()

    outcomes = sent(connection, transport, ["email_opened"])

    assert outcomes == [OutcomeKind.DELIVERED]
    assert [target for target, _ in stub.requests][2:] == [BATCH, TOKEN, BATCH]


@pytest.mark.parametrize(("body", "requests"), [(b"denied to token-1", 4), (b"", 2)])
def test_a_403_that_stays_is_the_answer_after_one_fresh_token(
    serve: Any, transport: HttpTransport, body: bytes, requests: int
) -> None:
    stub = serve(is_authenticated=True)
    stub.behaviour = lambda messages: Reply(403, body)
    destination = AdobeDestination(connection_to(stub, **CLIENT))

    made = attempt(destination, transport, deliveries(destination, events_of(["email_clicked"])), SystemClock())

    assert made.outcomes[0].kind is OutcomeKind.UNAUTHORIZED
    assert ("allowlist" in made.outcomes[0].reason) is (not body)
    assert len(stub.requests) == requests
    assert b"token-2" not in (made.response.body if made.response else b"")


def test_a_wrong_client_holds_the_destination_and_no_event_is_sent(serve: Any, transport: HttpTransport) -> None:
    stub = serve(is_authenticated=True)
    connection = connection_to(stub, client_id="client-1", client_secret="wrong-secret")
    destination = AdobeDestination(connection)

    made = attempt(destination, transport, deliveries(destination, events_of(["email_clicked"])), SystemClock())

    assert made.outcomes[0].kind is OutcomeKind.UNAUTHORIZED
    assert "invalid_client" in made.outcomes[0].reason
    assert "wrong-secret" not in made.outcomes[0].reason
    assert [target for target, _ in stub.requests] == [TOKEN]


@pytest.mark.parametrize(
    ("answered", "kind"), [(Reply(503), OutcomeKind.TRANSIENT), (Reply(429), OutcomeKind.THROTTLED)]
)
def test_a_token_server_in_trouble_costs_no_event(
    serve: Any, transport: HttpTransport, answered: Reply, kind: OutcomeKind
) -> None:
    stub = serve(is_authenticated=True)
    stub.token_reply = answered

    assert sent(connection_to(stub, **CLIENT), transport, ["email_clicked"]) == [kind]


def test_a_token_is_fetched_through_the_address_guard() -> None:
    guarded = HttpTransport((), "connector/test")
    connection = adobe(**CLIENT, token_url="http://169.254.169.254/token")
    destination = AdobeDestination(connection)

    made = attempt(destination, guarded, deliveries(destination, events_of(["email_clicked"])), SystemClock())

    guarded.close()
    assert "169.254.169.254:80 is not called" in made.error


# ── faults, with the worker ──


@pytest.fixture
def rig(serve: Any, transport: HttpTransport, tmp_path: Path) -> "Rigged":
    return Rigged(serve(fault_of=fault_of), transport, tmp_path)


class Rigged:
    """A worker that sends over HTTP to the stand-in."""

    def __init__(self, stub: AdobeStub, transport: HttpTransport, folder: Path) -> None:
        self.stub = stub
        connection = connection_to(stub)
        changes = {name: getattr(connection, name) for name in ("type", "options", "profile", "batch")}
        self.rig = Rig(folder, AdobeDestination, **changes)
        self.rig.transport = transport  # type: ignore[assignment]  # over HTTP, where the rig has a fake
        self.rig.new_worker(**changes)

    def receive(self, number: int, **data: Any) -> None:
        payload = json.loads(received_fixture("email_clicked").body)
        self.rig.journal.append(
            [
                ReceivedEvent(
                    "production",
                    f"e{index}",
                    json.dumps({**payload, "event_id": f"e{index}", "data": {**payload["data"], **data}}).encode(),
                    self.rig.clock.now(),
                )
                for index in range(1, number + 1)
            ]
        )

    @property
    def arrived(self) -> list[str]:
        return sorted(entity["_id"] for entity in self.stub.taken)


def choke(bad: set[str], answer: Callable[[list[Any]], Reply]) -> Callable[[list[Any]], Reply | None]:
    def behave(messages: list[Any]) -> Reply | None:
        ids = {message["body"]["xdmEntity"]["_id"] for message in messages}
        return answer(messages) if ids & bad else None

    return behave


def test_a_refused_message_is_a_dead_letter_and_its_neighbours_are_not_sent_again(rig: Rigged) -> None:
    def answer(messages: list[Any]) -> Reply:
        ids = [message["body"]["xdmEntity"]["_id"] for message in messages]
        rig.stub.taken += [message["body"]["xdmEntity"] for message in messages if message != messages[ids.index("e3")]]
        items = [{"statusCode": 400, "message": "bad"} if one == "e3" else {"xactionId": "1:2:3"} for one in ids]
        return reply(207, {"responses": items})

    rig.stub.behaviour = choke({"e3"}, answer)
    rig.receive(5)

    rig.rig.run()

    assert rig.arrived == ["e1", "e2", "e4", "e5"]
    assert len(rig.stub.requests) == 1
    assert dict(rig.rig.counts) | {"filtered": 0} == {"delivered": 4, "dead": 1, "retry": 0, "filtered": 0}


def test_a_request_that_is_refused_as_a_whole_is_halved_to_the_culprit(rig: Rigged) -> None:
    rig.stub.behaviour = choke({"e6"}, lambda messages: reply(400, {"status": 400, "title": "Invalid"}))
    rig.receive(8)

    rig.rig.run()

    assert rig.arrived == ["e1", "e2", "e3", "e4", "e5", "e7", "e8"]
    assert rig.rig.counts["dead"] == 1


def test_a_request_that_is_too_large_is_halved(rig: Rigged) -> None:
    rig.stub.behaviour = lambda messages: Reply(413) if len(messages) > 2 else None
    rig.receive(8)

    rig.rig.run()

    assert len(rig.arrived) == 8
    assert rig.rig.counts["dead"] == 0


def test_an_undecided_answer_sends_everything_again_under_the_same_ids(rig: Rigged) -> None:
    answers = iter([reply(207, {"responses": [{"xactionId": "1:2:3"}]})])
    rig.stub.behaviour = lambda messages: next(answers, None)
    rig.receive(3)

    rig.rig.run(seconds=10)

    assert rig.arrived == ["e1", "e2", "e3"]
    assert rig.rig.counts["dead"] == 0


@pytest.mark.parametrize(
    ("answer", "mood"),
    [
        (Reply(403), Mood.HELD),
        (Reply(401, b"{}"), Mood.HELD),
        (Reply(404), Mood.HELD),
        (Reply(501), Mood.HELD),
        (Reply(429, b"", {"Retry-After": "9"}), Mood.THROTTLED),
    ],
    ids=["403", "401", "404", "501", "429"],
)
def test_trouble_of_the_set_up_costs_no_event(rig: Rigged, answer: Reply, mood: Mood) -> None:
    rig.stub.behaviour = lambda messages: answer
    rig.receive(3)
    rig.rig.run()
    standing = rig.rig.worker.standing

    rig.stub.behaviour = lambda messages: None
    rig.rig.run(seconds=400)

    assert standing.mood is mood
    assert rig.arrived == ["e1", "e2", "e3"]
    assert rig.rig.counts["dead"] == 0


def test_a_service_that_is_away_for_a_while_gets_everything_once_it_is_back(rig: Rigged) -> None:
    answers = iter([Reply(503, b"", {"Retry-After": "2"}), Reply(500), Reply(502)])
    rig.stub.behaviour = lambda messages: next(answers, None)
    rig.receive(3)

    rig.rig.run(seconds=60)

    assert rig.arrived == ["e1", "e2", "e3"]
    assert rig.rig.counts["dead"] == 0


def test_the_org_of_the_settings_is_the_one_of_each_message(serve: Any, transport: HttpTransport) -> None:
    stub = serve(fault_of=fault_of)

    outcomes = sent(connection_to(stub, org_id="not an organization"), transport, ["email_clicked"])

    assert outcomes == [OutcomeKind.REJECTED]
    assert stub.faults == ["Message has an absent or wrong ims org in the header"]
    assert OPTIONS["org_id"].endswith("@AdobeOrg")

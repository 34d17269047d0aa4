"""What comes in, with real processes: forgeries, repeats, a locked journal, and every event that is documented."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from connector.normalize import message_id
from connector.verify import sign
from tests.acceptance.customerio import assert_all_arrive, event, new_id, post_all, post_events
from tests.acceptance.service import Service, rudder, source, wait_until
from tests.fixture_files import EVENTS, NAMES, received_fixture
from tests.stubs import RudderStub

SIGNING_KEY = "a-signing-key-of-a-webhook"
LOCK_SECONDS = 8.0
LOCKED_ANSWER_SECONDS = (2.0, 3.8)  # Customer.io waits 4
AT_ONCE_SECONDS = 1.0

MakeService = Callable[..., Service]


# ── forgeries and repeats ──


def post_signed(service: Service, body: bytes, signing_key: str = SIGNING_KEY) -> str:
    """The outcome that the answer's header tells."""
    timestamp = str(int(time.time()))
    answer = service.post(body, X_CIO_Signature=sign(signing_key, timestamp, body), X_CIO_Timestamp=timestamp)
    assert answer.status == 200
    return answer.headers["x-connector-outcome"]


@pytest.mark.parametrize("signature", ["enforce", "auto"])
def test_a_forged_body_with_a_genuine_id_does_not_make_the_genuine_one_a_repeat(
    make_service: MakeService, stub: RudderStub, signature: str
) -> None:
    service = make_service()
    service.configure([rudder(stub)], sources=[source(signing_keys=[SIGNING_KEY], signature=signature)])
    service.start()
    proof = new_id()
    assert post_signed(service, event(proof)) == "stored"  # from now on auto enforces, too
    genuine = new_id()

    assert post_signed(service, event(genuine, subject="forged"), "a guess") == "quarantined"
    assert service.post(event(genuine, subject="forged, unsigned")).headers["x-connector-outcome"] == "quarantined"
    assert post_signed(service, event(genuine)) == "stored"
    assert post_signed(service, event(genuine, subject="forged late"), "a guess") == "quarantined"

    assert_all_arrive(stub, [proof, genuine])
    subjects = [taken["properties"]["emailSubject"] for taken in stub.taken]
    assert subjects == ["Your receipt", "Your receipt"]
    with service.journal() as journal:
        assert [kept.event_id for kept in journal.quarantined()] == [genuine] * 3


def test_a_repeat_is_answered_200_and_not_delivered_again(service: Service, stub: RudderStub) -> None:
    event_id = new_id()
    body = event(event_id)

    with ThreadPoolExecutor(8) as senders:  # over all web workers, at the same moment
        outcomes = [answer.headers["x-connector-outcome"] for answer in senders.map(service.post, [body] * 40)]

    assert sorted(outcomes) == ["duplicate"] * 39 + ["stored"]
    later = post_events(service, 1)
    assert_all_arrive(stub, [event_id, *later])
    assert stub.arrived[event_id] == 1


def test_the_first_event_is_delivered_however_early_it_comes(make_service: MakeService, stub: RudderStub) -> None:
    service = make_service(CONNECTOR_DELIVER="no")
    service.configure([rudder(stub, start="now")])
    service.start()
    early = post_events(service, 3)  # no delivering process has ever run
    service.stop()
    service.environment["CONNECTOR_DELIVER"] = "yes"

    service.start()

    assert_all_arrive(stub, early)


# ── a locked journal ──


@contextmanager
def locked(service: Service, seconds: float) -> Iterator[float]:
    """Another program holds the journal's write lock for so long; gives the moment that it lets go."""
    has_begun = threading.Event()

    def hold() -> None:
        stranger = sqlite3.connect(service.data / "journal.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        has_begun.set()
        released.wait(seconds)
        stranger.execute("ROLLBACK")
        stranger.close()

    released = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    has_begun.wait(5)
    yield time.monotonic() + seconds
    released.set()
    thread.join()


def test_a_lock_held_on_the_journal_is_answered_503_in_time_and_other_pages_at_once(
    service: Service, stub: RudderStub
) -> None:
    before = post_events(service, 5)
    waiting = [new_id() for _ in range(6)]

    with locked(service, LOCK_SECONDS) as until, ThreadPoolExecutor(len(waiting)) as senders:
        answers = [senders.submit(service.post, event(event_id)) for event_id in waiting]
        pages = 0
        while time.monotonic() < until - 1:
            for path in ("/healthz", "/status?json"):
                page = service.get(path)
                assert (page.status, page.seconds < AT_ONCE_SECONDS) == (200, True)
                pages += 1
            assert service.get("/readyz").status == 503
        refused = [answer.result() for answer in answers]

    assert pages >= 4
    for answer in refused:
        assert answer.status == 503
        assert answer.headers["retry-after"] == "5"
        assert LOCKED_ANSWER_SECONDS[0] < answer.seconds < LOCKED_ANSWER_SECONDS[1]
    wait_until(lambda: service.get("/readyz").status == 200, "it can store again")
    repeated = post_all(service, map(event, waiting))
    assert {answer.status for answer in repeated} == {200}
    assert_all_arrive(stub, [*before, *waiting, *post_events(service, 5)])
    assert set(stub.arrived.values()) == {1}


# ── every event that is documented ──


def test_every_documented_event_is_answered_200_and_arrives_by_name(service: Service, stub: RudderStub) -> None:
    bodies = {name: (EVENTS / f"{name}.json").read_bytes() for name in NAMES}

    answers = post_all(service, bodies.values())

    assert {answer.status for answer in answers} == {200}
    ids = {name: received_fixture(name).event_id for name in NAMES}
    wanted = {
        message_id("production", ids[name], "track")
        for name, answer in zip(NAMES, answers, strict=True)
        if answer.headers["x-connector-outcome"] == "stored"
    }
    with service.journal() as journal:
        wait_until(
            lambda: len(stub.message_ids) + len(journal.dead_letters()) >= len(wanted),
            "every fixture arrives or is dead",
        )
        dead = journal.dead_letters()
        assert journal.quarantined() == []
    assert all("no person" in letter.reason for letter in dead)
    without_person = {message_id("production", letter.event_id, "track") for letter in dead}
    assert stub.message_ids.keys() == wanted - without_person
    print(f"fixtures: accepted {len(wanted)}, delivered {len(stub.message_ids)}, dead for want of a person {len(dead)}")
    documented = {name for name in NAMES if "__" not in name}
    delivered_names = {f"{shown['objectType']}_{shown['metric']}" for shown in (t["properties"] for t in stub.taken)}
    assert documented - delivered_names == set()
    wait_until(lambda: "rcs_delivered" in unknown_names(service), "what is not documented is shown as new")
    assert documented & unknown_names(service) == set()


def unknown_names(service: Service) -> set[str]:
    """What /status shows as never heard of."""
    return {name for shown in service.status()["sources"] for name in shown["unknown_events"]}


def test_a_body_that_is_no_object_is_kept_and_harms_nobody(service: Service, stub: RudderStub) -> None:
    odd = [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, json.dumps("text").encode()]

    answers = post_all(service, odd)

    assert {(answer.status, answer.headers["x-connector-outcome"]) for answer in answers} == {(200, "quarantined")}
    assert_all_arrive(stub, post_events(service, 3))
    with service.journal() as journal:
        assert [kept.body for kept in journal.quarantined()] == odd

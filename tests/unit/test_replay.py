"""The past before a destination again: behind the present, within the same limits, by its own filter, cancellable."""

from dataclasses import replace
from pathlib import Path

import pytest

from connector.errors import JournalError
from connector.model import Action, Batch, Reader
from connector.replay import Routes, forecast
from tests.delivering import CONNECTION, READER, Rig, always, events_of
from tests.fakes import StubDestination, accept


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Ten events are delivered, five of which were clicked."""
    rig = Rig(tmp_path)
    rig.receive(5)
    rig.clock.advance(60)
    rig.receive(5, first=6, metric="clicked")
    rig.run()
    rig.transport.requests.clear()
    rig.attempts.clear()
    return rig


def begin_replay(rig: Rig, where: str | None = None) -> Reader:
    (state,) = rig.journal.replay("stub", ["production"], None, None, where)
    rig.readers = [READER, Reader("stub", "production", state.id)]
    return rig.readers[1]


def test_a_replay_sends_the_past_again_with_the_same_message_ids(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.receive(3)
    rig.run()
    reader = begin_replay(rig)

    rig.run(seconds=5)

    first, second = ([event["messageId"] for event in events_of(request)] for request in rig.transport.requests)
    assert first == second
    assert [made.replay for made in rig.attempts] == ["", reader.replay]


def test_a_replay_is_narrowed_by_its_own_filter_beside_the_rules_of_today(rig: Rig) -> None:
    rig.new_worker(actions=(Action("all", where="event_id != 'nobody'", fields={"context.today": "`true`"}),))
    reader = begin_replay(rig, where="metric == 'clicked'")

    rig.run(seconds=5)

    assert rig.delivered == {f"e{number}": 1 for number in range(6, 11)}
    assert all(event["context"]["today"] for request in rig.transport.requests for event in events_of(request))
    assert rig.counts["filtered"] == 5
    (state,) = rig.journal.replays()
    assert (state.id, state.state) == (reader.replay, "done")


def test_the_present_goes_before_a_replay_within_the_same_limits(tmp_path: Path) -> None:
    rig = Rig(tmp_path, batch=Batch(5, 1_000_000, 0.0))
    rig.receive(10)
    rig.run()
    rig.transport.requests.clear()
    begin_replay(rig)
    rig.receive(7, first=11)

    rig.run(seconds=5)

    assert rig.sent == [
        ["e11", "e12", "e13", "e14", "e15"],
        ["e16", "e17", "e1", "e2", "e3"],
        ["e4", "e5", "e6", "e7", "e8"],
        ["e9", "e10"],
    ]


def test_a_replay_that_is_cancelled_in_the_middle_sends_no_more(tmp_path: Path) -> None:
    rig = Rig(tmp_path, batch=Batch(4, 1_000_000, 0.0))
    rig.receive(10)
    rig.run()
    rig.transport.requests.clear()
    reader = begin_replay(rig)

    rig.worker.run_once()
    rig.journal.cancel_replay(reader.replay)
    rig.run(seconds=5)

    assert rig.sent == [["e1", "e2", "e3", "e4"]]
    rig.receive(1, first=11)
    rig.run()
    assert rig.sent[1:] == [["e11"]]


def test_a_replay_waits_while_the_destination_is_held(rig: Rig) -> None:
    begin_replay(rig)
    rig.transport.answer = always(401)
    rig.run(seconds=299)
    assert len(rig.attempts) == 1

    rig.transport.answer = accept
    rig.run(seconds=600)

    assert rig.delivered.total() == 10


def test_a_replay_whose_filter_cannot_be_used_is_cancelled_and_stands_in_nobodys_way(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    reader = begin_replay(rig, where="metric ==")
    rig.receive(1, first=11)

    rig.run(seconds=5)

    assert rig.delivered == {"e11": 1}
    assert [state.state for state in rig.journal.replays()] == ["cancelled"]
    assert f"replay {reader.replay} is cancelled" in caplog.text


def test_a_replay_that_the_journal_does_not_know_is_never_sent_by_the_rules_of_the_present(rig: Rig) -> None:
    routes = Routes(StubDestination(CONNECTION), rig.journal)

    with pytest.raises(JournalError):
        routes.of(Reader("stub", "production", "r-unknown"))


def test_a_forecast_tells_what_a_replay_would_do_and_sends_nothing(rig: Rig) -> None:
    connection = replace(CONNECTION, actions=(Action("all", where="metric == 'clicked'"),))
    seen: list[None] = []

    told = forecast(
        rig.journal,
        StubDestination(connection),
        ["production"],
        None,
        None,
        "properties.eventId != 'e6'",
        lambda: seen.append(None),
    )

    assert (told.events, told.deliveries, told.dead) == (10, 4, 0)
    assert told.filtered == {"where of action 'all'": 5, "where of the replay": 1}
    assert len(seen) == 10
    assert rig.sent == []

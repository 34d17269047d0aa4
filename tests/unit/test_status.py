"""What the status page says, and in which colour; and the overview behind it when something cannot be read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from connector.console.status import ago, in_bytes, number, signature_words, state_colour, verdict
from connector.errors import JournalError
from connector.journal.base import Backlog, Journal
from connector.ledger import DestinationState, Ledger, LedgerError, RejectedKey
from connector.model import Connection, Connections, Reader, Retention, SignatureMode, Source
from connector.overview import FactSources, Overview, read_overview
from connector.verify import fingerprint
from tests.fakes import FakeClock

NOW = FakeClock().now()


class StubJournal:
    """As much of a journal as an overview reads."""

    def __init__(self, error: JournalError | None = None) -> None:
        self.error = error

    def readers(self) -> list[Reader]:
        if self.error is not None:
            raise self.error
        return [Reader("rudder", "production"), Reader("rudder", "production", "r1"), Reader("gone", "production")]

    def backlog(self, reader: Reader) -> Backlog:
        return Backlog(waiting=3, retrying=2, dead=1, oldest_at=NOW - timedelta(hours=1 if reader.replay else 2))

    def proven_keys(self) -> dict[str, frozenset[str]]:
        return {"production": frozenset({fingerprint("secret")})}


class StubLedger:
    """As much of a ledger as an overview reads."""

    def totals(self) -> dict[tuple[str, str, str], int]:
        return {("received", "production", "stored"): 5, ("unknown_event", "production", "fax_sent"): 1}

    def last_counted(self) -> dict[tuple[str, str, str], datetime]:
        return {("received", "production", "stored"): NOW}

    def rejected_keys(self, limit: int) -> list[RejectedKey]:
        return [RejectedKey("abc… (9 characters)", "192.0.2.1", NOW, NOW, 2)]

    def destination_states(self) -> dict[str, DestinationState]:
        return {"rudder": DestinationState("rudder", "held", "401", NOW, None, NOW, "x" * 1000)}


class BrokenLedger(StubLedger):
    def totals(self) -> dict[tuple[str, str, str], int]:
        raise LedgerError("it is gone")


def overview_of(journal: StubJournal | None = None, ledger: StubLedger | None = None) -> Overview:
    connections = Connections(
        (Source("production", ("key",), ("secret",), SignatureMode.AUTO),),
        (
            Connection("rudder", "rudderstack", {}),
            Connection("off", "http", {}, enabled=False),
            Connection("new", "http", {}),
        ),
        Retention(),
        "fingerprint",
    )
    return read_overview(
        FactSources(
            journal=cast(Journal, journal or StubJournal()),
            ledger=cast(Ledger, ledger or StubLedger()),
            connections=lambda: connections,
            refusal=lambda: None,
            data_dir=Path(),
            clock=FakeClock(),
        )
    )


def test_the_backlogs_of_a_destination_are_added_up() -> None:
    rudder = overview_of().destinations[0]

    assert rudder.backlog == Backlog(waiting=6, retrying=4, dead=2, oldest_at=NOW - timedelta(hours=2))
    assert rudder.by_source == {"production": rudder.backlog}


def test_each_destination_has_a_state() -> None:
    overview = overview_of()

    assert [destination.state for destination in overview.destinations] == ["held", "disabled", "not started"]
    assert len(overview.destinations[0].last_error) == 300


def test_a_source_shows_what_came_in_and_that_it_is_proven() -> None:
    (source,) = overview_of().sources

    assert (source.received, source.last_received_at) == ({"stored": 5}, NOW)
    assert source.unknown_events == {"fax_sent": 1}
    assert source.is_proven
    assert signature_words(source) == ("good", "proven, and enforced since")


def test_what_cannot_be_read_is_named_and_the_rest_is_shown() -> None:
    overview = overview_of(StubJournal(JournalError("locked")), BrokenLedger())

    assert overview.unreadable == ("counts: it is gone", "backlog: locked")
    assert overview.destinations[0].state == "held"
    assert ("warn", "Could not be read: backlog: locked") in verdict(overview)


def test_the_verdict_names_all_that_a_person_should_look_at() -> None:
    overview = replace(overview_of(), refusal="line 3", disk_free_bytes=1000)

    assert [colour for colour, _ in verdict(overview)] == ["bad", "bad", "bad", "warn", "warn"]


def test_when_all_is_well_there_is_no_verdict() -> None:
    assert verdict(replace(overview_of(), destinations=(), rejected_keys=(), disk_free_bytes=10**12)) == []


@pytest.mark.parametrize(
    ("mode", "is_proven", "signatures", "words"),
    [
        (SignatureMode.OFF, False, {}, ("quiet", "not checked")),
        (SignatureMode.ENFORCE, False, {}, ("good", "enforced")),
        (SignatureMode.AUTO, False, {}, ("warn", "observed until the first genuine one")),
        (SignatureMode.OBSERVE, True, {"genuine": 1}, ("good", "observed, genuine ones seen")),
        (SignatureMode.OBSERVE, False, {"wrong": 1}, ("warn", "observed, no genuine one yet")),
    ],
)
def test_the_signature_state_has_words(
    mode: SignatureMode, is_proven: bool, signatures: dict[str, int], words: tuple[str, str]
) -> None:
    (source,) = overview_of().sources
    is_enforced = mode is SignatureMode.ENFORCE

    shown = replace(source, signature=mode, is_proven=is_proven, is_enforced=is_enforced, signatures=signatures)

    assert signature_words(shown) == words


@pytest.mark.parametrize(
    ("state", "colour"),
    [("delivering", "good"), ("disabled", "quiet"), ("throttled", "warn"), ("failing", "bad"), ("held", "bad")],
)
def test_states_have_colours(state: str, colour: str) -> None:
    assert state_colour(state) == colour


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (-5, "just now"), (1, "1 second ago"), (125, "2 minutes ago"), (7200, "2 hours ago")],
)
def test_moments_are_told_as_people_do(seconds: int, words: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_never_and_long_numbers() -> None:
    assert ago(None, datetime(2026, 1, 1, tzinfo=UTC)) == "never"
    assert number(1234567) == "1\u202f234\u202f567"


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 bytes"), (2048, "2.0 KiB"), (5 * 1024**3, "5.0 GiB"), (2 * 1024**4, "2.0 TiB")]
)
def test_sizes_are_rounded(size: int, words: str) -> None:
    assert in_bytes(size) == words

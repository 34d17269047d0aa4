"""`demo`: plays every example, signed, at the running service, and shows under which name each arrived where."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from connector.commands.answers import (
    PROBLEM,
    UNREACHABLE,
    Refusal,
    confirm,
    exit_with,
    json_option,
    note,
    reaching,
    row,
    say,
    show_json,
    show_table,
    table,
)
from connector.commands.demo_service import answers, temporary_service
from connector.commands.desk import Desk, base_url, open_desk, source_named
from connector.commands.first_steps import EVERYWHERE
from connector.commands.payloads import UNANSWERED, Played, Player, read_payloads, receiver_url, with_new_id
from connector.commands.trying import play_all
from connector.errors import SettingsError
from connector.fate import Fate, State
from connector.house import House
from connector.model import Connections, ReceivedEvent, Source
from connector.normalize import normalize
from schemas.catalogue import DOCUMENTED

ARRIVAL_SECONDS, LOOK_SECONDS = 30.0, 0.2
SHOWN_PROFILE = "rudderstack"  # for a service without destinations
ARRIVED = (State.DELIVERED, State.FILTERED)  # what a rule keeps back has arrived where it should


@dataclass(frozen=True, slots=True)
class Arrival:
    """What became of one example."""

    fixture: str
    event_id: str
    name: str  # <object_type>_<metric>; "" when it is not in the journal
    title: str  # the name of the standard event
    outcome: str  # what the receiver answered
    fates: Sequence[Fate]

    @property
    def is_documented(self) -> bool:
        return self.fixture in PAIRS

    @property
    def is_fine(self) -> bool:
        """Received under its own name, and where it should be, at every destination that takes events."""
        taking = [fate for fate in self.fates if fate.state is not State.DISABLED]
        return self.name == self.fixture and bool(taking) and all(fate.state in ARRIVED for fate in taking)


PAIRS = tuple("_".join(pair) for pair in DOCUMENTED)


@click.command()
@click.option("--own", is_flag=True, help="Start a service for it, even if one runs.")
@click.option("--source", "source_name", help="The source whose keys are taken; default: the first.")
@click.option("--yes", is_flag=True, help="Do not ask before example events go to real destinations.")
@json_option
@click.pass_obj
def demo(house: House, own: bool, source_name: str | None, yes: bool, as_json: bool) -> None:
    """Plays all examples at the service. Signed; then shows under which name each arrived where."""
    with ExitStack() as stack:
        if own or not _is_running(house):
            why = "The demo" if own else "No service answers here, so the demo"
            note(f"{why} starts one: its own port, keys, folder and file destination.")
            house, folder = stack.enter_context(temporary_service(house))
            note(f"It runs at {base_url(house.load_settings())}; its folder {folder} is removed at the end.")
        desk = stack.enter_context(open_desk(house))
        source = source_named(desk.connections, source_name)
        _warn_of_real_destinations(desk.connections, yes)
        played = _play(desk, source)
        _wait_for_arrival(desk, source)
        arrivals = _arrivals(desk, source, played)
        if as_json:
            show_json(_document(arrivals))
        else:
            _say(arrivals)
            _say_folders(desk.connections)
    documented = [arrival for arrival in arrivals if arrival.is_documented]
    exit_with(0 if len(documented) == len(PAIRS) and all(arrival.is_fine for arrival in documented) else PROBLEM)


def _is_running(house: House) -> bool:
    """A service runs where these settings say; settings with mistakes are no reason to fail before that is known."""
    try:
        settings = house.load_settings()
        house.read_connections(settings)
    except SettingsError as error:
        if "WRITE_KEY is not set" in str(error):
            return False  # a fresh folder: nothing is configured yet
        with reaching():
            raise
    return answers(house, settings)


def _warn_of_real_destinations(connections: Connections, yes: bool) -> None:
    real = [one.name for one in connections.destinations if one.enabled and one.type != "file"]
    if real:
        note(f"The examples go to every enabled destination, also to: {', '.join(real)}", "yellow")
        confirm("Send them?", yes)


def _play(desk: Desk, source: Source) -> list[Played]:
    """Raises Refusal when the service does not take them."""
    payloads = read_payloads([desk.house.project / "fixtures" / "events"])
    fresh = [with_new_id(payload, desk.house.clock) for payload in payloads]
    transport = desk.house.open_transport(replace(desk.settings, allow_networks=EVERYWHERE), "http")
    url = receiver_url(base_url(desk.settings), source.write_keys[0])
    player = Player(transport, desk.house.clock, url, next(iter(source.signing_keys), None))
    played = play_all(player, fresh)
    transport.close()
    if len(played) < len(fresh):
        note(f"the service does not answer any more: {played[-1].detail}", "red")
        exit_with(UNREACHABLE)
    refused = next((one for one in played if one.status != 200 or one.outcome == UNANSWERED), None)
    if refused:
        raise Refusal(
            f"the service at {base_url(desk.settings)} answered {refused.status or refused.outcome}: {refused.detail}\n"
            "was it started with other settings than those in this folder?"
        )
    return played


def _wait_for_arrival(desk: Desk, source: Source) -> None:
    """Returns when nothing waits any more at a destination that is well, or after a while."""
    for _ in range(int(ARRIVAL_SECONDS / LOOK_SECONDS)):
        if not _waiting(desk, source):
            return
        desk.house.clock.sleep(LOOK_SECONDS)


def _waiting(desk: Desk, source: Source) -> int:
    states = desk.ledger.destination_states()
    stuck = {name for name, state in states.items() if state.state in ("held", "failing", "disabled")}
    present = {one.name for one in desk.connections.destinations if one.enabled} - stuck
    backlogs = [
        desk.journal.backlog(reader)
        for reader in desk.journal.readers()
        if reader.destination in present and reader.source == source.name and not reader.replay
    ]
    return sum(waits.waiting + waits.retrying for waits in backlogs)


def _arrivals(desk: Desk, source: Source, played: Sequence[Played]) -> list[Arrival]:
    fates = desk.fates()
    profiles = [one.profile for one in desk.connections.destinations if one.enabled and one.profile != "raw"]
    arrivals = []
    for one in played:
        found = [event for event in desk.journal.find(one.payload.event_id) if event.source == source.name]
        if found:
            arrivals.append(_arrival(one, found[-1], fates.of(found[-1]), next(iter(profiles), SHOWN_PROFILE)))
        else:
            arrivals.append(Arrival(one.payload.name, one.payload.event_id, "", "", one.outcome, ()))
    return sorted(arrivals, key=lambda arrival: _place(arrival.fixture))


def _arrival(one: Played, received: ReceivedEvent, fates: Sequence[Fate], profile: str) -> Arrival:
    event = normalize(received, profile)[0]
    present = [fate for fate in fates if not fate.replay]
    return Arrival(one.payload.name, received.event_id, event.name, str(event.body["event"]), one.outcome, present)


def _place(fixture: str) -> tuple[int, str]:
    """Documented pairs in the order of the documentation, then the oddities."""
    return (PAIRS.index(fixture), "") if fixture in PAIRS else (len(PAIRS), fixture)


def _say(arrivals: Sequence[Arrival]) -> None:
    documented = [arrival for arrival in arrivals if arrival.is_documented]
    made = table("event", "becomes", "arrived at", folded=("becomes", "arrived at"))
    for arrival in documented:
        where = Text(_where(arrival), "green" if arrival.is_fine else "red")
        row(made, arrival.name or arrival.fixture, arrival.title or "–", where)
    show_table(made)
    oddities = [arrival for arrival in arrivals if not arrival.is_documented]
    states = Counter(_where(arrival) for arrival in oddities)
    say(f"\nBeside them {len(oddities)} oddities (broken fields, unknown names, nobody in it):", "bold")
    for place, count in states.most_common():
        say(f"  {count:>4}  {place}")
    if any(fate.state is State.DEAD for arrival in oddities for fate in arrival.fates):
        say("  Some name nobody, and are dead letters where a person is needed: `dead drop` removes them.", "dim")
    fine = sum(arrival.is_fine for arrival in documented)
    is_all = fine == len(PAIRS)
    say(
        f"\n{fine} of {len(PAIRS)} documented events arrived under their names.", "bold green" if is_all else "bold red"
    )
    for arrival in documented:
        if not arrival.is_fine:
            reasons = "; ".join(f"{fate.destination}: {fate.state}: {fate.reason}" for fate in arrival.fates)
            say(f"  {arrival.fixture}: {reasons or _where(arrival)}", "red")
    for name in sorted(set(PAIRS) - {arrival.fixture for arrival in documented}):
        say(f"  {name}: there is no example of it", "red")


def _say_folders(connections: Connections) -> None:
    for one in connections.destinations:
        if one.enabled and one.type == "file":
            path = str(one.options["path"])
            say(f"What arrived at {one.name} is in {path if '://' in path else Path(path).resolve()}")


def _where(arrival: Arrival) -> str:
    if not arrival.name:
        return f"not in the journal ({arrival.outcome})"
    told = [
        fate.destination if fate.state is State.DELIVERED else f"{fate.destination} ({fate.state})"
        for fate in arrival.fates
    ]
    return ", ".join(told) or "no destination"


def _document(arrivals: Sequence[Arrival]) -> dict[str, Any]:
    shown = [
        {
            "fixture": arrival.fixture,
            "event_id": arrival.event_id,
            "name": arrival.name,
            "becomes": arrival.title,
            "outcome": arrival.outcome,
            "is_documented": arrival.is_documented,
            "destinations": {fate.destination: fate.state for fate in arrival.fates},
        }
        for arrival in arrivals
    ]
    fine = sum(arrival.is_fine for arrival in arrivals if arrival.is_documented)
    return {"documented": len(PAIRS), "arrived": fine, "events": shown}

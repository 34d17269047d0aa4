"""What is happening, where one event is, what waits: `tail`, `event`, `backlog`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import takewhile
from typing import Any

import click
from rich.text import Text

from connector.commands.answers import (
    COLOURS,
    PROBLEM,
    Refusal,
    ago,
    exit_with,
    json_option,
    note,
    plural,
    pretty,
    row,
    say,
    show_json,
    show_table,
    table,
)
from connector.commands.desk import Desk, open_desk
from connector.commands.examine_service import examine_delivering
from connector.commands.findings import Level
from connector.fate import Fate, State
from connector.house import House
from connector.json_codec import write_json
from connector.model import EventType, ReceivedEvent
from connector.normalize import normalize
from connector.overview import DestinationOverview

FOLLOW_SECONDS = 0.5  # between two looks at the journal
SETTLE = timedelta(seconds=1.5)  # a fresh event is shown once it has had the time to be delivered
LONGEST_NAME, LONGEST_ID = 45, 26  # of what is documented; other people's may be of any length
ATTEMPTS_LOOKED_AT = 1000
WORST_FIRST = (
    State.DEAD,
    State.HELD,
    State.WAITING,
    State.DISABLED,
    State.DROPPED,
    State.DELIVERED,
    State.FILTERED,
    State.EARLIER,
)
TO_BE_TRIED = (State.WAITING, State.HELD)
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


# ── tail ──


@click.command()
@click.option("-n", "--lines", type=click.IntRange(min=0, max=100_000), default=20, help="How many of the latest.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes in, until Ctrl-C.")
@click.option("--source", help="Only what came from this source.")
@json_option
@click.pass_obj
def tail(house: House, lines: int, follow: bool, source: str | None, as_json: bool) -> None:
    """Shows the latest events. When, from which source, which, and what became of it at each destination."""
    with open_desk(house) as desk:
        latest = desk.journal.latest(max(lines, 1), source)
        last_seq = latest[-1].seq if latest else 0
        if lines:
            _show_events(desk, latest, as_json, with_header=True)
        if not latest and not follow and not as_json:
            note("nothing has come in yet; python -m connector demo plays all examples")
        while follow:
            house.clock.sleep(FOLLOW_SECONDS)
            fresh = _settled(desk, source, last_seq)
            if fresh:
                last_seq = fresh[-1].seq
                _show_events(desk, fresh, as_json, with_header=False)


def _settled(desk: Desk, source: str | None, after_seq: int) -> list[ReceivedEvent]:
    """Those that came after this place, without the last moment's."""
    ready_at = desk.house.clock.now() - SETTLE
    coming = desk.journal.scan(source=source, after_seq=after_seq)
    return list(takewhile(lambda received: received.received_at <= ready_at, coming))


def _show_events(desk: Desk, events: Sequence[ReceivedEvent], as_json: bool, with_header: bool) -> None:
    fates = desk.fates()
    if as_json:
        for received in events:
            show_json(_event_document(received, fates.of(received)))
        return
    has_sources = len(desk.connections.sources) > 1
    columns = ("received", "source", "event", "event id", "destinations")
    made = table(*[one for one in columns if has_sources or one != "source"], folded=("event", "destinations"))
    made.show_header = with_header
    today = desk.house.clock.now().date()
    for received in events:
        at = received.received_at
        row(
            made,
            f"{at:%H:%M:%S}" if at.date() == today else f"{at:%Y-%m-%d %H:%M:%S}",
            *([received.source] if has_sources else []),
            cut(event_name(received), LONGEST_NAME),
            cut(received.event_id, LONGEST_ID),
            told_together(without_settled_replays(fates.of(received))),
        )
    if events:
        show_table(made)


def without_settled_replays(fates: Sequence[Fate]) -> list[Fate]:
    """What a row has room for: a replay only where it waits or died, or where it alone brought the event there."""
    brought = {fate.destination: fate for fate in fates if fate.replay and fate.state is State.DELIVERED}
    row_of = [fate for fate in fates if not (fate.replay and fate.state in (State.DELIVERED, State.FILTERED))]
    return [brought.get(fate.destination, fate) if fate.state is State.EARLIER else fate for fate in row_of]


def _label(fate: Fate) -> str:
    return f"{fate.destination} ({fate.replay})" if fate.replay else fate.destination


def told_together(fates: Sequence[Fate]) -> Text:
    """`delivered: files, hook; dead: rudder`; the worst state gives the colour."""
    by_state: dict[str, list[str]] = {}
    for fate in fates:
        by_state.setdefault(fate.state, []).append(_label(fate))
    words = "; ".join(f"{state}: {', '.join(names)}" for state, names in by_state.items())
    worst = next((state for state in WORST_FIRST if state in by_state), "")
    return Text(words or "no destination", COLOURS.get(worst, "dim"))


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def event_name(received: ReceivedEvent) -> str:
    """`<object_type>_<metric>`"""
    return normalize(received, "raw")[0].name


def _event_document(received: ReceivedEvent, fates: Sequence[Fate]) -> dict[str, Any]:
    return {
        "received_at": received.received_at,
        "source": received.source,
        "name": event_name(received),
        "event_id": received.event_id,
        "seq": received.seq,
        "destinations": [asdict(fate) for fate in fates],
    }


# ── event ──


@click.command()
@click.argument("event_id")
@click.option("--profile", default="rudderstack", help="The dialect in which the standard events are shown.")
@json_option
@click.pass_obj
def event(house: House, event_id: str, profile: str, as_json: bool) -> None:
    """Tells all about one event. What came in, what it becomes, and what became of it at each destination."""
    with open_desk(house) as desk:
        found = desk.journal.find(event_id)
        if not found:
            raise Refusal(_not_found(desk, event_id))
        fates = desk.fates()
        attempts = attempts_with(desk, event_id)
        documents = [_whole_event(received, fates.of(received), attempts, profile) for received in found]
        if as_json:
            show_json(documents)
        else:
            for received, document in zip(found, documents, strict=True):
                _say_event(house, received, document, fates.of(received))


def _not_found(desk: Desk, event_id: str) -> str:
    quarantined = next((one for one in desk.journal.quarantined(limit=10_000) if one.event_id == event_id), None)
    if quarantined:
        return (
            f"{event_id} is in quarantine: {quarantined.reason}; "
            f"look at it: python -m connector quarantine show {quarantined.id}"
        )
    return f"no event {event_id} is kept: it never came, or its retention is over; tail shows the latest"


def attempts_with(desk: Desk, event_id: str) -> list[dict[str, Any]]:
    """The requests that carried the event, as far as they are among the latest; latest first."""
    return [
        {
            name: attempt[name]
            for name in ("started_at", "destination", "replay", "status", "outcome", "reason", "error")
        }
        | {"milliseconds": round(attempt["duration_seconds"] * 1000)}
        for attempt in desk.ledger.attempts(limit=ATTEMPTS_LOOKED_AT)
        if any(f"/{event_id}/" in delivery for delivery in attempt["deliveries"])
    ]


def _whole_event(
    received: ReceivedEvent, fates: Sequence[Fate], attempts: Sequence[dict[str, Any]], profile: str
) -> dict[str, Any]:
    events = normalize(received, profile, identify=True)
    return {
        **_event_document(received, fates),
        "headers": dict(received.headers),
        "body": received.body.decode("utf-8", "replace"),
        "normalized": [{"type": one.type, "body": one.body} for one in events],
        "attempts": attempts,
    }


def _say_event(house: House, received: ReceivedEvent, document: dict[str, Any], fates: Sequence[Fate]) -> None:
    now = house.clock.now()
    say(f"{document['name']}  {received.event_id}", "bold")
    say(f"received {received.received_at:{TIME_FORMAT}} UTC ({ago(received.received_at, now)})")
    say(f"source {received.source}, place {received.seq} in the journal, {plural(len(received.body), 'byte')}")
    for name, value in received.headers.items():
        say(f"{name}: {value}", "dim")
    say("\nReceived", "bold")
    say(pretty(received.body))
    for one in document["normalized"]:
        remark = "" if one["type"] is EventType.TRACK else "   (where a destination says identify: true)"
        say(f"\n{one['type'].title()}{remark}", "bold")
        say(pretty(write_json(one["body"])))
    say("\nDestinations", "bold")
    made = table("destination", "state", "tries", "why", right=("tries",), folded=("why",))
    for fate in fates:
        when = f"; next try {ago(fate.at, now)}" if fate.at and fate.at > now and fate.state in TO_BE_TRIED else ""
        row(made, _label(fate), fate.state, fate.attempts or "", fate.reason + when)
    if fates:
        show_table(made)
    else:
        say("no destination reads this source")
    if document["attempts"]:
        say(f"\nRequests that carried it, of the latest {ATTEMPTS_LOOKED_AT:,}", "bold")
        made = table(
            "when",
            "destination",
            "answer",
            "ms",
            "outcome of the request",
            right=("ms",),
            folded=("outcome of the request",),
        )
        for one in document["attempts"]:
            answer = one["status"] or one["error"] or "none"
            outcome = f"{one['outcome']}: {one['reason']}" if one["reason"] else one["outcome"]
            row(made, ago(one["started_at"], now), one["destination"], answer, one["milliseconds"], outcome)
        show_table(made)
    if any(fate.state is State.DEAD for fate in fates):
        say("\nDead letters are tried again by: python -m connector dead retry …", "yellow")


# ── backlog ──


@click.command()
@json_option
@click.pass_obj
def backlog(house: House, as_json: bool) -> None:
    """Shows what waits, and since when. For each destination and source; exit code 1 when a destination is not well."""
    with open_desk(house) as desk:
        overview = desk.overview()
        delivering = examine_delivering(desk)
    if as_json:
        shown = [_backlog_document(destination) for destination in overview.destinations]
        show_json({"destinations": shown, "unreadable": overview.unreadable})
    else:
        made = table(
            *("destination", "source", "state", "waiting", "retrying", "dead", "oldest", "last delivered"),
            right=("waiting", "retrying", "dead"),
        )
        for destination in overview.destinations:
            delivered = ago(destination.last_delivered_at, overview.at)
            for source, waits in destination.by_source.items() or {"–": destination.backlog}.items():
                oldest = ago(waits.oldest_at, overview.at) if waits.oldest_at else "–"
                numbers = [f"{count:,}" for count in (waits.waiting, waits.retrying, waits.dead)]
                row(made, destination.name, source, destination.state, *numbers, oldest, delivered)
        show_table(made)
        for destination in overview.destinations:
            if destination.reason and destination.state != "delivering":
                say(f"{destination.name}: {destination.state}: {destination.reason}", "yellow")
        for what in overview.unreadable:
            note(f"could not be read: {what}", "red")
        if delivering.level is not Level.OK and any(one.backlog.waiting for one in overview.destinations):
            note(f"{delivering.text}: {delivering.advice}", "yellow")
    is_well = not any(destination.state in ("held", "failing") for destination in overview.destinations)
    exit_with(0 if is_well and not overview.unreadable else PROBLEM)


def _backlog_document(destination: DestinationOverview) -> dict[str, Any]:
    return {
        "destination": destination.name,
        "state": destination.state,
        "reason": destination.reason,
        "last_delivered_at": destination.last_delivered_at,
        "sources": {source: asdict(waits) for source, waits in destination.by_source.items()},
    }

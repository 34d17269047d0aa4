"""Trying things out: `send` plays payload files at a receiver, `normalize` shows what one becomes, `test` sends one
event to a destination.
"""

import gzip
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from connector.commands.answers import (
    PROBLEM,
    UNREACHABLE,
    Refusal,
    exit_with,
    json_option,
    note,
    plural,
    pretty,
    progress,
    reaching,
    row,
    say,
    show_json,
    show_table,
    table,
)
from connector.commands.desk import base_url, destination_named, source_named
from connector.commands.first_steps import EVERYWHERE
from connector.commands.payloads import (
    UNANSWERED,
    Payload,
    Played,
    Player,
    paced,
    read_payloads,
    receiver_url,
    with_new_id,
)
from connector.deliver import attempt, pack
from connector.destinations.base import Destination, secrets_of
from connector.errors import PayloadError
from connector.house import House
from connector.json_codec import read_json, write_json
from connector.model import Attempt, Connection, EventType, OutcomeKind, Reader, ReceivedEvent, Request
from connector.normalize import PROFILES, validate
from connector.normalize import normalize as normalize_event
from connector.route import Route, Routed
from schemas.catalogue import DOCUMENTED

GIVEN_UP_AFTER = 5  # calls in a row without an answer: nobody is there
TESTED_FIRST = "email_delivered"
MASK = "•••"
HIDDEN_HEADERS = ("authorization", "cookie", "x-api-key")


# ── send ──


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--url", help="The receiver; default: the service on this machine.")
@click.option("--write-key", help="The write key; default: that of the first source.")
@click.option("--signing-key", help="Signs each call with it; default: that of the source, if it has one.")
@click.option("--unsigned", is_flag=True, help="Sign nothing, whatever the settings say.")
@click.option("--source", "source_name", help="The source whose keys are taken; default: the first.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="At most so many events in a second.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, help="Play all of it so many times.")
@click.option("--new-ids", is_flag=True, help="Give each a fresh event_id, so that none is a duplicate.")
@json_option
@click.pass_obj
def send(
    house: House,
    files: Sequence[Path],
    url: str | None,
    write_key: str | None,
    signing_key: str | None,
    unsigned: bool,
    source_name: str | None,
    rate: float | None,
    repeat: int,
    new_ids: bool,
    as_json: bool,
) -> None:
    """Plays payload files at a receiver. Or folders of them, or - for stdin; signed, as Customer.io would."""
    payloads = read_payloads(files) * repeat
    with reaching():
        settings = house.load_settings()
        if url is None or not (write_key or "writeKey=" in url):
            source = source_named(house.read_connections(settings).current, source_name)
            write_key = write_key or source.write_keys[0]
            signing_key = signing_key or next(iter(source.signing_keys), None)
    if new_ids:
        payloads = [with_new_id(payload, house.clock) for payload in payloads]
    transport = house.open_transport(replace(settings, allow_networks=EVERYWHERE), "http")
    player = Player(
        transport,
        house.clock,
        receiver_url(url or base_url(settings), write_key),
        None if unsigned else signing_key,
    )
    played = play_all(player, payloads, rate)
    transport.close()
    _report(played, len(payloads), as_json)
    if all(one.outcome == UNANSWERED for one in played):
        exit_with(UNREACHABLE)
    exit_with(0 if len(played) == len(payloads) and all(one.is_accepted for one in played) else PROBLEM)


def play_all(player: Player, payloads: Sequence[Payload], rate: float | None = None) -> list[Played]:
    """Those that were played: all, unless nobody answers several times in a row."""
    played: list[Played] = []
    silent = 0
    with progress("Sending", len(payloads)) as advance:
        for payload in paced(payloads, rate, player.clock.sleep):
            played.append(player.play(payload))
            advance(1)
            silent = silent + 1 if played[-1].outcome == UNANSWERED else 0
            if silent == GIVEN_UP_AFTER:
                break
    return played


def _report(played: Sequence[Played], total: int, as_json: bool) -> None:
    outcomes = Counter(one.outcome for one in played)
    troubles = [one for one in played if not one.is_accepted]
    if as_json:
        shown = [
            {"file": one.payload.name, "event_id": one.payload.event_id, "outcome": one.outcome, "detail": one.detail}
            for one in troubles
        ]
        show_json({"sent": len(played), "of": total, "outcomes": outcomes, "troubles": shown})
        return
    made = table("outcome", "events", right=("events",))
    for outcome, count in outcomes.most_common():
        row(made, outcome, f"{count:,}")
    show_table(made)
    for one in troubles[:10]:
        note(f"{one.payload.name}: {one.outcome}{': ' + one.detail if one.detail != 'ok' else ''}", "red")
    if len(troubles) > 10:
        note(f"… and {len(troubles) - 10} more", "red")
    if any(one.outcome == "quarantined" for one in troubles):
        note("Why it is in quarantine: python -m connector quarantine list", "")
    if len(played) < total:
        note(f"given up: {total - len(played)} were not sent", "red")


# ── normalize ──


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="rudderstack", help="The naming dialect.")
@click.option("--identify", is_flag=True, help="Also the identify call of a subscription event.")
@click.option("--content", is_flag=True, help="Keep message bodies.")
@json_option
@click.pass_obj
def normalize(house: House, file: Path, profile: str, identify: bool, content: bool, as_json: bool) -> None:
    """Shows what a payload becomes. Needs no configuration and sends nothing; - is stdin."""
    payload = read_payloads([file])[0]
    received = as_received(house, payload, "production")
    try:
        if not isinstance(read_json(payload.body), dict):
            raise Refusal(f"{file} is JSON, but not an object: it would go to quarantine")
    except PayloadError as error:
        raise Refusal(f"{file}: {error}: it would go to quarantine") from None
    events = normalize_event(received, profile, identify=identify, keep_content=content)
    remarks = validate(received)
    if as_json:
        shown = [{"name": event.name, "type": event.type, "body": event.body} for event in events]
        show_json({"events": shown, "remarks": remarks})
        return
    for event in events:
        note(f"{event.name}: {event.type} in profile {profile}")
        click.echo(pretty(write_json(event.body)))
    for field, texts in remarks.items():
        note(f"the documentation differs: {field}: {', '.join(texts)}", "yellow")


def as_received(house: House, payload: Payload, source: str) -> ReceivedEvent:
    """The payload as receiving would have stored it just now."""
    return ReceivedEvent(source, payload.event_id, payload.body, house.clock.now())


# ── test ──


@click.command()
@click.argument("destination")
@click.option(
    "--fixture",
    type=click.Path(path_type=Path),
    help="A payload file, or the name of one of the examples; default: one that the destination wants.",
)
@click.option("--source", "source_name", help="The source that it is said to come from; default: the first.")
@json_option
@click.pass_obj
def test(house: House, destination: str, fixture: Path | None, source_name: str | None, as_json: bool) -> None:
    """Sends one event to a destination. On the path of real delivery, also to a disabled one; shows both sides."""
    with reaching():
        settings = house.load_settings()
        connections = house.read_connections(settings).current
    connection = destination_named(connections, destination)
    source = source_named(connections, source_name).name
    built = house.build_destination(connection)
    payload, routed = _wanted(house, built, candidates(house, fixture), source)
    if not routed.deliveries:
        _refuse(payload, routed, connection)
    transport = house.open_transport(settings, built.transport)
    packed = pack(routed.deliveries, connection.batch, built.envelope_bytes(), built.lane)
    with _without_attempt_lines():
        attempts = [attempt(built, transport, part, house.clock) for part in packed]
    transport.close()
    secrets = secrets_of(type(built).options, connection.options)
    if as_json:
        show_json(
            {"destination": destination, "fixture": payload.name, "attempts": [_shown(a, secrets) for a in attempts]}
        )
    else:
        for made in attempts:
            _say_attempt(payload, made, secrets)
    is_delivered = all(item.kind is OutcomeKind.DELIVERED for made in attempts for item in made.outcomes)
    exit_with(0 if is_delivered else PROBLEM)


@contextmanager
def _without_attempt_lines() -> Iterator[None]:
    """The line that delivery logs of each attempt would say once more what is shown anyway; a defect's is kept."""

    def is_defect(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    delivering = logging.getLogger(attempt.__module__)
    delivering.addFilter(is_defect)
    try:
        yield
    finally:
        delivering.removeFilter(is_defect)


def candidates(house: House, fixture: Path | None) -> list[Payload]:
    """The payload that was asked for, or all documented examples, with fresh ids: a test is no repeat."""
    folder = house.project / "fixtures" / "events"
    if fixture is None:
        names = sorted(("_".join(pair) for pair in DOCUMENTED), key=lambda name: name != TESTED_FIRST)
        paths = [path for name in names if (path := folder / f"{name}.json").exists()]
    else:
        example = folder / f"{fixture.name.removesuffix('.json')}.json"
        paths = [fixture if fixture.exists() or not example.exists() else example]
    return [with_new_id(payload, house.clock) for payload in read_payloads(paths)]


def _wanted(house: House, destination: Destination, payloads: Sequence[Payload], source: str) -> tuple[Payload, Routed]:
    """The first payload of which the destination's rules make a delivery; else the last, with the reasons."""
    connection = destination.connection
    route = Route(destination)
    routed = Routed()
    # Who tests has chosen the event: that the destination does not read this source is no reason to send nothing.
    reader = Reader(connection.name, source, replay="test")
    for payload in payloads:
        received = as_received(house, payload, source)
        events = normalize_event(
            received, connection.profile, identify=connection.identify, keep_content=connection.keep_content
        )
        routed = route.deliveries(reader, 0, events)
        if routed.deliveries:
            break
    return payload, routed


def _refuse(payload: Payload, routed: Routed, connection: Connection) -> None:
    reasons = [f"filtered by: {kept.rule}" for kept in routed.filtered]
    reasons += [f"cannot be delivered: {dead.reason}" for dead in routed.dead]
    raise Refusal(
        f"nothing was sent to {connection.name}: {payload.name} {'; '.join(dict.fromkeys(reasons))}\n"
        "name another payload with --fixture, or look at events and actions of the destination"
    )


def _shown(made: Attempt, secrets: Sequence[str]) -> dict[str, Any]:
    """An attempt for a program or a person, without secrets."""
    request, response = made.request, made.response
    return {
        "request": {
            "method": request.method,
            "url": _masked(request.url, secrets),
            "headers": {name: _masked_header(name, value, secrets) for name, value in request.headers.items()},
            "body": _masked(_text_of(_unpacked(request)), secrets),
        },
        "response": response
        and {
            "status": response.status,
            "headers": {name: _masked_header(name, value, secrets) for name, value in response.headers.items()},
            "body": _masked(response.body.decode("utf-8", "replace"), secrets),
        },
        "error": made.error,
        "milliseconds": round(made.duration_seconds * 1000, 1),
        "deliveries": [
            {"id": delivery.id, "type": delivery.event.type, "outcome": outcome.kind, "reason": outcome.reason}
            for delivery, outcome in zip(made.deliveries, made.outcomes, strict=True)
        ],
    }


def _text_of(body: bytes) -> str:
    """What a terminal may be shown; Parquet, for one, is no text."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return f"({plural(len(body), 'byte')} that are no text)"


def _unpacked(request: Request) -> bytes:
    return gzip.decompress(request.body) if request.headers.get("Content-Encoding") == "gzip" else request.body


def _say_attempt(payload: Payload, made: Attempt, secrets: Sequence[str]) -> None:
    shown = _shown(made, secrets)
    request, response = shown["request"], shown["response"]
    say(f"Request    {request['method']} {request['url']}   ({payload.name}, {plural(len(made.request.body), 'byte')})")
    for name, value in request["headers"].items():
        say(f"           {name}: {value}", "dim")
    say(_indented(pretty(request["body"].encode(), 4_000)))
    if response is None:
        say(f"Answer     none: {made.error}", "red")
    else:
        say(f"Answer     {response['status']}   ({shown['milliseconds']} ms)")
        for name, value in response["headers"].items():
            say(f"           {name}: {value}", "dim")
        if response["body"]:
            say(_indented(pretty(response["body"].encode(), 4_000)))
    for delivery, outcome in zip(made.deliveries, made.outcomes, strict=True):
        kind = "track" if delivery.event.type is EventType.TRACK else "identify"
        is_fine = outcome.kind is OutcomeKind.DELIVERED
        reason = f": {outcome.reason}" if outcome.reason else ""
        say(f"Outcome    {outcome.kind} ({kind}, action {delivery.action}){reason}", "green" if is_fine else "red")


def _indented(text: str) -> str:
    return "\n".join(f"           {line}" for line in text.splitlines())


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _masked_header(name: str, value: str, secrets: Sequence[str]) -> str:
    if name.lower() in HIDDEN_HEADERS:
        scheme, _, rest = value.partition(" ")
        return f"{scheme} {MASK}" if rest else MASK
    return _masked(value, secrets)

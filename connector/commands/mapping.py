"""`map` shows what a rule makes of one event, `dry-run` what a destination's rules make of the stored history. Neither
sends anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from connector.commands.answers import (
    PROBLEM,
    Moment,
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
from connector.commands.desk import Desk, destination_named, open_desk, source_named
from connector.commands.payloads import Payload, read_payloads
from connector.dry_run import DEAD, DELIVERED, DryRun, Example
from connector.errors import MappingError
from connector.house import House
from connector.json_codec import write_json
from connector.mapping import PRESETS, compile_action, compile_expression, view_of
from connector.model import Action, Connection, Event, ReceivedEvent
from connector.normalize import PROFILES, normalize

EXAMPLE = "email_opened"
TRIED = "expression"  # the name of an action that is made of an expression
MAX_CHANGES = 40  # lines that a person is shown of one event
MAX_VALUE_CHARACTERS = 120


# ── map ──


@click.command("map")
@click.argument("rule")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--fixture", help=f"The name of one of the examples, instead of a file; default: {EXAMPLE}.")
@click.option("--destination", help="Whose actions, profile and privacy count; RULE may be one of its actions.")
@click.option("--profile", type=click.Choice(sorted(PROFILES)), help="The naming dialect; default: the destination's.")
@click.option(
    "--where", "is_where", is_flag=True, help="Take RULE as a `where`: it sees object_type, metric and so on."
)
@json_option
@click.pass_obj
def map_event(
    house: House,
    rule: str,
    file: Path | None,
    fixture: str | None,
    destination: str | None,
    profile: str | None,
    is_where: bool,
    as_json: bool,
) -> None:
    """Shows what a rule makes of an event. RULE: an action of a destination, a preset, or a JMESPath expression."""
    payload = _payload(house, file, fixture)
    received = ReceivedEvent("production", payload.event_id, payload.body, house.clock.now())
    connection = None
    if destination is not None:
        with reaching():
            connections = house.read_connections(house.load_settings()).current
        connection = destination_named(connections, destination)
        if profile is not None:
            connection = replace(connection, profile=profile)
    if is_where or (connection is None and rule not in PRESETS):
        _show_value(rule, received, profile or (connection.profile if connection else "rudderstack"), is_where, as_json)
    elif connection is None:
        events = normalize(received, profile or "rudderstack", identify=True)
        _show_examples([_mapped(Action(rule, presets=(rule,)), event) for event in events], as_json)
    else:
        found = DryRun(house.build_destination(_narrowed(connection, rule)), examples=1000)
        found.look_at(received)
        _show_examples(found.findings.examples, as_json)


def _payload(house: House, file: Path | None, fixture: str | None) -> Payload:
    if file is not None and fixture is not None:
        raise click.UsageError("give a file or --fixture, not both")
    if file is None:
        file = house.project / "fixtures" / "events" / f"{(fixture or EXAMPLE).removesuffix('.json')}.json"
        if fixture is not None and (Path(fixture).name != fixture or not file.is_file()):
            raise Refusal(f"there is no example {fixture!r}; they are the files in fixtures/events")
    return read_payloads([file])[0]


def _show_value(rule: str, received: ReceivedEvent, profile: str, is_where: bool, as_json: bool) -> None:
    """What an expression by itself yields, of whatever kind."""
    event = normalize(received, profile)[0]
    expression = compile_expression(rule)
    value = expression.evaluate(view_of(event) if is_where else event.body)
    if is_where:
        value = expression.is_true_for(view_of(event))
    if as_json:
        show_json({"event": event.name, "profile": profile, "before": event.body, "value": value})
        return
    note(f"{event.name}: {event.type} in profile {profile}")
    if isinstance(value, dict):
        _say_changes(event.body, value)
    elif not is_where:
        note("a `map` has to yield an object; in `fields` this is fine", "yellow")
    click.echo(pretty(write_json(value)))


def _mapped(action: Action, event: Event) -> Example:
    compiled = compile_action(action)
    refusal = compiled.refusal(event)
    verdict = DELIVERED if refusal is None else "filtered"
    after = compiled.apply(event).body if refusal is None else None
    return Example(verdict, event.event_id, event.name, event.type, action.name, refusal or "", event.body, after)


def _narrowed(connection: Connection, rule: str) -> Connection:
    """The destination with this rule as its only action, and taking every event."""
    named = next((action for action in connection.actions if action.name == rule), None)
    if named is None and rule in PRESETS:
        named = Action(rule, presets=(rule,))
    if named is None:
        try:
            compile_expression(rule)
        except MappingError as error:
            names = ", ".join(action.name for action in connection.actions)
            raise Refusal(f"{error}\nnor is it an action of {connection.name}: {names}") from None
        named = Action(TRIED, map=rule)
    return replace(connection, actions=(replace(named, enabled=True),), events=())


def _show_examples(examples: Sequence[Example], as_json: bool) -> None:
    if as_json:
        show_json([asdict(example) for example in examples])
    else:
        for example in examples:
            if example.after is None:
                note(f"{example.name}: {example.type}: {example.verdict}: {example.reason}", "yellow")
                continue
            note(f"{example.name}: {example.type}, action {example.action}")
            _say_changes(example.before, example.after)
            click.echo(pretty(write_json(example.after)))
    exit_with(0 if any(example.verdict == DELIVERED for example in examples) else PROBLEM)


# ── dry-run ──


@click.command("dry-run")
@click.argument("destination")
@click.option("--since", type=Moment(), help="From this moment of receipt on: 2026-08-01, 2026-08-01T12:00Z, 24h, 7d.")
@click.option("--until", type=Moment(), help="Before this moment of receipt.")
@click.option("--source", "source_names", multiple=True, help="Only what came from this source; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help="Look at no more events than this, the oldest first.")
@click.option("--examples", type=click.IntRange(0, 100), default=3, show_default=True, help="How many of each verdict.")
@json_option
@click.pass_obj
def dry_run(
    house: House,
    destination: str,
    since: datetime | None,
    until: datetime | None,
    source_names: Sequence[str],
    limit: int | None,
    examples: int,
    as_json: bool,
) -> None:
    """What a destination's rules would do to the stored history. Sends nothing; counts by rule, before and after."""
    with open_desk(house) as desk:
        connection = destination_named(desk.connections, destination)
        sources = _sources(desk, connection, source_names)
        total = sum(desk.journal.count(since, until, source) for source in sources)
        worked = DryRun(house.build_destination(connection), examples)
        with progress("Working it out", min(total, limit or total)) as advance:
            stored = (received for source in sources for received in desk.journal.scan(since, until, source))
            worked.look_at_all(islice(stored, limit), lambda: advance(1))
    if as_json:
        show_json({"destination": destination, "sources": sources, **asdict(worked.findings)})
        return
    found = worked.findings
    made = table("would be", "by", "number", right=("number",), folded=("by",))
    for verdict, counted in ((DELIVERED, found.delivered), ("filtered", found.filtered), (DEAD, found.dead)):
        for reason, count in sorted(counted.items(), key=lambda item: -item[1]):
            row(made, verdict, f"action {reason}" if verdict == DELIVERED else reason, f"{count:,}")
    say(f"{plural(found.events, 'event')} from {', '.join(sources)}")
    if found.events:
        show_table(made)
    for example in found.examples:
        _say_example(example)
    note("nothing was sent")


def _sources(desk: Desk, connection: Connection, names: Sequence[str]) -> list[str]:
    """Those that were named, else all that the destination reads; all there are where it reads none."""
    if names:
        return [source_named(desk.connections, name).name for name in dict.fromkeys(names)]
    configured = [source.name for source in desk.connections.sources]
    return [name for name in configured if name in (connection.sources or configured)]


def _say_example(example: Example) -> None:
    say()
    action = f", action {example.action}" if example.action else ""
    say(f"{example.verdict}: {example.name} ({example.type}{action}) {example.event_id}")
    if example.after is None:
        say(f"  {example.reason}", "dim")
        return
    for line, style in _changes(example.before, example.after):
        say(f"  {line}", style)


# ── before and after ──


def _say_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for line, style in _changes(before, after):
        note(line, style)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A line for each value that went or came, with its style; no more than a person reads."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    lines: list[tuple[str, str]] = []
    for path in dict.fromkeys((*old, *new)):
        if path in old and old.get(path) != new.get(path):
            lines.append((f"- {path}: {old[path]}", "red"))
        if path in new and old.get(path) != new.get(path):
            lines.append((f"+ {path}: {new[path]}", "green"))
    if not lines:
        return [("unchanged", "dim")]
    more = len(lines) - MAX_CHANGES
    return lines if more <= 0 else [*lines[:MAX_CHANGES], (f"… and {more} more", "dim")]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every value that holds no other, by its path, as a short text."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        text = write_json(value).decode("utf-8", "replace")
        yield path, text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…"

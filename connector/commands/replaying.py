"""`replay`: the past before a destination again, counted first, watched if wanted, cancelled if need be."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from connector.commands.answers import (
    Moment,
    Refusal,
    ago,
    json_option,
    note,
    plural,
    progress,
    row,
    say,
    show_json,
    show_table,
    table,
)
from connector.commands.desk import Desk, destination_named, open_desk, source_named
from connector.errors import MappingError
from connector.house import House
from connector.journal.base import ReplayState
from connector.mapping import compile_where
from connector.model import Connection, Reader
from connector.replay import Forecast, forecast

LOOK_SECONDS = 0.5  # between two looks at how far it is


class ReplayGroup(click.Group):
    """`replay NAME` is short for `replay --destination NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["--destination", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ReplayGroup, invoke_without_command=True, subcommand_metavar="[DESTINATION | COMMAND [ARGS]...]")
@click.option("--destination", help="Where to; `replay NAME` is short for it.")
@click.option("--source", "source_names", multiple=True, help="Only what came from this source; may be repeated.")
@click.option("--since", type=Moment(), help="From this moment of receipt on: 2026-08-01, 2026-08-01T12:00Z, 24h, 7d.")
@click.option("--until", type=Moment(), help="Before this moment of receipt.")
@click.option("--where", help="JMESPath: only events for which it is true, such as \"metric == 'opened'\".")
@click.option("--dry-run", is_flag=True, help="Only work out what would be sent.")
@click.option("--wait", is_flag=True, help="Stay until it is done, and show how far it is.")
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    destination: str | None,
    source_names: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    where: str | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Sends a range of the past again. To one destination, behind the present, with the actions of today."""
    if ctx.invoked_subcommand is not None:
        return
    if destination is None:
        raise click.UsageError("name the destination: replay NAME --since … --until …")
    if since is not None and until is not None and since >= until:
        raise click.BadParameter("the range is empty: it ends before it begins", param_hint="--until")
    house = ctx.find_object(House)
    assert house is not None  # noqa: S101  # the group is given it
    if where:
        try:
            compile_where(where)
        except MappingError as error:
            raise click.BadParameter(str(error), param_hint="--where") from None
    with open_desk(house) as desk:
        connection = destination_named(desk.connections, destination)
        sources = _sources(desk, connection, source_names)
        if dry_run:
            _say_forecast(_forecast(desk, connection, sources, since, until, where), connection, as_json)
            return
        started = desk.journal.replay(connection.name, sources, since, until, where)
        if wait:
            started = _watch(desk, started)
        if as_json:
            show_json([asdict(state) for state in started])
        else:
            _say_started(desk, started, connection, wait)


def _sources(desk: Desk, connection: Connection, names: Sequence[str]) -> list[str]:
    """Those that were named, else all that the destination reads."""
    if names:
        return [source_named(desk.connections, name).name for name in dict.fromkeys(names)]
    configured = [source.name for source in desk.connections.sources]
    wanted = configured if connection.sources is None else [name for name in connection.sources if name in configured]
    if not wanted:
        raise Refusal(f"{connection.name} reads no source; name one with --source")
    return wanted


def _forecast(
    desk: Desk,
    connection: Connection,
    sources: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    where: str | None,
) -> Forecast:
    built = desk.house.build_destination(connection)
    total = sum(desk.journal.count(since, until, source) for source in sources)
    with progress("Working it out", total) as advance:
        return forecast(desk.journal, built, sources, since, until, where, lambda: advance(1))


def _say_forecast(found: Forecast, connection: Connection, as_json: bool) -> None:
    if as_json:
        show_json({"destination": connection.name, **asdict(found)})
        return
    made = table("of the range", "number", right=("number",))
    row(made, "events", f"{found.events:,}")
    row(made, f"deliveries to {connection.name}", f"{found.deliveries:,}")
    if found.dead:
        row(made, "dead letters at once", f"{found.dead:,}")
    for rule, count in sorted(found.filtered.items()):
        row(made, f"filtered by: {rule}", f"{count:,}")
    show_table(made)
    note("nothing was sent; without --dry-run it is")


def _watch(desk: Desk, started: Sequence[ReplayState]) -> list[ReplayState]:
    """Returns when none of them runs any more."""
    ids = {state.id for state in started}
    note("Ctrl-C leaves it running; `replay list` shows how far it is, `replay cancel ID` ends it")
    with progress("Replaying", sum(state.total for state in started)) as advance:
        passed = 0
        while True:
            states = [state for state in desk.journal.replays() if state.id in ids]
            now_passed = sum(state.passed for state in states)
            advance(now_passed - passed)
            passed = now_passed
            if all(state.state != "running" for state in states):
                return states
            desk.house.clock.sleep(LOOK_SECONDS)


def _say_started(desk: Desk, states: Sequence[ReplayState], connection: Connection, waited: bool) -> None:
    for state in states:
        about = f"{state.id}: {state.source} → {connection.name}"
        if waited:
            say(f"{about}: {state.state}, {plural(state.passed, 'event')} passed{_left_behind(desk, state)}")
        else:
            say(f"{about}: {plural(state.total, 'event')} in the range, begun")
    if not waited:
        note("how far it is: python -m connector replay list")
    if not connection.enabled:
        note(f"{connection.name} is disabled: the replay waits until it is enabled", "yellow")


def _left_behind(desk: Desk, state: ReplayState) -> str:
    """What a replay that has ended did not deliver, by no rule."""
    left = desk.journal.backlog(Reader(state.destination, state.source, state.id))
    waits = f", {left.retrying:,} to be tried again" if left.retrying else ""
    return f", {plural(left.dead, 'dead letter')}{waits}"


@replay.command("list")
@json_option
@click.pass_obj
def list_replays(house: House, as_json: bool) -> None:
    """Shows all replays, newest first, and how far they are."""
    with open_desk(house) as desk:
        states = desk.journal.replays()
    if as_json:
        show_json([asdict(state) for state in states])
        return
    if not states:
        say("there has been no replay")
        return
    now = house.clock.now()
    made = table("id", "destination", "source", "state", "passed", "of", "begun", "range", right=("passed", "of"))
    for state in states:
        since, until = _day(state.since, "the beginning"), _day(state.until, "now")
        row(
            made,
            *(state.id, state.destination, state.source, state.state, f"{state.passed:,}", f"{state.total:,}"),
            ago(state.created_at, now),
            f"{since} – {until}" + (f", where {state.where}" if state.where else ""),
        )
    show_table(made)


def _day(moment: datetime | None, otherwise: str) -> Any:
    return otherwise if moment is None else f"{moment:%Y-%m-%d %H:%M}"


@replay.command()
@click.argument("replay_id")
@json_option
@click.pass_obj
def cancel(house: House, replay_id: str, as_json: bool) -> None:
    """Ends a running replay; what it has not sent yet is not sent."""
    with open_desk(house) as desk:
        if not desk.journal.cancel_replay(replay_id):
            raise Refusal(f"there is no running replay {replay_id}; `replay list` shows them")
    show_json({"cancelled": replay_id}) if as_json else say(f"{replay_id} is cancelled")

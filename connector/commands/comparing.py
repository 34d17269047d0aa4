"""`compare`: what another source of the same events made of them, beside what the connector makes."""

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
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
    row,
    say,
    show_json,
    show_table,
    table,
)
from connector.commands.desk import Desk, open_desk, source_named
from connector.comparison import (
    Compared,
    Form,
    Place,
    Report,
    Sighting,
    adobe_row,
    compare,
    payload_sighting,
    rudderstack_row,
    standard_sighting,
)
from connector.comparison.known import BY_FORM, MISSING
from connector.errors import PayloadError
from connector.house import House
from connector.json_codec import read_json, write_json
from connector.normalize import normalize

EARLIEST, LATEST = timedelta(hours=1), timedelta(days=8)  # around the old side's times; Customer.io retries for 7 days
PROFILE = "rudderstack"
LONGEST_VALUE = 60  # characters of a value that a person is shown


@click.command("compare")
@click.argument("old", nargs=-1, type=click.Path(path_type=Path))
@click.option("--old-source", help="Instead of files: the source of ours to which the old one forwards its events.")
@click.option("--form", type=click.Choice([form.value for form in Form]), default="rudderstack", help="Whose they are.")
@click.option(
    "--new",
    "new_files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Files of a file destination with profile rudderstack; default: the events in the journal.",
)
@click.option("--source", "source_name", help="The source that gets the same events here; default: the first.")
@click.option("--since", type=Moment(), help="Only events received here since then.")
@click.option("--until", type=Moment(), help="Only events received here before then.")
@click.option("--show", type=click.IntRange(min=0), default=20, help="So many events one by one; default: 20.")
@click.option("--all", "show_all", is_flag=True, help="Show events with explained differences too.")
@json_option
@click.pass_obj
def compare_command(
    house: House,
    old: Sequence[Path],
    old_source: str | None,
    form: str,
    new_files: Sequence[Path],
    source_name: str | None,
    since: datetime | None,
    until: datetime | None,
    show: int,
    show_all: bool,
    as_json: bool,
) -> None:
    """Compares another source's events with ours. Event by event: what differs, and why; 1 when some of it is
    unexplained."""
    if bool(old) == bool(old_source):
        raise click.UsageError("name the old source's files, or --old-source, and not both")
    if new_files and (form == Form.ADOBE or old_source):
        raise click.UsageError("--new goes with files of RudderStack only")
    with ExitStack() as stack:
        desk = None if new_files else stack.enter_context(open_desk(house))
        before = list(_old_from_journal(desk, old_source) if desk and old_source else _old_from_files(old, form))
        if not before:
            raise Refusal("the old side has no events")
        after = (
            _new_from_journal(desk, source_name, old_source, form, _range(before, since, until))
            if desk
            else _new_from_files(new_files)
        )
        report = compare(before, after, BY_FORM[form])
    if as_json:
        show_json(_document(report, show_all))
    else:
        _say(report, show, show_all)
    exit_with(PROBLEM if report.unexplained or not _shared(report) else 0)


# ── where the events come from ──


def _old_from_files(paths: Sequence[Path], form: str) -> Iterator[Sighting]:
    read = adobe_row if form == Form.ADOBE else rudderstack_row
    for value in _rows(paths):
        if value.get("type") in (None, "", "track") or form == Form.ADOBE:
            yield read(value)


def _old_from_journal(desk: Desk, name: str) -> Iterator[Sighting]:
    """What the old source has sent to a source of ours; each body is one of its events."""
    readers = [one.name for one in desk.connections.destinations if one.sources is None or name in one.sources]
    if readers:
        note(f"destinations that get these copies too: {', '.join(readers)}; leave {name} out of `sources`", "yellow")
    for received in desk.journal.scan(source=source_named(desk.connections, name).name):
        value = read_json(received.body)
        if isinstance(value, dict) and value.get("type") in (None, "track"):
            yield rudderstack_row(value)


def _new_from_files(paths: Sequence[Path]) -> Iterator[Sighting]:
    return (standard_sighting(value) for value in _rows(paths) if value.get("type") == "track")


def _new_from_journal(
    desk: Desk, name: str | None, old_source: str | None, form: str, within: tuple[datetime | None, datetime | None]
) -> Iterator[Sighting]:
    source = source_named(desk.connections, name).name
    if source == old_source:
        raise Refusal("--source and --old-source are the same; --source is the one that Customer.io calls")
    for received in desk.journal.scan(*within, source=source):
        payload = read_json(received.body)
        if form == Form.ADOBE:
            yield payload_sighting(payload)
        else:
            body = normalize(received, PROFILE)[0].body
            yield standard_sighting(body, payload)


def _range(
    before: Sequence[Sighting], since: datetime | None, until: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """Of what the journal holds: as asked for, else what the old side's events can be among."""
    moments = [sighting.happened_at for sighting in before if sighting.happened_at]
    if moments:
        since, until = since or min(moments) - EARLIEST, until or max(moments) + LATEST
    return since, until


def _rows(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The objects of files, or of a folder's files: JSON lines, a JSON array, or CSV; gzipped or not."""
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            yield from _rows_of(file)


def _rows_of(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror or error}") from None
    if path.name.removesuffix(".gz").endswith(".csv"):
        for record in csv.DictReader(io.StringIO(content.decode("utf-8-sig", "replace"))):
            yield {name: value for name, value in record.items() if value}
        return
    try:
        values = read_json(content) if content.lstrip().startswith(b"[") else map(read_json, content.splitlines())
        yield from (value for value in values if isinstance(value, dict))
    except PayloadError as error:
        raise Refusal(f"{path} is neither lines of JSON, nor an array, nor CSV: {error}") from None


# ── what is shown ──


def _shared(report: Report) -> int:
    return sum(event.place is Place.BOTH for event in report.events)


def _document(report: Report, show_all: bool) -> dict[str, Any]:
    shown = [event for event in report.events if not event.is_explained or (show_all and not event.is_equal)]
    return {
        **_summary(report),
        "fields": [
            {"field": path, "kind": kind, "reason": reason or None, "events": count}
            for path, kind, reason, count in report.by_field()
        ],
        "places": [
            {"place": place, "reason": reason or None, "events": count} for place, reason, count in report.by_place()
        ],
        "events": [_event_document(event) for event in shown],
    }


def _summary(report: Report) -> dict[str, int]:
    both = [event for event in report.events if event.place is Place.BOTH]
    return {
        "on_both_sides": len(both),
        "equal": sum(event.is_equal for event in both),
        "explained": sum(event.is_explained and not event.is_equal for event in report.events),
        "unexplained": len(report.unexplained),
        "outside_old": report.old_outside,
        "outside_new": report.new_outside,
        "unreadable_old": report.old_unreadable,
    }


def _event_document(event: Compared) -> dict[str, Any]:
    differences = [
        {
            "field": one.path,
            "kind": one.kind,
            **({} if one.old is MISSING else {"old": one.old}),
            **({} if one.new is MISSING else {"new": one.new}),
            "reason": one.reason or None,
        }
        for one in event.differences
    ]
    return {
        "event_id": event.event_id,
        "event": event.name,
        "place": event.place,
        "reason": event.reason or None,
        "differences": differences,
    }


def _say(report: Report, show: int, show_all: bool) -> None:
    made = table("field", "difference", "events", "why", right=("events",), folded=("field", "why"))
    for path, kind, reason, count in report.by_field():
        row(made, path, kind, f"{count:,}", reason or "unexplained")
    for place, reason, count in report.by_place():
        row(made, "(the event)", place, f"{count:,}", reason or "unexplained")
    if report.by_field() or report.by_place():
        show_table(made)
    shown = [event for event in report.events if not event.is_explained or (show_all and not event.is_equal)]
    for event in shown[:show]:
        say(f"\n{event.event_id or '(no id)'}  {event.name}: {event.place}{_because(event.reason)}", "bold")
        for one in event.differences:
            if show_all or not one.reason:
                say(f"  {one.path}: old {_shown(one.old)}, new {_shown(one.new)}{_because(one.reason)}")
    if len(shown) > show:
        note(f"… and {len(shown) - show} more; --show, or --json for all")
    _say_sum(report)


def _say_sum(report: Report) -> None:
    counts = _summary(report)
    if report.old_unreadable:
        note(f"{plural(report.old_unreadable, 'row')} of the old side could not be told apart: no event id in them")
    outside = report.old_outside + report.new_outside
    if outside:
        note(f"{plural(outside, 'event')} came while only one side was there, and were not compared")
    is_fine = not report.unexplained and counts["on_both_sides"] > 0
    say(
        f"\n{plural(counts['on_both_sides'], 'event')} on both sides, {counts['equal']:,} of them equal; "
        f"{counts['explained']:,} with known differences, {counts['unexplained']:,} with unexplained ones.",
        "bold green" if is_fine else "bold red",
    )
    if not counts["on_both_sides"]:
        say("Nothing was compared: do the two sides get the same events, at the same time?", "red")


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _shown(value: Any) -> str:
    if value is MISSING:
        return "–"
    text = write_json(value).decode("utf-8", "replace")
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"

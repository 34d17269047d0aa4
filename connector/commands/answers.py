"""How commands answer: tables and sentences for people, JSON for programs, progress on stderr, an exit code."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from connector.errors import ConnectorError
from connector.house import House
from connector.json_codec import write_json

FINE, PROBLEM, USAGE, UNREACHABLE = 0, 1, 2, 3  # exit codes; click itself uses USAGE
WIDE = 200  # columns where there is no terminal: whoever reads a pipe cuts lines as they like
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
LONGEST_LINE = 500  # characters of a body's line that a person is shown; JSON answers have all
AGO_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

COLOURS = {
    "ok": "green",
    "delivered": "green",
    "delivering": "green",
    "stored": "green",
    "done": "green",
    "filtered": "dim",
    "earlier": "dim",
    "disabled": "dim",
    "duplicate": "yellow",
    "waiting": "yellow",
    "running": "yellow",
    "throttled": "yellow",
    "warn": "yellow",
    "held": "red",
    "failing": "red",
    "dead": "red",
    "fail": "red",
    "quarantined": "red",
}

F = TypeVar("F", bound=Callable[..., Any])


class Refusal(click.ClickException):
    """Not done, or something is wrong: the text says what, and what to do."""

    exit_code = PROBLEM

    def show(self, file: Any = None) -> None:
        stderr().print(Text(self.format_message()), style="red", soft_wrap=True)


class Unreachable(Refusal):
    """What the command needs could not be opened or reached."""

    exit_code = UNREACHABLE


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")(command)


def show_json(value: Any) -> None:
    """One JSON document on a line of its own."""
    click.echo(write_json(value).decode("utf-8", "replace"))


def stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, emoji=False)


def stderr() -> Console:
    return Console(stderr=True, width=None if sys.stderr.isatty() else WIDE, highlight=False, emoji=False)


def say(text: str = "", style: str = "") -> None:
    """A sentence for a person."""
    stdout().print(Text(text), style=style, soft_wrap=True)


def note(text: str, style: str = "dim") -> None:
    """A sentence beside the answer, on stderr."""
    stderr().print(Text(text), style=style, soft_wrap=True)


def table(*columns: str, right: Sequence[str] = (), folded: Sequence[str] = ()) -> Table:
    """Plain columns; those `right` hold numbers, those `folded` may take more than a line."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in folded,
            overflow="fold" if column in folded else "ellipsis",
        )
    return made


def row(made: Table, *cells: object) -> None:
    """Adds a row; words that stand for a state get its colour, and nothing in a cell is taken for markup."""
    made.add_row(*[cell if isinstance(cell, Text) else coloured(str(cell)) for cell in cells])


def coloured(text: str) -> Text:
    return Text(text, style=COLOURS.get(text.partition(" ")[0].rstrip(":"), ""))


def show_table(made: Table) -> None:
    stdout().print(made)


def pretty(body: bytes, limit: int = 20_000) -> str:
    """A body for a person: JSON with indents, other text as it is, up to `limit` characters."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    lines = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in text.split("\n")]
    text = "\n".join(lines)
    shown = "".join(mark if mark.isprintable() or mark in "\n\t" else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return shown if len(shown) <= limit else f"{shown[:limit]}\n… {len(shown) - limit} characters more"


def ago(moment: datetime | None, now: datetime) -> str:
    """`3 min ago`, `in 20 s`, `never`."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    size, unit = next(((size, unit) for size, unit in UNITS if abs(seconds) >= size), (1, "s"))
    count = round(abs(seconds) // size)
    if not count:
        return "just now"
    return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"


def plural(count: int, noun: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_bytes(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr while the block runs, where stderr is a terminal; call what it gives with each step's size."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=stderr(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


def confirm(question: str, is_confirmed: bool) -> None:
    """Asks a person; a program says so beforehand. Raises Refusal when the answer is no."""
    if is_confirmed or not sys.stdin.isatty():
        return
    if not click.confirm(question, err=True):
        raise Refusal("nothing was done")


def demand_yes(is_confirmed: bool) -> None:
    """What sweeps everything away is not done for a program that has not said so. Raises UsageError."""
    if not is_confirmed and not sys.stdin.isatty():
        raise click.UsageError("stdin is no terminal, so nobody can be asked: add --yes")


def exit_with(code: int) -> None:
    """Ends the command with this code, unless all is fine."""
    if code != FINE:
        raise click.exceptions.Exit(code)


@contextmanager
def reaching() -> Iterator[None]:
    """What fails in this block could not be opened or reached."""
    try:
        yield
    except (ConnectorError, OSError) as error:
        raise Unreachable(describe(error)) from error


def describe(error: Exception) -> str:
    """An error as a sentence; the system's own without their numbers."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


class Moment(click.ParamType[datetime]):
    """`2026-08-01`, `2026-08-01T12:00`, with a zone or in UTC; or how long ago: `90m`, `24h`, `7d`."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        house = ctx.find_object(House) if ctx else None
        seconds = AGO_SECONDS.get(value[-1:], 0) * int(value[:-1]) if value[:-1].isdecimal() else 0
        if house is not None and seconds:
            return house.clock.now() - timedelta(seconds=seconds)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"expected a moment such as 2026-08-01, 2026-08-01T12:00Z, 90m, 24h or 7d, not {value!r}")
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

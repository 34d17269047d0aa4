"""What a person decides on: `dead` letters that were given up, `quarantine` of what cannot be trusted or read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from connector.commands.answers import (
    PROBLEM,
    Refusal,
    ago,
    confirm,
    demand_yes,
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
from connector.commands.operating import LONGEST_ID, LONGEST_NAME, cut, event_name
from connector.errors import PayloadError
from connector.house import House
from connector.journal.base import DeadLetter, Quarantined
from connector.json_codec import read_json
from connector.model import Receipt

PAGE = 500  # of either, read at once
SHOWN = 50  # in a list, unless asked for more


def choosing(what: str, by: str, asks: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The arguments that choose dead letters or quarantined events: ids, one place, or all."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            json_option,
            *([click.option("--yes", is_flag=True, help="Do not ask.")] if asks else []),
            click.option("--all", "everything", is_flag=True, help=f"All {what}."),
            click.option(f"--{by}", "place", help=f"All {what} of this {by}."),
            click.argument("ids", nargs=-1, type=int),
        ):
            command = option(command)
        return command

    return decorate


def _check_choice(ids: Sequence[int], place: str | None, everything: bool, by: str) -> None:
    if sum(map(bool, (ids, place, everything))) != 1:
        raise click.UsageError(f"give ids, or --{by} NAME, or --all")


# ── dead letters ──


@click.group()
def dead() -> None:
    """Dead letters: deliveries that were given up."""


@dead.command("list")
@click.option("--destination", help="Only those of this destination.")
@click.option("--limit", type=click.IntRange(min=1), default=SHOWN, help="How many, oldest first.")
@json_option
@click.pass_obj
def list_dead(house: House, destination: str | None, limit: int, as_json: bool) -> None:
    """Shows dead letters, oldest first."""
    with open_desk(house) as desk:
        letters = desk.journal.dead_letters(destination, limit + 1)
        names = [_name_of(desk, letter) for letter in letters[:limit]]
    if as_json:
        told = zip(letters[:limit], names, strict=True)
        show_json([{**asdict(letter), "name": name or None} for letter, name in told])
        return
    if not letters:
        say("there are no dead letters")
        return
    now = house.clock.now()
    columns = ("id", "destination", "event", "event id", "type", "action", "tries", "died", "why")
    made = table(*columns, right=("id", "tries"), folded=("why",))
    for letter, name in zip(letters[:limit], names, strict=True):
        place = f"{letter.reader.destination} ({letter.reader.replay})"
        row(
            made,
            *(
                letter.id,
                place if letter.reader.replay else letter.reader.destination,
                cut(name or "–", LONGEST_NAME),
                cut(letter.event_id, LONGEST_ID),
            ),
            *(letter.type, letter.action, letter.attempts, ago(letter.died_at, now), letter.reason),
        )
    show_table(made)
    _note_more(len(letters) > limit, limit)


def _name_of(desk: Desk, letter: DeadLetter) -> str:
    """`<object_type>_<metric>`; "" where the body is not kept any more."""
    return next((event_name(one) for one in desk.journal.find(letter.event_id) if one.seq == letter.seq), "")


def _note_more(has_more: bool, limit: int) -> None:
    if has_more:
        note(f"these are the oldest {limit}; --limit shows more")


def _all_dead(desk: Desk, destination: str | None = None) -> Iterator[DeadLetter]:
    after_id = 0
    while page := desk.journal.dead_letters(destination, PAGE, after_id):
        yield from page
        after_id = page[-1].id


@dead.command("show")
@click.argument("number", metavar="ID", type=int)
@json_option
@click.pass_obj
def show_dead(house: House, number: int, as_json: bool) -> None:
    """Tells all about one dead letter, with the event that came in."""
    with open_desk(house) as desk:
        letter = next(iter(desk.journal.dead_letters(limit=1, after_id=number - 1)), None)
        if letter is None or letter.id != number:
            raise Refusal(f"there is no dead letter {number}; `dead list` shows them")
        found = [one for one in desk.journal.find(letter.event_id) if one.seq == letter.seq]
    if as_json:
        show_json({**asdict(letter), "body": found[0].body.decode("utf-8", "replace") if found else None})
        return
    say(f"Dead letter {letter.id}", "bold")
    made = table("", "", folded=("",))
    made.show_header = False
    name = f" ({event_name(found[0])})" if found else ""
    for label, value in (
        ("destination", letter.reader.destination + (f" ({letter.reader.replay})" if letter.reader.replay else "")),
        ("source", letter.reader.source),
        ("event", letter.event_id + name),
        ("call", f"{letter.type}, action {letter.action}"),
        ("tries", letter.attempts),
        ("died", f"{letter.died_at:%Y-%m-%d %H:%M:%S} UTC ({ago(letter.died_at, house.clock.now())})"),
        ("why", letter.reason),
    ):
        row(made, label, value)
    show_table(made)
    say("\nReceived", "bold")
    say(pretty(found[0].body) if found else "its body is not kept any more")


@dead.command("retry")
@choosing("dead letters", "destination", asks=False)
@click.pass_obj
def retry_dead(house: House, ids: tuple[int, ...], place: str | None, everything: bool, as_json: bool) -> None:
    """Tries dead letters again, at once, with their tries counted from nothing."""
    _deal_with_dead(house, ids, place, everything, as_json, "retry", yes=True)


@dead.command("drop")
@choosing("dead letters", "destination")
@click.pass_obj
def drop_dead(
    house: House, ids: tuple[int, ...], place: str | None, everything: bool, yes: bool, as_json: bool
) -> None:
    """Drops dead letters for good. The received events stay; without a terminal, only ids are dropped without --yes."""
    _deal_with_dead(house, ids, place, everything, as_json, "drop", yes)


def _deal_with_dead(
    house: House, ids: Sequence[int], place: str | None, everything: bool, as_json: bool, verb: str, yes: bool
) -> None:
    _check_choice(ids, place, everything, "destination")
    if verb == "drop" and not ids:
        demand_yes(yes)
    with open_desk(house) as desk:
        chosen = list(ids) or [letter.id for letter in _all_dead(desk, place)]
        if chosen and verb == "drop":
            confirm(f"Drop {plural(len(chosen), 'dead letter')} for good?", yes)
        deal = desk.journal.retry_dead if verb == "retry" else desk.journal.drop_dead
        done = sum(deal(chosen[start : start + PAGE]) for start in range(0, len(chosen), PAGE))
    told = "tried again at once" if verb == "retry" else "dropped"
    show_json({verb: done, "of": len(chosen)}) if as_json else say(f"{plural(done, 'dead letter')} {told}")
    if done < len(chosen):
        note(f"{len(chosen) - done} are not dead letters, or their body is not kept any more", "red")
    exit_with(0 if done == len(chosen) else PROBLEM)


# ── quarantine ──


@click.group()
def quarantine() -> None:
    """What came in, but cannot be trusted or read."""


@quarantine.command("list")
@click.option("--source", help="Only what came from this source.")
@click.option("--limit", type=click.IntRange(min=1), default=SHOWN, help="How many, oldest first.")
@json_option
@click.pass_obj
def list_quarantined(house: House, source: str | None, limit: int, as_json: bool) -> None:
    """Shows what is in quarantine, oldest first."""
    with open_desk(house) as desk:
        found = desk.journal.quarantined(source, limit + 1)
    if as_json:
        show_json([_document(one) for one in found[:limit]])
        return
    if not found:
        say("there is nothing in quarantine")
        return
    now = house.clock.now()
    columns = ("id", "source", "received", "times", "size", "event id", "why")
    made = table(*columns, right=("id", "times", "size"), folded=("why",))
    for one in found[:limit]:
        kept = "" if one.body is not None else "; only its hash is kept"
        row(
            made,
            *(
                one.id,
                one.source,
                ago(one.received_at, now),
                f"{one.count:,}",
                f"{one.size:,}",
                cut(one.event_id, LONGEST_ID),
            ),
            one.reason + kept,
        )
    show_table(made)
    _note_more(len(found) > limit, limit)


def _document(one: Quarantined) -> dict[str, Any]:
    return {**asdict(one), "body": None if one.body is None else one.body.decode("utf-8", "replace")}


def _all_quarantined(desk: Desk, source: str | None = None) -> Iterator[Quarantined]:
    after_id = 0
    while page := desk.journal.quarantined(source, PAGE, after_id):
        yield from page
        after_id = page[-1].id


def _quarantined_named(desk: Desk, number: int) -> Quarantined:
    found = next(iter(desk.journal.quarantined(limit=1, after_id=number - 1)), None)
    if found is None or found.id != number:
        raise Refusal(f"there is nothing with id {number} in quarantine; `quarantine list` shows what there is")
    return found


@quarantine.command("show")
@click.argument("number", metavar="ID", type=int)
@json_option
@click.pass_obj
def show_quarantined(house: House, number: int, as_json: bool) -> None:
    """Tells all about one quarantined event, with its bytes."""
    with open_desk(house) as desk:
        one = _quarantined_named(desk, number)
    if as_json:
        show_json(_document(one))
        return
    say(f"Quarantined {one.id}: {one.reason}", "bold")
    say(f"source {one.source}, event id {one.event_id}")
    say(f"first received {one.received_at:%Y-%m-%d %H:%M:%S} UTC, came {plural(one.count, 'time')}")
    say(f"{plural(one.size, 'byte')}, SHA-256 {one.sha256}")
    say("\nReceived", "bold")
    say(pretty(one.body) if one.body is not None else "the bytes are not kept: the quarantine was full")


@quarantine.command("release")
@choosing("quarantined events", "source")
@click.pass_obj
def release(house: House, ids: tuple[int, ...], place: str | None, everything: bool, yes: bool, as_json: bool) -> None:
    """Trusts quarantined events: they go to all destinations as if they had just come."""
    _check_choice(ids, place, everything, "source")
    with open_desk(house) as desk:
        chosen = [_quarantined_named(desk, number) for number in ids] if ids else _all_quarantined(desk, place)
        verdicts = {one.id: one.body is not None and is_object(one.body) for one in chosen}
        readable = [number for number, is_readable in verdicts.items() if is_readable]
        if readable and not ids:
            confirm(f"Release {plural(len(readable), 'event')} to all destinations?", yes)
        receipts: list[Receipt] = []
        for start in range(0, len(readable), PAGE):
            receipts += desk.journal.release_quarantined(readable[start : start + PAGE])
    refused = len(verdicts) - len(readable)
    duplicates = receipts.count(Receipt.DUPLICATE)
    if as_json:
        show_json({"released": len(receipts) - duplicates, "duplicates": duplicates, "refused": refused})
    else:
        say(f"{plural(len(receipts) - duplicates, 'event')} released")
        if duplicates:
            say(f"{duplicates} were repeats of events that are here already, and are out of quarantine")
    if refused:
        note(f"{refused} stay: their bytes are no JSON object, or are not kept", "red")
    exit_with(PROBLEM if refused else 0)


def is_object(body: bytes) -> bool:
    try:
        return isinstance(read_json(body), dict)
    except PayloadError:
        return False


@quarantine.command("drop")
@choosing("quarantined events", "source")
@click.pass_obj
def drop_quarantined(
    house: House, ids: tuple[int, ...], place: str | None, everything: bool, yes: bool, as_json: bool
) -> None:
    """Drops quarantined events for good. Without a terminal, only ids are dropped without --yes."""
    _check_choice(ids, place, everything, "source")
    if not ids:
        demand_yes(yes)
    with open_desk(house) as desk:
        chosen = list(ids) or [one.id for one in _all_quarantined(desk, place)]
        if chosen:
            confirm(f"Drop {plural(len(chosen), 'quarantined event')} for good?", yes)
        done = sum(desk.journal.drop_quarantined(chosen[at : at + PAGE]) for at in range(0, len(chosen), PAGE))
    show_json({"drop": done, "of": len(chosen)}) if as_json else say(f"{plural(done, 'quarantined event')} dropped")
    if done < len(chosen):
        note(f"{len(chosen) - done} were not in quarantine", "red")
    exit_with(0 if done == len(chosen) else PROBLEM)

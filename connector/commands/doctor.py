"""`doctor`: is everything as it should be? What is not, and what to do."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import click
from rich.text import Text

from connector.commands.answers import (
    COLOURS,
    PROBLEM,
    Unreachable,
    exit_with,
    json_option,
    plural,
    reaching,
    say,
    show_json,
    stdout,
    table,
)
from connector.commands.desk import Desk, open_desk
from connector.commands.examine_machine import (
    examine_disk,
    examine_home,
    filesystem_of,
    is_in_container,
    read_mounts,
)
from connector.commands.examine_network import examine_destinations, examine_public_url
from connector.commands.examine_service import (
    examine_configuration,
    examine_deliveries,
    examine_delivering,
    examine_journal,
    examine_sources,
)
from connector.commands.findings import Finding, Level, fail
from connector.house import House


@click.command()
@click.option("--offline", is_flag=True, help="Call nobody: neither the destinations nor PUBLIC_URL.")
@json_option
@click.pass_obj
def doctor(house: House, offline: bool, as_json: bool) -> None:
    """Says what is wrong, and what to do. Sends no event. Exit code 1 when something fails."""
    findings = []
    for finding in examine(house, offline):
        findings.append(finding)
        if not as_json:
            show(finding)
    levels = Counter(finding.level for finding in findings)
    is_well = not levels[Level.FAIL]
    if as_json:
        show_json({"ok": is_well, "findings": [asdict(finding) for finding in findings]})
    else:
        say(f"\n{levels[Level.OK]} ok, {plural(levels[Level.WARN], 'warning')}, {levels[Level.FAIL]} failed", "bold")
    exit_with(0 if is_well else PROBLEM)


def examine(house: House, offline: bool) -> Iterator[Finding]:
    """Everything, from the ground up; without journal and configuration there is only the machine to look at."""
    with reaching():
        settings = house.load_settings()
    yield from examine_disk(settings.data_dir, settings.disk_reserve_bytes)
    in_container = is_in_container(settings.environment)
    yield examine_home(settings.data_dir, in_container, filesystem_of(settings.data_dir, read_mounts()))
    try:
        with open_desk(house) as desk:
            yield from examine_inside(desk, offline)
    except Unreachable as error:
        yield fail("opening", error.message, "mend this first; the rest cannot be looked at before")


def examine_inside(desk: Desk, offline: bool) -> Iterator[Finding]:
    yield from examine_journal(desk)
    yield from examine_configuration(desk)
    yield examine_delivering(desk)
    overview = desk.overview()
    yield from examine_sources(overview)
    yield from examine_deliveries(desk, overview)
    if not offline:
        yield from examine_destinations(desk)
        yield from examine_public_url(desk)


def show(finding: Finding) -> None:
    """A line, and beneath it what to do."""
    made = table("", "", "", folded=("",))
    made.show_header = False
    made.columns[0].min_width = 4
    made.columns[1].min_width = 24
    text = Text(finding.text)
    if finding.advice:
        text.append(f"\n→ {finding.advice}", "bold")
    made.add_row(Text(finding.level, COLOURS[finding.level]), Text(finding.about), text)
    stdout().print(made)

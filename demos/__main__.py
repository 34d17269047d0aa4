"""`python -m demos`: plays every example event at a service that delivers to all destinations, and counts what arrived.

For each destination the events that came in, less those that it refuses for a reason, must be there once each: as
messages, rows or lines. Ends with 1 when a number does not agree.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.processes import ROOT, WEBHOOK, web
from connector.clock import SystemClock
from connector.commands.payloads import Payload, read_payloads, with_new_id
from connector.connections import LiveConnections
from connector.destinations import build_destination
from connector.journal.sqlite import SqliteJournal
from connector.model import Connection, Reader
from connector.normalize import normalize
from connector.route import Route
from connector.settings import load_settings
from demos.stages import OPENINGS, MissingServer, Stage

SOURCE = "production"
ARRIVAL_SECONDS, LOOK_SECONDS = 120.0, 0.3
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a destination should get of all that came in."""

    deliveries: int
    filtered: int
    refused: Mapping[str, int]  # by reason


@dataclass(frozen=True, slots=True)
class Row:
    stage: Stage
    expected: Expected
    arrived: int
    repeated: int
    dead: int
    faults: Sequence[str]

    @property
    def agrees(self) -> bool:
        is_refused_as_expected = self.dead == sum(self.expected.refused.values())
        return (
            self.arrived == self.expected.deliveries
            and not self.repeated
            and is_refused_as_expected
            and not self.faults
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demos", description=__doc__)
    parser.add_argument("--only", default=",".join(OPENINGS), help="these destinations, with commas between")
    parser.add_argument("--repeat", type=int, default=1, help="play the examples so many times, with fresh ids")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="connector-demo-", ignore_cleanup_errors=True)))
        stages, missing = open_stages(stack, folder, given.only.split(","))
        rows = run(folder, stages, given.repeat)
    for name, reason in missing.items():
        print(f"{name}: not run: {reason}")
    is_build = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
    wrong = [row for row in rows if not row.agrees]
    print(f"\n{len(rows) - len(wrong)} of {len(rows)} destinations have every event once.")
    return 1 if wrong or (missing and is_build) else 0


def open_stages(stack: ExitStack, folder: Path, names: Sequence[str]) -> tuple[list[Stage], dict[str, str]]:
    """The servers, started; and why some could not be."""
    stages, missing = [], {}
    for name in names:
        place = folder / name
        place.mkdir()
        try:
            stages.append(stack.enter_context(OPENINGS[name](place)))
        except MissingServer as error:
            missing[name] = str(error)
    return stages, missing


def run(folder: Path, stages: Sequence[Stage], repeat: int) -> list[Row]:
    """Plays the events, waits until all is delivered, stops the service, counts."""
    config = folder / "connector.yaml"
    config.write_text(json.dumps(configuration(stages)), "utf-8")  # JSON is YAML
    payloads = [
        with_new_id(payload, CLOCK) for _ in range(repeat) for payload in read_payloads([ROOT / "fixtures" / "events"])
    ]
    with web(folder, CONNECTOR_CONFIG=str(config)) as port:
        accepted = play(port, payloads)
        print(f"{len(payloads)} webhook calls, {accepted} events stored\n")
        with journal_of(folder) as journal:
            left = wait_for_delivery(journal, stages)
    if left:
        print(f"still waiting after {ARRIVAL_SECONDS:g} s: {left}")
    return count(folder, stages, config)


def configuration(stages: Sequence[Stage]) -> dict[str, Any]:
    destinations = [
        {"start": "beginning", "batch": {"max_wait": 0.2}, "name": stage.name, **stage.settings} for stage in stages
    ]
    return {"sources": [{"name": SOURCE, "write_keys": ["${WRITE_KEY}"]}], "destinations": destinations}


def play(port: int, payloads: Sequence[Payload]) -> int:
    """How many were stored."""
    outcomes: Counter[str] = Counter()
    for payload in payloads:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{WEBHOOK}", payload.body, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  loopback
            outcomes[answer.headers["X-Connector-Outcome"]] += 1
    return outcomes["stored"]


@contextmanager
def journal_of(folder: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(folder / "data" / "journal.db", CLOCK)
    yield journal
    journal.close()


def wait_for_delivery(journal: SqliteJournal, stages: Sequence[Stage]) -> dict[str, int]:
    """What still waits when nothing does any more, or the time is up: nothing, if all is well."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while True:
        backlogs = {stage.name: journal.backlog(Reader(stage.name, SOURCE)) for stage in stages}
        left = {name: found.waiting + found.retrying for name, found in backlogs.items()}
        left = {name: waiting for name, waiting in left.items() if waiting}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(LOOK_SECONDS)


def count(folder: Path, stages: Sequence[Stage], config: Path) -> list[Row]:
    """One row for each destination, printed as it is known."""
    settings = load_settings({"WRITE_KEY": "any-write-key-will-do", "CONNECTOR_CONFIG": str(config)}, folder)
    connections = {one.name: one for one in LiveConnections(settings).current.destinations}
    print(f"{'destination':<22} {'server':<18} {'events':>7} {'refused':>8} {'arrived':>8}  {'as':<9} agree")
    rows = []
    with journal_of(folder) as journal:
        for stage in stages:
            ids = stage.arrived()
            row = Row(
                stage,
                expected_of(journal, connections[stage.name]),
                arrived=len(ids),
                repeated=len(ids) - len(set(ids)),
                dead=len(journal.dead_letters(stage.name, limit=100_000)),
                faults=stage.faults(),
            )
            rows.append(row)
            show(row)
    return rows


def expected_of(journal: SqliteJournal, connection: Connection) -> Expected:
    """Worked out from what was stored, by the rules of the destination alone."""
    route = Route(build_destination(connection))
    deliveries = filtered = 0
    refused: Counter[str] = Counter()
    for received in journal.scan():
        events = normalize(
            received, connection.profile, identify=connection.identify, keep_content=connection.keep_content
        )
        routed = route.deliveries(Reader(connection.name, SOURCE), received.seq, events)
        deliveries += len(routed.deliveries)
        filtered += len(routed.filtered)
        refused.update(dead.reason.partition(":")[0] for dead in routed.dead)
    return Expected(deliveries, filtered, refused)


def show(row: Row) -> None:
    expected, stage = row.expected, row.stage
    refused = sum(expected.refused.values())
    events = expected.deliveries + expected.filtered + refused
    why = ", ".join(f"{number} {reason}" for reason, number in expected.refused.items())
    verdict = "yes" if row.agrees else "NO"
    print(
        f"{stage.name:<22} {stage.server:<18} {events:>7,} {refused:>8,} {row.arrived:>8,}  {stage.unit:<9} {verdict}"
        + (f"   refused: {why}" if why else "")
        + (f"   filtered: {expected.filtered}" if expected.filtered else ""),
        flush=True,
    )
    if row.repeated:
        print(f"  {row.repeated} of them more than once")
    if row.dead != refused:
        print(f"  {row.dead} dead letters, {refused} expected")
    for fault in list(row.faults)[:5]:
        print(f"  {fault}")


if __name__ == "__main__":
    sys.exit(main())

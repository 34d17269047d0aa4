"""`python -m benchmarks`: measures, and prints each figure beside its target. `--quick` for a first look."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import measures
from benchmarks.load import event_ids

SMALL = 10_000
LARGE = 10_000_000


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float
    large: int  # stored events of the large journal; 0: not measured
    backlog: int


QUICK = Plan(rounds=1, seconds=3.0, large=0, backlog=100_000)
FULL = Plan(rounds=5, seconds=6.0, large=LARGE, backlog=1_000_000)


@dataclass
class Table:
    """The rows as they come, printed at once: a long run shows how far it is."""

    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, what: str, figure: float, target: float | None, at_most: bool = False, unit: str = "") -> None:
        is_met = target is None or (figure <= target if at_most else figure >= target)
        bound = "" if target is None else f"{'≤' if at_most else '≥'} {target:,g}"
        mark = "" if target is None else ("met" if is_met else "NOT MET")
        shown = f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
        print(f"{what:<78} {shown:>10} {unit:<9} {bound:>10}  {mark}", flush=True)
        self.rows.append({"what": what, "figure": figure, "unit": unit, "target": target, "met": is_met})

    @property
    def all_met(self) -> bool:
        return all(row["met"] for row in self.rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, no large journal: about two minutes")
    parser.add_argument("--large", type=int, help=f"stored events of the large journal, {LARGE:,} by default")
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    parser.add_argument("--no-fail", action="store_true", help="exit 0 although a target was not met")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    if given.large is not None:
        plan = Plan(plan.rounds, plan.seconds, given.large, plan.backlog)
    table = Table()
    begun = time.perf_counter()
    run(plan, table)
    print(f"took {time.perf_counter() - begun:,.0f} s")
    if given.json:
        given.json.write_text(json.dumps(table.rows, indent=1))
    return 0 if table.all_met or given.no_fail else 1


def run(plan: Plan, table: Table) -> None:
    seconds, rounds = plan.seconds, plan.rounds
    bare, accepted = measures.accepting(seconds, rounds)
    table.add("a bare Flask route", bare, None, unit="req/s")
    table.add("accepted and stored", accepted, None, unit="events/s")
    table.add("accepted and stored ÷ bare Flask", accepted / bare, 0.8)
    with measures.folder() as place:
        delivered = measures.median(lambda: measures.delivered_in(place, seconds, 0.6 * bare), rounds)
        table.add("accepted → delivered, of 0.6 × bare Flask coming in", delivered, None, unit="events/s")
        table.add("accepted → delivered ÷ bare Flask", delivered / bare, 0.5)
        drained = measures.median(lambda: measures.drained_in(place), rounds)
        table.add("emptying a backlog, one deliver process, schema and one where", drained, 12_000, unit="events/s")
        answered = measures.median(lambda: measures.answered_in(place, 1000, seconds)["p99"], rounds)
        table.add("time to answer at 1,000 events/s, p99", 1000 * answered, 25, True, "ms")
        arrived = measures.median(lambda: measures.arrived_in(place, 500, seconds)["p99_delay"], rounds)
        table.add("accept → arrival at 500 events/s, max_wait 0.1, p99", arrived, 0.5, True, "s")
    memory = measures.memory_with_backlog(plan.backlog)
    for process, megabytes in memory.items():
        table.add(f"memory of the {process} process, backlog of {plan.backlog:,}", megabytes, 200, True, "MB")
    if plan.large:
        at_scale(plan, table)


def at_scale(plan: Plan, table: Table) -> None:
    """The same at many stored events, each as a share of itself at few."""
    few, many = SMALL, plan.large
    with measures.folder() as small, measures.folder() as large:
        sizes = {few: small, many: large}
        for size, place in sizes.items():
            rate = measures.fill(place, size, event_ids(prefix=1))
            table.add(
                f"storing in groups of {measures.GROUP}, ids in event order, up to {size:,}", rate, None, unit="rows/s"
            )

        def ratio(what: str, measure: Callable[[Path], float], lower_is_better: bool = False) -> None:
            figures: dict[int, list[float]] = {few: [], many: []}
            for _ in range(plan.rounds):
                for size, place in sizes.items():
                    figures[size].append(measure(place))
            at_few, at_many = (statistics.median(figures[size]) for size in (few, many))
            share = at_few / at_many if lower_is_better else at_many / at_few
            table.add(f"{what}: at {many:,} ({at_many:.4g}) ÷ at {few:,} ({at_few:.4g})", share, 0.9)

        ratio("accepted and stored/s", lambda place: measures.accepted_in(place, plan.seconds))
        ratio("delivered/s", lambda place: measures.delivered_in(place, plan.seconds, 1000.0))
        ratio("emptying a backlog, events/s", measures.drained_in)
        ratio("time to answer, p99 s", lambda place: measures.answered_in(place, 1000, plan.seconds)["p99"], True)
        ratio("arrival, p99 s", lambda place: measures.arrived_in(place, 500, plan.seconds)["p99_delay"], True)
    for size in (few, many):
        with measures.folder() as place:
            rate = measures.fill(place, size, measures.random_ids(1))
            table.add(f"storing in groups of {measures.GROUP}, random ids, up to {size:,}", rate, None, unit="rows/s")


if __name__ == "__main__":
    sys.exit(main())

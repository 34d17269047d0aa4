"""`python -m benchmarks.ten_destinations`: six healthy destinations beside four ill ones, against the six alone.

One process delivers to all of them, so they share its time on the processor. "Their speed alone" means two things:

- at a steady inflow, what each healthy one gets per second, and how long an event takes until it is there;
- as fast as it goes, how soon each is through a backlog. What is ill and gets no events must cost next to nothing. The
  one that answers after 50 ms is slow but works, and takes the share of any other that works: it is compared with a
  healthy one in its place; what six get beside any seventh is printed too.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measures
from benchmarks.load import event_ids
from benchmarks.processes import delivering, fetch, free_port, load, seen, stub, web

TARGET = 0.95
HEALTHY = tuple(f"healthy{number}" for number in range(1, 7))
SEVENTH = "healthy7"
WITHOUT_EVENTS: Mapping[str, tuple[str, ...]] = {"refused": (), "hanging": ("silent",), "throttled": ("status=429",)}
SLOW: Mapping[str, tuple[str, ...]] = {"slow": ("pause=0.05",)}
ILL = {**WITHOUT_EVENTS, **SLOW}

HEAD = 'sources:\n  - {name: production, write_keys: ["${WRITE_KEY}"]}\ndestinations:\n'
DESTINATION = """  - name: {name}
    type: rudderstack
    url: http://127.0.0.1:{port}
    write_key: benchmark
    start: {start}
    timeout: 2
    batch: {{max_events: 100, max_bytes: 450000, max_wait: 0.1}}
"""
WARM_UP_SECONDS = (
    4.0  # in which the ill ones have shown themselves, as they have in every service that runs for a while
)
POLL_SECONDS = 0.05
LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    rate: float  # events that come in, a second
    seconds: float
    backlog: int


FULL = Plan(rounds=5, rate=150.0, seconds=10.0, backlog=12_000)
QUICK = Plan(rounds=1, rate=100.0, seconds=5.0, backlog=6_000)


@dataclass(frozen=True, slots=True)
class Steady:
    """Of the healthy destinations: medians over them."""

    per_second: float
    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Every figure with the same one alone, taken in turns; medians over the rounds."""

    steady_alone: Steady
    steady_beside: Steady
    drained_alone: float  # events/s of a healthy one
    drained_beside_dead: float
    drained_with_seventh: float
    drained_beside_ill: float

    @property
    def steady_ratio(self) -> float:
        return self.steady_beside.per_second / self.steady_alone.per_second

    @property
    def dead_ratio(self) -> float:
        return self.drained_beside_dead / self.drained_alone

    @property
    def ill_ratio(self) -> float:
        return self.drained_beside_ill / self.drained_with_seventh


@contextmanager
def stubs(place: Path, healthy: Sequence[str], ill: Mapping[str, tuple[str, ...]]) -> Iterator[dict[str, int]]:
    """A server for each by name, and its port; nobody listens at that of `refused`."""
    with ExitStack() as stack:
        ports = {name: stack.enter_context(stub(place, "delays")) for name in healthy}
        for name, options in ill.items():
            ports[name] = stack.enter_context(stub(place, *options)) if options else free_port()
        yield ports


def configure(place: Path, ports: Mapping[str, int], start: str) -> dict[str, str]:
    path = place / "connector.yaml"
    parts = [DESTINATION.format(name=name, port=port, start=start) for name, port in ports.items()]
    path.write_text(HEAD + "".join(parts))
    return {"CONNECTOR_CONFIG": str(path)}


def steady(healthy: Sequence[str], ill: Mapping[str, tuple[str, ...]], rate: float, seconds: float) -> Steady:
    """What the healthy ones get while `rate` events come in a second."""
    with (
        measures.folder() as place,
        stubs(place, healthy, ill) as ports,
        web(place, **configure(place, ports, "now")) as port,
    ):
        load(port, seconds=WARM_UP_SECONDS, rate=rate)
        watched = [ports[name] for name in healthy]
        time.sleep(1.0)
        for one in watched:
            fetch(one, "/reset")
        answered = load(port, seconds=seconds, rate=rate)
        if answered["refused"]:
            raise RuntimeError(f"{answered['refused']} calls were refused")
        states = wait_for(watched, int(answered["answered"]))
    return Steady(
        statistics.median(answered["answered"] / (state["last_at"] - state["first_at"]) for state in states),
        statistics.median(state["p50_delay"] for state in states),
        statistics.median(state["p99_delay"] for state in states),
    )


def drained(healthy: Sequence[str], ill: Mapping[str, tuple[str, ...]], backlog: int) -> float:
    """Events/s that a healthy one gets while all are being emptied of the same backlog; the median over them."""
    with measures.folder() as place, stubs(place, healthy, ill) as ports:
        measures.fill(place, backlog, event_ids(prefix=1))
        given = configure(place, ports, "beginning")
        watched = [ports[name] for name in healthy]
        with delivering(place, **given):
            states = wait_for(watched, backlog)
    return statistics.median(backlog / (state["last_at"] - state["first_at"]) for state in states)


def wait_for(ports: Sequence[int], events: int) -> list[dict[str, float]]:
    """The counts of the stubs once each has so many events."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        states = [seen(port) for port in ports]
        if all(state["events"] >= events for state in states):
            return states
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {[state['events'] for state in states]} of {events} events arrived")
        time.sleep(POLL_SECONDS)


def measure(plan: Plan) -> Figures:
    """Each figure next to the one it is compared with, so that both meet the same machine."""
    steadies: tuple[list[Steady], list[Steady]] = [], []
    drains: dict[str, list[float]] = {"alone": [], "dead": [], "seventh": [], "ill": []}
    for _ in range(plan.rounds):
        steadies[0].append(steady(HEALTHY, {}, plan.rate, plan.seconds))
        steadies[1].append(steady(HEALTHY, ILL, plan.rate, plan.seconds))
        drains["alone"].append(drained(HEALTHY, {}, plan.backlog))
        drains["dead"].append(drained(HEALTHY, WITHOUT_EVENTS, plan.backlog))
        drains["seventh"].append(drained((*HEALTHY, SEVENTH), {}, plan.backlog))
        drains["ill"].append(drained(HEALTHY, ILL, plan.backlog))
    return Figures(
        middle(steadies[0]),
        middle(steadies[1]),
        *(statistics.median(drains[name]) for name in ("alone", "dead", "seventh", "ill")),
    )


def middle(rounds: Sequence[Steady]) -> Steady:
    return Steady(
        statistics.median(one.per_second for one in rounds),
        statistics.median(one.p50_seconds for one in rounds),
        statistics.median(one.p99_seconds for one in rounds),
    )


def show(plan: Plan, figures: Figures) -> bool:
    """Prints the table; whether every target is met."""
    alone, beside = figures.steady_alone, figures.steady_beside
    print(f"six healthy destinations; ill beside them: {', '.join(ILL)}; medians of {plan.rounds} rounds\n")
    print(f"{'a healthy destination, of all six the median':<62} {'alone':>9} {'beside':>9} {'ratio':>7}")
    is_met = line(f"events/s while {plan.rate:g}/s come in", alone.per_second, beside.per_second, TARGET)
    line("  ms until an event is there, p50", 1000 * alone.p50_seconds, 1000 * beside.p50_seconds)
    line("  ms until an event is there, p99", 1000 * alone.p99_seconds, 1000 * beside.p99_seconds)
    what = f"events/s of a backlog of {plan.backlog:,}"
    is_met &= line(f"{what}, beside three without events", figures.drained_alone, figures.drained_beside_dead, TARGET)
    is_met &= line(
        f"{what}, beside all four; alone: + a 7th", figures.drained_with_seventh, figures.drained_beside_ill, TARGET
    )
    line("  what any seventh that works takes of the processor", figures.drained_alone, figures.drained_with_seventh)
    return is_met


def line(what: str, alone: float, beside: float, target: float | None = None) -> bool:
    ratio = beside / alone
    is_met = target is None or ratio >= target
    mark = "" if target is None else f"  ≥ {target:g} {'met' if is_met else 'NOT MET'}"
    print(f"{what:<62} {alone:>9,.1f} {beside:>9,.1f} {ratio:>7.3f}{mark}", flush=True)
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ten_destinations", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: about a minute")
    parser.add_argument("--no-fail", action="store_true", help="exit 0 although a target was not met")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    is_met = show(plan, measure(plan))
    return 0 if is_met or given.no_fail else 1


if __name__ == "__main__":
    sys.exit(main())

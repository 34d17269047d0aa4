"""What is measured, and how. Every ratio is taken within one run; of several rounds the median counts."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random

from benchmarks.load import event_ids, example
from benchmarks.processes import (
    bare_web,
    children_of,
    delivering,
    fetch,
    load,
    resident_megabytes,
    seen,
    stub,
    web,
)
from connector.clock import SystemClock
from connector.journal.sqlite import SqliteJournal
from connector.model import Reader, ReceivedEvent, Settlement

GROUP = 500  # events per append while a journal is filled
SOURCE = "production"
DESTINATION = "stub"
DRAINED = 60_000  # events of the backlog whose emptying is timed
IDLE_LIMIT_SECONDS = 120.0

CONFIGURATION = """
sources:
  - {{name: production, write_keys: ["${{WRITE_KEY}}"]}}
destinations:
  - name: stub
    type: rudderstack
    url: http://127.0.0.1:{port}
    write_key: benchmark
    start: {start}
    concurrency: {concurrency}
    actions: [{{name: people, where: "metric == 'opened' && !machine"}}]
    batch: {{max_events: {batch}, max_bytes: 450000, max_wait: {wait}}}
"""


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="connector-bench-") as name:
        yield Path(name)


def configure(
    place: Path, port: int, *, start: str = "beginning", batch: int = 100, wait: float = 0.5, concurrency: int = 2
) -> dict[str, str]:
    """Writes a connections file with the stub as its destination; the setting that names it."""
    path = place / "connector.yaml"
    path.write_text(CONFIGURATION.format(port=port, start=start, batch=batch, wait=wait, concurrency=concurrency))
    return {"CONNECTOR_CONFIG": str(path)}


def fill(place: Path, events: int, ids: Iterator[str] | None = None) -> float:
    """Stores so many events through the journal; events per second of the last tenth."""
    journal = SqliteJournal(place / "data" / "journal.db", SystemClock())
    ids = ids or event_ids(prefix=1)
    before, after = example()
    tail_at, tail_from = 0.0, max(0, events - max(events // 10, min(events, 50_000)))
    for number in range(0, events, GROUP):
        if number >= tail_from and not tail_at:
            tail_at, tail_from = time.perf_counter(), number
        now = datetime.now(UTC)
        group = islice(ids, min(GROUP, events - number))
        journal.append([ReceivedEvent(SOURCE, name, before + name.encode() + after, now) for name in group])
    rate = (events - tail_from) / (time.perf_counter() - tail_at) if events else 0.0
    journal.close()
    return rate


def random_ids(seed: int) -> Iterator[str]:
    chance = Random(seed)
    while True:
        yield f"{chance.getrandbits(128):032x}"[:26]


def median(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


# ── the figures, each taken in a folder whose journal may hold millions already ──


def accepting(seconds: float, rounds: int) -> tuple[float, float]:
    """(bare requests/s, accepted and stored events/s), turn by turn under the same server settings."""
    bare, ours = [], []
    with folder() as place:
        for _ in range(rounds):
            with bare_web(place) as port:
                bare.append(load(port, seconds=seconds)["per_second"])
            ours.append(accepted_in(place, seconds))
    return statistics.median(bare), statistics.median(ours)


def accepted_in(place: Path, seconds: float) -> float:
    with web(place, CONNECTOR_DELIVER="no") as port:
        return _sound(load(port, seconds=seconds))["per_second"]


def delivered_in(place: Path, seconds: float, rate: float) -> float:
    """Events that arrive in batches of 100, a second, while `rate` come in: all of it, end to end."""
    _begin_here(place)
    with stub(place) as destination, web(place, **configure(place, destination, start="now")) as port:
        _await_delivery(port, destination)
        before, begun = seen(destination)["events"], time.perf_counter()
        _sound(load(port, seconds=seconds, rate=rate))
        taken = time.perf_counter() - begun
        return (seen(destination)["events"] - before) / taken


def drained_in(place: Path) -> float:
    """Events/s of one deliver process that empties a backlog through the schema and one `where`."""
    with stub(place) as destination:
        given = configure(place, destination)
        _begin_here(place)
        fill(place, DRAINED, event_ids(prefix=2))
        with delivering(place, **given):
            state = _until(destination, DRAINED)
    return (DRAINED - GROUP) / (state["last_at"] - state["first_at"])


def memory_with_backlog(events: int) -> dict[str, float]:
    """The most resident MB of the delivering process, and of a web worker that answers, with so many waiting."""
    with folder() as place, stub(place) as destination:
        fill(place, events)
        given = configure(place, destination)
        with delivering(place, **given) as process:
            _until(destination, min(events, 30_000))
            deliver = resident_megabytes(process.pid)
        with web(place, CONNECTOR_DELIVER="no", **given) as port:
            load(port, seconds=2.0)
            fetch(port, "/status")
            worker = max(map(resident_megabytes, children_of(port)))
    return {"deliver": deliver, "web": worker}


def answered_in(place: Path, rate: float, seconds: float) -> dict[str, float]:
    """Seconds to answer at that many events per second, delivery running beside."""
    _begin_here(place)
    with stub(place) as destination, web(place, **configure(place, destination, start="now")) as port:
        load(port, seconds=1.0, rate=rate / 4)
        return _sound(load(port, seconds=seconds, rate=rate))


def arrived_in(place: Path, rate: float, seconds: float) -> dict[str, float]:
    """Seconds from the sending of a webhook to its event's arrival at the destination."""
    _begin_here(place)
    with stub(place, "delays") as destination:
        with web(place, **configure(place, destination, start="now", wait=0.1)) as port:
            _await_delivery(port, destination)
            fetch(destination, "/reset")
            answered = _sound(load(port, seconds=seconds, rate=rate))["answered"]
            _until(destination, int(answered))
        return seen(destination)


def _begin_here(place: Path) -> None:
    """The stub's destination has nothing before it but what comes from now on."""
    journal = SqliteJournal(place / "data" / "journal.db", SystemClock())
    reader = Reader(DESTINATION, SOURCE)
    journal.add_reader(reader, "now")
    while claimed := journal.claim(reader, GROUP):
        journal.settle(reader, [Settlement(item.received.seq) for item in claimed])
    journal.close()


def _await_delivery(port: int, destination: int) -> None:
    """Plays events until the first arrives: from then on the whole path is up."""
    while not seen(destination)["events"]:
        load(port, seconds=0.5, rate=50.0)
        time.sleep(0.5)


def _sound(result: dict[str, float]) -> dict[str, float]:
    if result["refused"]:
        raise RuntimeError(f"{result['refused']} calls were refused: {result}")
    return result


def _until(destination: int, events: int) -> dict[str, float]:
    """Waits for so many events to arrive at the stub."""
    last, deadline = -1.0, time.monotonic() + IDLE_LIMIT_SECONDS
    while True:
        state = seen(destination)
        if state["events"] >= events:
            return state
        if state["events"] != last:
            last, deadline = state["events"], time.monotonic() + IDLE_LIMIT_SECONDS
        elif time.monotonic() > deadline:
            raise RuntimeError(f"only {state['events']} of {events} events arrived")
        time.sleep(0.1)

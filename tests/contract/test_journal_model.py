"""Whatever the order of appending, claiming, settling, waiting and restarting: the journal does what lists would do."""

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from connector.journal.base import Journal
from connector.journal.sqlite import SqliteJournal
from connector.model import Claimed, Receipt, Settlement, Verdict
from tests.contract.journal_words import LEASE_SECONDS, READER, SOURCE, event, ids, step
from tests.fakes import FakeClock

VERDICTS = st.sampled_from(list(Verdict))


class JournalMachine(RuleBasedStateMachine):
    """Beside the journal: which events still owe what, as a plain table."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.appended: list[int] = []  # of the reader's source, in order
        self.fresh: list[int] = []  # not settled; the claimed ones too
        self.claimed: dict[int, tuple[Claimed, float]] = {}  # and when
        self.waiting: dict[int, tuple[float, int]] = {}  # seconds when due, attempts
        self.dead: set[int] = set()
        self.done: list[int] = []
        self.again: set[int] = set()  # settled out of order before a restart: may come once more, never must
        self.next_number = 1
        self.seconds = 0.0
        self.journal = self.open()
        self.journal.add_reader(READER, "beginning")

    def open(self) -> Journal:
        path = Path(self.folder.name) / "journal.db"
        return SqliteJournal(path, self.clock, lease_seconds=LEASE_SECONDS, reserve_bytes=0)

    def teardown(self) -> None:
        self.finish()
        self.journal.close()
        self.folder.cleanup()

    # ── what may happen ──

    @rule(count=st.integers(1, 4), other_source=st.booleans())
    def append(self, count: int, other_source: bool) -> None:
        numbers = range(self.next_number, self.next_number + count)
        source = "staging" if other_source else SOURCE
        group = [event(number, source, at=self.clock.now()) for number in numbers]

        assert self.journal.append(group + group) == [Receipt.STORED] * count + [Receipt.DUPLICATE] * count

        self.next_number += count
        if not other_source:
            self.appended += numbers
            self.fresh += numbers

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        self.claimed = {
            number: (item, at) for number, (item, at) in self.claimed.items() if self.seconds - at < LEASE_SECONDS
        }
        due = {number for number, (at, _) in self.waiting.items() if at <= self.seconds and number not in self.claimed}
        unclaimed = [number for number in self.fresh if number not in self.claimed]

        got = self.journal.claim(READER, limit)

        retries = [item for item in got if item.open is not None]
        firsts = ids(item for item in got if item.open is None)
        assert set(ids(retries)) <= due
        assert len(retries) == min(limit, len(due)), "due retries come first"
        assert [item.open[0].attempts for item in retries if item.open] == [
            self.waiting[number][1] for number in ids(retries)
        ]
        assert set(firsts) <= set(unclaimed) | self.again
        expected = [number for number in firsts if number not in self.again]
        assert expected == unclaimed[: len(expected)], "nothing is skipped, and the order is kept"
        assert len(got) == limit or set(unclaimed) <= set(firsts)
        self.claimed |= {number: (item, self.seconds) for number, item in zip(ids(got), got, strict=True)}

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        numbers = data.draw(st.lists(st.sampled_from(sorted(self.claimed)), min_size=1, max_size=3, unique=True))
        settlements = []
        for number in numbers:
            item, _ = self.claimed.pop(number)
            verdict = data.draw(VERDICTS)
            seconds = self.seconds + data.draw(st.integers(0, 100))
            attempts = self.waiting[number][1] + 1 if number in self.waiting else 1
            at = self.clock.now() + timedelta(seconds=seconds - self.seconds)
            settlements.append(
                Settlement(item.received.seq, (step(verdict, at=at, attempts=attempts, reason="because"),))
            )
            self.note(number, verdict, seconds, attempts)

        self.journal.settle(READER, settlements)
        self.journal.settle(READER, settlements)  # doing it twice changes nothing

    def note(self, number: int, verdict: Verdict, due: float, attempts: int) -> None:
        if verdict is Verdict.RELEASE:
            return
        self.waiting.pop(number, None)
        if number in self.fresh:
            self.fresh.remove(number)
        self.again.discard(number)
        if verdict is Verdict.RETRY:
            self.waiting[number] = (due, attempts)
        elif verdict is Verdict.DEAD:
            self.dead.add(number)
        else:
            self.done.append(number)

    @rule(seconds=st.sampled_from([1.0, 20.0, LEASE_SECONDS]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.seconds += seconds

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = self.open()
        self.claimed.clear()
        oldest = min(self.fresh, default=self.next_number)
        self.again |= {number for number in self.done if number > oldest}

    # ── what must hold ──

    @invariant()
    def nothing_vanishes(self) -> None:
        backlog = self.journal.backlog(READER)
        assert (backlog.retrying, backlog.dead) == (len(self.waiting), len(self.dead))
        assert backlog.waiting >= len(self.fresh)
        assert (backlog.oldest_at is None) == (backlog.waiting == 0)
        assert {int(letter.event_id.removeprefix("event-")) for letter in self.journal.dead_letters()} == self.dead

    def finish(self) -> None:
        """Everything that was accepted ends up delivered or dead, and the reader has nothing left."""
        self.let_time_pass(200.0)
        while got := self.journal.claim(READER, 3):
            for number in ids(got):
                self.note(number, Verdict.DONE, 0, 0)
            self.journal.settle(READER, [Settlement(item.received.seq, (step(Verdict.DONE),)) for item in got])
        assert (self.fresh, self.waiting) == ([], {})
        assert set(self.done) | self.dead == set(self.appended)
        backlog = self.journal.backlog(READER)
        assert (backlog.waiting, backlog.retrying, backlog.dead) == (0, 0, len(self.dead))


JournalMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTheJournalAgainstAModel = JournalMachine.TestCase

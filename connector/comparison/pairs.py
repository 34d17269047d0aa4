"""Matches the events of two sides, by event id, else by message, name and second, and compares their fields."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from connector.comparison.forms import Sighting, moment_of
from connector.comparison.known import MISSING, Case, Knowledge


class Place(StrEnum):
    """On which side an event is."""

    BOTH = "both"
    OLD = "only old"
    NEW = "only new"
    REPEATED = "repeated"  # the old side has it once more


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs; a side that lacks it has `MISSING`. `reason` is "" when nothing explains it."""

    path: str
    old: Any
    new: Any
    reason: str

    @property
    def kind(self) -> str:
        if self.old is MISSING:
            return "missing in old"
        return "missing in new" if self.new is MISSING else "different"


@dataclass(frozen=True, slots=True)
class Compared:
    """One event. `reason` says why it is not on both sides, or there twice; "" when nothing explains that."""

    event_id: str
    name: str
    place: Place
    differences: Sequence[Difference] = ()
    reason: str = ""

    @property
    def is_explained(self) -> bool:
        if self.place is Place.BOTH:
            return all(difference.reason for difference in self.differences)
        return bool(self.reason)

    @property
    def is_equal(self) -> bool:
        return self.place is Place.BOTH and not self.differences


@dataclass(frozen=True, slots=True)
class Report:
    events: Sequence[Compared]
    old_outside: int  # of the time that both sides cover: before the one began, or after the other ended
    new_outside: int
    old_unreadable: int = 0  # rows of the old side with nothing that an event could be recognised by

    @property
    def unexplained(self) -> list[Compared]:
        return [event for event in self.events if not event.is_explained]

    def by_field(self) -> list[tuple[str, str, str, int]]:
        """(path, kind, reason, in how many events), the unexplained first, then the most frequent."""
        counts = Counter(
            (difference.path, difference.kind, difference.reason)
            for event in self.events
            for difference in event.differences
        )
        rows = [(path, kind, reason, count) for (path, kind, reason), count in counts.items()]
        return sorted(rows, key=lambda row: (bool(row[2]), -row[3], row[0]))

    def by_place(self) -> list[tuple[Place, str, int]]:
        """(place, reason, how many events) of those that are not simply on both sides."""
        counts = Counter((event.place, event.reason) for event in self.events if event.place is not Place.BOTH)
        rows = [(place, reason, count) for (place, reason), count in counts.items()]
        return sorted(rows, key=lambda row: (bool(row[1]), -row[2]))


def compare(old: Iterable[Sighting], new: Iterable[Sighting], knowledge: Knowledge) -> Report:
    """Every event of both sides. What only one side can have, since the other was not there yet, is counted apart."""
    before, unreadable = _recognisable(old)
    after, _ = _recognisable(new)
    window = _window(before, after)
    matches, lonely = _matched(before, after)
    events: list[Compared] = []
    seen: set[int] = set()
    for sighting, partner in matches:
        if id(partner) in seen:
            events.append(Compared(partner.event_id, partner.name, Place.REPEATED, (), knowledge.repeat))
            continue
        seen.add(id(partner))
        events.append(Compared(partner.event_id, partner.name, Place.BOTH, _differences(sighting, partner, knowledge)))
    missing_old = [sighting for sighting in after if id(sighting) not in seen]
    events += [
        Compared(sighting.event_id, sighting.name, Place.NEW, (), knowledge.of_absence(sighting))
        for sighting in missing_old
        if _is_inside(sighting, window)
    ]
    events += [
        Compared(sighting.event_id, sighting.name, Place.OLD) for sighting in lonely if _is_inside(sighting, window)
    ]
    return Report(
        events,
        old_outside=sum(not _is_inside(sighting, window) for sighting in lonely),
        new_outside=sum(not _is_inside(sighting, window) for sighting in missing_old),
        old_unreadable=unreadable,
    )


def _recognisable(sightings: Iterable[Sighting]) -> tuple[list[Sighting], int]:
    """Those that can be matched, and how many others there are."""
    found, others = [], 0
    for sighting in sightings:
        if sighting.event_id or sighting.trace:
            found.append(sighting)
        else:
            others += 1
    return found, others


def _matched(
    before: Sequence[Sighting], after: Sequence[Sighting]
) -> tuple[list[tuple[Sighting, Sighting]], list[Sighting]]:
    """Pairs of the same event, in the old side's order, and what of it has no partner."""
    by_id = {sighting.event_id: sighting for sighting in reversed(after) if sighting.event_id}
    partners = [by_id.get(sighting.event_id) if sighting.event_id else None for sighting in before]
    taken = {id(partner) for partner in partners}
    by_trace: dict[tuple[str, str, int], list[Sighting]] = defaultdict(list)
    for sighting in sorted(after, key=lambda one: bool(one.event_id)):  # what has no id either is the likelier partner
        if sighting.trace and id(sighting) not in taken:
            by_trace[sighting.trace].append(sighting)
    matches, lonely = [], []
    for sighting, known in zip(before, partners, strict=True):
        candidates = by_trace.get(sighting.trace, []) if sighting.trace else []
        partner = known or (candidates.pop(0) if len(candidates) > 1 else next(iter(candidates), None))
        if partner is None:
            lonely.append(sighting)
        else:
            matches.append((sighting, partner))
    return matches, lonely


def _window(before: Sequence[Sighting], after: Sequence[Sighting]) -> tuple[datetime, datetime] | None:
    """From when until when both sides have events; None when that cannot be told."""
    spans = []
    for side in (before, after):
        moments = [sighting.happened_at for sighting in side if sighting.happened_at]
        if not moments:
            return None
        spans.append((min(moments), max(moments)))
    return max(span[0] for span in spans), min(span[1] for span in spans)


def _is_inside(sighting: Sighting, window: tuple[datetime, datetime] | None) -> bool:
    return window is None or sighting.happened_at is None or window[0] <= sighting.happened_at <= window[1]


def _differences(before: Sighting, after: Sighting, knowledge: Knowledge) -> list[Difference]:
    found = []
    for path in dict.fromkeys([*before.fields, *after.fields]):
        old, new = before.fields.get(path, MISSING), after.fields.get(path, MISSING)
        if not is_same(old, new):
            found.append(Difference(path, old, new, knowledge.of_difference(Case(path, old, new, before, after))))
    return found


def is_same(old: Any, new: Any) -> bool:
    """Equal, or equal once written down: tables and exports keep neither types nor the form of a time."""
    if old is MISSING or new is MISSING:
        return False
    if type(old) is type(new) and old == new:
        return True
    if isinstance(old, dict | list) or isinstance(new, dict | list) or old is None or new is None:
        return bool(old == new)
    if written(old) == written(new):
        return True
    moments = moment_of(old), moment_of(new)
    has_date = any(isinstance(value, str) and "-" in value[1:] for value in (old, new))
    return has_date and moments[0] is not None and moments[0] == moments[1]


def written(value: Any) -> str:
    """As an export writes it; a NUL, which RudderStack removes, does not count."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("\0", "").strip()

from datetime import UTC, datetime

from connector.destinations import build_destination
from connector.dry_run import MAX_REASONS, REST, DryRun
from connector.json_codec import write_json
from connector.model import Action, Batch, Connection, ReceivedEvent


def received(number: int, metric: str = "opened") -> ReceivedEvent:
    body = {"event_id": str(number), "object_type": "email", "metric": metric, "data": {"recipient": "a@b.co"}}
    return ReceivedEvent("production", str(number), write_json(body), datetime.now(UTC), seq=number)


def looked_at(*events: ReceivedEvent, examples: int = 3, **action: str) -> DryRun:
    worked = DryRun(build_destination(Connection("d", "file", {}, actions=(Action("a", **action),))), examples)
    worked.look_at_all(events, lambda: None)
    return worked


def test_each_verdict_is_counted_and_shown_by_different_examples() -> None:
    events = [received(1), received(2), received(3, "sent"), received(4, "clicked"), received(5, "failed")]

    found = looked_at(*events, where="metric != 'sent'", map="{kind: not_null(event), l: length(event)}").findings

    assert (found.events, found.delivered, found.filtered) == (5, {"a": 4}, {"where of action 'a'": 1})
    assert [(one.verdict, one.event_id) for one in found.examples] == [
        *(("delivered", "1"), ("filtered", "3")),
        *(("delivered", "4"), ("delivered", "5")),
    ]


def test_examples_are_bounded_for_each_verdict() -> None:
    found = looked_at(*(received(number, f"new{number}") for number in range(9)), examples=2).findings

    assert len(found.examples) == 2


def test_a_flood_of_reasons_does_not_fill_the_memory() -> None:
    small = Batch(max_events=1, max_bytes=1000, max_wait_seconds=0.5)
    worked = DryRun(build_destination(Connection("d", "file", {}, batch=small)), examples=0)

    for number in range(MAX_REASONS + 50):
        worked.look_at(received(number, "x" * (1000 + number)))  # too large, each by another number of bytes

    assert len(worked.findings.dead) == MAX_REASONS + 1
    assert worked.findings.dead[REST] == 50

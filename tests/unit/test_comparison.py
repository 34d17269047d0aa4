"""Events of another source beside ours: matched, compared, and every known difference explained."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from connector.comparison import (
    ADOBE,
    RUDDERSTACK,
    Place,
    Report,
    Sighting,
    adobe_row,
    compare,
    payload_sighting,
    rudderstack_row,
    standard_sighting,
)
from connector.comparison.forms import column_of, leaves, moment_of, plain_name
from connector.comparison.pairs import is_same
from connector.json_codec import read_json
from connector.model import ReceivedEvent
from connector.normalize import normalize
from connector.receive import event_id_of
from tests.fixture_files import FIXTURES
from tests.rudderstack_source import rudderstack_event

RECEIVED_AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
EXAMPLES = [
    (path.stem, path.read_bytes())
    for path in sorted((FIXTURES / "events").glob("*.json"))
    if isinstance(read_json(path.read_bytes()), dict)
]


def ours(body: bytes) -> Sighting:
    payload = read_json(body)
    received = ReceivedEvent("production", event_id_of(payload, body), body, RECEIVED_AT)
    return standard_sighting(normalize(received)[0].body, payload)


def example(name: str) -> tuple[dict[str, Any], Sighting]:
    """RudderStack's event of an example, and ours."""
    body = dict(EXAMPLES)[name]
    theirs = rudderstack_event(read_json(body), RECEIVED_AT)
    assert theirs is not None
    return theirs, ours(body)


def compared_after(change: Callable[[dict[str, Any]], object], name: str = "email_opened") -> Report:
    theirs, new = example(name)
    change(theirs)
    return compare([rudderstack_row(theirs)], [new], RUDDERSTACK)


def unexplained(report: Report) -> list[tuple[str, str]]:
    return [
        (difference.path, difference.kind)
        for event in report.events
        for difference in event.differences
        if not difference.reason
    ]


# ── RudderStack ──


def test_all_that_rudderstack_s_source_is_known_to_do_is_explained() -> None:
    old = [rudderstack_event(read_json(body), RECEIVED_AT) for _, body in EXAMPLES]

    report = compare(
        [rudderstack_row(json.loads(json.dumps(event))) for event in old if event is not None],
        [ours(body) for _, body in EXAMPLES],
        RUDDERSTACK,
    )

    assert len(report.events) == len(EXAMPLES) - 1  # one is an empty object: nothing to recognise it by
    assert [(event.event_id, event.name) for event in report.unexplained] == []


def test_a_row_of_rudderstack_s_warehouse_is_the_same_as_the_event() -> None:
    theirs, new = example("email_clicked")
    row = {column_of(path): value for path, value in leaves(theirs) if path not in ("event", "type")}
    row |= {"id": theirs["messageId"], "event": "email_link_clicked", "event_text": "Email Link Clicked"}
    row |= {"uuid_ts": "2026-09-01 12:01:00.000 UTC", "timestamp": "2026-09-01 12:00:00.040 UTC"}

    report = compare([rudderstack_row({key: str(value) for key, value in row.items()})], [new], RUDDERSTACK)

    assert report.events[0].place is Place.BOTH
    assert unexplained(report) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda event: event["properties"].update(deliveryId="other"), ("properties.deliveryId", "different")),
        (lambda event: event["properties"].pop("newsletterId"), ("properties.newsletterId", "missing in old")),
        (lambda event: event["properties"].update(extra=1), ("properties.extra", "missing in new")),
        (lambda event: event.update(userId="someone else"), ("userId", "different")),
        (lambda event: event.update(event="Email Seen"), ("event", "different")),
        (lambda event: event.update(timestamp="2020-01-01T00:00:00.000Z"), ("timestamp", "different")),
        (lambda event: event.pop("originalTimestamp"), ("originalTimestamp", "missing in old")),
        (lambda event: event["context"]["traits"].update(email="b@example.com"), ("context.traits.email", "different")),
    ],
)
def test_a_difference_that_nothing_explains_is_unexplained(
    change: Callable[[dict[str, Any]], object], found: tuple[str, str]
) -> None:
    report = compared_after(change)

    assert unexplained(report) == [found]
    assert report.by_field()[0][:2] == found  # first of all
    assert report.unexplained


def test_a_call_that_rudderstack_took_twice_is_a_known_repeat() -> None:
    theirs, new = example("email_opened")

    report = compare([rudderstack_row(theirs), rudderstack_row(theirs)], [new], RUDDERSTACK)

    assert [event.place for event in report.events] == [Place.BOTH, Place.REPEATED]
    assert report.unexplained == []


@pytest.mark.parametrize("name", ["customer_unsubscribed__cio_id_only", "email_delivered__deleted_person"])
def test_an_event_that_rudderstack_refuses_is_missing_there_for_a_reason(name: str) -> None:
    theirs, new = example("email_opened")

    report = compare([rudderstack_row(theirs)], [new, at(ours(dict(EXAMPLES)[name]), new)], RUDDERSTACK)

    assert [event.place for event in report.events] == [Place.BOTH, Place.NEW]
    assert "answers 400" in report.events[1].reason


# ── matching ──


def at(sighting: Sighting, other: Sighting) -> Sighting:
    """The event as if it had happened at the other's time."""
    return Sighting(
        sighting.event_id, sighting.fields, other.happened_at, sighting.delivery_id, sighting.name, sighting.payload
    )


def sighting(event_id: str, minute: int, **fields: Any) -> Sighting:
    moment = datetime(2026, 9, 1, 12, minute, tzinfo=UTC)
    return Sighting(event_id, fields, moment, delivery_id="d-1", name="Email Opened")


def test_events_are_matched_by_their_id() -> None:
    report = compare([sighting("a", 1), sighting("b", 2)], [sighting("b", 2), sighting("a", 1)], RUDDERSTACK)

    assert [(event.event_id, event.is_equal) for event in report.events] == [("a", True), ("b", True)]


def test_without_an_id_they_are_matched_by_message_name_and_second() -> None:
    report = compare([sighting("", 1), sighting("", 2)], [sighting("", 2), sighting("x", 1)], RUDDERSTACK)

    assert [event.place for event in report.events] == [Place.BOTH, Place.BOTH]


def test_an_event_that_got_another_id_on_its_other_way_is_still_found() -> None:
    report = compared_after(lambda event: event["properties"].update(eventId="another"))

    assert unexplained(report) == []
    assert ("properties.eventId", "different") in {row[:2] for row in report.by_field()}


def test_what_came_while_only_one_side_was_there_is_counted_apart() -> None:
    old = [sighting("a", 0), sighting("b", 10), sighting("c", 20)]
    new = [sighting("b", 10), sighting("c", 20), sighting("d", 30)]

    report = compare(old, new, RUDDERSTACK)

    assert [event.event_id for event in report.events] == ["b", "c"]
    assert (report.old_outside, report.new_outside) == (1, 1)


def test_an_event_in_the_middle_that_only_one_side_has_is_unexplained() -> None:
    both = [sighting("a", 0), sighting("z", 30)]

    report = compare([*both, sighting("b", 10)], [*both, sighting("c", 20, userId="u")], RUDDERSTACK)

    assert [(event.event_id, event.place) for event in report.unexplained] == [("c", Place.NEW), ("b", Place.OLD)]
    assert [row[:2] for row in report.by_place()] == [(Place.NEW, ""), (Place.OLD, "")]


def test_a_row_that_no_event_can_be_recognised_by_is_counted() -> None:
    report = compare([Sighting("", {}, None)], [sighting("a", 1)], RUDDERSTACK)

    assert report.old_unreadable == 1


# ── Adobe ──


def dataset_row(**changes: Any) -> dict[str, Any]:
    """As the mapping in Adobe's documentation fills it."""
    tenant = {
        "cio_id": "a1b2c3d40001",
        "email": "ada@example.com",
        "event_id0": "01KND30RQSPPWRPQN804FE7M60",
        "metricx": "opened",
        "object_type1": "email",
        "timestampx": 1788200969,
    }
    return {
        "_id": "some-id",
        "timestamp": "2026-08-31T18:29:29.000Z",
        "_acme": {**tenant, **changes},
        "identityMap": {"email": [{"id": "ada@example.com"}]},
    }


def adobe_report(**changes: Any) -> Report:
    payload = read_json((FIXTURES / "events" / "email_opened.json").read_bytes())
    return compare([adobe_row(dataset_row(**changes))], [payload_sighting(payload)], ADOBE)


def test_a_row_of_adobe_s_dataset_is_compared_by_the_names_of_its_fields() -> None:
    report = adobe_report()

    assert [event.place for event in report.events] == [Place.BOTH]
    assert unexplained(report) == []
    assert ("deliveryid", "missing in old") in {row[:2] for row in report.by_field()}


def test_a_time_that_the_mapping_misread_is_known() -> None:
    row = next(row for row in adobe_report(timestampx="1970-01-21T16:43:20.969Z").by_field() if row[0] == "timestamp")

    assert "milliseconds" in row[2]


def test_a_value_that_the_mapping_changed_is_unexplained() -> None:
    assert unexplained(adobe_report(metricx="clicked")) == [("metric", "different")]


# ── values ──


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("12", 12, True),
        ("true", True, True),
        ("2026-08-31 18:29:29.000 UTC", "2026-08-31T18:29:29.000Z", True),
        ("a\0b", "ab", True),
        (None, "", False),
        (12, 13, False),
        ([1], [1], True),
        ("12", "12.0", False),
    ],
)
def test_values_are_the_same_once_written_down(old: Any, new: Any, same: bool) -> None:
    assert is_same(old, new) is same


@pytest.mark.parametrize("value", [None, True, "", "soon", [], 1e300, "9" * 400, float("nan")])
def test_no_value_makes_reading_a_moment_fail(value: Any) -> None:
    assert moment_of(value) is None


def test_names_lose_what_people_add_to_tell_fields_apart() -> None:
    assert [plain_name(path) for path in ("_acme.event_id0", "metricx", "data.link_id", "_1")] == [
        "eventid",
        "metric",
        "linkid",
        "_1",
    ]

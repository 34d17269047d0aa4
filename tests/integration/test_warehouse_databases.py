"""What a warehouse promises, in each of the databases that are tested for real."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fixture_files import FIXTURES, normalized_fixture
from tests.integration.warehouse import (
    Warehouse,
    duckdb_warehouse,
    identified,
    opened,
    postgresql_warehouse,
    sqlite_warehouse,
)

NAMES = sorted(path.stem for path in (FIXTURES / "normalized" / "rudderstack").glob("*.json"))


@pytest.fixture(params=["postgresql", "duckdb", "sqlite"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    if request.param == "postgresql":
        made = postgresql_warehouse(request.getfixturevalue("postgresql"))
    else:
        made = duckdb_warehouse(tmp_path) if request.param == "duckdb" else sqlite_warehouse(tmp_path)
    yield made
    made.close()


def test_every_event_has_its_rows_and_a_replay_doubles_none(warehouse: Warehouse) -> None:
    bodies: list[dict[str, Any]] = [body for name in NAMES for body in normalized_fixture("rudderstack", name)]
    tracks = {body["messageId"] for body in bodies if body["type"] == "track"}
    identifies = {body["messageId"] for body in bodies if body["type"] == "identify"}
    opens = {body["messageId"] for body in bodies if body.get("event") == "Email Opened"}

    statuses = [warehouse.load(*bodies).status for _ in range(2)]

    assert statuses == [200, 200]
    assert set(warehouse.column("message_id", "tracks")) == tracks
    assert len(warehouse.rows("tracks")) == len(tracks)
    assert set(warehouse.column("message_id", "identifies")) == identifies
    assert sorted(warehouse.column("message_id")) == sorted(opens)


def test_the_columns_hold_what_the_event_says(warehouse: Warehouse) -> None:
    context = {"traits": {"email": "ada@example.com"}, "customerio": {"received_at": "2026-09-01T12:00:00.000Z"}}

    warehouse.load(
        opened(1, {"emailSubject": "Hi", "contentId": 84, "proxied": True, "tags": ["a", 1]}, context=context)
    )

    row = warehouse.rows("email_opened")[0]
    assert row["email_subject"] == "Hi"
    assert row["content_id"] == 84
    assert row["proxied"] in (True, 1)
    assert row["tags"] == '["a",1]'
    assert row["context_traits_email"] == "ada@example.com"
    assert (row["user_id"], row["event"], row["event_text"]) == ("u1", "email_opened", "Email Opened")
    assert in_utc(row["timestamp"]) == datetime(2026, 8, 31, 18, 29, 29, tzinfo=UTC)
    assert in_utc(row["received_at"]) == datetime(2026, 9, 1, 12, tzinfo=UTC)
    assert "email_subject" not in warehouse.rows("tracks")[0]


def test_columns_are_added_as_they_appear(warehouse: Warehouse) -> None:
    warehouse.load(opened(1))
    warehouse.load(opened(2, {"first": 1}))
    warehouse.load(opened(3, {"second": "x"}))

    assert warehouse.column("first") == [None, 1, None]
    assert warehouse.column("second") == [None, None, "x"]


WIDENED: list[tuple[Any, Any, list[Any]]] = [
    (1, 2.5, [1, 2.5]),
    (7, "seven", ["7", "seven"]),
    (2.5, "x", ["2.5", "x"]),
    (True, "maybe", ["true", "maybe"]),
    (False, 3, ["false", "3"]),
    (1, 2**70, ["1", str(2**70)]),
    ("2026-08-31T18:29:29.000Z", "soon", ["2026-08-31T18:29:29.000Z", "soon"]),
    ("x", [1, {"a": None}], ["x", '[1,{"a":null}]']),
    ("x", 5, ["x", "5"]),
    (2**62, -(2**63), [2**62, -(2**63)]),
]


@pytest.mark.parametrize("at_once", [False, True])
def test_a_column_is_widened_when_a_value_does_not_fit(warehouse: Warehouse, at_once: bool) -> None:
    before = opened(1, {f"value_{number}": first for number, (first, _, _) in enumerate(WIDENED)})
    after = opened(2, {f"value_{number}": second for number, (_, second, _) in enumerate(WIDENED)})

    statuses = [warehouse.load(*part).status for part in ([[before, after]] if at_once else [[before], [after]])]

    first, second = warehouse.rows("email_opened")
    assert set(statuses) == {200}
    assert [[first[f"value_{number}"], second[f"value_{number}"]] for number in range(len(WIDENED))] == [
        stored for _, _, stored in WIDENED
    ]


@pytest.mark.parametrize("at_once", [False, True])
def test_widening_loses_no_digit(warehouse: Warehouse, at_once: bool) -> None:
    bodies = [opened(1, {"value": 2**60 + 1}), opened(2, {"value": 0.1})]

    for part in [bodies] if at_once else [[body] for body in bodies]:
        assert warehouse.load(*part).status == 200

    assert [str(value) for value in warehouse.column("value")] == [str(2**60 + 1), "0.1"]


@pytest.mark.parametrize("batches", [[[1, 2, 3]], [[3], [2], [1]], [[1], [3], [2, 1]]])
def test_a_person_has_the_latest_of_each_trait(warehouse: Warehouse, batches: list[list[int]]) -> None:
    calls = {
        1: identified(1, {"plan": "free", "city": "Rome", "age": 36}, "2026-08-01T00:00:00.000Z"),
        2: identified(2, {"plan": "gold", "city": "Berlin"}, "2026-08-02T02:00:00+02:00"),
        3: identified(3, {"city": "Paris"}, "2026-08-03T00:00:00.000Z"),
    }

    for batch in batches:
        assert (
            warehouse.load(*(calls[number] for number in batch), identified(4, {"plan": 1}, user_id="u2")).status == 200
        )

    first, second = warehouse.rows("users")
    assert (first["plan"], first["city"], first["age"]) == ("gold", "Paris", 36)
    assert in_utc(first["timestamp"]) == datetime(2026, 8, 3, tzinfo=UTC)
    assert (second["id"], second["plan"], second["age"]) == ("u2", "1", None)
    assert len(warehouse.rows("identifies")) == 4


def test_hard_names_become_columns(warehouse: Warehouse) -> None:
    properties = {
        "order": 1, "select": 2, "7days": 3, "имя": "Ада", 'quo"te': 4, "per%cent": 5, "%s": 6, "$$$": 7,
        "a" * 80 + "1": 8, "a" * 80 + "2": 9, "event": "own", "fooBar": 10, "foo_bar": 11, "message_id": 12, "": 13,
        "a;drop table x": 14, ":colon": 15, "extra": 16,
    }  # fmt: skip

    answer = warehouse.load(opened(1, properties), opened(2, properties, event='Users"; %s'))

    row = warehouse.rows("email_opened")[0]
    values = set(row.values())
    assert answer.status == 200
    assert (row["_order"], row["_select"], row["_7days"], row["имя"]) == (1, 2, 3, "Ада")
    assert (row["foo_bar"], row["properties_event"], row["properties_message_id"]) == (11, "own", 12)
    assert set(range(1, 17)) <= values


def test_what_databases_refuse_in_a_text_is_replaced(warehouse: Warehouse) -> None:
    answer = warehouse.load(
        opened(1, {"text": "a\x00b", "half": "\ud83d!", "list": ["\x00"], "key\x00": 1}, userId="u\x00")
    )

    row = warehouse.rows("email_opened")[0]
    assert answer.status == 200
    assert (row["text"], row["half"], row["list"], row["user_id"]) == ("a\ufffdb", "\ufffd!", '["\ufffd"]', "u\ufffd")


def test_a_very_wide_or_deep_event_finds_room(warehouse: Warehouse) -> None:
    wide = {f"property_{number}": "x" * 40 for number in range(1_700)}
    deep: Any = "bottom"
    for _ in range(100):
        deep = {"level": deep}

    answer = warehouse.load(opened(1, {**wide, "deep": deep}))
    row = warehouse.rows("email_opened")[0]
    again = warehouse.load(opened(2, {"property_1": "y", "late": 1}))

    assert answer.status == again.status == 200
    assert len(row) == 300
    assert "bottom" in "".join(str(value) for value in row.values())
    assert '"property_1699":"' in row["extra"]
    assert warehouse.rows("email_opened")[1]["extra"] == '{"late":1}'


def test_a_batch_that_fails_in_one_table_leaves_nothing_in_another(warehouse: Warehouse) -> None:
    warehouse.load(opened(1))
    warehouse.execute(f"DROP TABLE {warehouse.table('tracks')}")
    warehouse.execute(
        f"CREATE TABLE {warehouse.table('tracks')} "
        "(message_id VARCHAR(99) PRIMARY KEY, user_id VARCHAR(99), CHECK (user_id <> 'bad'))"
    )

    refused = warehouse.load(opened(2), opened(3, userId="bad"), opened(4))
    taken = warehouse.load(opened(2), opened(4))

    assert refused.status == 400
    assert "bad" not in refused.body.decode()
    assert taken.status == 200
    assert warehouse.column("message_id") == ["m1", "m2", "m4"]
    assert warehouse.column("message_id", "tracks") == ["m2", "m4"]


def test_what_a_person_changes_in_the_tables_is_taken_as_it_is(warehouse: Warehouse) -> None:
    table = warehouse.table("email_opened")
    warehouse.load(opened(1, {"first": 1, "second": "x"}))
    warehouse.execute(f"ALTER TABLE {table} DROP COLUMN first")
    warehouse.execute(f"ALTER TABLE {table} RENAME COLUMN second TO theirs")
    warehouse.execute(f"DROP TABLE {warehouse.table('tracks')}")

    answer = warehouse.load(opened(2, {"first": 2, "second": "y"}))

    assert answer.status == 200
    assert [(row["first"], row["second"], row["theirs"]) for row in warehouse.rows("email_opened")] == [
        (None, None, "x"),
        (2, "y", None),
    ]
    assert warehouse.column("message_id", "tracks") == ["m2"]


def test_without_event_tables_everything_is_in_tracks_of_the_given_schema(warehouse: Warehouse) -> None:
    answer = warehouse.load(opened(1, {"first": 1}), per_event_tables=False, schema="Mail & More")

    assert answer.status == 200
    assert warehouse.rows("tracks", "mail_more")[0]["first"] == 1
    with pytest.raises(Exception, match="email_opened"):
        warehouse.rows("email_opened", "mail_more")


def test_an_empty_request_is_loaded(warehouse: Warehouse) -> None:
    assert warehouse.load().status == 200


def in_utc(value: Any) -> datetime:
    """A moment as any of the databases gives it."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

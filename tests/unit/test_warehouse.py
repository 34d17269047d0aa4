"""The warehouse: which rows an event becomes, and which settings can work."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.destinations import warehouse
from connector.destinations.warehouse import WarehouseDestination
from connector.errors import SettingsError
from connector.model import Batch, Connection, Delivery, Event, EventType, Reader, Refused

URL = "postgresql://connector@db.example.com:5432/analytics"
SENT_AT = datetime(2026, 9, 1, 12, 0, 1, tzinfo=UTC)


def destination(**options: Any) -> WarehouseDestination:
    return WarehouseDestination(
        Connection("sample", "warehouse", {"url": URL, **options}, batch=WarehouseDestination.default_batch)
    )


def delivery(made: WarehouseDestination, body: dict[str, Any], source: str = "production") -> Delivery:
    kind = EventType.IDENTIFY if body.get("type") == "identify" else EventType.TRACK
    event = Event(kind, source, "01KND30RQSPPWRPQN804FE7M60", "email", "opened", False, body)
    encoded = made.encode(event)
    assert not isinstance(encoded, Refused), encoded.reason
    return Delivery(Reader("sample", source), 1, "all", event, encoded)


def tables(*bodies: dict[str, Any], **options: Any) -> dict[str, list[dict[str, Any]]]:
    """The rows by table, as dictionaries."""
    made = destination(**options)
    request = made.prepare([delivery(made, body) for body in bodies], SENT_AT)
    loads = [json.loads(line) for line in request.body.splitlines()]
    return {
        f"{load['schema']}.{load['table']}": [dict(zip(load["columns"], row, strict=True)) for row in load["rows"]]
        for load in loads
    }


def track(**changes: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Email Opened", "messageId": "m1", "userId": "u1", "properties": {}, **changes}


# ── rows ──


def test_an_event_has_a_row_in_tracks_and_one_in_its_own_table() -> None:
    found = tables(track(properties={"emailSubject": "Hi"}, context={"traits": {"email": "ada@example.com"}}))

    assert set(found) == {"production.tracks", "production.email_opened"}
    assert found["production.email_opened"][0]["email_subject"] == "Hi"
    assert "email_subject" not in found["production.tracks"][0]
    assert found["production.tracks"][0]["context_traits_email"] == "ada@example.com"


@pytest.mark.parametrize(
    ("event", "table"),
    [("Users", "event_users"), ("tracks", "event_tracks"), ("Order", "_order"), ("!", "name_bb7208bc")],
)
def test_a_name_that_is_taken_is_given_another(event: str, table: str) -> None:
    found = tables(track(event=event))

    assert set(found) == {"production.tracks", f"production.{table}"}
    assert found["production.tracks"][0]["event"] == table
    assert found["production.tracks"][0]["event_text"] == event


@pytest.mark.parametrize(
    ("kind", "table"),
    [("page", "pages"), ("screen", "screens"), ("group", "groups"), ("alias", "aliases"), (7, "tracks")],
)
def test_calls_of_other_kinds_have_their_own_table(kind: Any, table: str) -> None:
    assert f"production.{table}" in tables(track(type=kind))


def test_a_person_without_an_id_is_in_identifies_only() -> None:
    found = tables({"type": "identify", "messageId": "m1", "anonymousId": "a", "traits": {"plan": "gold"}})

    assert set(found) == {"production.identifies"}


def test_a_person_whose_id_is_a_number_is_known_by_its_digits() -> None:
    found = tables({"type": "identify", "messageId": "m1", "userId": 42, "traits": {"id": 7}})

    assert found["production.users"][0]["id"] == "42"
    assert found["production.users"][0]["traits_id"] == 7


def test_two_events_with_one_message_id_are_one_row() -> None:
    found = tables(track(properties={"n": 1}), track(properties={"n": 2}))

    assert [row["n"] for row in found["production.email_opened"]] == [2]


def test_rows_stand_in_the_order_of_their_keys_and_tables_in_that_of_their_names() -> None:
    found = tables(*(track(messageId=f"m{number}", event=f"E{number % 2}") for number in (3, 1, 2)))

    assert list(found) == ["production.e0", "production.e1", "production.tracks"]
    assert [row["message_id"] for row in found["production.tracks"]] == ["m1", "m2", "m3"]


@pytest.mark.parametrize(
    ("source", "option", "schema"),
    [
        ("production", None, "production"),
        ("Mail EU.2", None, "mail_eu_2"),
        ("pg_things", None, "_pg_things"),
        ("main", None, "_main"),
        ("production", "Marketing", "marketing"),
    ],
)
def test_the_schema_is_named_after_the_source_unless_told_otherwise(
    source: str, option: str | None, schema: str
) -> None:
    made = destination(schema=option)

    line = made.prepare([delivery(made, track(), source)], SENT_AT).body.splitlines()[0]

    assert json.loads(line)["schema"] == schema


def test_sources_do_not_share_a_table() -> None:
    made = destination()

    lines = made.prepare([delivery(made, track(), "one"), delivery(made, track(), "two")], SENT_AT).body.splitlines()

    assert [json.loads(line)["schema"] for line in lines] == ["one", "one", "two", "two"]


@pytest.mark.parametrize(
    ("timestamp", "column", "kept"),
    [
        ("2026-08-31T18:29:29.000Z", "2026-08-31T18:29:29.000Z", None),
        (1788200969, "2026-08-31T18:29:29.000Z", None),
        ("yesterday", "2026-09-01T12:00:01.000Z", "yesterday"),
        ("2026-02-30T00:00:00Z", "2026-09-01T12:00:01.000Z", "2026-02-30T00:00:00Z"),
        (None, "2026-09-01T12:00:01.000Z", None),
        (-1, "2026-09-01T12:00:01.000Z", -1),
    ],
)
def test_a_time_that_is_none_is_kept_beside(timestamp: Any, column: str, kept: Any) -> None:
    row = tables(track(timestamp=timestamp))["production.email_opened"][0]

    assert row["timestamp"] == column
    assert row.get("unreadable_timestamp") == kept


def test_an_event_as_it_was_received_has_a_row_too() -> None:
    body = {"event_id": "e1", "object_type": "email", "metric": "opened", "timestamp": 1788200969,
            "data": {"identifiers": {"id": "u1"}}}  # fmt: skip

    row = tables(body)["production.email_opened"][0]

    assert row["message_id"] == "01KND30RQSPPWRPQN804FE7M60/track"
    assert (row["data_identifiers_id"], row["event_text"]) == ("u1", "email_opened")


def test_what_lies_deep_is_json_and_what_is_empty_is_nothing() -> None:
    properties = {"a": {"b": {"c": {"d": {"e": 1}}}}, "list": [], "nothing": None, "empty": {}, "blank": {"x": {}}}

    row = tables(track(properties=properties))["production.email_opened"][0]

    assert row["a_b_c"] == {"d": {"e": 1}}
    assert row["list"] == []
    assert not {"nothing", "empty", "blank", "blank_x"} & set(row)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=12), json_values, max_size=8))
def test_any_properties_become_columns_without_losing_a_value(properties: dict[str, Any]) -> None:
    row = tables(track(properties=properties))["production.email_opened"][0]

    filled = sum(value not in (None, {}) and not isinstance(value, dict) for value in properties.values())
    assert len(row) >= 8 - 2 + filled
    assert all(0 < len(name.encode()) <= 63 for name in row)


@settings(max_examples=40)
@given(json_values, st.sampled_from(["type", "event", "userId", "timestamp", "context", "properties", "traits", "x"]))
def test_no_body_makes_preparing_fail(value: Any, key: str) -> None:
    for kind in ("track", "identify"):
        assert tables(track(type=kind) | {key: value})


def test_a_message_id_that_no_index_takes_is_refused() -> None:
    made = destination()
    event = Event(EventType.TRACK, "production", "e", "email", "opened", False, track(messageId="m" * 256))

    assert isinstance(made.encode(event), Refused)


def test_nesting_that_cannot_be_read_again_is_refused() -> None:
    nested: Any = 1
    for _ in range(310):
        nested = [nested]
    event = Event(EventType.TRACK, "production", "e", "email", "opened", False, track(properties={"nested": nested}))

    encoded = destination().encode(event)

    assert isinstance(encoded, Refused)
    assert "nested too deeply" in encoded.reason


# ── settings ──


@pytest.mark.parametrize(
    ("url", "request_url"),
    [
        (URL, "postgresql+psycopg://connector@db.example.com:5432/analytics"),
        ("postgres://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require"),
        ("duckdb:////data/warehouse.duckdb", "duckdb:////data/warehouse.duckdb"),
        (" sqlite:///warehouse.db ", "sqlite:///warehouse.db"),
    ],
)
def test_an_address_names_its_driver(url: str, request_url: str) -> None:
    assert destination(url=url).prepare([], SENT_AT).url == request_url


@pytest.mark.parametrize(
    "url",
    ["oracle://h/d", "postgresql://h", "postgresql:///d", "postgresql://h:x/d", "sqlite://", "sqlite:///:memory:",
     "duckdb:///md:cloud", "sqlite://host/file.db", "postgresql://h/d#x"],
)  # fmt: skip
def test_an_address_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="url must be an address like postgresql://"):
        destination(url=url)


@pytest.mark.parametrize("name", ["host", "hostaddr", "service", "passfile", "password", "user", "krbsrvname", ""])
def test_a_parameter_that_goes_around_the_guard_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be set"):
        destination(url=f"{URL}?{name}=10.0.0.1")


def test_a_password_in_the_address_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="set `password`") as caught:
        destination(url="postgresql://connector:hunter2@db.example.com/analytics")

    assert "hunter2" not in str(caught.value)


def test_a_file_with_a_password_is_refused() -> None:
    with pytest.raises(SettingsError, match="a file has no password"):
        destination(url="sqlite:///warehouse.db", password="made-up-password")


def test_a_driver_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(warehouse.DRIVERS, "postgresql", ("postgresql+x", "no_such_driver.inner", warehouse.INSTALL))  # type: ignore[arg-type]

    with pytest.raises(SettingsError, match=r"run pip install -r requirements-warehouse\.txt"):
        destination()


def test_a_batch_too_small_for_its_tables_is_refused() -> None:
    with pytest.raises(SettingsError, match="max_bytes must be at least"):
        WarehouseDestination(Connection("sample", "warehouse", {"url": URL}, batch=Batch(1, 100_000, 1.0)))


def test_the_password_stands_in_a_header_only() -> None:
    request = destination(password="made-up-password").prepare([], SENT_AT)

    assert request.headers == {"Password": "made-up-password"}
    assert "made-up-password" not in request.url

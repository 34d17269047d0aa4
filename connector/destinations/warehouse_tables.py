"""Events → rows by table, as tracking warehouses have them: a wide table for each event name, `tracks` with what they
have in common, `identifies`, and `users` with the latest traits of each person.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connector.destinations.base import is_filled, iso_text
from connector.destinations.warehouse_names import column_name, table_name, told_apart
from connector.destinations.warehouse_values import Kind, is_moment, kind_of, storable, utc_text, widest

MAX_LEVELS = 4  # `context` is the first; what lies deeper is JSON in the column of the fourth
MAX_EPOCH_SECONDS = 10_000_000_000  # from here on they would be milliseconds
MAX_ID_CHARACTERS = 255  # of what a row is known by; an index takes little more

MESSAGE_ID = "message_id"  # one row per event in every table but `users`
USER_ID = "id"  # one row per person in `users`
CHANGED_AT = "changed_at"  # JSON, in `users`: of which time the value of each column is
EXTRA = "extra"  # JSON: what found no column

STANDARD_KINDS: Mapping[str, Kind] = {
    MESSAGE_ID: Kind.TEXT,
    "user_id": Kind.TEXT,
    "anonymous_id": Kind.TEXT,
    "event": Kind.TEXT,  # the name of the event's own table
    "event_text": Kind.TEXT,  # the event's name as it was sent
    "timestamp": Kind.TIMESTAMP,
    "original_timestamp": Kind.TIMESTAMP,
    "sent_at": Kind.TIMESTAMP,
    "received_at": Kind.TIMESTAMP,
    EXTRA: Kind.TEXT,
}
USERS_KINDS: Mapping[str, Kind] = {
    USER_ID: Kind.TEXT, "timestamp": Kind.TIMESTAMP, "received_at": Kind.TIMESTAMP, CHANGED_AT: Kind.TEXT,
    EXTRA: Kind.TEXT,
}  # fmt: skip
TABLES_BY_TYPE: Mapping[str, str] = {
    "track": "tracks",
    "identify": "identifies",
    "page": "pages",
    "screen": "screens",
    "group": "groups",
    "alias": "aliases",
}
USERS = "users"
STANDARD_TABLES = frozenset({*TABLES_BY_TYPE.values(), USERS})
HOLDERS = ("properties", "traits")  # what is in them stands in columns without their name
# Of a body, what has a column of its own, says what its table says, or only directs other tools.
OWN_COLUMN = frozenset(
    {"type", "event", "messageId", "userId", "anonymousId", "timestamp", "originalTimestamp", "sentAt", "integrations"}
)

Row = dict[str, Any]  # by column; the values are JSON's
Leaf = tuple[tuple[str, ...], Any]  # a path and the value there


@dataclass(slots=True)
class Load:
    """Rows for one table; a row whose key is there replaces what is there."""

    schema: str
    table: str
    key: str
    times: str = ""  # set: the column that says of each other column since when it is as it is; the later value stays
    columns: dict[str, Kind] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)  # by key

    def put(self, row: Row, kinds: Mapping[str, Kind]) -> None:
        """Adds the row; one that is there with the same key gives way, as it would in the database."""
        for name, value in row.items():
            kind = kinds.get(name) or kind_of(value)
            self.columns[name] = widest([kind, self.columns.get(name, kind)])
        earlier = self.rows.get(row[self.key])
        if earlier is not None and self.times:
            row = {**earlier, **later_values(row, self.times, earlier[self.times])}
        self.rows[row[self.key]] = row


def later_values(row: Row, times: str, held: Mapping[str, str]) -> Row:
    """What of the row is to be written over a row whose values are as old as `held` says: its later values, and under
    `times` what is true of both together."""
    own: Mapping[str, str] = row[times]
    won = {name: since for name, since in own.items() if since >= held.get(name, "")}
    later = {name: value for name, value in row.items() if name in won or name not in own}
    return {**later, times: {**held, **won}}


@dataclass(frozen=True, slots=True)
class Message:
    """One event, taken apart."""

    type: str
    standard: Row
    context: Sequence[Leaf]
    fields: Sequence[Leaf]


def read_message(body: Mapping[str, Any], kind: str, message_id: str, name: str, sent_at: str) -> Message:
    """`kind`, `message_id` and `name` are what is true of the event; the body may say otherwise, or nothing."""
    standard: Row = {
        MESSAGE_ID: message_id,
        "user_id": id_text(body.get("userId")),
        "anonymous_id": id_text(body.get("anonymousId")),
        "event": event_table(name) if kind == "track" else None,
        "event_text": name if kind == "track" else None,
        "timestamp": moment_of(body.get("timestamp")),
        "original_timestamp": moment_of(body.get("originalTimestamp")),
        "sent_at": sent_at,
        "received_at": received_at(body) or sent_at,
    }
    context = body.get("context")
    context = context if isinstance(context, dict) else {}
    rest: list[Leaf] = [
        (("unreadable", key), body[key])
        for key, column in (("timestamp", "timestamp"), ("originalTimestamp", "original_timestamp"))
        if standard[column] is None and body.get(key) is not None
    ]
    standard["timestamp"] = standard["timestamp"] or standard["received_at"]  # a person's rows are ordered by it
    for key, value in body.items():
        if key not in OWN_COLUMN and value is not context:
            rest += leaves((key,), value)
    return Message(kind, standard, leaves(("context",), context), rest)


def id_text(value: Any) -> str | None:
    return str(value) if is_filled(value) else None


def moment_of(value: Any) -> str | None:
    """A moment as text; the profile `raw` has seconds. None for what is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_EPOCH_SECONDS:
        return iso_text(datetime.fromtimestamp(value, UTC))
    return value if isinstance(value, str) and is_moment(value) else None


def received_at(body: Mapping[str, Any]) -> str | None:
    """When this service received the event, as it says itself in the event."""
    value: Any = body
    for key in ("context", "customerio", "received_at"):
        value = value.get(key) if isinstance(value, dict) else None
    return moment_of(value)


def event_table(name: str) -> str:
    """`Email Opened` → `email_opened`; one that is called as a standard table gets `event_` in front."""
    table = table_name(name)
    return f"event_{table}" if table in STANDARD_TABLES else table


def leaves(path: tuple[str, ...], value: Any) -> list[Leaf]:
    """The values of a nested object with their paths; null and empty objects are nothing."""
    if isinstance(value, dict) and len(path) < MAX_LEVELS:
        return [leaf for key, inner in value.items() for leaf in leaves((*path, key), inner)]
    return [] if value is None or value == {} else [(path, value)]


def lay_out(row: Row, found: Iterable[Leaf], taken: frozenset[str]) -> None:
    """Puts each value into the row, under its column's name.

    A path that is itself in snake case has the first right to its name, then the alphabet decides; the others get a
    hash of their path.
    """
    named = [(path, shown_path(path), value) for path, value in found]
    for path, shown, value in sorted(named, key=lambda item: ("_".join(item[1]) != column_name(item[1]), item[0])):
        name = column_name(shown)
        if name in taken:  # a property `event` beside the event's own column
            name = column_name(path)
        row[told_apart(name, path) if name in row or name in taken else name] = value


def shown_path(path: tuple[str, ...]) -> tuple[str, ...]:
    return path[1:] if path[0] in HOLDERS and len(path) > 1 else path


def loads_of(schema: str, message: Message, per_event_tables: bool) -> list[tuple[Load, Row]]:
    """Where the event goes: an empty load for each table, with the row for it."""
    table = TABLES_BY_TYPE.get(message.type, "tracks")
    taken = frozenset(STANDARD_KINDS)
    head = {name: value for name, value in message.standard.items() if value is not None}
    lay_out(head, message.context, taken)
    is_parted = message.type == "track" and per_event_tables
    whole = dict(head)
    lay_out(whole, message.fields, taken)
    found = [(Load(schema, table, MESSAGE_ID), head if is_parted else whole)]
    if is_parted:
        found.append((Load(schema, str(head["event"]), MESSAGE_ID), whole))
    person = person_load(schema, message)
    return [*found, person] if person else found


def person_load(schema: str, message: Message) -> tuple[Load, Row] | None:
    """The row of the person that an identify call is about; None when it says of nobody."""
    user_id = message.standard["user_id"]
    if message.type != "identify" or not user_id or len(user_id) > MAX_ID_CHARACTERS:
        return None
    row = {"timestamp": message.standard["timestamp"], "received_at": message.standard["received_at"]}
    lay_out(row, message.fields, frozenset(USERS_KINDS))
    since = utc_text(message.standard["timestamp"])
    return Load(schema, USERS, USER_ID, CHANGED_AT), {USER_ID: user_id, **row, CHANGED_AT: dict.fromkeys(row, since)}


def gathered(found: Iterable[tuple[Load, Row]]) -> list[Load]:
    """One load per table, with all its rows, in the order of their names."""
    loads: dict[tuple[str, str], Load] = {}
    for empty, row in found:
        load = loads.setdefault((empty.schema, empty.table), empty)
        load.put(row, USERS_KINDS if empty.table == USERS else STANDARD_KINDS)
    return [loads[place] for place in sorted(loads)]


def written(load: Load) -> dict[str, Any]:
    """The load as it stands in a request: values in the order of the columns, rows in the order of their keys.

    The order is the same for everybody who loads the same rows, so that two who do it at once wait for each other
    instead of blocking each other.
    """
    head = {"schema": load.schema, "table": load.table, "key": load.key, "times": load.times}
    rows = [[storable(load.rows[key].get(name)) for name in load.columns] for key in sorted(load.rows)]
    return {**head, "columns": dict(load.columns), "rows": rows}

"""Why an old source's events differ from ours: the table of what RudderStack's and Adobe's sources are known to do.

A difference that no line here explains is unexplained, and worth a person's look.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from connector.comparison.forms import EPOCH_MILLISECONDS_FROM, RUDDERSTACK_PATHS, Sighting, moment_of, text_of

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "–"})()  # this side has no such field
ADOBE_SAMPLE = frozenset({"eventid", "objecttype", "metric", "timestamp", "customerid", "emailaddress", "id", "email",
                          "cioid"})  # fmt: skip
LAST_DATE_SECONDS = 8_640_000_000_000  # JavaScript has no dates after it
MISREAD_SECONDS = 60.0  # what a clock can be wrong; a time that was misread is wrong by years


@dataclass(frozen=True, slots=True)
class Case:
    """One field of one event; `MISSING` on the side that lacks it."""

    path: str
    old: Any
    new: Any
    before: Sighting
    after: Sighting


@dataclass(frozen=True, slots=True)
class Known:
    """One line of the table: at these paths, when this holds, for this reason."""

    paths: tuple[str, ...]
    holds: Callable[[Case], bool]
    reason: str

    def explains(self, case: Case) -> bool:
        return any(fnmatchcase(case.path, path) for path in self.paths) and self.holds(case)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that is known of one old source."""

    differences: Sequence[Known]
    absences: Sequence[tuple[Callable[[Sighting], bool], str]]  # why the old source has no such event
    repeat: str  # why it has one twice

    def of_difference(self, case: Case) -> str:
        """The reason; "" when there is none."""
        return next((known.reason for known in self.differences if known.explains(case)), "")

    def of_absence(self, after: Sighting) -> str:
        return next((reason for holds, reason in self.absences if holds(after)), "")


# ── what the lines ask ──


def always(case: Case) -> bool:
    return True


def only_old(case: Case) -> bool:
    return case.new is MISSING


def only_new(case: Case) -> bool:
    return case.old is MISSING


def is_address(value: Any) -> bool:
    return isinstance(value, str) and "@" in value.strip().strip("@") and not any(mark in value for mark in " /")


def old_is_no_address(case: Case) -> bool:
    return case.old is not MISSING and not is_address(case.old)


def old_takes_no_id_for_one(case: Case) -> bool:
    """A list or an object where an id or an address should be; it keeps the real ones out."""
    places = ("userId", "anonymousId", "context.traits.email")
    odd = [path for path, value in case.before.fields.items() if path.startswith(places) and not text_of(value)]
    inside = [path for path in case.before.fields if path.startswith(tuple(f"{place}." for place in places))]
    return bool(odd or inside)


def old_is_blank(case: Case) -> bool:
    return case.old is not MISSING and not text_of(case.old) and not isinstance(case.old, dict | list | bool)


def old_is_recipient(case: Case) -> bool:
    """The old side took whom the message went to for the person's address, whatever the channel."""
    recipient = text_of(case.after.fields.get("properties.recipient"))
    is_other_channel = case.after.fields.get("properties.objectType") != "email"
    return is_other_channel and bool(recipient) and text_of(case.old) == recipient


def is_arrival(case: Case) -> bool:
    """The old side's time is not before the event's: that of arrival."""
    old, new = moment_of(case.old), moment_of(case.new)
    return old is not None and new is not None and old >= new


def old_lacks_time(case: Case) -> bool:
    """Of an event whose time was not sent as whole seconds, which is all that RudderStack reads."""
    sent = case.after.payload.get("timestamp")
    if type(sent) is int and 0 < sent < EPOCH_MILLISECONDS_FROM:
        return False
    return case.old is MISSING or moment_of(case.old) is None or is_misread(case)


def is_misread(case: Case) -> bool:
    old, new = moment_of(case.old), moment_of(case.new)
    return old is not None and new is not None and abs((old - new).total_seconds()) > MISREAD_SECONDS


def is_same_address(case: Case) -> bool:
    """`Name <a@b>` and `a@b`."""
    return is_address(case.new) and text_of(case.old).lower().endswith(f"<{text_of(case.new).lower()}>")


def lost_digits(case: Case) -> bool:
    try:
        return float(case.old) == float(case.new)
    except (TypeError, ValueError, OverflowError):
        return False


def same_devices(case: Case) -> bool:
    """The same list of devices, its keys written with underscores."""
    is_one = any(path.startswith("properties.recipients.") for path in case.before.fields)  # not a list of one
    if is_one:
        return isinstance(case.after.fields.get("properties.recipients"), list)
    if not (isinstance(case.old, list) and isinstance(case.new, list) and len(case.old) == len(case.new)):
        return False
    return all(_keyless(old) == _keyless(new) for old, new in zip(case.old, case.new, strict=True))


def _keyless(device: Any) -> Any:
    if not isinstance(device, dict):
        return device
    return {key.replace("_", "").lower(): str(value) for key, value in device.items() if value is not None}


def is_not_rudderstack_s(case: Case) -> bool:
    return only_new(case) and case.path not in RUDDERSTACK_PATHS


def is_of_the_way(case: Case) -> bool:
    is_ours = case.path in RUDDERSTACK_PATHS or case.path.startswith(("properties.", "context.traits."))
    return only_old(case) and not is_ours


def is_beyond_the_sample(case: Case) -> bool:
    return only_new(case) and case.path not in ADOBE_SAMPLE


def has_second_id(case: Case) -> bool:
    """We fall back on an id that RudderStack's source does not know."""
    return only_new(case) and text_of(case.new).startswith("cio_")


def has_preferences(case: Case) -> bool:
    read = ("properties.topics", "properties.channels", "properties.contentProblem")
    return only_old(case) and any(path.startswith(read) for path in case.after.fields)


def is_legacy_shape(case: Case) -> bool:
    return only_new(case) and bool(case.after.payload) and "event_type" in case.after.payload


def names_person_otherwise(case: Case) -> bool:
    """Its blank customer id stood in the way of the other ids."""
    return only_new(case) and has_blank_customer(case.after)


def names_nobody(after: Sighting) -> bool:
    anonymous = text_of(after.fields.get("anonymousId"))
    return not text_of(after.fields.get("userId")) and (not anonymous or anonymous.startswith("cio_"))


def has_blank_customer(after: Sighting) -> bool:
    data = after.payload.get("data")
    return isinstance(data, dict) and data.get("customer_id") == ""


def has_odd_time(after: Sighting) -> bool:
    timestamp = after.payload.get("timestamp", 0)
    return not isinstance(timestamp, int | float) or timestamp > LAST_DATE_SECONDS


RUDDERSTACK = Knowledge(
    differences=(
        Known(("messageId",), always, "RudderStack makes a new random id for each call; ours follows from the event"),
        Known(("sentAt",), always, "RudderStack sets it to the event's time; ours is the time of the call"),
        Known(("timestamp",), is_arrival, "RudderStack dates events at their arrival; ours keep their own time"),
        Known(
            ("originalTimestamp", "timestamp"),
            old_lacks_time,
            "RudderStack reads whole seconds only: text, milliseconds and ISO dates are lost or misread",
        ),
        Known(
            ("event",),
            lambda case: case.old == "Unknown Event",
            "RudderStack's source does not know this event and calls it Unknown Event",
        ),
        Known(
            ("context.traits.email",),
            old_is_no_address,
            "RudderStack takes every recipient for an e-mail address: phone numbers, channels, URLs",
        ),
        Known(
            ("context.traits.email", "anonymousId"),
            old_is_recipient,
            "RudderStack takes the recipient of any channel for the person's e-mail address",
        ),
        Known(
            ("anonymousId",),
            lambda case: old_is_no_address(case) and case.old == case.before.fields.get("context.traits.email"),
            "RudderStack makes an anonymousId of a recipient that is no e-mail address",
        ),
        Known(("context.traits.email", "anonymousId"), is_same_address, "we take the bare address out of `Name <a@b>`"),
        Known(
            ("userId", "anonymousId", "context.traits.email", "context.traits.email.*"),
            old_takes_no_id_for_one,
            "RudderStack takes a list or an object for an id or an address",
        ),
        Known(("userId", "anonymousId"), names_person_otherwise, "RudderStack takes a blank customer_id for an id"),
        Known(("anonymousId",), has_second_id, "we fall back on the cio_id where there is no other id"),
        Known(
            ("properties.recipients", "properties.recipients.*"),
            same_devices,
            "RudderStack copies devices as they come; ours have its own names",
        ),
        Known(
            ("properties.reason",),
            lambda case: only_new(case) and "properties.recipients" in case.after.fields,
            "RudderStack never finds the reason in a list of devices",
        ),
        Known(
            ("properties.content",),
            lambda case: only_old(case) and "properties.contentDropped" in case.after.fields,
            "message bodies stay out unless the destination says content: keep",
        ),
        Known(
            ("properties.content", "properties.content.*"),
            has_preferences,
            "RudderStack keeps preferences as text; ours are parsed into topics and channels",
        ),
        Known(
            ("properties.eventId",),
            lambda case: case.old is not MISSING and case.new is not MISSING,
            "the two calls had different ids; matched by message, name and second",
        ),
        Known(("properties.*",), is_legacy_shape, "RudderStack reads little of the old Email Activity shape"),
        Known(("*",), old_is_blank, "RudderStack keeps blank values; blank is missing here"),
        Known(("*",), lost_digits, "the same number; RudderStack rounds long ones"),
        Known(("context.library.*", "context.integration.*"), always, "says which software made the event"),
        Known(("*",), is_of_the_way, "added by RudderStack on the way"),
        Known(("*",), is_not_rudderstack_s, "kept by the connector; RudderStack's source leaves it out"),
    ),
    absences=(
        (has_blank_customer, "RudderStack answers 400 to a blank customer_id, and Customer.io holds back what follows"),
        (names_nobody, "RudderStack answers 400 to an event without id and e-mail, and Customer.io waits"),
        (has_odd_time, "RudderStack answers 500 to a timestamp that is no number, or beyond all years"),
    ),
    repeat="RudderStack does not recognise repeats: Customer.io's retries arrive twice",
)

ADOBE = Knowledge(
    differences=(
        Known(
            ("timestamp",),
            is_misread,
            "Data Prep's dates take milliseconds and Customer.io sends seconds: the mapping reads a time near 1970",
        ),
        Known(("*",), is_beyond_the_sample, "not in Adobe's sample of the source's fields, so no mapping can have it"),
        Known(
            ("cioid", "customerid", "emailaddress", "id", "email", "objecttype", "metric", "timestamp"),
            only_new,
            "the mapping of your dataflow does not take it",
        ),
        Known(("*",), only_old, "not from the event: added by Adobe, or by your mapping"),
        Known(("*",), lost_digits, "the same number"),
    ),
    absences=(),
    repeat="Adobe's source does not recognise repeats: Customer.io's retries arrive twice",
)

BY_FORM: Mapping[str, Knowledge] = {"rudderstack": RUDDERSTACK, "adobe": ADOBE}

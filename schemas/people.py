"""Who an event is about: the identifiers that Customer.io sends, and the one rule that chooses among them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.fields import Identifier, Text
from schemas.shape import Part, Shape

# "Ada <ada@example.com>": old payloads carry the display name along.
_BARE_ADDRESS = re.compile(r"<([^<>]*)>\s*$")
_ADDRESS = re.compile(r"[^@\s<>\x00-\x1f\x7f]+@[^@\s<>\x00-\x1f\x7f]+")
_PHONE = re.compile(r"\+?[0-9 ().-]{3,32}")

# What `recipient` is by object type; for all others it is a channel, an address on the web or an id: no trait.
_PHONE_CHANNELS = frozenset({"sms", "whatsapp"})


class Identifiers(Shape):
    """`data.identifiers`. Workspaces that know people by id alone send only `id`."""

    id = Identifier()
    email = Identifier()
    cio_id = Identifier()


class People(Shape):
    """The fields of `data` that say who it is about."""

    customer_id = Identifier()  # deprecated; blank once the person was deleted
    identifiers = Part(Identifiers)
    email_address = Text()
    recipient = Text()


@dataclass(slots=True)
class Person:
    """Whom the event is about. At most one of `user_id` and `anonymous_id` is set; none when it is about nobody."""

    user_id: str | None
    anonymous_id: str | None
    email: str | None
    phone: str | None
    cio_id: str | None
    other: dict[str, Any]  # identifiers that we don't know
    is_email_recipient: bool = False  # `email` is only known as whom the message went to


_IDENTIFIERS = Identifiers()


def read_person(object_type: str, data: Mapping[str, Any], flaws: list[str]) -> Person:
    """The person in `data`, as People has read it. Every profile uses this one answer. Never raises."""
    identifiers = data.get("identifiers")
    if type(identifiers) is dict:
        known, other = _IDENTIFIERS.read(identifiers, flaws, "data.identifiers.")
    else:
        known, other = {}, {}
    recipient = data.get("recipient")
    email = _address(known.get("email")) or _address(data.get("email_address"))
    is_email_recipient = email is None and object_type == "email"
    if is_email_recipient:
        email = _address(recipient)
    phone = None
    if object_type in _PHONE_CHANNELS and type(recipient) is str and _PHONE.fullmatch(recipient):
        phone = recipient
    cio_id = _text(known.get("cio_id"))
    user_id = _text(data.get("customer_id")) or _text(known.get("id"))
    anonymous_id = None
    if user_id is None:
        anonymous_id = email
        if anonymous_id is None and cio_id is not None:
            anonymous_id = cio_id if cio_id.startswith("cio_") else "cio_" + cio_id
    return Person(user_id, anonymous_id, email, phone, cio_id, other, is_email_recipient)


def _text(value: Any) -> str | None:
    # A list or an object that was sent in an id's place is no id; it has been flagged.
    return value if type(value) is str else None


def _address(value: Any) -> str | None:
    """The bare e-mail address in `value`, if it is one."""
    if type(value) is not str:
        return None
    if "<" in value:
        bare = _BARE_ADDRESS.search(value)
        value = bare.group(1) if bare else ""
    value = value.strip()
    return value if _ADDRESS.fullmatch(value) else None

"""Mode raw: what Customer.io sent, as it would have come to Adobe without a service between."""

from typing import Any

from connector.destinations.base import encode_json, iso_text, leave_out
from connector.model import Refused
from schemas.reading import read_event


def raw_message(body: dict[str, Any], time_key: str | None, small: int, limit: int) -> bytes | Refused:
    """The event as it was received, with its time under a key of its own if asked for: Data Prep counts milliseconds,
    Customer.io seconds.

    Above `small` bytes it loses its content, then its headers; what is still larger is sent all the same, up to
    `limit`: what a Data Prep mapping leaves of it may be small.
    """
    if time_key:
        occurred_at = read_event(body).occurred_at
        body = {**body, time_key: occurred_at and iso_text(occurred_at)}
    encoded = encode_json(body)
    full_bytes = 0 if isinstance(encoded, Refused) else len(encoded)
    for smaller in leave_out(body):
        if isinstance(encoded, Refused) or len(encoded) <= small:
            return encoded
        encoded = encode_json(smaller)
    if isinstance(encoded, Refused) or len(encoded) <= limit:
        return encoded
    return Refused(f"too large: {full_bytes} bytes, at most {limit} are taken")

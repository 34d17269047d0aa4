"""Any HTTP endpoint: one event as the body, or a JSON array of several; signed by Standard Webhooks when asked.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from uuid import NAMESPACE_URL, uuid5

from connector.destinations.base import Destination, Option, checked_url, encode_within, stamped
from connector.errors import SettingsError
from connector.model import Batch, Connection, Delivery, Event, Refused, Request

MAX_EVENT_BYTES = 4_500_000  # more than any webhook that is received, so that nothing is refused by default
SECRET_PREFIX = "whsec_"  # noqa: S105 (marks a secret as base64; is none itself)
WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")  # safe in a header, and without the dot that separates what is signed
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding"})


class HttpDestination(Destination):
    type: ClassVar[str] = "http"
    default_batch: ClassVar[Batch] = Batch(max_events=1, max_bytes=5_000_000, max_wait_seconds=0.5)
    max_batch: ClassVar[Batch] = Batch(max_events=10_000, max_bytes=20_000_000, max_wait_seconds=60.0)
    options: ClassVar[Mapping[str, Option]] = {
        "url": Option("url", "Where the events go. It is shown, so a secret belongs into `headers`.", required=True),
        "method": Option("choice", "The HTTP method.", default="POST", choices=("POST", "PUT")),
        "headers": Option("mapping", "Further headers of each request; their values are kept secret.", default={}),
        "signing_secret": Option(
            "secret",
            "Signs each request by Standard Webhooks; `whsec_` and base64, or any text; several, with a blank between, "
            "make several signatures.",
        ),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._url = checked_url(connection.name, str(self.option("url")))
        self._method = str(self.option("method"))
        self._headers = checked_headers(connection.name, self.option("headers"))
        self._signing_keys = signing_keys(connection.name, str(self.option("signing_secret") or ""))
        self._is_single = connection.batch.max_events == 1
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        return encode_within(event.body, self._max_event_bytes, with_sent_at=True)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        body = b",".join(stamped(batch, sent_at))
        if not self._is_single:
            body = b"[" + body + b"]"
        headers = self._headers
        if self._signing_keys:
            headers = {**headers, **self._signature(webhook_id(batch), int(sent_at.timestamp()), body)}
        return Request(self._method, self._url, headers, body)

    def _signature(self, message_id: str, sent_seconds: int, body: bytes) -> dict[str, str]:
        signed = f"{message_id}.{sent_seconds}.".encode() + body
        digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in self._signing_keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(sent_seconds),
            "webhook-signature": " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests),
        }


def webhook_id(batch: Sequence[Delivery]) -> str:
    """The same for every try of the same deliveries: a lone event's messageId, else a UUID named by all of them."""
    ids = [str(delivery.event.body.get("messageId") or delivery.id) for delivery in batch]
    if len(ids) == 1 and WEBHOOK_ID.fullmatch(ids[0]):
        return ids[0]
    return str(uuid5(NAMESPACE_URL, "\n".join(ids).encode("utf-8", "backslashreplace").decode()))


def checked_headers(destination: str, headers: Mapping[str, object]) -> dict[str, str]:
    """The headers of every request. Raises SettingsError for those that no request can have."""
    problems = []
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in FRAMING_HEADERS:
            problems.append(f"destination {destination}: headers: {name!r} cannot be set")
        elif str(value) and not HEADER_VALUE.fullmatch(str(value)):
            problems.append(f"destination {destination}: headers: the value of {name} must be printable ASCII")
    if problems:
        raise SettingsError(problems)
    given = {name: str(value) for name, value in headers.items()}
    has_content_type = any(name.lower() == "content-type" for name in given)
    return given if has_content_type else {"Content-Type": "application/json", **given}


def signing_keys(destination: str, secrets: str) -> tuple[bytes, ...]:
    """The keys in bytes. Raises SettingsError when one says that it is base64, and is not."""
    try:
        return tuple(
            b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
            if secret.startswith(SECRET_PREFIX)
            else secret.encode()
            for secret in secrets.split()
        )
    except binascii.Error:
        problem = f"destination {destination}: signing_secret: after {SECRET_PREFIX} there must be base64"
        raise SettingsError([problem]) from None

"""RudderStack's HTTP API (and what speaks it): groups of events to `/v1/batch`.

https://www.rudderstack.com/docs/api/http-api/
"""

import gzip
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from connector.destinations.base import (
    Destination,
    Option,
    basic_authorization,
    batch_url,
    checked_url,
    encode_within,
    iso_text,
    spec_fault,
    stamped,
)
from connector.model import Batch, Connection, Delivery, Event, Outcome, Refused, Request, Response

MAX_EVENT_BYTES = 32_000  # documented as 32 KB; the smaller reading of KB is the safe one
GZIP_LEVEL = 5  # most of what level 9 saves, at a third of its time


class RudderstackDestination(Destination):
    type: ClassVar[str] = "rudderstack"
    max_batch: ClassVar[Batch] = Batch(max_events=10_000, max_bytes=4_000_000, max_wait_seconds=60.0)
    needs_person: ClassVar[bool] = True  # without one the data plane answers 400 to the whole batch
    options: ClassVar[Mapping[str, Option]] = {
        "url": Option("url", "The address of the data plane, with or without /v1.", required=True),
        "write_key": Option("secret", "The write key of the source in RudderStack.", required=True),
        "gzip": Option("boolean", "Compress requests, for a slow or expensive line.", default=False),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        base = checked_url(connection.name, str(self.option("url")))
        self._url = batch_url(base)
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": basic_authorization(str(self.option("write_key"))),
        }
        self._is_gzip = bool(self.option("gzip"))
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        fault = spec_fault(event.body)
        return Refused(fault) if fault else encode_within(event.body, self._max_event_bytes, with_sent_at=True)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        events = b",".join(stamped(batch, sent_at))
        body = b'{"batch":[' + events + b'],"sentAt":"' + iso_text(sent_at).encode() + b'"}'
        if not self._is_gzip:
            return Request("POST", self._url, self._headers, body)
        compressed = gzip.compress(body, GZIP_LEVEL, mtime=0)
        return Request("POST", self._url, {**self._headers, "Content-Encoding": "gzip"}, compressed)

    def judge_request(self, response: Response) -> Outcome:
        return self.judge_acknowledgement(response)

"""Segment's HTTP Tracking API: groups of events to `/batch`, in the region of the workspace.

Segment answers 200 to nearly everything, and drops what it cannot use, so sizes and ids are checked beforehand.
https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

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
    retry_after_seconds,
    spec_fault,
)
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

MAX_EVENT_BYTES = 32_000  # documented as 32 KB; the smaller reading of KB is the safe one
MAX_MESSAGE_ID_CHARACTERS = 99  # "less than 100"
REGION_URLS: Mapping[str, str] = {  # the wrong one answers 200, and the events never appear
    "us": "https://api.segment.io/v1",
    "eu": "https://events.eu1.segmentapis.com/v1",
}


class SegmentDestination(Destination):
    type: ClassVar[str] = "segment"
    default_profile: ClassVar[str] = "segment"
    max_batch: ClassVar[Batch] = Batch(max_events=2_500, max_bytes=500_000, max_wait_seconds=60.0)
    needs_person: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "write_key": Option("secret", "The write key of the source in Segment.", required=True),
        "region": Option(
            "choice", "Where the workspace is; Segment does not complain of the wrong one.", default="us",
            choices=tuple(REGION_URLS),
        ),
        "url": Option("url", "Another address that speaks Segment's API, instead of the region's."),
    }  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        base = checked_url(connection.name, str(self.option("url") or REGION_URLS[self.option("region")]))
        self._url = batch_url(base)
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": basic_authorization(str(self.option("write_key"))),
        }
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        fault = spec_fault(event.body) or message_id_fault(event.body.get("messageId"))
        return Refused(fault) if fault else encode_within(event.body, self._max_event_bytes)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        events = b",".join(delivery.encoded for delivery in batch)
        body = b'{"batch":[' + events + b'],"sentAt":"' + iso_text(sent_at).encode() + b'"}'
        return Request("POST", self._url, self._headers, body)

    def judge_request(self, response: Response) -> Outcome:
        return self.judge_acknowledgement(response)

    def outcome(self, kind: OutcomeKind, response: Response, remark: str = "") -> Outcome:
        outcome = super().outcome(kind, response, remark)
        return Outcome(kind, outcome.reason, retry_after_seconds(response.headers, "x-ratelimit-reset"))


def message_id_fault(message_id: object) -> str:
    """Why Segment would drop an event with this id; "" when it would not."""
    if isinstance(message_id, str) and len(message_id) <= MAX_MESSAGE_ID_CHARACTERS:
        return ""
    return f"its messageId is not a text of at most {MAX_MESSAGE_ID_CHARACTERS} characters"

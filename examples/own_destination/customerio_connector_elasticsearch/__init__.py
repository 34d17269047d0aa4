"""Elasticsearch, and OpenSearch: each event becomes a document, whose id is the event's messageId.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from connector.destinations.base import Destination, Option, checked_url, encode_within, excerpt, kind_of
from connector.errors import PayloadError, SettingsError
from connector.json_codec import read_json, write_json
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

MAX_EVENT_BYTES = 1_000_000  # a document may be larger, a search for its words becomes slow
MAX_ID_CHARACTERS = 64  # a messageId has 36; Elasticsearch would take 512 bytes
ACTION_BYTES = len(b'{"create":{"_id":""}}\n\n') + MAX_ID_CHARACTERS
ALREADY_THERE = 409  # of one document: an earlier try has brought it


class ElasticsearchDestination(Destination):
    type: ClassVar[str] = "elasticsearch"
    default_batch: ClassVar[Batch] = Batch(max_events=500, max_bytes=5_000_000, max_wait_seconds=1.0)
    max_batch: ClassVar[Batch] = Batch(max_events=10_000, max_bytes=50_000_000, max_wait_seconds=60.0)
    options: ClassVar[Mapping[str, Option]] = {
        "url": Option("url", "The address of the cluster.", required=True),
        "index": Option("text", "The index or data stream that takes the events.", default="customerio"),
        "api_key": Option("secret", "An API key that may create documents there."),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        base = checked_url(connection.name, str(self.option("url"))).rstrip("/")
        index = str(self.option("index"))
        if not index.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise SettingsError([f"destination {connection.name}: index must be made of letters, digits, - _ and ."])
        self._url = f"{base}/{index}/_bulk"
        self._headers = {"Content-Type": "application/x-ndjson"}
        if api_key := self.option("api_key"):
            self._headers["Authorization"] = f"ApiKey {api_key}"
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        if not is_document_id(event.body.get("messageId")):
            return Refused(f"its messageId is not a text of 1 to {MAX_ID_CHARACTERS} letters, digits and marks")
        return encode_within(event.body, self._max_event_bytes)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        """`create`, not `index`: a document that is there already stays as it is, and nobody sees it twice."""
        lines: list[bytes] = []
        for delivery in batch:
            lines += (write_json({"create": {"_id": delivery.event.body["messageId"]}}), delivery.encoded)
        return Request("POST", self._url, self._headers, b"".join(line + b"\n" for line in lines))

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """A 200 says what became of each document, in order; anything else speaks of the whole request."""
        whole = self.judge_request(response)
        if whole.kind is not OutcomeKind.DELIVERED:
            return [whole] * len(batch)
        items = items_of(response.body)
        if len(items) != len(batch):
            lost = self.outcome(OutcomeKind.TRANSIENT, response, "without an item for each document")
            return [lost] * len(batch)
        return [self.judge_item(item) for item in items]

    def judge_item(self, item: Any) -> Outcome:
        result = item.get("create") if isinstance(item, dict) else None
        status = result.get("status") if isinstance(result, dict) else None
        if not isinstance(status, int):
            return Outcome(OutcomeKind.TRANSIENT, "an item of the answer has no status")
        kind = kind_of(status)
        if kind is OutcomeKind.DELIVERED or status == ALREADY_THERE:
            return Outcome(OutcomeKind.DELIVERED)
        error = result.get("error") if isinstance(result, dict) else None
        return Outcome(kind, f"document answered {status}: {excerpt(write_json(error), self._secrets)}")

    def envelope_bytes(self) -> int:
        return ACTION_BYTES * self.connection.batch.max_events


def is_document_id(message_id: Any) -> bool:
    """Whether it can be an `_id`, and is written in JSON as it is."""
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_ID_CHARACTERS:
        return False
    return message_id.isascii() and message_id.isprintable() and not {'"', "\\"} & set(message_id)


def items_of(body: bytes) -> list[Any]:
    try:
        answer = read_json(body)
    except PayloadError:
        return []
    items = answer.get("items") if isinstance(answer, dict) else None
    return items if isinstance(items, list) else []

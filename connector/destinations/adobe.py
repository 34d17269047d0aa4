"""Adobe Experience Platform: XDM ExperienceEvents to a streaming inlet; or, in mode raw, events as they were received,
to the inlet of Adobe's own Customer.io source.

https://experienceleague.adobe.com/en/docs/experience-platform/ingestion/streaming/overview
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from connector.destinations.adobe_answers import items_of, judge_items
from connector.destinations.adobe_entity import build_entity
from connector.destinations.adobe_raw import raw_message
from connector.destinations.adobe_settings import OPTIONS, PROFILES, read_settings
from connector.destinations.base import Destination, Option, encode_json
from connector.json_codec import write_json
from connector.model import (
    Batch,
    Connection,
    Delivery,
    Event,
    EventType,
    Outcome,
    OutcomeKind,
    Refused,
    Request,
    Response,
)
from connector.normalize import message_id

MAX_REQUEST_BYTES = 1_000_000  # documented as 1 MB; the smaller reading is the safe one
MAX_PROFILE_BYTES = 10_000  # documented as 10 KB: Profile drops a larger event without a word
MAX_MESSAGES = 1_000  # 10,000 are taken in a second


class AdobeDestination(Destination):
    type: ClassVar[str] = "adobe"
    default_profile: ClassVar[str] = PROFILES["xdm"]
    default_batch: ClassVar[Batch] = Batch(max_events=100, max_bytes=512_000, max_wait_seconds=0.5)
    max_batch: ClassVar[Batch] = Batch(max_events=MAX_MESSAGES, max_bytes=MAX_REQUEST_BYTES, max_wait_seconds=60.0)
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._settings = read_settings(connection, self.option)
        self._is_single = connection.batch.max_events == 1
        self._before_entity = self._envelope()
        self._time_key = self.option("time_key")

    @classmethod
    def profile_for(cls, options: Mapping[str, Any]) -> str:
        return PROFILES[str(options["mode"])]

    def encode(self, event: Event) -> bytes | Refused:
        """One message. Above 10 KB an event loses `content` and `headers`, or is refused, since Profile drops it."""
        if self._settings.rules is None:
            small = MAX_REQUEST_BYTES if self.connection.keep_content else MAX_PROFILE_BYTES
            return raw_message(event.body, self._time_key, small, self.event_bytes(MAX_REQUEST_BYTES))
        if event.type is not EventType.TRACK:
            return Refused("an inlet takes events, not people")
        entity = build_entity(event, self._settings.rules, distinct_id(event))
        encoded = entity if isinstance(entity, Refused) else encode_json(entity)
        if isinstance(encoded, Refused):
            return encoded
        message = self._before_entity + encoded + b"}}"
        limit = self.event_bytes(MAX_PROFILE_BYTES)
        return message if len(message) <= limit else Refused(too_large(len(message), limit))

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        body = b",".join(delivery.encoded for delivery in batch)
        if not self._is_single:
            body = b'{"messages":[' + body + b"]}"
        settings = self._settings
        return Request("POST", settings.url, settings.headers, body, settings.credentials)

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """By message where the answer speaks of messages: 207 also stands for success, and for failure of each."""
        if 200 <= response.status < 300 and not self._is_single:
            items = items_of(response.body)
            if items is not None:
                return judge_items(items, len(batch), self._secrets)
        return super().judge(response, batch)

    def judge_request(self, response: Response) -> Outcome:
        """https://experienceleague.adobe.com/en/docs/experience-platform/ingestion/streaming/troubleshooting"""
        match response.status:
            case 207:
                return self.outcome(OutcomeKind.TRANSIENT, response, "without an item for each message")
            case 403 if not response.body.strip():
                advice = (
                    "answered 403 with an empty body: this service's address is not on the inlet's allowlist; add it"
                )
                return Outcome(OutcomeKind.UNAUTHORIZED, advice)
            case 401 | 403:
                return self.outcome(OutcomeKind.UNAUTHORIZED, response, self._token_advice())
            case 501:
                advice = "validation while sending is not available here; take syncValidation out of url"
                return self.outcome(OutcomeKind.MISCONFIGURED, response, advice)
        return self.judge_acknowledgement(response)

    def _token_advice(self) -> str:
        if self._settings.credentials is None:
            return "the inlet requires authentication; set client_id and client_secret"
        return (
            "a fresh token did not help; look at client_id, client_secret and scopes, and the client's product profile"
        )

    def _envelope(self) -> bytes:
        """What stands before the entity in each message of mode xdm; `}}` closes it."""
        schema = {"id": self.option("schema_id"), "contentType": self.option("content_type")}
        header = {
            "schemaRef": schema,
            "imsOrgId": self.option("org_id"),
            "datasetId": self.option("dataset_id"),
            "flowId": self._settings.flow_id,
            "source": {"name": self.option("source_name")},
        }
        meta = write_json({"schemaRef": schema})
        return b'{"header":' + write_json(header) + b',"body":{"xdmMeta":' + meta + b',"xdmEntity":'


def distinct_id(event: Event) -> str | None:
    """The `_id` of an event that an action made another of: with that of its sibling, Profile would drop it."""
    given = event.body.get("messageId")
    if not isinstance(given, str) or given == message_id(event.source, event.event_id, event.type):
        return None
    return given


def too_large(size: int, limit: int) -> str:
    return f"too large: {size} bytes, at most {limit} are taken"

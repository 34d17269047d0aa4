"""PostHog's capture API: groups of events to `/batch/`, in the cloud of a region or on one's own server.

https://posthog.com/docs/api/capture
https://posthog.com/docs/data/ingestion-warnings
https://posthog.com/docs/migrate
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from connector.destinations.base import Destination, Option, checked_url, iso_text
from connector.destinations.item_answers import answer_of
from connector.destinations.product_analytics import (
    call_fault,
    encode_shaped,
    id_fault,
    insert_uuid,
    is_identify,
    moment_of,
    person_of,
)
from connector.json_codec import write_json
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

MAX_EVENT_BYTES = 900_000  # PostHog discards events of more than 1 MB, counted with what it adds to them
MAX_ID_CHARACTERS = 200  # a longer distinct_id is cut, and people are mixed up
REGION_URLS: Mapping[str, str] = {
    "us": "https://us.i.posthog.com",
    "eu": "https://eu.i.posthog.com",
}
# https://posthog.com/docs/data/identify
PLACEHOLDER_IDS = frozenset(
    {
        "anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email", "undefined", "true",
        "false", "[object object]", "nan", "none", "null", "0",
    }
)  # fmt: skip
# Where the event comes from; and that the address of the request is not that of the person.
OWN_PROPERTIES: Mapping[str, Any] = {"$lib": "customerio-connector", "$geoip_disable": True}


class PosthogDestination(Destination):
    type: ClassVar[str] = "posthog"
    default_profile: ClassVar[str] = "customerio"
    max_batch: ClassVar[Batch] = Batch(max_events=10_000, max_bytes=20_000_000, max_wait_seconds=60.0)
    needs_person: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "api_key": Option("secret", "The API key of the project, which begins with `phc_`.", required=True),
        "historical_migration": Option(
            "boolean", "For a replay of the past: slower, and no limit of rates or alarm is touched.", default=False
        ),
        "region": Option("choice", "Which cloud the project is in.", default="us", choices=tuple(REGION_URLS)),
        "url": Option("url", "The address of a server of one's own, instead of the region's."),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        base = checked_url(connection.name, str(self.option("url") or REGION_URLS[self.option("region")]))
        self._url = base.rstrip("/").removesuffix("/batch") + "/batch/"
        past = b'"historical_migration":true,' if self.option("historical_migration") else b""
        self._head = b'{"api_key":' + write_json(str(self.option("api_key"))) + b"," + past + b'"batch":['
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        person = person_of(event.body)
        fault = call_fault(event.body) or id_fault(person, PLACEHOLDER_IDS)
        if not fault and not person:
            fault = "no person: it has neither userId nor anonymousId"
        if not fault and len(person) > MAX_ID_CHARACTERS:
            fault = f"the id of its person is longer than {MAX_ID_CHARACTERS} characters"
        if fault:
            return Refused(fault)
        return encode_shaped(event.body, partial(shaped, person, insert_uuid(event)), self._max_event_bytes)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        # No `sent_at`: with it PostHog would move the events' times by the difference of the two clocks.
        body = self._head + b",".join(delivery.encoded for delivery in batch) + b"]}"
        return Request("POST", self._url, {"Content-Type": "application/json"}, body)

    def judge_request(self, response: Response) -> Outcome:
        """200 also when the project is beyond its billing limit and drops the events: they wait until it is not."""
        outcome = self.judge_acknowledgement(response)
        if outcome.kind is OutcomeKind.DELIVERED and answer_of(response.body).get("quota_limited"):
            return self.outcome(OutcomeKind.THROTTLED, response, "the project is beyond its billing limit")
        return outcome

    def envelope_bytes(self) -> int:
        return len(self._head) + 2


def shaped(person: str, uuid: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The event in PostHog's words; an identify call sets properties of the person."""
    if is_identify(body):
        name, properties = "$set", {"$set": body.get("traits") or {}}
    else:
        name, properties = str(body["event"]), body.get("properties") or {}
    made = {"event": name, "distinct_id": person, "properties": {**properties, **OWN_PROPERTIES}, "uuid": uuid}
    moment = moment_of(body)
    return {**made, "timestamp": iso_text(moment)} if moment else made

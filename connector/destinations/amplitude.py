"""Amplitude's HTTP V2 API, and its Batch Event Upload API: the same requests and answers, other limits.

https://amplitude.com/docs/apis/analytics/http-v2
https://amplitude.com/docs/apis/analytics/batch-event-upload
https://amplitude.com/docs/apis/analytics/http-api-batching-retries
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from connector.destinations.base import Destination, Option, checked_url, describe_status
from connector.destinations.item_answers import answer_of, indexes_in, spread, told
from connector.destinations.product_analytics import (
    call_fault,
    encode_shaped,
    epoch_millis,
    id_fault,
    id_text,
    insert_uuid,
    is_identify,
    moment_of,
)
from connector.errors import SettingsError
from connector.json_codec import write_json
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

MAX_HTTP_BYTES = 1_000_000  # of a request to /2/httpapi
MAX_EVENT_BYTES = 1_000_000  # no limit is documented for one event; this one fits either API
MAX_ID_CHARACTERS = 1024  # as of all texts there
REGION_URLS: Mapping[str, str] = {
    "us": "https://api2.amplitude.com",
    "eu": "https://api.eu.amplitude.com",
}
API_PATHS: Mapping[str, str] = {"http": "/2/httpapi", "batch": "/batch"}
RESERVED_PREFIX = "[Amplitude]"
RESERVED_NAMES = frozenset({"$identify", "$groupidentify"})
# "Invalid IDs" of the HTTP V2 page.
PLACEHOLDER_IDS = frozenset(
    {
        "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "{}", "lmy47d", "0", "-1",
        "00000000-0000-0000-0000-000000000000",
    }
)  # fmt: skip

# In a 400: a map from fields to the places of the events that have them wrong.
FIELD_FAULTS: Mapping[str, str] = {
    "events_with_invalid_fields": "invalid",
    "events_with_missing_fields": "missing",
    "events_with_invalid_id_lengths": "of a length that is not allowed",
}
THROTTLED_SECONDS = 30.0  # the pause that is documented for a person with too many events a second
QUOTA_SECONDS = 3600.0  # for one who has used up a day's events; asked again hourly
DAILY_QUOTAS = {"exceeded_daily_quota_users": "user_id", "exceeded_daily_quota_devices": "device_id"}
THROTTLED = {"throttled_users": "user_id", "throttled_devices": "device_id"}


class AmplitudeDestination(Destination):
    type: ClassVar[str] = "amplitude"
    default_profile: ClassVar[str] = "customerio"
    max_batch: ClassVar[Batch] = Batch(max_events=2_000, max_bytes=20_000_000, max_wait_seconds=60.0)
    needs_person: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "api_key": Option("secret", "The API key of the project.", required=True),
        "api": Option(
            "choice", "`http` is near to real time, at most 1 MB a request; `batch` is for history, 20 MB.",
            default="http", choices=tuple(API_PATHS),
        ),
        "min_id_length": Option(
            "integer", "How short the id of a person may be; Amplitude itself would say 5.", default=1
        ),
        "region": Option("choice", "Where the project's data is.", default="us", choices=tuple(REGION_URLS)),
        "url": Option("url", "Another address that speaks this API, instead of the region's; without a path."),
    }  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        base = checked_url(connection.name, str(self.option("url") or REGION_URLS[self.option("region")]))
        self._url = base.rstrip("/") + API_PATHS[self.option("api")]
        if self.option("api") == "http" and connection.batch.max_bytes > MAX_HTTP_BYTES:
            problem = f"batch.max_bytes may be {MAX_HTTP_BYTES} at most, or more with api: batch"
            raise SettingsError([f"destination {connection.name}: {problem}"])
        self._min_id_length = int(self.option("min_id_length"))
        options = {"min_id_length": self._min_id_length}
        self._head = b'{"api_key":' + write_json(str(self.option("api_key"))) + b',"events":['
        self._tail = b'],"options":' + write_json(options) + b"}"
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        fault = call_fault(event.body) or self._person_fault(event.body) or name_fault(event.body)
        if fault:
            return Refused(fault)
        return encode_shaped(event.body, partial(shaped, insert_uuid(event)), self._max_event_bytes)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        body = self._head + b",".join(delivery.encoded for delivery in batch) + self._tail
        return Request("POST", self._url, {"Content-Type": "application/json"}, body)

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """A 400 refuses the events that it names, a 429 slows those down; Amplitude took none of the others either."""
        whole = self.judge_acknowledgement(response)
        answer = answer_of(response.body)
        if response.status == 400:
            if answer.get("error") == "Invalid API key" or answer.get("missing_field") == "api_key":
                return [self.outcome(OutcomeKind.UNAUTHORIZED, response)] * len(batch)
            named = self._refused(answer, len(batch))
        elif response.status == 429:
            named = self._slowed(answer, batch, whole)
        else:
            named = {}
        if not named:
            return [whole] * len(batch)
        reason = f"answered {describe_status(response.status)} because of other events of its request"
        return spread(len(batch), named, Outcome(OutcomeKind.TRANSIENT, reason))

    def judge_request(self, response: Response) -> Outcome:
        return self.judge_acknowledgement(response)

    def envelope_bytes(self) -> int:
        return len(self._head) + len(self._tail)

    def _person_fault(self, body: Mapping[str, Any]) -> str:
        ids = [text for key in ("userId", "anonymousId") if (text := id_text(body, key))]
        if not ids:
            return "no person: it has neither userId nor anonymousId"
        for text in ids:
            if fault := id_fault(text, PLACEHOLDER_IDS):
                return fault
            if len(text) < self._min_id_length:
                return f"the id of its person is shorter than {self._min_id_length} characters"
            if len(text) > MAX_ID_CHARACTERS:
                return f"the id of its person is longer than {MAX_ID_CHARACTERS} characters"
        return ""

    def _refused(self, answer: Mapping[str, Any], count: int) -> dict[int, Outcome]:
        """What a 400 says of single events: their fields are wrong, or the project blocks them."""
        faults: dict[int, list[str]] = {}
        for key, words in FIELD_FAULTS.items():
            by_field = answer.get(key)
            for field, places in by_field.items() if isinstance(by_field, dict) else ():
                for place in indexes_in(places, count):
                    faults.setdefault(place, []).append(f"{field} is {words}")
        for place in indexes_in(answer.get("silenced_events"), count):
            faults.setdefault(place, []).append("the project has silenced its event or device")
        return {
            place: told(OutcomeKind.REJECTED, f"answered 400 Bad Request: {'; '.join(words)}", self._secrets)
            for place, words in faults.items()
        }

    def _slowed(self, answer: Mapping[str, Any], batch: Sequence[Delivery], whole: Outcome) -> dict[int, Outcome]:
        """What a 429 says of single events: they wait, and nobody else has to."""
        wish = whole.retry_after_seconds
        too_fast = Outcome(
            OutcomeKind.TRANSIENT, "answered 429: too many events a second of its person", wish or THROTTLED_SECONDS
        )
        too_many = Outcome(
            OutcomeKind.TRANSIENT, "answered 429: too many events of its person today", wish or QUOTA_SECONDS
        )
        named = dict.fromkeys(indexes_in(answer.get("throttled_events"), len(batch)), too_fast)
        for keys, outcome in ((THROTTLED, too_fast), (DAILY_QUOTAS, too_many)):
            for key, field in keys.items():
                people = answer.get(key)
                if isinstance(people, dict):
                    persons = ((place, person_field(one.event.body, field)) for place, one in enumerate(batch))
                    named |= {place: outcome for place, person in persons if person in people}
        return named


def name_fault(body: Mapping[str, Any]) -> str:
    """Why Amplitude keeps the event's name to itself; "" when it does not."""
    name = str(body.get("event"))
    is_reserved = not is_identify(body) and (name.startswith(RESERVED_PREFIX) or name in RESERVED_NAMES)
    return f"the name {name!r} is reserved by Amplitude" if is_reserved else ""


def person_field(body: Mapping[str, Any], field: str) -> str:
    return id_text(body, "userId" if field == "user_id" else "anonymousId")


def shaped(insert_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The event in Amplitude's words. An identify call sets properties of the person, and is counted as no event."""
    made: dict[str, Any] = {}
    for field in ("user_id", "device_id"):
        if person := person_field(body, field):
            made[field] = person
    if moment := moment_of(body):
        made["time"] = epoch_millis(moment)
    made["insert_id"] = insert_id
    if is_identify(body):
        return {**made, "event_type": "$identify", "user_properties": {"$set": body.get("traits") or {}}}
    return {**made, "event_type": str(body["event"]), "event_properties": body.get("properties") or {}}

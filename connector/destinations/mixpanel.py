"""Mixpanel: events to `/import`, strictly validated, and people to `/engage`, in the region of the project.

https://docs.mixpanel.com/reference/import-events
https://docs.mixpanel.com/reference/profile-batch-update
https://docs.mixpanel.com/troubleshooting/errors
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlencode

from connector.destinations.base import Destination, Option, basic_authorization, checked_url
from connector.destinations.item_answers import answer_of, indexes_in, spread, told
from connector.destinations.product_analytics import (
    call_fault,
    encode_shaped,
    epoch_millis,
    id_fault,
    insert_uuid,
    is_identify,
    moment_of,
    person_of,
)
from connector.errors import SettingsError
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

MAX_EVENT_BYTES = 1_000_000  # "smaller than 1MB of uncompressed JSON"
MAX_ID_BYTES = 255  # of a distinct_id
REGION_URLS: Mapping[str, str] = {
    "us": "https://api.mixpanel.com",
    "eu": "https://api-eu.mixpanel.com",
    "in": "https://api-in.mixpanel.com",
}
PEOPLE = "people"  # the lane of identify calls
# Of the page on importing events.
PLACEHOLDER_IDS = frozenset(
    {
        "anon", "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "<nil>", "0", "-1", "true",
        "false", "[]", "{}", "00000000-0000-0000-0000-000000000000",
    }
)  # fmt: skip

# Traits that Mixpanel shows in places of their own.
PROFILE_NAMES: Mapping[str, str] = {
    "email": "$email",
    "phone": "$phone",
    "name": "$name",
    "first_name": "$first_name",
    "firstName": "$first_name",
    "last_name": "$last_name",
    "lastName": "$last_name",
}


class MixpanelDestination(Destination):
    type: ClassVar[str] = "mixpanel"
    default_profile: ClassVar[str] = "customerio"
    # 10 MB in the present documentation, 2 MB in what came before it; /engage has stayed at 2 MB.
    max_batch: ClassVar[Batch] = Batch(max_events=2_000, max_bytes=2_000_000, max_wait_seconds=60.0)
    options: ClassVar[Mapping[str, Option]] = {
        "token": Option("secret", "The token of the project; needed for people, and where the next three are not."),
        "service_account": Option("text", "The user name of a service account that may send events."),
        "service_account_secret": Option("secret", "Its secret."),
        "project_id": Option("text", "The number of the project that the service account sends to, in quotes."),
        "region": Option("choice", "Where the project's data is.", default="us", choices=tuple(REGION_URLS)),
        "url": Option("url", "Another address that speaks this API, instead of the region's; without a path."),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        base = checked_url(connection.name, str(self.option("url") or REGION_URLS[self.option("region")])).rstrip("/")
        self._token = str(self.option("token") or "")
        account, project = self.option("service_account"), self.option("project_id")
        secret = self.option("service_account_secret")
        if problem := credentials_problem(self._token, (account, secret, project), connection.identify):
            raise SettingsError([f"destination {connection.name}: {problem}"])
        query = {"strict": "1", "project_id": str(project)} if account else {"strict": "1"}
        self._import_url = f"{base}/import?{urlencode(query)}"
        self._people_url = f"{base}/engage?verbose=1"  # else the answer to anything is 200 with a 0 or a 1
        user, password = (str(account), str(secret)) if account else (self._token, "")
        self._headers = {"Content-Type": "application/json", "Authorization": basic_authorization(user, password)}
        pair = b64encode(f"{user}:{password}".encode()).decode()
        self._secrets = (pair, *self._secrets)
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def lane(self, event: Event) -> str:
        return PEOPLE if is_identify(event.body) else ""

    def encode(self, event: Event) -> bytes | Refused:
        body = event.body
        person, moment = person_of(body), moment_of(body)
        fault = call_fault(body) or id_fault(person, PLACEHOLDER_IDS)
        if fault:
            return Refused(fault)
        if len(person.encode("utf-8", "replace")) > MAX_ID_BYTES:
            return Refused(f"the id of its person is longer than {MAX_ID_BYTES} bytes")
        if is_identify(body):
            if not person:
                return Refused("no person: it has neither userId nor anonymousId")
            if not self._token:
                return Refused("people need the project's token, which the destination does not have")
            return encode_shaped(body, partial(shaped_profile, self._token, person), self._max_event_bytes)
        if moment is None:
            return Refused("it has no time that could be read, and Mixpanel takes none without")
        own = {"time": epoch_millis(moment), "distinct_id": person, "$insert_id": insert_uuid(event)}
        return encode_shaped(body, partial(shaped_event, own), self._max_event_bytes)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        body = b"[" + b",".join(delivery.encoded for delivery in batch) + b"]"
        if batch and self.lane(batch[0].event) == PEOPLE:
            return Request("POST", self._people_url, {"Content-Type": "application/json"}, body)
        return Request("POST", self._import_url, self._headers, body)

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """A 400 to events names those that are refused; the rest is stored when the numbers agree, else sent again."""
        whole = self.judge_acknowledgement(response)
        answer = answer_of(response.body)
        if batch and self.lane(batch[0].event) == PEOPLE:
            # 200 even when nothing was taken: https://docs.mixpanel.com/reference/profile-set
            if whole.kind is OutcomeKind.DELIVERED and (answer.get("error") or answer.get("status") == 0):
                whole = self.outcome(OutcomeKind.REJECTED, response)
            return [whole] * len(batch)
        refused = self._refused(answer, len(batch)) if response.status == 400 else {}
        if not refused:
            return [whole] * len(batch)
        if answer.get("num_records_imported") == len(batch) - len(refused):
            others = Outcome(OutcomeKind.DELIVERED)
        else:
            others = Outcome(OutcomeKind.TRANSIENT, "answered 400 Bad Request, which does not say what of it is stored")
        return spread(len(batch), refused, others)

    def judge_request(self, response: Response) -> Outcome:
        return self.judge_acknowledgement(response)

    def _refused(self, answer: Mapping[str, Any], count: int) -> dict[int, Outcome]:
        records = answer.get("failed_records")
        refused: dict[int, Outcome] = {}
        for record in records if isinstance(records, list) else ():
            if isinstance(record, dict):
                for place in indexes_in([record.get("index")], count):
                    words = f"answered 400 Bad Request: {record.get('message') or record.get('field')}"
                    refused[place] = told(OutcomeKind.REJECTED, words, self._secrets)
        return refused


def credentials_problem(token: str, service_account: Sequence[object], identifies: bool) -> str:
    """Why nothing, or nobody, could be sent with these; "" when all can."""
    if any(service_account) and not all(service_account):
        return "service_account, service_account_secret and project_id go together"
    if not token and not any(service_account):
        return "it needs a token, or service_account, service_account_secret and project_id"
    if identifies and not token:
        return "with identify: true it needs a token, since people cannot be sent with a service account"
    return ""


def shaped_event(own: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The event in Mixpanel's words; `own` are the properties by which it knows time, person and repeats."""
    return {"event": str(body["event"]), "properties": {**(body.get("properties") or {}), **own}}


def shaped_profile(token: str, person: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The person in Mixpanel's words; without an address, lest the person is thought to be where this service runs."""
    traits = {PROFILE_NAMES.get(name, name): value for name, value in (body.get("traits") or {}).items()}
    return {"$token": token, "$distinct_id": person, "$ip": "0", "$set": traits}

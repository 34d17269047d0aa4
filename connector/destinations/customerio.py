"""Customer.io's own Pipelines API: groups of events to `/v1/batch`, strictly validated, with a guard against loops.

Some names of track calls change a workspace instead of being stored, and a workspace that gets its own messages' events
back can answer them with more messages; so such names are refused, and whose workspace it is must be said.
https://docs.customer.io/integrations/api/cdp/
https://docs.customer.io/integrations/data-in/semantic-events/cio-journeys.md
https://docs.customer.io/integrations/api/cdp/email/
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from connector.destinations.base import (
    Destination,
    Option,
    basic_authorization,
    batch_url,
    checked_url,
    encode_within,
    iso_text,
    spec_fault,
)
from connector.destinations.item_answers import answer_of, spread, told
from connector.errors import SettingsError
from connector.model import Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Refused, Request, Response

MAX_EVENT_BYTES = 32_000  # documented as 32 KB; the smaller reading of KB is the safe one
REGION_URLS: Mapping[str, str] = {
    "us": "https://cdp.customer.io/v1",
    "eu": "https://cdp-eu.customer.io/v1",
}

# As track calls these change people, devices, objects or reports of the workspace.
COMMANDS = (
    "Device Created or Updated",
    "Device Deleted",
    "User Deleted",
    "User Suppressed",
    "User Unsuppressed",
    "Relationship Deleted",
    "Object Deleted",
    "Report Delivery Event",
    "Report Content Event",
)
# These are taken for what happened to the workspace's own e-mail; its campaigns may wait for them.
EMAIL_EVENTS = (
    "Email Bounced",
    "Email Delivered",
    "Email Link Clicked",
    "Email Marked as Spam",
    "Email Opened",
    "Email Unsubscribed",
)

# Where a strict answer names an item: `batch[3].userId`, `batch.3`, `/batch/3`.
ITEM = re.compile(r"\bbatch(?:\[|[./])(\d{1,6})\b")


def plain(name: str) -> str:
    """Names that a person, and perhaps Customer.io, would take for the same."""
    return " ".join(name.casefold().split())


PLAIN_COMMANDS = frozenset(map(plain, COMMANDS))
PLAIN_EMAIL_EVENTS = frozenset(map(plain, EMAIL_EVENTS))


class CustomerioDestination(Destination):
    type: ClassVar[str] = "customerio"
    default_profile: ClassVar[str] = "customerio"
    max_batch: ClassVar[Batch] = Batch(max_events=100, max_bytes=500_000, max_wait_seconds=60.0)
    needs_person: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "api_key": Option("secret", "The key of the Customer.io API integration in the workspace.", required=True),
        "workspace": Option(
            "choice",
            "Whose key that is: `other`, a workspace that sends this destination nothing; `same`, one that does. Must "
            "be said.",
            choices=("other", "same"),
        ),
        "event_prefix": Option("text", "Set before the name of every event, with a blank; needed with `same`."),
        "semantic_email_events": Option(
            "boolean", "Without a prefix: also send the names that Customer.io takes for its own e-mail.", default=False
        ),
        "region": Option("choice", "Where the workspace is.", default="us", choices=tuple(REGION_URLS)),
        "url": Option("url", "Another address that speaks the Pipelines API, instead of the region's."),
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        base = checked_url(connection.name, str(self.option("url") or REGION_URLS[self.option("region")]))
        self._url = batch_url(base)
        self._is_same_workspace = self.option("workspace") == "same"
        self._prefix = " ".join(str(self.option("event_prefix") or "").split())
        self._sends_email_events = bool(self.option("semantic_email_events"))
        if problem := loop_problem(self.option("workspace"), self._prefix):
            raise SettingsError([f"destination {connection.name}: {problem}"])
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": basic_authorization(str(self.option("api_key"))),
            "X-Strict-Mode": "1",  # without it Customer.io answers 200 to what it drops
        }
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        body = event.body
        if fault := spec_fault(body) or self._loop_fault(body):
            return Refused(fault)
        if body["type"] == "track" and self._prefix:
            body = {**body, "event": f"{self._prefix} {body['event']}"}
        if not self._is_same_workspace:
            body = without_own_veto(body)
        return encode_within(body, self._max_event_bytes)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        events = b",".join(delivery.encoded for delivery in batch)
        body = b'{"batch":[' + events + b'],"sentAt":"' + iso_text(sent_at).encode() + b'"}'
        return Request("POST", self._url, self._headers, body)

    def judge(self, response: Response, batch: Sequence[Delivery]) -> list[Outcome]:
        """A strict 400 that names items of the batch refuses those; the others are sent again without them."""
        whole = self.judge_acknowledgement(response)
        if response.status != 400 or len(batch) < 2:
            return [whole] * len(batch)
        faults = item_faults(response.body, len(batch))
        if not faults or len(faults) == len(batch):
            return [whole] * len(batch)
        refused = {
            place: told(OutcomeKind.REJECTED, f"answered 400 Bad Request: {text}", self._secrets)
            for place, text in faults.items()
        }
        return spread(len(batch), refused, Outcome(OutcomeKind.TRANSIENT, "others of its batch were refused"))

    def judge_request(self, response: Response) -> Outcome:
        return self.judge_acknowledgement(response)

    def _loop_fault(self, body: Mapping[str, Any]) -> str:
        """Why the event may not go to this workspace; "" when it may."""
        if body["type"] != "track":
            if self._is_same_workspace:
                return f"a {body['type']} call would change the workspace that it comes from"
            return ""
        given = str(body["event"])
        name = f"{self._prefix} {given}" if self._prefix else given
        if plain(given) in PLAIN_COMMANDS or plain(name) in PLAIN_COMMANDS:
            return f"{given!r} is no event for Customer.io but a command that changes the workspace"
        if plain(name) in PLAIN_EMAIL_EVENTS and not (self._sends_email_events and not self._is_same_workspace):
            return (
                f"Customer.io would take {name!r} for what happened to this workspace's own e-mail, and may start "
                "campaigns by it: give the destination an event_prefix, or semantic_email_events: true"
            )
        return ""


def loop_problem(workspace: object, prefix: str) -> str:
    """Why these settings could send a workspace its own events as new ones; "" when they cannot."""
    if workspace is None:
        return (
            "workspace must be said: `other` when api_key is of a workspace that sends this destination nothing; "
            "`same` when it is of one that does, whose own messages' events would then come back to it and can start "
            "campaigns, whose events come back again"
        )
    if workspace == "same" and not prefix:
        return (
            "with workspace: same an event_prefix is needed, so that campaigns do not take what comes back for what "
            "happened"
        )
    return ""


def without_own_veto(body: dict[str, Any]) -> dict[str, Any]:
    """The event without the mark that keeps other tools from handing it to Customer.io; here it is to arrive."""
    integrations = body.get("integrations")
    if not isinstance(integrations, dict) or integrations.get("Customer.io") is not False:
        return body
    kept = {name: value for name, value in integrations.items() if name != "Customer.io"}
    rest = {key: value for key, value in body.items() if key != "integrations"}
    return {**rest, "integrations": kept} if kept else rest


def item_faults(body: bytes, count: int) -> dict[int, str]:
    """What a strict answer's `meta.errors` says of single items, by place; {} unless all of it is about such.

    The page shows no answer to a batch, so any wording that names an item is understood, and no other.
    """
    meta = answer_of(body).get("meta")
    errors = meta.get("errors") if isinstance(meta, dict) else None
    if isinstance(errors, dict):
        errors = [f"{field}: {words}" for field, words in errors.items()]
    faults: dict[int, str] = {}
    for error in errors if isinstance(errors, list) else ():
        place = item_place(error)
        if place is None or place >= count:
            return {}
        faults.setdefault(place, str(error))
    return faults


def item_place(error: object) -> int | None:
    """The place in the batch that one of the errors is about."""
    if isinstance(error, dict) and type(error.get("index")) is int and error["index"] >= 0:
        return int(error["index"])
    found = ITEM.search(str(error))
    return int(found[1]) if found else None

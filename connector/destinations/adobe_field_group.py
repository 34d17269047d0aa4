"""The field group that a tenant has to create for what has no home in Adobe's own.

https://experienceleague.adobe.com/en/docs/experience-platform/xdm/api/field-groups
"""

import re
from collections.abc import Mapping
from typing import Any

from connector.errors import SettingsError

EXPERIENCE_EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
TENANT = re.compile(r"_?[A-Za-z0-9][A-Za-z0-9_]{0,99}")

TEXTS: Mapping[str, str] = {
    "eventId": "Event ID",
    "objectType": "Object type",
    "metric": "Metric",
    "deliveryId": "Delivery ID",
    "campaignId": "Campaign ID",
    "broadcastId": "Broadcast ID",
    "newsletterId": "Newsletter ID",
    "transactionalMessageId": "Transactional message ID",
    "actionId": "Action ID",
    "parentActionId": "Parent action ID",
    "contentId": "Content ID",
    "journeyId": "Journey ID",
    "triggerId": "Trigger ID",
    "triggerEventId": "Trigger event ID",
    "personId": "Person ID",
    "cioId": "cio_id",
    "emailAddress": "Email address",
    "recipient": "Recipient",
    "subject": "Subject",
    "failureMessage": "Failure message",
    "trackedResponse": "Tracked response",
    "subscriptionPreferences": "Subscription preferences (JSON)",
}
FLAGS: Mapping[str, str] = {
    "isProxied": "Open through proxy",
    "isPrefetched": "Open prefetched",
    "isSynthetic": "Open inferred from click",
    "isMachine": "Click by machine",
}
LINK: Mapping[str, str] = {"id": "Link ID", "url": "Link URL"}
INBOUND: Mapping[str, str] = {"eventId": "Inbound event ID", "to": "Answered number"}
DEVICE: Mapping[str, str] = {
    "deviceId": "Device token",
    "devicePlatform": "Device platform",
    "failureMessage": "Failure message",
}


def tenant_key(tenant: str) -> str:
    """The tenant's root in a record, from a tenant id with or without its underscore. Raises SettingsError."""
    if not TENANT.fullmatch(tenant):
        raise SettingsError([f"tenant {tenant!r} is not a tenant id, such as acme or _acme"])
    return tenant if tenant.startswith("_") else f"_{tenant}"


def field_group(tenant: str) -> dict[str, Any]:
    """The body of `POST …/schemaregistry/tenant/fieldgroups`. Raises SettingsError for what is no tenant id."""
    details = {"type": "object", "title": "Customer.io", "properties": properties()}
    return {
        "title": "Customer.io Reporting Webhook Details",
        "description": "Fields of Customer.io reporting webhook events that have no standard XDM home.",
        "type": "object",
        "meta:intendedToExtend": [EXPERIENCE_EVENT],
        "definitions": {
            "customerio": {
                "type": "object",
                "properties": {tenant_key(tenant): {"type": "object", "properties": {"customerio": details}}},
            }
        },
        "allOf": [{"$ref": "#/definitions/customerio"}],
    }


def properties() -> dict[str, Any]:
    return {
        **typed(TEXTS, "string"),
        **typed(FLAGS, "boolean"),
        "link": {"type": "object", "title": "Link", "properties": typed(LINK, "string")},
        "inbound": {"type": "object", "title": "Inbound reply", "properties": typed(INBOUND, "string")},
        "recipients": {
            "type": "array",
            "title": "Push recipients",
            "items": {"type": "object", "properties": typed(DEVICE, "string")},
        },
    }


def typed(titles: Mapping[str, str], kind: str) -> dict[str, Any]:
    return {name: {"type": kind, "title": title} for name, title in titles.items()}

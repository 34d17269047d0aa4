"""Two more stand-ins: Segment's tracking API, with its limits and its silence, and one that checks signatures."""

import hashlib
import hmac
from base64 import b64encode
from typing import Any

from tests.integration.analytics_stubs import KEY, Answer, Call, Taken, size_of

SIGNING_SECRET = "made-up-signing-secret"
SEGMENT_BATCH_BYTES, SEGMENT_EVENT_BYTES, SEGMENT_EVENTS = 500_000, 32 * 1024, 2_500
TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})


def segment(call: Call, taken: Taken) -> Answer:
    """https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/

    It answers 200 to nearly everything; what it would drop without a word is a fault of the caller here.
    """
    if call.path != "/v1/batch":
        return 404, {}
    if len(call.body) > SEGMENT_BATCH_BYTES:
        return 400, {"success": False, "message": "exceed payload limit"}
    assert call.user == f"{KEY}:", "the wrong write key: nothing would ever appear"
    events = call.value["batch"]
    assert 0 < len(events) <= SEGMENT_EVENTS, f"{len(events)} events in a batch"
    for event in events:
        assert size_of(event) <= SEGMENT_EVENT_BYTES, "an event larger than 32 KB"
        assert event.get("type") in TYPES, "no known type"
        assert event.get("userId") or event.get("anonymousId"), "neither userId nor anonymousId"
        assert 0 < len(event["messageId"]) < 100, "no messageId that Segment takes"
    taken.events += events
    return 200, {"success": True}


def signed_endpoint(call: Call, taken: Taken) -> Answer:
    """https://www.standardwebhooks.com: refuses what is not signed as it should be."""
    head = f"{call.headers.get('webhook-id')}.{call.headers.get('webhook-timestamp')}.".encode()
    digest = hmac.new(SIGNING_SECRET.encode(), head + call.body, hashlib.sha256).digest()
    if call.headers.get("webhook-signature") != f"v1,{b64encode(digest).decode()}":
        return 401, {"error": "wrong signature"}
    event: dict[str, Any] = call.value
    taken.events.append(event)
    return 200, {}

"""What each destination builds of the normalized fixtures; `python -m tests.request_fixtures` writes it anew.

Read the difference before you commit it.
"""

import json
from collections.abc import Mapping
from typing import Any

from connector.destinations import DESTINATION_TYPES, build_destination
from connector.destinations.base import Option
from connector.model import Batch, Connection, Refused, Request
from destination_contract.examples import SENT_AT, deliveries_of
from destination_contract.examples import event_of as sample_event
from tests.fixture_files import FIXTURES, normalized_fixture

REQUESTS = FIXTURES / "requests"

# One of each kind: opened, clicked, cut-off text, a device list, an opt-out, topics, a body, an unknown metric.
NAMES = (
    "email_opened",
    "email_clicked__machine",
    "email_sent__lone_surrogate",
    "push_bounced",
    "customer_subscribed",
    "customer_cio_subscription_preferences_changed",
    "webhook_sent",
    "email_complained__unknown_metric",
)

SAMPLES: Mapping[str, Any] = {
    "url": "https://collector.example.com",
    "text": "sample",
    "secret": "made-up-secret",
    "mapping": {"Authorization": "Bearer made-up-token"},
    "path": "events",
}

# Where one of those will not do for a type.
SAMPLES_BY_TYPE: Mapping[str, Mapping[str, Any]] = {
    "warehouse": {"url": "postgresql://connector@db.example.com:5432/analytics", "schema": None},
    "file": {"partition": None},  # given, files are written as a whole
    "adobe": {"url": "https://dcs.adobedc.net/collection/0f6c1d2e3b4a5968"},
}


def sample_value(option: Option) -> Any:
    """A value as it would stand in connector.yaml; None for an address that a region already gives."""
    if option.default not in (None, {}) or (option.kind == "url" and not option.required):
        return option.default
    return option.choices[0] if option.kind == "choice" else SAMPLES[option.kind]


def sample_connection(type_name: str, batch: Batch | None = None, **options: Any) -> Connection:
    """A connection of the type with all its options, its own defaults, and `options` on top."""
    destination_type = DESTINATION_TYPES[type_name]
    sample = {name: sample_value(option) for name, option in destination_type.options.items()}
    return Connection(
        name="sample",
        type=type_name,
        options={**sample, **SAMPLES_BY_TYPE.get(type_name, {}), **options},
        profile=destination_type.default_profile,
        batch=batch or destination_type.default_batch,
    )


def build_request(type_name: str, name: str) -> Request:
    destination = build_destination(sample_connection(type_name))
    bodies = [
        body
        for body in normalized_fixture(destination.connection.profile, name)
        if isinstance(body, dict) and not isinstance(destination.encode(sample_event(body)), Refused)
    ]
    limit = destination.connection.batch.max_events
    deliveries = deliveries_of(destination, bodies[:limit])
    lane = destination.lane(deliveries[0].event)
    return destination.prepare([one for one in deliveries if destination.lane(one.event) == lane], SENT_AT)


def shown(request: Request) -> dict[str, Any]:
    """The request as a fixture shows it; the body as its lines of JSON, since the exact bytes would be hard to read."""
    lines = [json.loads(line) for line in request.body.splitlines()]
    return {"method": request.method, "url": request.url, "headers": dict(request.headers), "body": lines}


def regenerate() -> None:
    for type_name in DESTINATION_TYPES:
        folder = REQUESTS / type_name
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            text = json.dumps(shown(build_request(type_name, name)), indent=2) + "\n"
            (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    regenerate()

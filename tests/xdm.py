"""Adobe's field definitions as far as they are used, put together into one strict schema; and connections to test with.

`fixtures/xdm/` has a file for each field group: paths, types and enums as https://github.com/adobe/xdm publishes them.
"""

import json
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from connector.destinations.adobe import AdobeDestination
from connector.destinations.adobe_field_group import field_group
from connector.model import Batch, Connection
from tests.fixture_files import FIXTURES

XDM = FIXTURES / "xdm"
GROUP_FILES = (
    *("experienceevent", "identitymap", "directmarketing", "channel", "marketing", "web", "pushtracking"),
    *("inappmessage-tracking", "bot-detection", "message-delivery-feedback", "message-interaction"),
)
OPTIONS = {
    "url": "https://dcs.adobedc.net/collection/e75d0000",
    "flow_id": "b1c2d3e4-0000-4000-8000-000000000001",
    "org_id": "0123456789ABCDEF01234567@AdobeOrg",
    "dataset_id": "64f0a1b2c3d4e5f6a7b8c9d0",
    "schema_id": "https://ns.adobe.com/acme/schemas/0f6c1d2e3b4a59687766554433221100ffeeddccbbaa9988",
    "tenant": "acme",
}


def adobe(max_events: int = 100, profile: str | None = None, keep_content: bool = False, **options: Any) -> Connection:
    """A connection with the type's defaults, the settings of the documents of fixtures/xdm, and `options` on top."""
    values = {name: option.default for name, option in AdobeDestination.options.items()} | OPTIONS | options
    return Connection(
        name="adobe",
        type="adobe",
        options=values,
        profile=profile or AdobeDestination.profile_for(values),
        batch=Batch(max_events, 512_000, 0.5),
        keep_content=keep_content,
    )


def read_xdm(name: str) -> Any:
    return json.loads((XDM / f"{name}.json").read_text(encoding="utf-8"))


def entity_validator(tenant: str = "acme") -> Draft202012Validator:
    """Refuses unknown keys everywhere, as Adobe does."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name in GROUP_FILES:
        group = read_xdm(name)
        merge(properties, group["properties"])
        required += group.get("required", [])
    merge(properties, field_group(tenant)["definitions"]["customerio"]["properties"])
    schema = {"type": "object", "properties": properties, "required": required}
    close(schema)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


def merge(target: dict[str, Any], more: dict[str, Any]) -> None:
    """Two field groups may share a root."""
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = value


def close(schema: Any) -> None:
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            close(value)

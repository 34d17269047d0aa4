"""The options of an Adobe destination, and what they come to. Every mistake is found before the first event."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from connector.destinations.adobe_entity import EXTRA_GROUPS, GROUPS, EntityRules
from connector.destinations.adobe_field_group import tenant_key
from connector.destinations.base import Option, checked_url
from connector.destinations.http import checked_headers
from connector.errors import SettingsError
from connector.model import ClientCredentials, Connection

FLOW_ID = "x-adobe-flow-id"
COLLECTION = "/collection/"
SYNC_VALIDATION = "syncValidation"
SCOPES = "openid,AdobeID,read_organizations,additional_info.projectedProductContext,session"
TOKEN_URL = "https://ims-na1.adobelogin.com/ims/token/v3"  # noqa: S105 (an address)
NONE = ("none", "off")
NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
PROFILES: Mapping[str, str] = {"xdm": "customerio", "raw": "raw"}  # what each mode reads
NEEDED_FOR_XDM = ("org_id", "dataset_id", "schema_id", "tenant")

OPTIONS: Mapping[str, Option] = {
    "url": Option("url", "The streaming endpoint (`inletUrl`), with or without `?x-adobe-flow-id=`.", required=True),
    "flow_id": Option("text", "The data flow's id; may stand in the URL instead."),
    "mode": Option(
        "choice", "`xdm`: finished ExperienceEvents; `raw`: as received, for a Data Prep mapping.", default="xdm",
        choices=("xdm", "raw"),
    ),
    "org_id": Option("text", "The organization, `…@AdobeOrg`. Needed for xdm."),
    "dataset_id": Option("text", "The dataset. Needed for xdm."),
    "schema_id": Option("text", "The schema of the dataset, `https://ns.adobe.com/…`. Needed for xdm."),
    "tenant": Option("text", "The tenant id, with or without its underscore. Needed for xdm."),
    "content_type": Option(
        "text", "The schema's content type.", default="application/vnd.adobe.xed-full+json;version=1"
    ),
    "source_name": Option("text", "A label, `header.source.name`.", default="customerio-reporting-webhooks"),
    "field_groups": Option(
        "text", "Which of Adobe's field groups the schema has, with commas between; or `none`.",
        default=", ".join(GROUPS),
    ),
    "id_namespace": Option("text", "The namespace of Customer.io's `id`; `off`: none.", default="customerioId"),
    "email_namespace": Option("text", "The namespace of e-mail addresses; `off`: none.", default="Email"),
    "cio_id_namespace": Option("text", "The namespace of `cio_id`; `off`: none.", default="off"),
    "primary_only": Option("boolean", "Only the primary identity, so that none are linked.", default=False),
    "without_identity": Option(
        "choice", "An event that identifies nobody: a dead letter, or sent without an identity map.",
        default="refuse", choices=("refuse", "send"),
    ),
    "recipient": Option(
        "choice", "The message's recipient: as it is, its SHA-256, or left out.", default="keep",
        choices=("keep", "hash", "drop"),
    ),
    "soft_bounces": Option(
        "boolean", "Bounces whose message begins with 4 are soft; otherwise all are hard.", default=False
    ),
    "count_machines": Option("boolean", "Opens and clicks by software have a measure too.", default=True),
    "sandbox": Option("text", "The sandbox's name, sent in both headers that Adobe's pages name."),
    "headers": Option("mapping", "Further headers of each request; their values are kept secret.", default={}),
    "client_id": Option("text", "For an inlet that requires authentication: the OAuth server-to-server client."),
    "client_secret": Option("secret", "The client's secret."),
    "scopes": Option("text", "The token's scopes.", default=SCOPES),
    "token_url": Option("url", "Where tokens are fetched.", default=TOKEN_URL),
    "time_key": Option("text", "Mode raw: a further key with the event's time in RFC 3339, for Data Prep."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AdobeSettings:
    url: str
    flow_id: str
    headers: Mapping[str, str]
    credentials: ClientCredentials | None
    rules: EntityRules | None  # None: mode raw


def read_settings(connection: Connection, option: Callable[[str], Any]) -> AdobeSettings:
    """What the options come to; `option` gives their values. Raises SettingsError with all that cannot work."""
    problems: list[str] = []
    mode = str(option("mode"))
    url, flow_id = inlet(connection, str(option("url")), option("flow_id"), problems)
    if connection.profile != PROFILES[mode]:
        problems.append(f"mode {mode} needs profile {PROFILES[mode]}; leave `profile` out")
    if connection.identify:
        problems.append("an inlet takes events, not people: leave `identify` out")
    if not flow_id:
        problems.append(f"flow_id is missing, and url has no {FLOW_ID}")
    rules = entity_rules(option, problems) if mode == "xdm" else None
    credentials = client_credentials(connection.name, option, problems)
    headers = headers_of(connection.name, option, flow_id if mode == "raw" else "", problems)
    if problems:
        raise SettingsError([f"destination {connection.name}: {problem}" for problem in problems])
    return AdobeSettings(url, flow_id, headers, credentials, rules)


def inlet(connection: Connection, url: str, flow_id: Any, problems: list[str]) -> tuple[str, str]:
    """The address for one message or for many, and the flow's id, which may have been pasted along with the address."""
    parts = urlsplit(checked_url(connection.name, url))
    query = dict(parse_qsl(parts.query))
    flow_id = str(flow_id or query.pop(FLOW_ID, ""))
    path = parts.path.replace(f"{COLLECTION}batch/", COLLECTION).rstrip("/")
    head, found, inlet_id = path.partition(COLLECTION)
    if not found or not inlet_id:
        problems.append(f"url must have a path with {COLLECTION} and the inlet's id, as Adobe shows it")
    is_single = connection.batch.max_events == 1
    if SYNC_VALIDATION in query and not is_single:
        problems.append(f"{SYNC_VALIDATION} takes single messages only: set batch.max_events to 1")
    path = f"{head}{COLLECTION}{inlet_id}" if is_single else f"{head}{COLLECTION}batch/{inlet_id}"
    return parts._replace(path=path, query=urlencode(query), fragment="").geturl(), flow_id


def entity_rules(option: Callable[[str], Any], problems: list[str]) -> EntityRules:
    """How events become ExperienceEvents."""
    problems += [f"{name} is missing; mode xdm needs it" for name in NEEDED_FOR_XDM if not option(name)]
    tenant = ""
    try:
        tenant = tenant_key(str(option("tenant") or "unnamed"))
    except SettingsError as error:
        problems += error.problems
    words = {word.strip().lower() for word in re.split(r"[,\s]+", str(option("field_groups"))) if word.strip()}
    groups = frozenset(words - set(NONE))
    known = (*GROUPS, *EXTRA_GROUPS)
    if groups - set(known):
        problems.append(
            f"field_groups: {', '.join(sorted(groups - set(known)))} is not known; there are {', '.join(known)}"
        )
    namespaces = {name: namespace(name, option, problems) for name in ("id", "email", "cio_id")}
    given = [code for code in namespaces.values() if code]
    if not given and option("without_identity") != "send":
        problems.append("every namespace is off, so no event could be sent; see without_identity")
    return EntityRules(
        tenant=tenant,
        groups=groups,
        id_namespace=namespaces["id"],
        email_namespace=namespaces["email"],
        cio_id_namespace=namespaces["cio_id"],
        is_primary_only=bool(option("primary_only")),
        is_nobody_sent=option("without_identity") == "send",
        recipient=str(option("recipient")),
        are_soft_bounces_told=bool(option("soft_bounces")),
        are_machines_counted=bool(option("count_machines")),
    )


def namespace(name: str, option: Callable[[str], Any], problems: list[str]) -> str | None:
    code = str(option(f"{name}_namespace"))
    if code.lower() in NONE:
        return None
    if not NAMESPACE.fullmatch(code):
        problems.append(f"{name}_namespace: {code!r} is not the code of a namespace (its identity symbol)")
    return code


def client_credentials(name: str, option: Callable[[str], Any], problems: list[str]) -> ClientCredentials | None:
    client_id, secret = option("client_id"), option("client_secret")
    if bool(client_id) != bool(secret):
        problems.append("client_id and client_secret are given together, or not at all")
    if not client_id or not secret:
        return None
    try:
        token_url = checked_url(name, str(option("token_url")))
    except SettingsError:
        problems.append("token_url must be an address like https://example.com/path, without user name and password")
        return None
    return ClientCredentials(token_url, str(client_id), str(secret), str(option("scopes")))


def headers_of(name: str, option: Callable[[str], Any], raw_flow_id: str, problems: list[str]) -> dict[str, str]:
    """Adobe's pages disagree on the name of the sandbox's header, so both are sent."""
    given = dict(option("headers"))
    if option("sandbox"):
        given |= {"sandbox-name": option("sandbox"), "x-sandbox-name": option("sandbox")}
    if raw_flow_id:
        given[FLOW_ID] = raw_flow_id
    try:
        return checked_headers(name, given)
    except SettingsError as error:
        problems += [problem.removeprefix(f"destination {name}: ") for problem in error.problems]
        return {}

"""What `doctor` looks at over the network: the destinations, PUBLIC_URL from outside, and, by the way, the clock."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from connector.commands.desk import Desk
from connector.commands.findings import Finding, fail, ok, warn
from connector.commands.first_steps import EVERYWHERE
from connector.commands.running import WEBHOOK_PATH, webhook_url
from connector.destinations.base import Destination, http_moment
from connector.errors import PayloadError, SettingsError, TransportError
from connector.json_codec import read_json
from connector.model import Request, Response

ANSWER_SECONDS = 8.0
SKEW_WARN_SECONDS, SKEW_FAIL_SECONDS = 5.0, 60.0  # signatures with a timestamp are refused by many after minutes

Send = Callable[[Request, float], Response]


def examine_destinations(desk: Desk) -> list[Finding]:
    """Each is called at its root, without a key and without an event: does anything answer? Then the clock."""
    findings: list[Finding] = []
    skews: list[float] = []
    for connection in desk.connections.destinations:
        about = f"destination {connection.name}"
        try:
            built = desk.house.build_destination(connection)
        except SettingsError as error:
            findings.append(fail(about, str(error), "mend that, then restart the service"))
            continue
        url = built.prepare([], desk.house.clock.now()).url
        if built.transport == "file":
            findings.append(_folder(about, Path(url).parent))
        elif built.transport == "http":
            findings.append(_call(desk, about, built, url, skews))
        else:
            findings.append(
                ok(about, f"goes by {built.transport}; python -m connector test {connection.name} tries it")
            )
    findings.append(examine_clock(skews))
    return findings


def _folder(about: str, folder: Path) -> Finding:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if os.access(there, os.W_OK | os.X_OK) and there.is_dir():
        return ok(about, f"{folder} can be written")
    return fail(about, f"{folder} cannot be written", "give the service's user the right to write there")


def _call(desk: Desk, about: str, built: Destination, url: str, skews: list[float]) -> Finding:
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}/"
    transport = desk.house.open_transport(desk.settings, built.transport)
    begun = desk.house.clock.now()
    try:
        response = transport.send(Request("GET", root, {}, b""), ANSWER_SECONDS)
    except TransportError as error:
        hint = "" if "CONNECTOR_ALLOW_NETWORKS" in str(error) else "check its url, the network and the firewall"
        return fail(about, str(error), hint)
    finally:
        transport.close()
    ended = desk.house.clock.now()
    theirs = http_moment(response.headers.get("date", ""))
    if theirs is not None:
        skews.append(skew_seconds(begun, ended, theirs))
    milliseconds = (ended - begun).total_seconds() * 1000
    # Any answer is one: what stands at the root is not what events are sent to.
    return ok(
        about, f"{parts.netloc} answers within {milliseconds:.0f} ms; `test {built.connection.name}` sends an event"
    )


def skew_seconds(begun: datetime, ended: datetime, theirs: datetime) -> float:
    """By how much our clock is ahead of theirs; 0 when the answer's own second explains it."""
    ahead = (begun - theirs).total_seconds() - 1
    behind = (theirs - ended).total_seconds()
    return ahead if ahead > 0 else -behind if behind > 0 else 0.0


def examine_clock(skews: Sequence[float]) -> Finding:
    """By the answers' Date headers; of several the smallest difference counts, since one server may be wrong."""
    if not skews:
        return ok("clock", "not compared: no destination that answers says what time it is")
    skew = min(skews, key=abs)
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the destinations' clocks"
    advice = "let the machine keep its time by NTP (timedatectl set-ntp true)"
    if abs(skew) > SKEW_FAIL_SECONDS:
        return fail("clock", text, advice)
    if abs(skew) > SKEW_WARN_SECONDS:
        return warn("clock", text, advice)
    return ok("clock", "agrees with the destinations' clocks")


def examine_public_url(desk: Desk) -> list[Finding]:
    """Does PUBLIC_URL lead here, as Customer.io would find it? Nothing is stored by asking."""
    about, public_url = "PUBLIC_URL", desk.settings.public_url
    if public_url is None:
        advice = "set it to the address that Customer.io calls; README.md says how to make this service reachable"
        return [warn(about, "not set, so nobody can tell whether Customer.io reaches this service", advice)]
    transport = desk.house.open_transport(replace(desk.settings, allow_networks=EVERYWHERE), "http")
    try:
        findings = [_healthz(about, public_url, transport.send)]
        if not findings[0].advice:
            findings = [_webhook(about, desk, public_url, transport.send)]
    finally:
        transport.close()
    if public_url.startswith("http://"):
        advice = "put a proxy with TLS in front, as compose.yaml does"
        findings.append(warn(about, "is http://: people's data and the write key travel unencrypted", advice))
    return findings


def _healthz(about: str, public_url: str, send: Send) -> Finding:
    try:
        response = send(Request("GET", f"{public_url}/healthz", {}, b""), ANSWER_SECONDS)
    except TransportError as error:
        return fail(about, f"{public_url}: {error}", "is the service started, the proxy set up, the name right?")
    if response.status != 200:
        text = f"{public_url}/healthz answers {response.status}"
        return fail(about, text, "let the proxy forward /v1/webhook and /healthz to this service")
    return ok(about, f"{public_url} answers")


def _webhook(about: str, desk: Desk, public_url: str, send: Send) -> Finding:
    """Asks in strict mode, which stores nothing: only a service with our write key explains what it makes of `{}`."""
    headers = {"X-Strict-Mode": "1", "Content-Type": "application/json"}
    try:
        response = send(Request("POST", webhook_url(desk.settings, desk.connections), headers, b"{}"), ANSWER_SECONDS)
    except TransportError as error:
        return fail(about, f"{public_url}{WEBHOOK_PATH}: {error}", "let the proxy forward POST to this service")
    if response.status == 401:
        text = f"{public_url} leads to a service that does not know the write key"
        return fail(about, text, "does the proxy forward to this service, with the query string?")
    if response.status in (200, 400) and _is_explanation(response.body):
        return ok(about, f"{public_url} leads here; the write key is known")
    text = f"{public_url}{WEBHOOK_PATH} answers {response.status}, not as this service does"
    return fail(about, text, "let the proxy forward /v1/webhook to this service, unchanged")


def _is_explanation(body: bytes) -> bool:
    try:
        value = read_json(body)
    except PayloadError:
        return False
    return isinstance(value, dict) and bool({"errors", "events"} & set(value))

"""/status: how things are, on one plain page without scripts; also as JSON. And what stands at /."""

import secrets
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime, timedelta

from flask import Blueprint, Response, render_template, request

from connector.json_codec import write_json
from connector.model import SignatureMode
from connector.overview import Overview, SourceOverview

GOOD, WARN, BAD, QUIET = "good", "warn", "bad", "quiet"  # how a word is coloured
LITTLE_ROOM_BYTES = 1024**3
LATE = timedelta(minutes=5)  # what waits longer than this deserves a look
UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def build_console(read_overview: Callable[[], Overview]) -> Blueprint:
    """`read_overview` raises TimeoutError when there was no telling in time."""
    console = Blueprint("console", __name__, template_folder="templates")

    @console.get("/")
    def front() -> Response:
        return _page(render_template("front.html", nonce=(nonce := secrets.token_urlsafe(16))), 200, nonce)

    @console.get("/status")
    def status() -> Response:
        try:
            overview = read_overview()
        except TimeoutError:
            return Response("The journal or the ledger did not answer in time.\n", 503, content_type="text/plain")
        if _wants_json():
            return Response(to_json(overview), content_type="application/json")
        nonce = secrets.token_urlsafe(16)
        return _page(
            render_template(
                "status.html",
                nonce=nonce,
                overview=overview,
                verdict=verdict(overview),
                ago=lambda moment: ago(moment, overview.at),
                signature_words=signature_words,
                state_colour=state_colour,
                is_late=lambda moment: moment is not None and overview.at - moment > LATE,
                little_room=LITTLE_ROOM_BYTES,
            ),
            200,
            nonce,
        )

    console.add_app_template_filter(in_bytes)
    console.add_app_template_filter(number)
    return console


def _page(html: str, status: int, nonce: str) -> Response:
    response = Response(html, status, content_type="text/html; charset=utf-8")
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["Content-Security-Policy"] = policy
    return response


def _wants_json() -> bool:
    if "json" in request.args:
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def to_json(overview: Overview) -> bytes:
    """Everything that the page shows, under the names of the dataclasses' fields."""
    shown = {field.name: getattr(overview, field.name) for field in fields(overview) if field.name != "counts"}
    return write_json(shown)


def verdict(overview: Overview) -> list[tuple[str, str]]:
    """(colour, sentence) for each thing that a person should look at; empty when all is well."""
    found: list[tuple[str, str]] = []
    if overview.refusal is not None:
        found.append((BAD, "The changed configuration is refused; the last good one stays in force."))
    if overview.disk_free_bytes is not None and overview.disk_free_bytes < LITTLE_ROOM_BYTES:
        found.append((BAD, f"The disk is nearly full: {in_bytes(overview.disk_free_bytes)} left."))
    for destination in overview.destinations:
        if state_colour(destination.state) == BAD:
            found.append((BAD, f"{destination.name}: {destination.state}. {destination.reason}"))
        if destination.backlog.dead:
            found.append((WARN, f"{destination.name}: {number(destination.backlog.dead)} dead letters."))
    newest = max((key.last_at for key in overview.rejected_keys), default=None)
    if newest is not None and overview.at - newest < timedelta(hours=1):
        found.append((WARN, "Calls with a wrong write key came within the hour; each stalls its sender for an hour."))
    found.extend((WARN, f"Could not be read: {what}") for what in overview.unreadable)
    return found


def state_colour(state: str) -> str:
    if state == "delivering":
        return GOOD
    if state in ("disabled", "not started"):
        return QUIET
    return BAD if state in ("held", "failing") else WARN


def signature_words(source: SourceOverview) -> tuple[str, str]:
    """(colour, sentence): what the source's signatures are worth at present."""
    genuine = source.signatures.get("genuine", 0)
    if source.signature is SignatureMode.OFF:
        return QUIET, "not checked"
    if source.is_enforced:
        return GOOD, "enforced" if source.signature is SignatureMode.ENFORCE else "proven, and enforced since"
    if source.signature is SignatureMode.AUTO:
        return WARN, "observed until the first genuine one"
    return (GOOD, "observed, genuine ones seen") if genuine else (WARN, "observed, no genuine one yet")


def ago(moment: datetime | None, now: datetime) -> str:
    """Such as "3 minutes ago"; "never" for None."""
    if moment is None:
        return "never"
    seconds = max(0, int((now - moment).total_seconds()))
    for size, unit in UNITS:
        count = seconds // size
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def number(count: int) -> str:
    """With thin spaces between thousands, so that long ones can be read."""
    return f"{count:,}".replace(",", "\u202f")


def in_bytes(size: int) -> str:
    scaled = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if scaled < 1024:
            return f"{scaled:.0f} {unit}" if unit == "bytes" else f"{scaled:.1f} {unit}"
        scaled /= 1024
    return f"{scaled:.1f} TiB"

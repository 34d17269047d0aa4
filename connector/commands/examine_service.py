"""What `doctor` looks at in the service: journal, delivering process, keys, destinations, what a person should see."""

from datetime import datetime, timedelta

from connector.commands.answers import ago, plural
from connector.commands.desk import Desk, base_url
from connector.commands.findings import Finding, fail, ok, warn
from connector.commands.first_steps import TAKES_UP, read_status
from connector.commands.second_looks import second_looks
from connector.errors import ConnectorError
from connector.ledger import DELIVERING_AT
from connector.model import SignatureMode
from connector.overview import DestinationOverview, Overview, SourceOverview

FLAW_SECONDS = 10.0  # spent on looking through the journal's file
ALIVE = timedelta(seconds=100)  # the delivering process shows itself every 30 s
LATE = timedelta(minutes=15)  # what waits longer deserves a look
RECENT = timedelta(hours=1)  # as long as Customer.io waits after a refusal
LOOKED_AT = 100  # quarantined events; more are not counted one by one
NAMES_SHOWN = 5


def examine_configuration(desk: Desk) -> list[Finding]:
    """What is allowed and probably not meant; and whether the running service has the same in force."""
    count = len(desk.connections.destinations)
    findings = [
        ok("configuration", f"{plural(len(desk.connections.sources), 'source')}, {plural(count, 'destination')}"),
        *(warn("configuration", text) for text in second_looks(desk.connections, desk.settings)),
    ]
    if desk.refusal:
        text = f"the file has mistakes, the last good one stays in force: {desk.refusal}"
        findings.append(fail("configuration", text, "mend the file; it is taken up without a restart"))
    status = read_status(desk.house, desk.settings)
    if status is None:
        text = f"nothing answers at {base_url(desk.settings)}"
        return [*findings, warn("service", text, "start it: python -m connector up")]
    findings.append(ok("service", f"answers at {base_url(desk.settings)}"))
    if status.get("refusal") and not desk.refusal:
        text = f"the running service refused the changed file: {status['refusal']}"
        findings.append(fail("configuration", text, f"here the file is right; {TAKES_UP}"))
    elif status.get("configuration") != desk.connections.fingerprint:
        text = "the running service has another configuration in force"
        findings.append(warn("configuration", text, f"{TAKES_UP}; or was it started in another folder?"))
    return findings


def examine_journal(desk: Desk) -> list[Finding]:
    """Can it store now, and is its file sound?"""
    try:
        desk.journal.check_writable()
        flaws = desk.journal.flaws(FLAW_SECONDS)
        events = desk.journal.count(None, None)
    except ConnectorError as error:
        return [fail("journal", str(error), "see the disk, and who owns the data folder")]
    if flaws:
        advice = "stop the service, keep a copy of the data folder, restore the backup (docs/operating.md)"
        return [fail("journal", f"its file is damaged: {'; '.join(flaws[:3])}", advice)]
    looked = "" if flaws is not None else f"; too large to be looked through within {FLAW_SECONDS:.0f} s"
    return [ok("journal", f"can store; {plural(events, 'event')} kept{looked}")]


def examine_delivering(desk: Desk) -> Finding:
    """Is there a process that delivers?"""
    about = "delivering"
    try:
        told = desk.ledger.fact(DELIVERING_AT)
    except ConnectorError as error:
        return fail(about, str(error), "see the disk, and CONNECTOR_LEDGER")
    now = desk.house.clock.now()
    if told is None:
        return warn(about, "no process has delivered yet", "start the service: python -m connector up")
    last_at = datetime.fromisoformat(told)
    if now - last_at > ALIVE:
        advice = "start the service, or `deliver` if CONNECTOR_DELIVER=no; else its log says why it ends"
        return fail(about, f"the delivering process was last seen {ago(last_at, now)}", advice)
    return ok(about, "the delivering process lives")


def examine_sources(overview: Overview) -> list[Finding]:
    findings = [finding for source in overview.sources for finding in _source(source, overview)]
    recent = [key for key in overview.rejected_keys if overview.at - key.last_at < RECENT]
    for key in overview.rejected_keys:
        text = f"{key.masked_key} from {key.address}: {plural(key.count, 'call')}, last {ago(key.last_at, overview.at)}"
        advice = "somebody's Customer.io waits an hour after each; compare with the URL there, or add it to write_keys"
        findings.append(fail("rejected key", text, advice) if key in recent else warn("rejected key", text, ""))
    if not overview.rejected_keys:
        findings.append(ok("rejected keys", "none"))
    return findings


def _source(source: SourceOverview, overview: Overview) -> list[Finding]:
    about = f"source {source.name}"
    last = f"last received {ago(source.last_received_at, overview.at)}"
    findings = [ok(about, last if source.enabled else f"disabled; {last}")]
    if source.last_received_at is None and source.enabled:
        findings = [warn(about, "nothing has come in yet", "paste the URL into Customer.io and press Send Test there")]
    wrong = source.signatures.get("wrong", 0) + source.signatures.get("missing", 0)
    if source.signature is SignatureMode.OFF:
        findings.append(ok(about, "its signatures are not checked"))  # the configuration's warnings say the rest
    elif source.is_enforced and source.is_proven:
        findings.append(ok(about, "signing key proven; only signed events are delivered"))
    elif wrong and not source.is_proven:
        text = f"no signature was genuine so far, of {plural(wrong, 'call')}"
        advice = "compare SIGNING_KEY with the page of the reporting webhook; each webhook has its own"
        findings.append(fail(about, text, advice) if source.is_enforced else warn(about, text, advice))
    else:
        findings.append(ok(about, f"signing key set; {'proven' if source.is_proven else 'not proven yet'}"))
    if source.unknown_events:
        names = sorted(source.unknown_events)
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        text = f"events that are not documented: {', '.join(names[:NAMES_SHOWN])}{more}; they pass through"
        findings.append(warn(about, text, "check that your destinations' rules name them if you want them"))
    return findings


def examine_deliveries(desk: Desk, overview: Overview) -> list[Finding]:
    findings = [finding for destination in overview.destinations for finding in _destination(destination, overview)]
    try:
        quarantined = desk.journal.quarantined(limit=LOOKED_AT)
    except ConnectorError as error:
        return [*findings, fail("quarantine", str(error))]
    if quarantined:
        count = f"{LOOKED_AT} or more" if len(quarantined) == LOOKED_AT else str(len(quarantined))
        advice = "look: python -m connector quarantine list"
        findings.append(warn("quarantine", f"{count} events; the first: {quarantined[0].reason}", advice))
    else:
        findings.append(ok("quarantine", "empty"))
    return [*findings, *(fail("overview", f"could not be read: {what}") for what in overview.unreadable)]


def _destination(destination: DestinationOverview, overview: Overview) -> list[Finding]:
    about, findings = f"deliveries to {destination.name}", []
    waits = destination.backlog
    told = f"{destination.state}; {waits.waiting:,} waiting, {waits.retrying:,} retrying"
    delivered = f"last delivered {ago(destination.last_delivered_at, overview.at)}"
    if destination.state in ("held", "failing"):
        text = f"{told}: {destination.reason or destination.last_error}"
        advice = "mend its settings; it goes on at once" if destination.state == "held" else "see whether it is well"
        findings.append(fail(about, text, advice))
    elif waits.oldest_at is not None and overview.at - waits.oldest_at > LATE and destination.state != "disabled":
        text = f"{told}; the oldest came {ago(waits.oldest_at, overview.at)}"
        findings.append(warn(about, text, "is it slower than what comes in? see concurrency, batch and rate_limit"))
    else:
        findings.append(ok(about, f"{told}; {delivered}"))
    if waits.dead:
        advice = f"look: python -m connector dead list --destination {destination.name}"
        findings.append(warn(about, plural(waits.dead, "dead letter"), advice))
    return findings

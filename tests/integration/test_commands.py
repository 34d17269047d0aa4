"""The commands that need no running service, typed in a folder of their own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

import app
from connector.encryption import encrypt
from connector.journal.base import Journal
from connector.model import EventType, NextStep, Reader, Settlement, Verdict
from tests.integration.command_line import WRITE_KEY, CommandLine, opened
from tests.stubs import RudderStub, always

FIXTURES = Path(__file__).parents[2] / "fixtures" / "events"
RUDDER_KEY = "rudder-secret-key"


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """One source, and one file destination in the folder; nothing listens at its port."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, {"WRITE_KEY": WRITE_KEY, "PORT": "1", "CONNECTOR_DISK_RESERVE": "1MB"})


@pytest.fixture
def stub() -> Iterator[RudderStub]:
    running = RudderStub().start()
    yield running
    running.stop()


def to_stub(line: CommandLine, url: str) -> None:
    line.environment |= {
        "DESTINATION_URL": url,
        "DESTINATION_WRITE_KEY": RUDDER_KEY,
        "CONNECTOR_ALLOW_NETWORKS": "127.0.0.0/8",
    }


def settle(journal: Journal, reader: Reader, verdict: Verdict, reason: str = "") -> None:
    """What the delivering process would have made of everything that waits."""
    now = app.CLOCK.now()
    step = NextStep(EventType.TRACK, "all", verdict, now if verdict is Verdict.RETRY else None, 1, reason)
    claimed = journal.claim(reader, 100)
    journal.settle(reader, [Settlement(item.received.seq, (step,)) for item in claimed])


def deliver_as(line: CommandLine, verdict: Verdict, *ids: str, reason: str = "") -> None:
    """The events come in and get this verdict at the file destination."""
    reader = Reader("file", "production")
    journal = line.open_journal()
    journal.add_reader(reader, "beginning")
    definition = {"events": [], "profile": "rudderstack", "identify": False, "keep_content": False}
    journal.note_revision("file", "1", json.dumps({**definition, "actions": [{"name": "all"}]}))
    line.receive(*(opened(name) for name in ids))
    settle(journal, reader, verdict, reason)
    journal.close()


# ── first steps ──


def test_init_writes_an_env_once(line: CommandLine) -> None:
    first = line.run("init")
    text = (line.folder / ".env").read_text()
    second = line.run("init")

    assert (first.exit_code, second.exit_code) == (0, 1)
    assert f"\nWRITE_KEY={WRITE_KEY}\n" in text
    assert "\nCONNECTOR_SECRET_KEY=" in text
    assert (line.folder / ".env").read_text() == text
    assert (line.folder / ".env").stat().st_mode & 0o077 == 0


def test_init_writes_a_connections_file_that_says_the_same(line: CommandLine) -> None:
    before = line.json("check")
    line.run("init", "--yaml")
    after = line.json("check")

    assert [after[key] for key in ("ok", "sources", "destinations")] == [
        before[key] for key in ("ok", "sources", "destinations")
    ]
    assert line.run("init", "--yaml").exit_code == 1


def test_check_names_every_mistake_with_its_line(line: CommandLine) -> None:
    (line.folder / "connector.yaml").write_text(
        "sources: [{name: a, write_keys: [k]}]\n"
        "destinations:\n  - name: x\n    type: file\n    evnets: []\n    sources: [b]\n"
    )

    found = line.json("check", code=1)

    assert not found["ok"]
    assert any("connector.yaml:6: destinations[0].sources" in problem for problem in found["problems"])
    assert any("connector.yaml:5: destinations[0].evnets" in problem for problem in found["problems"])


def test_check_judges_the_file_as_it_is_where_others_go_on_with_the_last_good_one(line: CommandLine) -> None:
    config = line.folder / "connector.yaml"
    config.write_text("sources: [{name: a, write_keys: [k]}]\ndestinations: [{name: f, type: file}]\n")
    line.run("backlog")
    config.write_text("sources: [")

    backlog = line.run("backlog")

    assert line.json("check", code=1)["problems"] != []
    assert backlog.exit_code == 0
    assert "the last good one is taken" in backlog.stderr
    assert any("fail: the file has mistakes" in text for text in findings(line, "--offline", code=1)["configuration"])


def test_a_broken_setting_is_a_sentence_and_not_a_traceback(line: CommandLine) -> None:
    line.environment["PORT"] = "many"

    result = line.run("backlog")

    assert result.exit_code == 3
    assert result.output.strip() == "PORT: expected a whole number from 0 to 65535"


def test_a_secret_is_encrypted_from_stdin_and_rotated_in_place(line: CommandLine) -> None:
    old = line.json("encrypt", "--new-key")["key"]
    new = Fernet.generate_key().decode()
    line.environment["CONNECTOR_SECRET_KEY"] = old
    value = line.run("encrypt", stdin="s3cret-write-key\n").stdout.strip()
    config = line.folder / "connector.yaml"
    config.write_text(
        f"# why\nsources: [{{name: production, write_keys: ['{value}']}}]\ndestinations: [{{name: f, type: file}}]\n"
    )
    line.environment["CONNECTOR_SECRET_KEY"] = f"{new},{old}"
    line.run("encrypt", "--rotate", str(config))
    line.environment["CONNECTOR_SECRET_KEY"] = new

    assert line.json("check")["ok"]
    assert value not in config.read_text()
    assert config.read_text().startswith("# why\n")


def test_rotating_what_no_key_fits_changes_nothing(line: CommandLine) -> None:
    config = line.folder / "c.yaml"
    config.write_text(f"key: {encrypt('x', [Fernet.generate_key().decode()])}\n")
    before = config.read_bytes()
    line.environment["CONNECTOR_SECRET_KEY"] = Fernet.generate_key().decode()

    result = line.run("encrypt", "--rotate", str(config))

    assert result.exit_code == 1
    assert "line 1" in result.output
    assert config.read_bytes() == before


# ── trying ──


def test_normalize_shows_what_a_payload_becomes(line: CommandLine) -> None:
    line.environment.clear()

    found = line.json("normalize", str(FIXTURES / "customer_unsubscribed.json"), "--profile", "segment", "--identify")

    assert [event["type"] for event in found["events"]] == ["track", "identify"]
    assert found["events"][0]["name"] == "customer_unsubscribed"


@pytest.mark.parametrize("body", [b"[]", b"not JSON", b""])
def test_normalize_says_of_what_would_go_to_quarantine(line: CommandLine, body: bytes) -> None:
    result = line.run("normalize", "-", stdin=body)

    assert result.exit_code == 1
    assert "quarantine" in result.output


def test_a_test_event_takes_the_real_path_and_shows_no_secret(line: CommandLine, stub: RudderStub) -> None:
    to_stub(line, stub.url)

    result = line.run("test", "rudderstack")
    shown = line.json("test", "rudderstack")

    assert result.exit_code == 0, result.output
    assert "200" in result.output
    assert RUDDER_KEY not in result.output + json.dumps(shown)
    assert shown["attempts"][0]["deliveries"][0]["outcome"] == "delivered"
    assert '"event":"Email Delivered"' in shown["attempts"][0]["request"]["body"]
    assert len(stub.taken) == 2


def test_a_refused_test_event_is_a_problem_with_the_answer(
    line: CommandLine, stub: RudderStub, caplog: pytest.LogCaptureFixture
) -> None:
    stub.behaviour = always(401, f"no such key: {RUDDER_KEY}".encode())
    to_stub(line, stub.url)

    result = line.run("test", "rudderstack")

    assert result.exit_code == 1
    assert "unauthorized" in result.output
    assert caplog.records == [], "the answer is shown, not logged"
    assert RUDDER_KEY not in result.output


def test_a_test_event_goes_to_a_disabled_destination_that_reads_nothing(line: CommandLine) -> None:
    (line.folder / "connector.yaml").write_text(
        "sources: [{name: a, write_keys: [k]}]\n"
        "destinations: [{name: f, type: file, path: out, enabled: false, sources: [], events: ['sms_*']}]\n"
    )

    shown = line.json("test", "f")

    assert shown["fixture"].startswith("sms_")
    assert list((line.folder / "out").glob("*.ndjson"))


def test_a_test_event_that_the_rules_filter_is_not_sent(line: CommandLine) -> None:
    (line.folder / "connector.yaml").write_text(
        "sources: [{name: a, write_keys: [k]}]\ndestinations: [{name: f, type: file, events: ['sms_*']}]\n"
    )

    result = line.run("test", "f", "--fixture", "email_opened")

    assert result.exit_code == 1
    assert "email_opened filtered by: events" in result.output


def test_an_inner_address_is_refused_with_what_to_do(line: CommandLine, stub: RudderStub) -> None:
    to_stub(line, stub.url)
    del line.environment["CONNECTOR_ALLOW_NETWORKS"]

    result = line.run("test", "rudderstack")

    assert result.exit_code == 1
    assert "CONNECTOR_ALLOW_NETWORKS" in result.output


def test_send_says_when_nobody_answers(line: CommandLine) -> None:
    result = line.run("send", str(FIXTURES / "email_opened.json"))

    assert result.exit_code == 3
    assert "no answer" in result.output


def test_send_says_which_file_cannot_be_read(line: CommandLine) -> None:
    result = line.run("send", "nothing.json")

    assert result.exit_code == 1
    assert "nothing.json cannot be read: No such file or directory" in result.output


# ── operating ──


def test_tail_and_event_tell_what_became_of_an_event(line: CommandLine) -> None:
    deliver_as(line, Verdict.DONE, "01A")
    line.receive(opened("01B"))

    by_id = {
        row["event_id"]: row["destinations"][0]["state"]
        for row in map(json.loads, line.run("tail", "--json").stdout.splitlines())
    }
    told = line.json("event", "01B")[0]

    assert by_id == {"01A": "delivered", "01B": "waiting"}
    assert told["headers"] == {"user-agent": "test"}
    assert told["normalized"][0]["body"]["event"] == "Email Opened"
    assert "Destinations" in line.run("event", "01A").output


def test_an_event_that_never_came_is_a_problem(line: CommandLine) -> None:
    assert line.run("event", "01X").exit_code == 1


def test_an_event_in_quarantine_is_found_there(line: CommandLine) -> None:
    line.receive(opened("01Q"), quarantine_reason="the signature is wrong")

    result = line.run("event", "01Q")

    assert result.exit_code == 1
    assert "quarantine show 1" in result.output


def test_backlog_counts_what_waits_and_says_who_is_not_well(line: CommandLine) -> None:
    deliver_as(line, Verdict.DONE, "01A")
    line.receive(opened("01B"))
    line.report("file", "held", "401 Unauthorized")

    result = line.run("backlog")
    shown = line.json("backlog", code=1)

    assert shown["destinations"][0]["sources"]["production"]["waiting"] == 1
    assert result.exit_code == 1
    assert "401 Unauthorized" in result.output
    assert "no process has delivered yet" in result.stderr  # the states are then what was last known


def test_a_dry_run_counts_and_sends_nothing(line: CommandLine) -> None:
    deliver_as(line, Verdict.DONE, "01A", "01B")
    line.receive(opened("01C", "clicked"))

    found = line.json("replay", "file", "--since", "1h", "--where", "metric == 'opened'", "--dry-run")

    assert (found["events"], found["deliveries"]) == (3, 2)
    assert line.json("replay", "list") == []


def test_a_replay_is_begun_listed_and_cancelled(line: CommandLine) -> None:
    deliver_as(line, Verdict.DONE, "01A", "01B")

    begun = line.json("replay", "--destination", "file", "--since", "2026-08-01")[0]
    listed = line.run("replay", "list")
    cancelled = line.run("replay", "cancel", begun["id"])

    assert begun["total"] == 2
    assert begun["id"] in listed.output
    assert cancelled.exit_code == 0
    assert line.run("replay", "cancel", begun["id"]).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("replay",), 2),
        (("replay", "nowhere"), 1),
        (("replay", "file", "--since", "soon"), 2),
        (("replay", "file", "--where", "=="), 2),
        (("replay", "file", "--source", "other"), 1),
        (("replay", "file", "--since", "2026-08-02", "--until", "2026-08-01"), 2),
    ],
)
def test_a_replay_that_cannot_be_is_refused(line: CommandLine, arguments: tuple[str, ...], code: int) -> None:
    assert line.run(*arguments).exit_code == code


# ── what was given up, what is not trusted ──


def test_dead_letters_are_shown_retried_and_dropped(line: CommandLine) -> None:
    deliver_as(line, Verdict.DEAD, "01A", "01B", "01C", reason="answered 400 Bad Request")
    letters = line.json("dead", "list")
    ids = [str(letter["id"]) for letter in letters]

    listed = line.run("dead", "list").output
    shown = line.run("dead", "show", ids[0])
    retried = line.json("dead", "retry", ids[0])
    dropped = line.json("dead", "drop", "--destination", "file", "--yes")

    assert [(letter["name"], letter["action"]) for letter in letters] == [("email_opened", "all")] * 3
    assert "email_opened" in listed
    assert "answered 400 Bad Request" in shown.output
    assert retried == {"retry": 1, "of": 1}
    assert dropped == {"drop": 2, "of": 2}
    assert line.json("dead", "list") == []
    assert line.run("dead", "retry", "999").exit_code == 1


@pytest.mark.parametrize("choice", [("dead", "drop", "--all"), ("dead", "drop", "--destination", "file")])
def test_no_program_sweeps_letters_away_unless_it_says_yes(line: CommandLine, choice: tuple[str, ...]) -> None:
    deliver_as(line, Verdict.DEAD, "01A", reason="answered 400 Bad Request")

    refused = line.run(*choice)

    assert refused.exit_code == 2
    assert "--yes" in refused.output
    assert len(line.json("dead", "list")) == 1
    assert line.json(*choice, "--yes") == {"drop": 1, "of": 1}


def test_no_program_sweeps_the_quarantine_unless_it_says_yes(line: CommandLine) -> None:
    line.receive(b"not JSON", quarantine_reason="the signature is wrong")

    assert line.run("quarantine", "drop", "--all").exit_code == 2
    assert line.json("quarantine", "drop", "--all", "--yes") == {"drop": 1, "of": 1}


@pytest.mark.parametrize("command", [("dead", "retry"), ("dead", "drop"), ("quarantine", "release")])
def test_nothing_is_chosen_by_leaving_it_out(line: CommandLine, command: tuple[str, ...]) -> None:
    nothing = line.run(*command)

    assert nothing.exit_code == 2
    assert f"--{'source' if command[0] == 'quarantine' else 'destination'} NAME" in nothing.output
    assert line.run(*command, "1", "--all").exit_code == 2


def test_quarantine_releases_what_can_be_read_and_keeps_the_rest(line: CommandLine) -> None:
    line.receive(opened("01A"), b"not JSON", quarantine_reason="the signature is wrong")

    listed = line.json("quarantine", "list")
    released = line.json("quarantine", "release", "--all", code=1)

    assert [one["event_id"] for one in listed] == ["01A", "sha256:1"]
    assert released == {"released": 1, "duplicates": 0, "refused": 1}
    assert line.json("event", "01A")[0]["name"] == "email_opened"
    assert line.run("quarantine", "show", "2").exit_code == 0
    assert line.json("quarantine", "drop", "2") == {"drop": 1, "of": 1}


# ── doctor ──


def findings(line: CommandLine, *arguments: str, code: int = 0) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in line.json("doctor", *arguments, code=code)["findings"]:
        found.setdefault(one["about"], []).append(f"{one['level']}: {one['text']}")
    return found


def test_doctor_finds_a_healthy_folder_healthy(line: CommandLine) -> None:
    found = findings(line, "--offline")

    assert found["journal"] == ["ok: can store; 0 events kept"]
    assert found["service"][0].startswith("warn: nothing answers at http://127.0.0.1:1")
    assert found["delivering"] == ["warn: no process has delivered yet"]


def test_doctor_finds_a_held_destination_dead_letters_and_quarantine(line: CommandLine) -> None:
    deliver_as(line, Verdict.DEAD, "01A", reason="refused")
    line.receive(opened("01B"), quarantine_reason="the signature is wrong")
    line.report("file", "held", "answered 401 Unauthorized, check its key")

    found = findings(line, "--offline", code=1)

    assert any("fail: held" in text and "check its key" in text for text in found["deliveries to file"])
    assert "warn: 1 dead letter" in found["deliveries to file"]
    assert found["quarantine"] == ["warn: 1 events; the first: the signature is wrong"]


def test_doctor_finds_rejected_keys(line: CommandLine) -> None:
    line.open_journal().close()  # makes the folder
    ledger = app.open_ledger(line.house.load_settings())
    ledger.add_rejected({("wron… (15 characters)", "203.0.113.9"): 3}, app.CLOCK.now())
    ledger.close()

    found = findings(line, "--offline", code=1)

    assert found["rejected key"][0].startswith("fail: wron… (15 characters) from 203.0.113.9: 3 calls")


def test_doctor_reaches_destinations_without_sending_an_event(line: CommandLine, stub: RudderStub) -> None:
    to_stub(line, stub.url)

    found = findings(line)

    assert found["destination rudderstack"][0].startswith("ok: 127.0.0.1")
    assert stub.taken == []


def test_doctor_explains_a_destination_that_is_not_reached(line: CommandLine) -> None:
    to_stub(line, "http://127.0.0.1:1")
    line.environment["PUBLIC_URL"] = "http://127.0.0.1:1"

    found = findings(line, code=1)

    assert "Connection refused" in found["destination rudderstack"][0]
    assert found["PUBLIC_URL"][0].startswith("fail: http://127.0.0.1:1")


def test_doctor_finds_a_stranger_behind_the_public_url(line: CommandLine, stub: RudderStub) -> None:
    line.environment["PUBLIC_URL"] = stub.url

    assert findings(line, code=1)["PUBLIC_URL"][0].startswith(f"fail: {stub.url}/healthz answers")


def test_doctor_finds_a_damaged_journal(line: CommandLine) -> None:
    line.receive(*(opened(f"01{number:04}", note="x" * 1000) for number in range(200)))
    path = line.folder / "data" / "journal.db"
    journal = line.open_journal()
    journal.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8192] = bytes(8192)
    path.write_bytes(content)

    found = findings(line, "--offline", code=1)

    assert any(text.startswith("fail:") for text in (*found.get("journal", ()), *found.get("opening", ())))


def test_doctor_says_what_it_can_of_a_folder_that_cannot_be_made(line: CommandLine) -> None:
    (line.folder / "file").write_text("not a folder")
    line.environment["CONNECTOR_DATA_DIR"] = "file/data"

    found = findings(line, "--offline", code=1)

    assert "cannot be written" in found["disk"][0]
    assert found["opening"][0].startswith("fail:")

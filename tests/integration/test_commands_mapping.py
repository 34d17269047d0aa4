"""`map` and `dry-run`, typed in a folder of their own."""

from pathlib import Path

import pytest

from tests.integration.command_line import WRITE_KEY, CommandLine, opened

RULES = """
sources: [{name: production, write_keys: ["${WRITE_KEY}"]}, {name: other, write_keys: [another-write-key]}]
destinations:
  - name: files
    type: file
    sources: [production]
    default_actions: {sms: false, email: false}
    actions:
      - {name: opens, where: "metric == 'opened'", fields: {properties.note: "template('{event}!', @)"}}
      - {name: broken, where: "metric == 'bounced'", map: "length(missing)"}
    privacy: {hash: [context.traits.email], salt: pepper}
"""


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "connector.yaml").write_text(RULES)
    return CommandLine(tmp_path, {"WRITE_KEY": WRITE_KEY, "CONNECTOR_DISK_RESERVE": "1MB"})


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Without any configuration."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, {})


# ── map ──


def test_an_expression_shows_what_it_yields_and_what_it_changes(bare: CommandLine) -> None:
    result = bare.run("map", "merge(@, {channel: 'email'})", "--fixture", "email_opened")

    assert result.exit_code == 0
    assert '"channel": "email"' in result.stdout
    assert '+ channel: "email"' in result.stderr


def test_an_expression_may_yield_any_value(bare: CommandLine) -> None:
    result = bare.run("map", "properties.metric")

    assert result.stdout.strip() == '"opened"'
    assert "has to yield an object" in result.stderr


@pytest.mark.parametrize(("rule", "value"), [("metric == 'opened'", True), ("object_type == 'sms'", False)])
def test_a_where_is_tried_with_what_it_sees(bare: CommandLine, rule: str, value: bool) -> None:
    assert bare.json("map", rule, "--where")["value"] is value


def test_a_preset_is_tried_by_its_name(bare: CommandLine) -> None:
    taken = bare.json("map", "only-people", "--fixture", "email_opened")
    left = bare.json("map", "only-people", "--fixture", "email_clicked__machine", code=1)

    assert (taken[0]["verdict"], left[0]["verdict"]) == ("delivered", "filtered")
    assert left[0]["reason"] == "preset only-people of action 'only-people'"


def test_a_payload_comes_from_a_file_or_from_stdin(bare: CommandLine) -> None:
    (bare.folder / "one.json").write_bytes(b'{"event_id": "1", "object_type": "sms", "metric": "sent", "data": {}}')

    from_file = bare.json("map", "event", "one.json")
    from_stdin = bare.run("map", "event", "-", stdin=(bare.folder / "one.json").read_bytes())

    assert from_file["value"] == "SMS Sent"
    assert from_stdin.stdout.strip() == '"SMS Sent"'


def test_an_action_is_shown_as_its_destination_does_it(line: CommandLine) -> None:
    (shown,) = line.json("map", "opens", "--fixture", "email_opened", "--destination", "files")

    assert shown["verdict"] == "delivered"
    assert shown["after"]["properties"]["note"] == "Email Opened!"
    assert "@" in shown["before"]["context"]["traits"]["email"]
    assert len(shown["after"]["context"]["traits"]["email"]) == 64


def test_an_action_that_fails_says_why(line: CommandLine) -> None:
    result = line.run("map", "broken", "--fixture", "email_bounced", "--destination", "files")

    assert result.exit_code == 1
    assert "dead: action 'broken', map: length() does not take null" in result.stderr


def test_an_expression_can_be_tried_with_the_privacy_of_a_destination(line: CommandLine) -> None:
    (shown,) = line.json("map", "{who: context.traits.email}", "--destination", "files")

    assert len(shown["after"]["who"]) == 64


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("a = b",), 1, "unexpected '=' at column 3"),
        (("length(missing)",), 1, "length() does not take null"),
        (("@", "--fixture", "nosuch"), 1, "there is no example 'nosuch'"),
        (("@", "--fixture", "../secret"), 1, "there is no example '../secret'"),
        (("@", "x.json", "--fixture", "email_opened"), 2, "not both"),
        (("@", "nosuch.json"), 1, "cannot be read"),
        (("no such rule", "--destination", "files"), 1, "nor is it an action of files: opens, broken, customer"),
        (("@", "--destination", "nosuch"), 1, "there is no destination 'nosuch'"),
    ],
)
def test_what_cannot_be_mapped_is_refused(line: CommandLine, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = line.run("map", *arguments)

    assert result.exit_code == code
    assert text in result.stderr


# ── dry-run ──


def test_a_dry_run_counts_by_action_rule_and_reason(line: CommandLine) -> None:
    sms = {**opened("4"), "object_type": "sms"}
    push = {**opened("5"), "object_type": "push"}
    line.receive(opened("1"), opened("2"), opened("3", "bounced"), sms, push)

    found = line.json("dry-run", "files")

    assert found["events"] == 5
    assert found["delivered"] == {"opens": 4, "push": 1}  # it takes opens of every kind
    assert found["filtered"]["where of action 'broken'"] == 4
    assert list(found["dead"]) == ["action 'broken', map: length() does not take null (in length(missing))"]


def test_a_dry_run_shows_examples_before_and_after(line: CommandLine) -> None:
    line.receive(opened("1"), opened("2"), opened("3", "bounced"))

    result = line.run("dry-run", "files")

    assert result.exit_code == 0
    assert "3 events from production" in result.stdout
    assert "delivered: email_opened (track, action opens) 1" in result.stdout
    assert '- context.traits.email: "ada@example.com"' in result.stdout
    assert '+ properties.note: "Email Opened!"' in result.stdout
    assert "dead: email_bounced (track, action broken) 3" in result.stdout
    assert "nothing was sent" in result.stderr


def test_a_dry_run_looks_at_a_range(line: CommandLine) -> None:
    line.receive(*(opened(str(number)) for number in range(5)))

    limited = line.json("dry-run", "files", "--limit", "2", "--examples", "0")
    earlier = line.json("dry-run", "files", "--until", "2020-01-01")
    elsewhere = line.json("dry-run", "files", "--source", "other")

    assert [found["events"] for found in (limited, earlier, elsewhere)] == [2, 0, 0]
    assert limited["examples"] == []


def test_a_dry_run_sends_nothing_and_moves_no_cursor(line: CommandLine) -> None:
    line.receive(opened("1"))

    line.run("dry-run", "files")

    assert not (line.folder / "data" / "events").exists()
    journal = line.open_journal()
    assert journal.readers() == []
    journal.close()


def test_what_cannot_be_looked_at_is_refused(line: CommandLine) -> None:
    assert line.run("dry-run", "nosuch").exit_code == 1
    assert line.run("dry-run", "files", "--source", "nosuch").exit_code == 1

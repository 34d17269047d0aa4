"""The docs and the command line name the same commands."""

import re
from pathlib import Path

import click
import pytest

from connector.commands.line import cli
from tests.docs_commands import command_reference, leaves
from tests.docs_tables import ROOT, is_up_to_date, section

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS = dict(leaves(cli))
PROMISED = {
    *("init", "check", "encrypt", "up", "serve", "deliver"),
    *("send", "test", "demo", "normalize", "tail", "event", "map", "dry-run"),
    *("replay", "dead", "quarantine", "backlog", "doctor"),
}


def test_the_reference_is_that_of_the_code() -> None:
    assert is_up_to_date("docs/commands.md", command_reference(cli)), "run: python -m tests.regenerate_docs"


def test_every_promised_command_is_there() -> None:
    assert set(cli.commands) >= PROMISED


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    options = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)]

    assert COMMANDS[name].help
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_answer_in_json(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_a_command_or_option_that_does_not_exist(path: Path) -> None:
    for line in re.findall(r"python -m connector ([^`\n#]+)", path.read_text(encoding="utf-8")):
        words = line.split()
        if not re.fullmatch(r"[a-z]+", words[0]):
            continue  # "python -m connector …"
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        assert name in COMMANDS or name in cli.commands, f"{path.name}: {line}"
        command = COMMANDS.get(name, cli.commands[words[0]])
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, f"{path.name}: {line}"


def test_the_readme_names_every_command() -> None:
    text = section((ROOT / "README.md").read_text(encoding="utf-8"), "## Commands")

    assert [name for name in cli.commands if f"`{name}`" not in text] == []

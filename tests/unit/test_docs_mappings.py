"""docs/mappings.md and the code name the same functions, presets and default actions; its examples work."""

import re
from pathlib import Path

import pytest

from connector.connections import load_connections
from connector.connections.warning import warnings
from connector.mapping import DEFAULT_ACTIONS, PRESETS
from connector.mapping.expression import MAX_EXPRESSION_CHARACTERS, MAX_EXPRESSION_DEPTH
from connector.mapping.functions import MAX_TEXT_CHARACTERS, OWN_FUNCTIONS
from connector.mapping.interpreter import MAX_SIZE, MAX_STEPS
from connector.settings import load_settings
from tests.docs_tables import ROOT, section

PAGE = (ROOT / "docs" / "mappings.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_every_function_is_described_and_no_other() -> None:
    described = re.findall(r"^\| `(\w+)\(", section(PAGE, "## Functions"), re.MULTILINE)

    assert sorted(described) == sorted(OWN_FUNCTIONS)


def test_every_preset_is_described_in_its_own_words() -> None:
    described = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", section(PAGE, "## Presets"), re.MULTILINE)

    assert described == [(name, preset.meaning) for name, preset in PRESETS.items()]


def test_every_default_action_is_named() -> None:
    text = section(PAGE, "## Default actions")

    assert [action.name for action in DEFAULT_ACTIONS if f"`{action.name}`" not in text] == []


def test_the_limits_are_those_of_the_code() -> None:
    text = section(PAGE, "## Expressions")
    numbers = f"{MAX_EXPRESSION_CHARACTERS:,} characters", f"{MAX_EXPRESSION_DEPTH} levels", f"{MAX_STEPS:,} steps"

    assert [number for number in numbers if number not in " ".join(text.split())] == []
    assert f"{MAX_SIZE // 1_000_000} million characters and values" in text
    assert f"{MAX_TEXT_CHARACTERS // 1_000_000} million characters of a text" in text


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_are_valid(text: str, tmp_path: Path) -> None:
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    config = tmp_path / "connector.yaml"
    config.write_text(
        "sources: [{name: production, write_keys: ['${WRITE_KEY}'], signing_keys: [s]}]\n"
        "destinations:\n  - name: files\n    type: file\n" + indented,
        encoding="utf-8",
    )
    environment = {"WRITE_KEY": "k" * 40, "SALT": "pepper", "CONNECTOR_CONFIG": str(config)}

    connections = load_connections(load_settings(environment, tmp_path))

    assert warnings(connections) == []

"""What a person does before the first event: settings in connector.yaml, and the field group to create."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import HOUSE
from connector.commands.line import cli
from connector.connections import load_connections
from connector.settings import load_settings
from tests.xdm import read_xdm

CONFIGURATION = """
sources: [{name: production, write_keys: [kkkkkkkkkkkkkkkkkkkkkkkk]}]
destinations:
  - name: files
    type: file
  - name: aep
    type: adobe
    url: https://dcs.adobedc.net/collection/abc
    flow_id: f
    org_id: 0123@AdobeOrg
    dataset_id: d
    schema_id: https://ns.adobe.com/acme/schemas/1
    tenant: acme
  - name: aep-raw
    type: adobe
    mode: raw
    url: https://dcs.adobedc.net/collection/abc?x-adobe-flow-id=f
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "connector.yaml").write_text(CONFIGURATION, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_mode_reads_the_profile_that_it_needs(folder: Path) -> None:
    settings = load_settings({"CONNECTOR_CONFIG": str(folder / "connector.yaml")}, folder)

    destinations = load_connections(settings).destinations

    assert [(one.name, one.profile) for one in destinations[1:]] == [("aep", "customerio"), ("aep-raw", "raw")]


@pytest.mark.parametrize("arguments", [["aep"], ["--tenant", "_acme"], ["aep", "--json"]])
def test_the_field_group_of_a_destination_or_a_tenant_is_printed(folder: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, ["adobe-field-group", *arguments], obj=HOUSE)

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == read_xdm("tenant-field-group")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        ([], 2, "name a destination"),
        (["aep", "--tenant", "acme"], 2, "name a destination"),
        (["files"], 1, "not of type adobe"),
        (["aep-raw"], 1, "has no tenant"),
        (["nowhere"], 1, "there is no destination 'nowhere'"),
        (["--tenant", "a b"], 1, "is not a tenant id"),
    ],
)
def test_what_has_no_field_group_is_refused(folder: Path, arguments: list[str], exit_code: int, words: str) -> None:
    result = CliRunner().invoke(cli, ["adobe-field-group", *arguments], obj=HOUSE)

    assert (result.exit_code, words in result.output) == (exit_code, True)

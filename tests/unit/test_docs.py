"""The docs and the code name the same things. When a test here fails, one of the two has been forgotten."""

import re
from pathlib import Path

import pytest

from connector.connections import load_connections
from connector.connections.warning import warnings
from connector.destinations import DESTINATION_TYPES
from connector.settings import load_settings
from connector.variables import VARIABLES
from schemas.connections import (
    ActionSchema,
    DestinationSchema,
    RateLimitSchema,
    RetentionSchema,
    RetrySchema,
    SourceSchema,
    StrictSchema,
)
from tests.docs_events import full_table, short_table
from tests.docs_tables import is_up_to_date, section

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FILE_SUFFIX = "_FILE"

ENVIRONMENT = {
    "WRITE_KEY": "k" * 40,
    "SIGNING_KEY": "s",
    "RUDDER_WRITE_KEY": "r",
    "HOOK_TOKEN": "t",
    "HOOK_SECRET": "h",
}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_cells(text: str) -> list[str]:
    """The first cell of each table row that holds one `name`."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


# ── settings ──


def test_the_docs_have_every_setting_and_no_other() -> None:
    documented = first_cells(section(page("docs/configuration.md"), "## Settings"))

    assert documented == [variable.name for variable in VARIABLES]


def test_the_docs_say_which_settings_are_secret() -> None:
    text = section(page("docs/configuration.md"), "## Settings")
    documented = set(re.findall(r"^\| `(\w+)` \|[^|]*\| secret\.", text, re.MULTILINE))

    assert documented == {variable.name for variable in VARIABLES if variable.is_secret}


def test_the_example_environment_has_every_setting() -> None:
    shown = re.findall(r"^#? ?([A-Z_]+)=", page(".env.example"), re.MULTILINE)

    assert shown == [variable.name for variable in VARIABLES]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_a_setting_that_does_not_exist(path: Path) -> None:
    known = {variable.name for variable in VARIABLES} | {"CONNECTOR_PARENT_PID"}
    named = set(re.findall(r"\bCONNECTOR_[A-Z_]+\b", path.read_text(encoding="utf-8")))

    assert {name.removesuffix(FILE_SUFFIX) for name in named} <= known


# ── connector.yaml ──


@pytest.mark.parametrize(
    ("heading", "schema", "by_type"),
    [
        ("### sources", SourceSchema, set()),
        ("### destinations", DestinationSchema, {"batch"}),
        ("### actions", ActionSchema, set()),
        ("### retention", RetentionSchema, set()),
    ],
)
def test_the_docs_have_every_key_of_the_connections_file(
    heading: str, schema: type[StrictSchema], by_type: set[str]
) -> None:
    documented = set(first_cells(section(page("docs/configuration.md"), heading)))
    declared = {field.data_key or name for name, field in schema().fields.items()}

    assert documented == declared | by_type


@pytest.mark.parametrize("schema", [RateLimitSchema, RetrySchema])
def test_the_docs_have_the_keys_of_the_nested_parts(schema: type[StrictSchema]) -> None:
    text = section(page("docs/configuration.md"), "### destinations")

    assert [name for name in schema().fields if f"`{name}`" not in text] == []


def yaml_examples() -> list[str]:
    return [text for name in ("README.md",) for text in re.findall(r"```yaml\n(.*?)```", page(name), re.DOTALL)]


@pytest.mark.parametrize("text", yaml_examples())
def test_the_examples_of_the_connections_file_are_valid(text: str, tmp_path: Path) -> None:
    config = tmp_path / "connector.yaml"
    config.write_text(text, encoding="utf-8")

    connections = load_connections(load_settings({**ENVIRONMENT, "CONNECTOR_CONFIG": str(config)}, tmp_path))

    assert warnings(connections) == []


def test_the_examples_of_actions_are_valid(tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(actions:.*?)```", page("docs/configuration.md"), re.DOTALL)[0]
    indented = "".join(f"    {line}\n" for line in example.splitlines())
    config = tmp_path / "connector.yaml"
    config.write_text(
        "sources: [{name: production, write_keys: ['${WRITE_KEY}']}]\n"
        "destinations:\n  - name: files\n    type: file\n" + indented,
        encoding="utf-8",
    )

    connections = load_connections(load_settings({**ENVIRONMENT, "CONNECTOR_CONFIG": str(config)}, tmp_path))

    assert len(connections.destinations[0].actions) == 2


# ── destinations ──


def test_every_destination_type_has_a_page_and_every_page_a_type() -> None:
    assert {path.stem for path in (DOCS / "destinations").glob("*.md")} == set(DESTINATION_TYPES)


@pytest.mark.parametrize("type_name", sorted(DESTINATION_TYPES))
def test_the_page_of_a_destination_has_all_its_options(type_name: str) -> None:
    text = page(f"docs/destinations/{type_name}.md")

    assert [name for name in DESTINATION_TYPES[type_name].options if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md"])
def test_every_destination_type_is_named(name: str) -> None:
    assert [type_name for type_name in DESTINATION_TYPES if type_name not in page(name)] == []


# ── events, make, links ──


@pytest.mark.parametrize(("name", "table"), [("README.md", short_table()), ("docs/events.md", full_table())])
def test_the_tables_of_events_are_those_of_the_code(name: str, table: str) -> None:
    assert is_up_to_date(name, table), "run: python -m tests.regenerate_docs"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_make_target_that_a_page_names_exists(path: Path) -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE)

    assert set(named) <= set(targets)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_between_pages_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#([\w-]+))?\)", path.read_text(encoding="utf-8"))

    for target, anchor in links:
        linked = path.parent / target
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}

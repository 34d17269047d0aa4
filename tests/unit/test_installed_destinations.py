"""Destination types of installed packages: found, refused by name, and harmless to the others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.connections import LiveConnections, load_connections, warnings
from connector.destinations import build_destination, destination_types, installed, unavailable_reason
from connector.destinations.installed import UnavailableDestination, installed_types
from connector.errors import SettingsError
from connector.settings import load_settings
from tests.installed_package import install

SOUND = """
from connector.destinations.base import Destination, Option
from connector.model import Batch, Request


class PigeonDestination(Destination):
    type = "pigeon"
    max_batch = Batch(10, 1_000_000, 1.0)
    options = {"loft": Option("text", "Where it lives.", required=True)}

    def encode(self, event):
        return b"{}"

    def prepare(self, batch, sent_at):
        return Request("POST", "https://example.com", {}, b"")


class Failing(PigeonDestination):
    def __init__(self, connection):
        raise KeyError("nest")


class FailingVariant(PigeonDestination):
    @classmethod
    def variant(cls, options):
        raise ValueError("no such bird")


class Half(Destination):
    type = "half"


class Renamed(PigeonDestination):
    type = "dove"


class WithPlainOptions(PigeonDestination):
    type = "plain"
    options = {"loft": "text"}


NOTHING = None
"""
CONFIGURATION = """
sources: [{name: production, write_keys: [wk_0123456789abcdef], signing_keys: [s]}]
destinations:
  - {name: files, type: file}
  - {name: birds, type: pigeon, loft: north}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path that holds one package with some types, sound and otherwise."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "pigeon_post.py").write_text(SOUND, "utf-8")
    (place / "broken_post.py").write_text("import a_package_that_is_not_there\n", "utf-8")
    monkeypatch.syspath_prepend(str(place))
    installed.cache_clear()
    yield place
    installed.cache_clear()


def fault(found: dict[str, type]) -> str:
    (made,) = found.values()
    assert issubclass(made, UnavailableDestination)
    return made.fault


def test_a_type_of_an_installed_package_is_there_beside_our_own(folder: Path) -> None:
    install(folder, "pigeon-post", {"pigeon": "pigeon_post:PigeonDestination"})

    assert destination_types()["pigeon"].__name__ == "PigeonDestination"
    assert "rudderstack" in destination_types()
    assert unavailable_reason("pigeon") == ""


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("pigeon", "broken_post:Pigeon", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("pigeon", "no_such_module:Pigeon", "ModuleNotFoundError"),
        ("pigeon", "pigeon_post:NoSuchClass", "AttributeError"),
        ("pigeon", "pigeon_post:NOTHING", "it is not a subclass of connector.destinations.base.Destination"),
        ("pigeon", "pigeon_post:Renamed", "its class attribute `type` is not 'pigeon'"),
        ("half", "pigeon_post:Half", "it lacks encode, prepare, options, max_batch"),
        ("plain", "pigeon_post:WithPlainOptions", "its options are not all of"),
    ],
)
def test_a_type_that_cannot_be_used_is_named_with_its_package_and_the_reason(
    folder: Path, name: str, target: str, reason: str
) -> None:
    install(folder, "pigeon-post", {name: target}, "2.1")

    text = fault(dict(installed_types(()).types))

    assert text.startswith(f"type {name!r} of pigeon-post 2.1 cannot be ")
    assert reason in text


def test_a_package_cannot_take_the_place_of_our_own_type(folder: Path) -> None:
    install(folder, "pigeon-post", {"rudderstack": "pigeon_post:PigeonDestination"})

    found = installed()

    assert found.types == {}
    assert found.remarks == ["pigeon-post 1.0.0 brings a destination type 'rudderstack': the connector's own is taken"]
    assert destination_types()["rudderstack"].__module__ == "connector.destinations.rudderstack"


def test_two_packages_with_one_name_are_both_told_and_neither_is_taken(folder: Path) -> None:
    install(folder, "pigeon-post", {"pigeon": "pigeon_post:PigeonDestination"})
    install(folder, "other-post", {"pigeon": "pigeon_post:PigeonDestination"})

    assert "brought by other-post 1.0.0 and by pigeon-post 1.0.0" in fault(dict(installed_types(()).types))


def test_a_connection_of_such_a_type_is_read_by_the_type_s_own_options(folder: Path, tmp_path: Path) -> None:
    install(folder, "pigeon-post", {"pigeon": "pigeon_post:PigeonDestination"})
    (tmp_path / "connector.yaml").write_text(CONFIGURATION, "utf-8")
    settings = load_settings({"CONNECTOR_CONFIG": str(tmp_path / "connector.yaml")}, tmp_path)

    birds = load_connections(settings).destinations[1]

    assert birds.options == {"loft": "north"}
    assert build_destination(birds).type == "pigeon"


def test_a_package_that_broke_stops_its_own_connections_and_no_other(folder: Path, tmp_path: Path) -> None:
    install(folder, "pigeon-post", {"pigeon": "broken_post:Pigeon"})
    (tmp_path / "connector.yaml").write_text(CONFIGURATION, "utf-8")
    settings = load_settings({"CONNECTOR_CONFIG": str(tmp_path / "connector.yaml")}, tmp_path)

    live = LiveConnections(settings)

    files, birds = live.current.destinations
    assert live.problem is None
    assert build_destination(files).type == "file"
    with pytest.raises(
        SettingsError, match=r"destination birds: type 'pigeon' of pigeon-post 1\.0\.0 cannot be loaded"
    ):
        build_destination(birds)
    with pytest.raises(SettingsError, match="destination birds: type 'pigeon' of pigeon-post"):
        load_connections(settings)


@pytest.mark.parametrize(
    ("target", "defect"), [("Failing", "KeyError: 'nest'"), ("FailingVariant", "ValueError: no such bird")]
)
def test_a_defect_that_shows_when_it_is_built_stops_its_own_connections_and_no_other(
    folder: Path, tmp_path: Path, target: str, defect: str
) -> None:
    install(folder, "pigeon-post", {"pigeon": f"pigeon_post:{target}"})
    (tmp_path / "connector.yaml").write_text(CONFIGURATION, "utf-8")
    settings = load_settings({"CONNECTOR_CONFIG": str(tmp_path / "connector.yaml")}, tmp_path)

    live = LiveConnections(settings)

    assert [one.name for one in live.current.destinations] == ["files", "birds"]
    with pytest.raises(SettingsError, match=f"destination birds: type 'pigeon' has a defect: {defect}"):
        load_connections(settings)


def test_what_was_left_aside_is_a_warning(folder: Path, tmp_path: Path) -> None:
    install(folder, "pigeon-post", {"file": "pigeon_post:PigeonDestination"})
    (tmp_path / "connector.yaml").write_text(CONFIGURATION.partition("  - {name: birds")[0], "utf-8")
    settings = load_settings({"CONNECTOR_CONFIG": str(tmp_path / "connector.yaml")}, tmp_path)

    assert [text for text in warnings(load_connections(settings)) if "pigeon-post" in text]


def test_a_package_that_went_missing_stops_the_connections_that_need_it_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.destinations.base.find_spec", lambda name: None)
    text = CONFIGURATION.replace("type: pigeon, loft: north", "type: kafka, brokers: kafka.example.com, topic: events")
    (tmp_path / "connector.yaml").write_text(text, "utf-8")
    settings = load_settings({"CONNECTOR_CONFIG": str(tmp_path / "connector.yaml")}, tmp_path)

    assert len(LiveConnections(settings).current.destinations) == 2
    with pytest.raises(SettingsError, match=r"pip install -r requirements-kafka\.txt"):
        load_connections(settings)

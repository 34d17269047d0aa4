"""What is said of settings that have no effect, and of addresses that would not be called."""

from pathlib import Path

import pytest

from connector.commands.second_looks import inner_host, second_looks
from connector.connections import load_connections
from connector.settings import load_settings

FILE = """
sources: [{name: production, write_keys: ["${WRITE_KEY}"], signing_keys: ["${SIGNING_KEY}"]}]
destinations: [{name: hook, type: http, url: "https://example.com", headers: {x: "${DESTINATON_URI:-}"}}]
"""


def looks(folder: Path, dotenv: str) -> list[str]:
    (folder / ".env").write_text("WRITE_KEY=0123456789abcdef\nSIGNING_KEY=secret\n" + dotenv, "utf-8")
    settings = load_settings({}, folder)
    return second_looks(load_connections(settings), settings)


def test_what_the_file_does_not_mention_has_no_effect(tmp_path: Path) -> None:
    (tmp_path / "connector.yaml").write_text(FILE, "utf-8")

    (warning,) = looks(tmp_path, "DESTINATION_URL=https://example.org\nDESTINATON_URI=used\n")

    assert warning.startswith("DESTINATION_URL is set and has no effect: connector.yaml decides")


def test_without_a_file_they_have_one(tmp_path: Path) -> None:
    assert looks(tmp_path, "DESTINATION_TYPE=file\n") == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("CONECTOR_WORKERS=2", "CONNECTOR_WORKERS"),
        ("DESTINATON_URL=https://example.com", "DESTINATION_URL"),
        ("write_key_file=/run/secrets/key", "WRITE_KEY_FILE"),
    ],
)
def test_a_misspelt_name_is_told(tmp_path: Path, written: str, meant: str) -> None:
    (warning,) = looks(tmp_path, written)

    assert warning == f"{written.partition('=')[0]} in .env is no setting and has no effect; is {meant} meant?"


def test_names_of_others_are_let_be(tmp_path: Path) -> None:
    assert looks(tmp_path, "AWS_ACCESS_KEY_ID=a\nOLD_WRITE_KEY=b\nDEBUG=1\n") == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:9000/x", "localhost"),
        ("https://10.1.2.3", "10.1.2.3"),
        ("https://[::1]:8443", "::1"),
        ("postgresql://me@192.168.1.5/events", "192.168.1.5"),
        ("http://127.0.0.1", None),  # allowed below
        ("https://93.184.215.14", None),
        ("https://inner.example.com", None),
        ("sqlite:///events.db", None),
    ],
)
def test_an_inner_address_is_seen_without_asking_anybody(tmp_path: Path, url: str, host: str | None) -> None:
    allowed = "10.9.0.0/16" if host == "localhost" else "127.0.0.0/8"
    settings = load_settings({"CONNECTOR_ALLOW_NETWORKS": allowed}, tmp_path)

    assert inner_host(url, settings) == host


def test_a_destination_at_an_inner_address_is_told(tmp_path: Path) -> None:
    (warning,) = looks(tmp_path, "DESTINATION_TYPE=http\nDESTINATION_URL=https://10.1.2.3/hook\n")

    assert "destination 'http': 10.1.2.3 is an inner address" in warning

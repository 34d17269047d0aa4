import re
import stat
from pathlib import Path

import pytest

from connector.errors import SettingsError
from connector.settings import describe, env_text, load_settings, write_first_env
from connector.variables import VARIABLES

SECRET_KEY = "k" * 43 + "="
ROOT = Path(__file__).parents[2]


def problems_of(environ: dict[str, str], directory: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, directory)
    return caught.value.problems


def test_an_empty_environment_gives_the_defaults(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path)

    assert (settings.host, settings.port, settings.public_url) == ("127.0.0.1", 8080, None)
    assert settings.data_dir == tmp_path / "data"
    assert settings.journal_url == f"sqlite:///{tmp_path}/data/journal.db"
    assert (settings.destination_type, settings.config_path) == ("file", None)
    assert settings.max_body_bytes == 4 * 1024 * 1024
    assert settings.store_timeout_seconds == 3
    assert settings.workers >= 2
    assert settings.deliver


def test_the_environment_wins_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nHOST=0.0.0.0\nHOOK_TOKEN='a#b $x'\n")

    settings = load_settings({"PORT": "2222"}, tmp_path)

    assert (settings.port, settings.host) == (2222, "0.0.0.0")  # noqa: S104  only read, not bound
    assert settings.environment["HOOK_TOKEN"] == "a#b $x"


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    problems = problems_of(
        {
            "PORT": "80800",
            "PUBLIC_URL": "events.example.com",
            "CONNECTOR_SECRET_KEY": "short",
            "CONNECTOR_ALLOW_NETWORKS": "10.0.0.1/8",
            "CONNECTOR_CONFIG": "missing.yaml",
            "CONNECTOR_DELIVER": "perhaps",
        },
        tmp_path,
    )

    assert [problem.split(":")[0] for problem in problems] == [
        "PORT",
        "PUBLIC_URL",
        "CONNECTOR_DELIVER",
        "CONNECTOR_SECRET_KEY",
        "CONNECTOR_ALLOW_NETWORKS",
        "CONNECTOR_CONFIG",
    ]
    assert not any("short" in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "-1"),
        ("PORT", "8080.5"),
        ("WRITE_KEY", "two words"),
        ("PUBLIC_URL", "https://user:secret@example.com"),
        ("PUBLIC_URL", "https://example.com/?a=b"),
        ("PUBLIC_URL", "https://["),
        ("CONNECTOR_WORKERS", "0"),
        ("CONNECTOR_JOURNAL", "mysql://x"),
        ("CONNECTOR_LEDGER", "ledger.db"),
        ("CONNECTOR_STORE_TIMEOUT", "nan"),
        ("CONNECTOR_STORE_TIMEOUT", "0"),
        ("CONNECTOR_DISK_RESERVE", "much"),
        ("CONNECTOR_LOG_LEVEL", "loud"),
        ("CONNECTOR_MAX_BODY_BYTES", "1"),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_variable(name: str, text: str, tmp_path: Path) -> None:
    assert problems_of({name: text}, tmp_path)[0].startswith(f"{name}: expected ")


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("CONNECTOR_DELIVER", "no", "deliver", False),
        ("CONNECTOR_DISK_RESERVE", "1GiB", "disk_reserve_bytes", 2**30),
        ("CONNECTOR_DISK_RESERVE", "5MB", "disk_reserve_bytes", 5_000_000),
        ("PUBLIC_URL", "https://example.com/", "public_url", "https://example.com"),
        ("DESTINATION_URL", "https://example.com", "destination_type", "rudderstack"),
        ("DESTINATION_TYPE", "Segment", "destination_type", "segment"),
        ("CONNECTOR_SECRET_KEY", f"{SECRET_KEY}, {SECRET_KEY}", "secret_keys", (SECRET_KEY, SECRET_KEY)),
        ("PORT", " ", "port", 8080),
    ],
)
def test_values_are_read(name: str, text: str, field: str, value: object, tmp_path: Path) -> None:
    assert getattr(load_settings({name: text}, tmp_path), field) == value


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    (tmp_path / ".env").write_text("WRITE_KEY=older\n")

    settings = load_settings({"WRITE_KEY_FILE": str(tmp_path / "key")}, tmp_path)

    assert settings.write_key == "from-file"


def test_a_secret_given_twice_or_in_a_missing_file_is_a_mistake(tmp_path: Path) -> None:
    problems = problems_of({"WRITE_KEY": "a", "WRITE_KEY_FILE": "b", "SIGNING_KEY_FILE": "/missing/file"}, tmp_path)

    assert problems == [
        "WRITE_KEY and WRITE_KEY_FILE are both set: keep one of them",
        "SIGNING_KEY_FILE: /missing/file cannot be read: No such file or directory",
    ]


def test_connector_yaml_is_found_by_itself(tmp_path: Path) -> None:
    (tmp_path / "connector.yaml").write_text("")

    assert load_settings({}, tmp_path).config_path == tmp_path / "connector.yaml"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    secrets = {
        "WRITE_KEY": "secret-1",
        "SIGNING_KEY": "secret-2",
        "DESTINATION_WRITE_KEY": "secret-3",
        "CONNECTOR_SECRET_KEY": SECRET_KEY,
        "CONNECTOR_LEDGER": "postgresql://me:secret-4@db/x",
        "HOOK": "secret-5",
    }

    settings = load_settings(secrets, tmp_path)

    shown = repr(settings) + str(describe(settings))
    assert "secret-" not in shown
    assert SECRET_KEY not in shown
    assert dict(describe(settings))["WRITE_KEY"] == "set"
    assert dict(describe(load_settings({}, tmp_path)))["WRITE_KEY"] == "not set"


def test_the_first_env_has_generated_keys_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    assert write_first_env(path, {"DESTINATION_URL": "https://example.com", "SIGNING_KEY": "it's # odd"})

    settings = load_settings({}, tmp_path)
    assert len(settings.write_key or "") >= 32
    assert len(settings.secret_keys) == 1
    assert settings.destination_url == "https://example.com"
    assert settings.signing_key == "it's # odd"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_env_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WRITE_KEY=mine\n")

    assert not write_first_env(tmp_path / ".env", {})

    assert (tmp_path / ".env").read_text() == "WRITE_KEY=mine\n"


def test_an_env_that_cannot_be_written_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written"):
        write_first_env(tmp_path / "missing" / ".env", {})


def test_the_example_env_names_every_variable() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")

    assert text == env_text({})
    assert re.findall(r"^# ([A-Z_]+)=", text, re.MULTILINE) == [variable.name for variable in VARIABLES]

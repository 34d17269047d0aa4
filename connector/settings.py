"""The process's settings: environment and `.env`, read once into one frozen object.

The only user of `os.environ` and of dotenv. Which sources and destinations there are is not decided here.
"""

import base64
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from connector.errors import SettingsError
from connector.variables import SECRET_KEY_BYTES, VARIABLES, IpNetwork, Variable

DEFAULT_CONFIG_NAME = "connector.yaml"
DEFAULT_WORKERS = max(2, min(4, os.cpu_count() or 1))  # two at least: one that hangs must not stall the webhook


@dataclass(frozen=True, slots=True)
class Settings:
    """What one process was told; see `VARIABLES` for the meaning of each field."""

    host: str
    port: int
    public_url: str | None
    write_key: str | None
    signing_key: str | None
    destination_type: str
    destination_url: str | None
    destination_write_key: str | None
    config_path: Path | None  # None: there is no file, the environment alone decides
    data_dir: Path
    workers: int
    deliver: bool
    journal_url: str
    ledger_url: str
    secret_keys: tuple[str, ...]
    allow_networks: tuple[IpNetwork, ...]
    max_body_bytes: int
    store_timeout_seconds: float
    disk_reserve_bytes: int
    keepalive_seconds: int
    forwarded_allow_ips: str
    log_level: str
    environment: Mapping[str, str]  # for ${NAME} in connector.yaml; holds secrets, never printed
    dotenv_names: tuple[str, ...]  # the names alone that stand in `.env`

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in describe(self))
        return f"Settings({shown})"


def read_variable(environment: Mapping[str, str], name: str) -> str | None:
    """The variable's value, or that of the file which `<name>_FILE` names; None when there is neither.

    Raises SettingsError when both are there, or when the file cannot be read.
    """
    value, file_name = environment.get(name), environment.get(f"{name}_FILE")
    if not file_name:
        return value
    if value:
        raise SettingsError([f"{name} and {name}_FILE are both set: keep one of them"])
    try:
        return Path(file_name).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError([f"{name}_FILE: {file_name} cannot be read: {reason}"]) from None


def load_settings(environ: Mapping[str, str] | None = None, directory: Path = Path()) -> Settings:
    """The settings from `environ` (the process's own by default) and `directory`/.env; environ wins.

    A blank value counts as not set; relative paths start at `directory`. Raises SettingsError
    that lists every mistake.
    """
    from_file = _read_dotenv(directory / ".env")
    environment = _with_dotenv(os.environ if environ is None else environ, from_file)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for variable in VARIABLES:
        values[variable.field] = variable.default
        try:
            given = read_variable(environment, variable.name) if variable.is_secret else environment.get(variable.name)
            if given and given.strip():
                values[variable.field] = variable.read(given.strip())
        except SettingsError as error:
            problems.extend(error.problems)
        except ValueError as error:
            problems.append(f"{variable.name}: {error}")

    config_path = directory / (values["config_path"] or DEFAULT_CONFIG_NAME)
    if values["config_path"] and not config_path.is_file():
        problems.append(f"CONNECTOR_CONFIG: there is no file {config_path}")
    if problems:
        raise SettingsError(problems)

    data_dir = directory / values["data_dir"]
    values |= {
        "config_path": config_path if config_path.is_file() else None,
        "data_dir": data_dir,
        "destination_type": values["destination_type"] or ("rudderstack" if values["destination_url"] else "file"),
        "journal_url": values["journal_url"] or f"sqlite:///{data_dir / 'journal.db'}",
        "ledger_url": values["ledger_url"] or f"sqlite:///{data_dir / 'ledger.db'}",
        "workers": values["workers"] or DEFAULT_WORKERS,
    }
    return Settings(**values, environment=environment, dotenv_names=tuple(from_file))


def _read_dotenv(path: Path) -> dict[str, str | None]:
    try:
        # No interpolation: a `$` in a secret is a `$`.
        return dotenv_values(path, interpolate=False, encoding="utf-8-sig") if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SettingsError([f"{path} cannot be read: {error}"]) from None


def _with_dotenv(environ: Mapping[str, str], from_file: Mapping[str, str | None]) -> dict[str, str]:
    return {
        # A secret given as a file in the environment also wins over the same one in `.env`, and the other way round.
        **{
            name: value
            for name, value in from_file.items()
            if value is not None and not environ.get(f"{name}_FILE") and not environ.get(name.removesuffix("_FILE"))
        },
        **environ,
    }


def describe(settings: Settings) -> list[tuple[str, str]]:
    """(variable, value) to print at start; secrets only as "set" or "not set"."""
    return [(variable.name, _shown(variable, getattr(settings, variable.field))) for variable in VARIABLES]


def _shown(variable: Variable, value: Any) -> str:
    if value is None or value == ():
        return "not set"
    if variable.is_secret and not str(value).startswith("sqlite:///"):
        return "set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def inherited_environment(**changed: str) -> dict[str, str]:
    """This process's own environment, without `.env`, for a child that reads `.env` itself; with what is changed."""
    return {**os.environ, **changed}


# ── the first .env ──


def env_text(given: Mapping[str, str]) -> str:
    """The text of a `.env`: every variable with its meaning; those not `given` are commented out."""
    lines = ["# Settings of the Customer.io connector. The environment wins over this file."]
    for variable in VARIABLES:
        value = given.get(variable.name)
        setting = f"{variable.name}={_quoted(value)}" if value else f"# {variable.name}={variable.example}"
        lines += ["", f"# {variable.meaning}", setting]
    return "\n".join(lines) + "\n"


def write_first_env(path: Path, given: Mapping[str, str]) -> bool:
    """Creates `path`, readable by its owner only, with what is `given` and generated keys for what is not.

    False, and nothing is touched, when the file is there. Raises SettingsError when it cannot be written.
    """
    generated = {
        "WRITE_KEY": secrets.token_urlsafe(24),
        "CONNECTOR_SECRET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode("ascii"),
    }
    text = env_text({**generated, **{name: value for name, value in given.items() if value}})
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise SettingsError([f"{path} cannot be written: {error.strerror}"]) from None
    return True


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./:@,+=*-]+", value, re.ASCII):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

"""The first steps: `init` writes a configuration, `check` judges it, `encrypt` hides a secret in it."""

import os
import sys
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from connector.commands.answers import PROBLEM, Refusal, exit_with, json_option, note, reaching, say, show_json
from connector.commands.desk import base_url
from connector.commands.second_looks import second_looks
from connector.connections import load_connections, write_yaml_from_environment
from connector.encryption import encrypt as encrypt_text
from connector.encryption import generate_key, rotate_all
from connector.errors import PayloadError, SettingsError, TransportError
from connector.house import House
from connector.json_codec import read_json
from connector.model import Request
from connector.settings import DEFAULT_CONFIG_NAME, Settings, describe, write_first_env

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))  # an address that the person at the keyboard gave
TAKES_UP = "it takes connector.yaml up within seconds, .env and the environment only at a reload (HUP) or a restart"
STATUS_SECONDS = 3.0  # for an answer of the service on this machine


@click.command()
@click.option("--yaml", "as_yaml", is_flag=True, help="Write a connector.yaml that says what the environment says.")
@json_option
@click.pass_obj
def init(house: House, as_yaml: bool, as_json: bool) -> None:
    """Writes the first .env, with new keys; never overwrites one."""
    if as_yaml:
        path, next_step = _write_yaml(house), "check it: python -m connector check"
    else:
        path, next_step = _write_env(house.load_settings()), "start the service: python -m connector up"
    if as_json:
        show_json({"written": str(path)})
    else:
        say(f"{path} is written. Now {next_step}")


def _write_env(settings: Settings) -> Path:
    path = Path(".env")
    given = {"WRITE_KEY": settings.write_key} if settings.write_key else {}
    if not write_first_env(path, given):
        raise Refusal(f"{path} exists and stays as it is; edit it, or remove it first")
    return path


def _write_yaml(house: House) -> Path:
    with reaching():
        settings = house.load_settings()
    if settings.write_key is None:
        raise Refusal("WRITE_KEY is not set: run `python -m connector init` first, which writes an .env")
    path = Path(DEFAULT_CONFIG_NAME)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(write_yaml_from_environment(settings))
    except FileExistsError:
        raise Refusal(f"{path} exists and stays as it is; edit it, or remove it first") from None
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror}") from None
    return path


@click.command()
@json_option
@click.pass_obj
def check(house: House, as_json: bool) -> None:
    """Validates the configuration. Names every mistake with its path, its line and what was expected."""
    problems: list[str] = []
    found: list[str] = []
    shown: dict[str, Any] = {}
    try:
        settings = house.load_settings()
        shown["settings"] = dict(describe(settings))
        connections = load_connections(settings)  # the file as it is, never the last good one
    except SettingsError as error:
        problems = error.problems
    else:
        found = second_looks(connections, settings)
        shown["sources"] = [source.name for source in connections.sources]
        shown["destinations"] = [
            {"name": destination.name, "type": destination.type, "enabled": destination.enabled}
            for destination in connections.destinations
        ]
        found += _compared_with_service(house, settings, connections.fingerprint)
    if as_json:
        show_json({"ok": not problems, "problems": problems, "warnings": found, **shown})
    else:
        _say_verdict(problems, found, shown)
    exit_with(PROBLEM if problems else 0)


def _say_verdict(problems: list[str], found: list[str], shown: dict[str, Any]) -> None:
    for problem in problems:
        say(f"fail  {problem}", "red")
    for warning in found:
        say(f"warn  {warning}", "yellow")
    if problems:
        say(f"\n{len(problems)} to mend. A running service goes on with its last good configuration.")
        return
    destinations = ", ".join(
        f"{one['name']} ({one['type']}{'' if one['enabled'] else ', disabled'})" for one in shown["destinations"]
    )
    say(f"ok    sources: {', '.join(shown['sources'])}", "green")
    say(f"ok    destinations: {destinations}", "green")


def _compared_with_service(house: House, settings: Settings, fingerprint: str) -> list[str]:
    """What the running service says of the file, if one answers here."""
    status = read_status(house, settings)
    if status is None or status.get("configuration") == fingerprint:
        return []
    if status.get("refusal"):
        refused = "the running service refused the file and goes on with the last good one"
        return [f"{refused}; {TAKES_UP}: {status['refusal']}"]
    return [f"the running service has another configuration in force: {TAKES_UP}"]


def read_status(house: House, settings: Settings) -> dict[str, Any] | None:
    """The /status of the service on this machine as it says it in JSON; None when none answers."""
    transport = house.open_transport(replace(settings, allow_networks=EVERYWHERE), "http")
    request = Request("GET", f"{base_url(settings)}/status", {"Accept": "application/json"}, b"")
    try:
        response = transport.send(request, STATUS_SECONDS)
        status = read_json(response.body) if response.status == 200 else None
    except (TransportError, PayloadError):
        return None
    finally:
        transport.close()
    return status if isinstance(status, dict) else None


@click.command()
@click.option("--new-key", is_flag=True, help="Print a fresh key for CONNECTOR_SECRET_KEY.")
@click.option(
    "--rotate",
    "rotated",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Encrypt the enc: values of this file again, with the first of the keys.",
)
@json_option
@click.pass_obj
def encrypt(house: House, new_key: bool, rotated: Path | None, as_json: bool) -> None:
    """Encrypts a secret. Asks for it, or reads stdin, and prints the enc:… value for connector.yaml."""
    if new_key and rotated:
        raise click.UsageError("--new-key and --rotate do not go together")
    if new_key:
        key = generate_key()
        show_json({"key": key}) if as_json else click.echo(key)
        return
    with reaching():
        keys = house.load_settings().secret_keys
    if rotated:
        count = _rotate_file(rotated, keys)
        show_json({"file": str(rotated), "values": count}) if as_json else say(f"{rotated}: {count} values encrypted")
        return
    text = _read_secret()
    value = encrypt_text(text, keys)
    show_json({"value": value}) if as_json else click.echo(value)
    if not as_json and sys.stdout.isatty():
        note('Put it in quotes into connector.yaml:  write_key: "enc:…"')


def _read_secret() -> str:
    if sys.stdin.isatty():
        text = str(click.prompt("Secret", hide_input=True, err=True))
    else:
        text = sys.stdin.read().rstrip("\r\n")
    if not text:
        raise Refusal("nothing came in on stdin: there is no secret to encrypt")
    return text


def _rotate_file(path: Path, keys: tuple[str, ...]) -> int:
    """Replaced as a whole, so that a reader never sees half a file."""
    text = path.read_bytes().decode("utf-8")  # the ends of lines stay as they are
    try:
        rotated, count = rotate_all(text, keys)
    except SettingsError as error:
        raise Refusal("\n".join(f"{path}: {problem}" for problem in error.problems)) from None
    if count:
        beside = path.with_name(f".{path.name}.new")
        beside.touch(0o600)
        beside.chmod(path.stat().st_mode)
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(rotated)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    return count

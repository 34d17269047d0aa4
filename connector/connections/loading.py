"""From the settings to the connections in force, at the start and after each change of the file."""

import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

from connector.connections.document import DocumentError, Place, Problem, parse
from connector.connections.interpolation import fill_in, names_in
from connector.connections.reading import read
from connector.destinations import build_destination
from connector.errors import SettingsError, UnavailableError
from connector.model import Connections
from connector.settings import Settings

log = logging.getLogger(__name__)

LAST_GOOD_NAME = "connector.last-good.yaml"  # in the data folder
MAX_FILE_BYTES = 1_000_000  # a connector.yaml of this size is another file by mistake
ENVIRONMENT_SOURCE = "production"  # the source's name where there is no file: its identity, also after `init --yaml`

# Which variable is to blame where there is no file.
_VARIABLE_OF: dict[Place, str] = {
    ("sources", 0, "write_keys"): "WRITE_KEY",
    ("sources", 0, "signing_keys"): "SIGNING_KEY",
    ("destinations", 0, "type"): "DESTINATION_TYPE",
    ("destinations", 0, "url"): "DESTINATION_URL",
    ("destinations", 0, "write_key"): "DESTINATION_WRITE_KEY",
}


def load_connections(settings: Settings) -> Connections:
    """All sources and destinations. Raises SettingsError that names every mistake with its path and line.

    Stricter than `LiveConnections`, for which a destination that lacks a package is no reason to stand still.
    """
    if settings.config_path is None:
        connections = _from_environment(settings)
    else:
        connections = _from_text(_text_of(settings.config_path), settings)
    problems: list[str] = []
    for connection in connections.destinations:
        try:
            build_destination(connection)
        except UnavailableError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    return connections


def referenced_variables(settings: Settings) -> frozenset[str]:
    """The ${NAME}s of connector.yaml as it is now; none where there is no file, or it cannot be read."""
    if settings.config_path is None:
        return frozenset()
    try:
        return names_in(parse(_text_of(settings.config_path)).value)
    except (SettingsError, DocumentError):
        return frozenset()


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError([f"{path}: larger than {MAX_FILE_BYTES} bytes"])
        return content.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: is not UTF-8 text"]) from None


def _from_text(text: str, settings: Settings) -> Connections:
    try:
        document = parse(text)
    except DocumentError as error:
        raise SettingsError([f"{settings.config_path}: {sentence}" for sentence in error.sentences]) from None
    filled, unfilled = fill_in(document.value, settings.environment, settings.secret_keys)
    connections, refused = read(filled, _default_options(settings))
    # What a missing variable left unset is no second mistake, neither there nor in the list around it.
    unset = {problem.path for problem in unfilled}
    around = {path[:-1] for path in unset}
    problems = unfilled + [
        problem
        for problem in refused
        if problem.path not in around and not any(problem.path[: len(path)] == path for path in unset)
    ]
    if problems or connections is None:
        located = sorted((document.line_of(found.path), _shown(found.path), found.message) for found in problems)
        raise SettingsError(
            [f"{settings.config_path}:{line}: {place or 'the file'}: {what}" for line, place, what in located]
        )
    return connections


def _from_environment(settings: Settings) -> Connections:
    if settings.write_key is None:
        raise SettingsError(
            ["WRITE_KEY is not set: run `python -m connector init`, which writes an .env with a generated key"]
        )
    destination = {
        "name": settings.destination_type,
        "type": settings.destination_type,
        "url": settings.destination_url,
        "write_key": settings.destination_write_key,
    }
    source: dict[str, Any] = {"name": ENVIRONMENT_SOURCE, "write_keys": [settings.write_key]}
    if settings.signing_key:
        source["signing_keys"] = [settings.signing_key]
    value = {
        "sources": [source],
        "destinations": [{key: given for key, given in destination.items() if given is not None}],
    }
    connections, problems = read(value, _default_options(settings))
    if connections is None:
        raise SettingsError([_sentence_about_variable(problem, settings) for problem in problems])
    return connections


def _sentence_about_variable(problem: Problem, settings: Settings) -> str:
    variable = _VARIABLE_OF.get(problem.path)
    if variable is None:
        place = _shown(problem.path[2:])
        return f"DESTINATION_TYPE={settings.destination_type}: {place + ': ' if place else ''}{problem.message}"
    if problem.message == "unknown setting":
        return f"{variable}: a destination of type {settings.destination_type} does not take it"
    return f"{variable}: {problem.message}"


def _default_options(settings: Settings) -> dict[str, dict[str, Any]]:
    return {"file": {"path": str(settings.data_dir / "events")}}


def _shown(path: Place) -> str:
    """`destinations[1].batch.max_events`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class LiveConnections:
    """The connections in force. `refresh` takes up a changed file; many threads may call it and read `current`."""

    def __init__(self, settings: Settings) -> None:
        """Starts from the last good file, and says so in `problem`, when the present one is broken: a machine that
        restarts at night must not refuse events for a slip of the pen. Raises SettingsError when there is none."""
        self._settings = settings
        self._last_good = settings.data_dir / LAST_GOOD_NAME
        self._lock = threading.Lock()
        self._signature = self._look()  # before reading: a change meanwhile is seen by the next refresh
        self._problem: str | None = None
        try:
            self._current = self._load()
        except SettingsError as error:
            if settings.config_path is None or not self._last_good.is_file():
                raise
            self._problem = str(error)
            self._current = _from_text(_text_of(self._last_good), settings)

    @property
    def current(self) -> Connections:
        return self._current

    @property
    def problem(self) -> str | None:
        """Why the file as it is now is not in force, for a person; None when it is."""
        return self._problem

    def refresh(self) -> bool:
        """True when new connections took force. Costs one stat() while the file stays as it is; never raises."""
        with self._lock:
            signature = self._look()
            if signature == self._signature:
                return False
            self._signature = signature
            try:
                connections = self._load()
            except SettingsError as error:
                self._problem = str(error)
                return False
            self._problem = None
            has_changed = connections.fingerprint != self._current.fingerprint
            self._current = connections
            return has_changed

    def _load(self) -> Connections:
        """The file's connections; a good file is remembered, as it stands, its variables not filled in."""
        path = self._settings.config_path
        if path is None:
            return _from_environment(self._settings)
        text = _text_of(path)
        connections = _from_text(text, self._settings)
        try:
            _remember(self._last_good, text)
        except OSError as error:
            log.warning(
                "%s cannot be written: %s; a restart could not fall back on it", self._last_good, error.strerror
            )
        return connections

    def _look(self) -> tuple[int, ...] | None:
        """What tells one state of the file from another; None when there is no file."""
        if self._settings.config_path is None:
            return None
        try:
            seen = self._settings.config_path.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino


def _remember(path: Path, text: str) -> None:
    """Replaces the copy as a whole; readable by its owner only, since a careless file may hold a secret in clear."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_file() and path.read_text("utf-8") == text:
        return
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def write_yaml_from_environment(settings: Settings) -> str:
    """The text of a connector.yaml that says what the environment says now; secrets stay references to it."""
    lines = [
        "# Sources and destinations of the Customer.io connector; connector.example.yaml shows all there is.",
        "# ${NAME} comes from the environment or from .env.",
        "sources:",
        f"  - name: {ENVIRONMENT_SOURCE}  # its identity: renaming makes it another source",
        '    write_keys: ["${WRITE_KEY}"]',
        '    signing_keys: ["${SIGNING_KEY:-}"]',
        "",
        "destinations:",
        f"  - name: {_quoted(settings.destination_type)}",
        f"    type: {_quoted(settings.destination_type)}",
    ]
    if settings.destination_url:
        lines.append(f"    url: {_quoted(settings.destination_url)}")
    if settings.destination_write_key:
        lines.append('    write_key: "${DESTINATION_WRITE_KEY}"')
    lines += ["", "retention: {events: forever, attempts: 30d}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # JSON's strings are YAML's double-quoted ones.
    return text if text.isalnum() else json.dumps(text.replace("${", "$${"), ensure_ascii=False)

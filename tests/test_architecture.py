"""Reads the imports of every file and checks who may use what.

When a test here fails, first try to move the code; change a table only with a reason beside the line.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A file may import from lower floors, and on its own floor only inside its own folder.
FLOORS: dict[int, tuple[str, ...]] = {
    5: ("app", "connector.__main__"),  # __main__ starts the command line, put together by app
    4: (
        "connector.commands",
        "connector.commands.*",
        "connector.api",
        "connector.api.*",
        "connector.console",
        "connector.console.*",
        "connector.web",
        "connector.web_process",
        "connector.gunicorn_worker",
        "gunicorn.conf",
    ),
    3: (
        "connector.receive",
        "connector.deliver",
        "connector.worker",
        "connector.supervise",  # the loop over all workers
        "connector.record",  # step 7
        "connector.replay",
        "connector.dry_run",
        "connector.fate",  # what became of an event, read from the journal and worked out by the rules
        "connector.house",  # what the commands are given by app
        "connector.overview",  # what pages and commands show, read from the doors
    ),
    2: (
        "connector.journal",
        "connector.journal.*",
        "connector.ledger",
        "connector.ledger_tables",
        "connector.transports",
        "connector.transports.*",
        "connector.settings",
        "connector.connections",
        "connector.connections.*",
        "connector.encryption",
        "connector.delivery_process",  # a child process
        "connector.request_body",  # reads a stream
    ),
    1: (
        "connector.caller",  # the two halves of receive that decide without I/O
        "connector.tally",
        "connector.verify",
        "connector.normalize",
        "connector.profiles",
        "connector.profiles.*",
        "connector.mapping",
        "connector.mapping.*",
        "connector.route",
        "connector.retry",
        "connector.pace",
        "connector.destinations",
        "connector.destinations.*",
        "connector.comparison",  # with the events of another source
        "connector.comparison.*",
    ),
    0: (
        "connector",
        "connector.model",
        "connector.errors",
        "connector.clock",
        "connector.collector",
        "connector.metrics",
        "connector.json_codec",
        "connector.variables",  # the name of every setting, as metrics has the name of every metric
        "schemas",
        "schemas.*",
    ),
}

# Who may look at a neighbour on the same floor, outside its own folder.
# A name stands for what is inside its folder too.
NEIGHBOURS: dict[tuple[str, str], str] = {
    ("connector.__main__", "app"): "the command line is put together there",
    ("connector.worker", "connector.replay"): "which knows the readers of the past beside those of the present",
    ("connector.worker", "connector.deliver"): "the loop calls the step that it repeats",
    ("connector.supervise", "connector.worker"): "one worker for each destination",
    ("connector.supervise", "connector.record"): "which it empties into the ledger",
    ("connector.ledger", "connector.ledger_tables"): "the other half of the same door",
    ("connector.normalize", "connector.profiles"): "the tables that it works with",
    ("connector.mapping", "connector.normalize"): "a distinct action derives its message id by the same rule",
    ("connector.destinations.adobe", "connector.normalize"): "to see that an action made another event of this one",
    ("connector.route", "connector.mapping"): "an action's expressions, compiled",
    ("connector.route", "connector.destinations.base"): "the interface that says whether an event can be taken",
    ("connector.connections", "connector.settings"): "which file, and what ${NAME} stands for",
    ("connector.connections", "connector.encryption"): "enc:… values",
    ("connector.web", "connector.api"): "one part of the application that it builds",
    ("connector.web", "connector.console"): "and the other",
    ("connector.web_process", "connector.gunicorn_worker"): "the master tells its workers that the service stops",
    ("gunicorn.conf", "connector.web_process"): "which holds what gunicorn's settings are made of",
}

# Of these, a step knows `base` only.
WITH_IMPLEMENTATIONS = ("connector.journal", "connector.destinations", "connector.transports")

# Each outside package has its doors.
DOORS: dict[str, tuple[str, ...]] = {
    "requests": ("connector.transports.http",),
    "urllib3": ("connector.transports.http",),
    "sqlite3": ("connector.journal.sqlite*",),
    "sqlalchemy": ("connector.ledger", "connector.ledger_tables", "connector.transports.sql*"),
    "nats": ("connector.journal.jetstream",),
    "cryptography": ("connector.encryption",),
    "dotenv": ("connector.settings",),
    "marshmallow": ("schemas", "schemas.*", "connector.normalize", "connector.connections", "connector.connections.*"),
    "flask": ("connector.api", "connector.api.*", "connector.console", "connector.console.*", "connector.web", "app"),
    "werkzeug": ("connector.api.*", "connector.console.*", "connector.web", "app"),
    "jinja2": ("connector.console.*",),
    "prometheus_client": ("connector.api", "connector.api.*"),
    "pyarrow": ("connector.destinations.arrow",),
    "fsspec": ("connector.transports.objects",),
    "confluent_kafka": ("connector.transports.kafka",),
    "orjson": ("connector.json_codec",),
    "jmespath": ("connector.mapping.*",),
    "ruamel": ("connector.connections", "connector.connections.*"),
    "click": ("connector.commands", "connector.commands.*"),
    "rich": ("connector.commands", "connector.commands.*"),
    "gunicorn": ("connector.gunicorn_worker", "gunicorn.conf"),
    "gevent": ("connector.gunicorn_worker", "connector.journal.group_commit", "connector.web"),
}

# These two may use marshmallow's ValidationError, and nothing else of it.
ERROR_ONLY = ("connector.normalize", "connector.connections", "connector.connections.*")

# What a pure decision must not touch: files, sockets, environment, the clock, randomness, logging.
IMPURE_MODULES = {
    "asyncio",
    "io",
    "logging",
    "os",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "time",
    "urllib.request",
}
IMPURE_CALLS = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "uuid.uuid1", "uuid.uuid4")
IMPURE_BUILTINS = {"open", "print", "input"}
IMPURE_NAMES = {"pathlib.Path", "uuid.uuid1", "uuid.uuid4"}

ROOMS_WITHOUT_A_PURPOSE = {"utils", "helpers", "common", "manager", "handler", "processor", "data", "info"}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module; `name` is what was taken from it, "" for the module itself."""

    module: str
    name: str
    line: int
    in_function: bool


@dataclass(frozen=True, slots=True)
class File:
    module: str
    is_package: bool
    tree: ast.Module

    @property
    def floor(self) -> int | None:
        return floor_of(self.module)

    @property
    def folder(self) -> str:
        return self.module if self.is_package else self.module.rpartition(".")[0]


def floor_of(module: str) -> int | None:
    for floor, patterns in FLOORS.items():
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return floor
    return None


def read_file(path: Path) -> File:
    parts = path.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return File(".".join(parts[:-1] if is_package else parts), is_package, ast.parse(path.read_text("utf-8")))


def our_files() -> list[File]:
    paths = [*ROOT.glob("*.py"), *(ROOT / "connector").rglob("*.py"), *(ROOT / "schemas").rglob("*.py")]
    return [read_file(path) for path in sorted(paths)]


def imports_of(file: File) -> Iterator[Import]:
    inside = {
        node
        for function in ast.walk(file.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno, node in inside)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = file.folder.split(".")
                kept = anchor[: len(anchor) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            for alias in node.names:
                yield Import(base, alias.name, node.lineno, node in inside)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in {"app", "connector", "schemas"}


def imported_module(found: Import, modules: set[str]) -> str:
    """`from connector import model` means connector.model, not connector."""
    deeper = f"{found.module}.{found.name}"
    return deeper if deeper in modules else found.module


def is_within(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def may_see(module: str, neighbour: str) -> bool:
    return any(is_within(module, one) and is_within(neighbour, other) for one, other in NEIGHBOURS)


def floor_violations(file: File, modules: set[str]) -> list[str]:
    problems = []
    for found in imports_of(file):
        if not is_ours(found.module):
            continue
        target = imported_module(found, modules)
        own, other = file.floor, floor_of(target)
        if own is None or other is None:
            continue  # reported by the test that every file has a floor
        is_inside = is_within(target, file.folder) and file.folder not in {"connector", ""}
        if other > own:
            problems.append(f"{file.module}:{found.line} imports {target} from a higher floor")
        elif other == own and own and not is_inside and not may_see(file.module, target):
            problems.append(f"{file.module}:{found.line} imports its neighbour {target}")
        if own == 3 and target.startswith(WITH_IMPLEMENTATIONS) and not target.endswith(".base"):
            problems.append(f"{file.module}:{found.line} chooses an implementation: {target}")
        if file.module.startswith("schemas") and not target.startswith("schemas"):
            problems.append(f"{file.module}:{found.line} imports {target}; schemas know nothing of ours")
    return problems


def is_error_only(module: str) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in ERROR_ONLY)


def door_violations(file: File) -> list[str]:
    problems = []
    for found in imports_of(file):
        package = found.module.partition(".")[0]
        if is_ours(package) or package in {"", "__future__"}:
            continue
        doors = DOORS.get(package)
        if doors is None:
            if package not in sys.stdlib_module_names:
                problems.append(f"{file.module}:{found.line} uses {package}, which has no door yet")
        elif not any(fnmatchcase(file.module, door) for door in doors):
            problems.append(f"{file.module}:{found.line} uses {package}, whose door is {' or '.join(doors)}")
        if package == "marshmallow" and is_error_only(file.module) and found.name != "ValidationError":
            problems.append(f"{file.module}:{found.line} may use marshmallow's ValidationError only")
    return problems


def environment_violations(file: File) -> list[str]:
    if file.module == "connector.settings":
        return []
    reads = {"os.environ", "os.getenv", "os.putenv", "os.environb"}
    problems = [
        f"{file.module}:{node.lineno} reads the environment; settings.py does that"
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in reads
    ]
    problems += [
        f"{file.module}:{found.line} reads the environment; settings.py does that"
        for found in imports_of(file)
        if f"{found.module}.{found.name}" in reads
    ]
    return problems


def purity_violations(file: File) -> list[str]:
    problems = []
    for found in imports_of(file):
        full = f"{found.module}.{found.name}"
        if found.module in IMPURE_MODULES or full in IMPURE_MODULES | IMPURE_NAMES:
            problems.append(f"{file.module}:{found.line} imports {full.rstrip('.')}; decisions are pure")
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(IMPURE_CALLS):
            problems.append(f"{file.module}:{node.lineno} calls {ast.unparse(node.func)}; decisions are pure")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in IMPURE_BUILTINS:
            problems.append(f"{file.module}:{node.lineno} uses {node.id}; decisions are pure")
    return problems


FILES = our_files()
MODULES = {file.module for file in FILES}
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.module)


@each_file
def test_every_file_has_a_floor(file: File) -> None:
    assert file.floor is not None, f"put {file.module} on a floor, in FLOORS"


@each_file
def test_imports_point_down(file: File) -> None:
    assert floor_violations(file, MODULES) == []


@each_file
def test_outside_packages_come_in_by_their_door(file: File) -> None:
    assert door_violations(file) == []


@each_file
def test_only_the_settings_read_the_environment(file: File) -> None:
    assert environment_violations(file) == []


@pytest.mark.parametrize("file", [file for file in FILES if file.floor == 1], ids=lambda file: file.module)
def test_decisions_are_pure(file: File) -> None:
    assert purity_violations(file) == []


@each_file
def test_imports_sit_at_the_top(file: File) -> None:
    assert [found for found in imports_of(file) if found.in_function] == []


@each_file
def test_a_file_name_has_a_purpose_of_its_own(file: File) -> None:
    name = file.module.rpartition(".")[2]

    assert name not in ROOMS_WITHOUT_A_PURPOSE
    if file.folder in {"", "connector", "schemas"} and file.module not in {"connector.__main__"}:
        assert name not in sys.stdlib_module_names


@each_file
def test_every_file_says_what_it_is_for(file: File) -> None:
    assert ast.get_docstring(file.tree), f"{file.module} has no docstring"


def test_every_exception_is_needed() -> None:
    used = {
        pair
        for file in FILES
        for found in imports_of(file)
        for pair in NEIGHBOURS
        if is_within(file.module, pair[0]) and is_within(imported_module(found, MODULES), pair[1])
    }

    assert set(NEIGHBOURS) - used == set()


def test_the_house_stays_small() -> None:
    text = (ROOT / "app.py").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {line for node in imports for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    rest = [line for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in imported]

    assert len(rest) <= 100, "app.py puts things together; logic belongs to the floor that it is about"


# ── the reader of imports, on made-up files: a check that sees nothing would pass for ever ──


def made_up(module: str, text: str) -> File:
    return File(module, False, ast.parse(text))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("connector.model", "from connector import retry"),
        ("connector.retry", "from connector.ledger import Ledger"),
        ("connector.retry", "from connector.pace import Pace"),
        ("connector.receive", "from connector.journal.sqlite import SqliteJournal"),
        ("connector.journal.sqlite", "import app"),
        ("connector.ledger", "from connector.settings import Settings"),
        ("schemas.people", "from connector.errors import PayloadError"),
        ("connector.journal.base", "from ..worker import Worker"),
    ],
)
def test_the_floor_check_sees_a_wrong_import(module: str, text: str) -> None:
    modules = {"connector.retry", "connector.journal.sqlite"}

    assert len(floor_violations(made_up(module, text), modules)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("connector.worker", "from connector.deliver import deliver"),
        ("connector.journal.sqlite", "from connector.journal.base import Journal"),
        ("connector.profiles.segment", "from . import tables"),
        ("connector.receive", "from connector.journal.base import Journal"),
        ("connector.json_codec", "from connector.errors import PayloadError"),
    ],
)
def test_the_floor_check_lets_a_right_import_pass(module: str, text: str) -> None:
    assert floor_violations(made_up(module, text), set()) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("connector.worker", "import requests.adapters"),
        ("connector.receive", "from flask import request"),
        ("connector.normalize", "from marshmallow import fields"),
        ("connector.ledger", "import sqlite3"),
        ("connector.ledger", "import pandas"),
    ],
)
def test_the_door_check_sees_a_package_that_came_in_by_the_window(module: str, text: str) -> None:
    assert len(door_violations(made_up(module, text))) == 1


@pytest.mark.parametrize("text", ["import os\nos.environ['A']", "from os import getenv"])
def test_the_environment_check_sees_a_reader(text: str) -> None:
    assert len(environment_violations(made_up("connector.worker", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import time",
        "from os import path",
        "from pathlib import Path",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.now()",
        "import uuid\nx = uuid.uuid4()",
        "x = open('file')",
    ],
)
def test_the_purity_check_sees_what_is_impure(text: str) -> None:
    assert len(purity_violations(made_up("connector.retry", text))) == 1


def test_an_import_inside_a_function_is_seen() -> None:
    file = made_up("connector.retry", "def decide():\n    import json\n")

    assert [found.in_function for found in imports_of(file)] == [True]

"""The Dockerfile, the Compose file and the scripts, judged by linters; no container engine is needed."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


def run_linter(name: str, *arguments: str) -> str:
    """What the linter printed, "" when it found nothing to say; fails when it refused the file."""
    beside_python = Path(sys.executable).parent / name
    program = str(beside_python) if beside_python.exists() else shutil.which(name)
    assert program, f"{name} is missing: pip install -r requirements-dev.txt"
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_dockerfile_passes_its_linter() -> None:
    assert run_linter("hadolint", "Dockerfile") == ""


def test_the_build_script_passes_its_linter() -> None:
    assert run_linter("shellcheck", ".ci/run") == ""


def test_the_compose_file_follows_the_specification() -> None:
    run_linter("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_the_caddyfile_is_formatted() -> None:
    shown = run_linter("caddy", "fmt", "--diff", "deploy/Caddyfile")

    assert [line for line in shown.splitlines() if line.startswith(("+", "-"))] == []


def test_the_image_runs_as_nobody_in_particular(dockerfile: str) -> None:
    last_user = [line for line in dockerfile.splitlines() if line.startswith("USER ")][-1]

    assert last_user == "USER 10001"


def test_the_image_gets_its_signals_itself(dockerfile: str) -> None:
    last_command = [line for line in dockerfile.splitlines() if line.startswith("CMD ")][-1]

    assert last_command.startswith("CMD ["), "the shell form would swallow the signal to stop"


def test_the_image_has_everything_that_runs(dockerfile: str) -> None:
    for name in ("app.py", "gunicorn.conf.py", "connector", "schemas", "fixtures"):
        assert any(line.startswith("COPY") and name in line.split() for line in dockerfile.splitlines()), name


def test_the_build_context_holds_all_that_the_image_copies(dockerfile: str) -> None:
    let_in = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = [
        line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY") and "--from" not in line
    ]

    assert {name for names in copied for name in names} <= let_in


@pytest.mark.parametrize("service", ["connector", "caddy"])
def test_a_container_can_write_to_its_volumes_only(compose: dict[str, Any], service: str) -> None:
    settings = compose["services"][service]

    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["security_opt"]


def test_the_events_outlive_the_container(compose: dict[str, Any]) -> None:
    assert "data:/data" in compose["services"]["connector"]["volumes"]
    assert "data" in compose["volumes"]


def test_the_inner_pages_are_published_to_this_machine_only(compose: dict[str, Any]) -> None:
    published = compose["services"]["connector"]["ports"]

    assert all(port.startswith("127.0.0.1:") for port in published)


def make_in_an_empty_folder(folder: Path, target: str, python: str) -> subprocess.CompletedProcess[str]:
    """`make target` with this Python where there is nothing yet but the files that it starts from."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    command = ["make", target, f"PYTHON={python}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_make_alone_lists_what_there_is(tmp_path: Path) -> None:
    done = make_in_an_empty_folder(tmp_path, "help", sys.executable)

    assert "make run" in done.stdout
    assert "make test" in done.stdout


def test_an_old_python_is_refused_in_words(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ntest "$1" = --version && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)

    done = make_in_an_empty_folder(tmp_path, "run", str(old))

    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Python 3.9.2" in done.stderr


def test_a_machine_without_python_is_told_so(tmp_path: Path) -> None:
    done = make_in_an_empty_folder(tmp_path, "run", "")

    assert done.returncode != 0
    assert "no python3 was found" in done.stderr


def test_a_python_without_venv_is_told_how_to_get_it(tmp_path: Path) -> None:
    bare = tmp_path / "python3.11"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n')
    bare.chmod(0o755)

    done = make_in_an_empty_folder(tmp_path, "run", str(bare))

    assert done.returncode != 0
    assert "python3-venv" in done.stderr


def test_every_requirement_has_an_exact_version() -> None:
    direct = [
        line.split("#")[0].strip()
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "-r"))
    ]

    assert all("==" in line for line in direct)
    assert len(direct) <= 15

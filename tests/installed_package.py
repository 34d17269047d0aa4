"""A package as pip leaves it behind: its code on the path, and beside it what its pyproject.toml declares."""

import tomllib
from pathlib import Path

from connector.destinations.installed import GROUP


def install(folder: Path, name: str, entries: dict[str, str], version: str = "1.0.0") -> Path:
    """Writes the metadata of a package with these destination types; the folder is to be put on the path."""
    information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    lines = [f"{entry} = {target}\n" for entry, target in entries.items()]
    (information / "entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(lines), "utf-8")
    return folder


def install_project(project: Path, folder: Path) -> Path:
    """The same for a project's own pyproject.toml."""
    declared = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    return install(folder, declared["name"], declared["entry-points"][GROUP], declared["version"])

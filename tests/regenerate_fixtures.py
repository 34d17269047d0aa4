"""Writes fixtures/normalized anew: `python -m tests.regenerate_fixtures`. Read the difference before you commit it."""

import json

from connector.normalize import PROFILES, normalize
from tests.fixture_files import NAMES, NORMALIZED, received_fixture


def regenerate() -> None:
    """One file for each profile and payload, holding the list of event bodies; files without a payload are removed."""
    for profile in PROFILES:
        folder = NORMALIZED / profile
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in {path.stem for path in folder.glob("*.json")} - set(NAMES):
            (folder / f"{left_over}.json").unlink()
        for name in NAMES:
            bodies = [event.body for event in normalize(received_fixture(name), profile, identify=True)]
            (folder / f"{name}.json").write_text(json.dumps(bodies, indent=2) + "\n")


if __name__ == "__main__":
    regenerate()

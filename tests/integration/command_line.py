"""Runs commands in the test's own process, in a folder of their own, as a person would type them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import app
from connector.commands.line import cli
from connector.house import House
from connector.journal.base import Journal
from connector.json_codec import write_json
from connector.ledger import DestinationState
from connector.model import ReceivedEvent
from connector.settings import load_settings

WRITE_KEY = "wk_0123456789abcdef"


@dataclass
class CommandLine:
    """`environment` is all that the commands know of the outside."""

    folder: Path
    environment: dict[str, str]

    @property
    def house(self) -> House:
        base = app.HOUSE
        return House(
            **{name: getattr(base, name) for name in House.__slots__ if name != "load_settings"},
            load_settings=lambda: load_settings(self.environment, self.folder),
        )

    def run(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, arguments, obj=self.house, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What the command says with --json; it must end with this code."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    # ── what a running service would have done ──

    def open_journal(self) -> Journal:
        return app.open_journal(self.house.load_settings())

    def receive(self, *payloads: dict[str, Any] | bytes, quarantine_reason: str | None = None) -> Sequence[str]:
        """Stores the payloads as receiving does; their ids."""
        journal = self.open_journal()
        bodies = [payload if isinstance(payload, bytes) else write_json(payload) for payload in payloads]
        ids = [
            str(payload["event_id"]) if isinstance(payload, dict) else f"sha256:{n}"
            for n, payload in enumerate(payloads)
        ]
        now = app.CLOCK.now()
        journal.append(
            [
                ReceivedEvent(
                    "production", name, body, now, {"user-agent": "test"}, quarantine_reason=quarantine_reason
                )
                for name, body in zip(ids, bodies, strict=True)
            ]
        )
        journal.close()
        return ids

    def report(self, destination: str, state: str, reason: str = "", since: datetime | None = None) -> None:
        """Says how a destination is, as its worker does."""
        ledger = app.open_ledger(self.house.load_settings())
        ledger.set_states([DestinationState(destination, state, reason, since or app.CLOCK.now(), None, None, "")])
        ledger.close()


def opened(event_id: str, metric: str = "opened", **data: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "object_type": "email",
        "metric": metric,
        "timestamp": 1788200000,
        "data": {"customer_id": "usr_1", "recipient": "ada@example.com", **data},
    }

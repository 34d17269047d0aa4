"""What a command works with: settings, connections, journal and ledger, opened for it and closed behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from connector.commands.answers import Refusal, note, reaching
from connector.fate import Fates
from connector.house import House
from connector.journal.base import Journal
from connector.ledger import Ledger
from connector.model import Connection, Connections, Source
from connector.overview import FactSources, Overview, read_overview
from connector.settings import Settings


@dataclass(frozen=True, slots=True)
class Desk:
    house: House
    settings: Settings
    connections: Connections
    refusal: str | None  # why the file as it is now is not in force, and the last good one is
    journal: Journal
    ledger: Ledger

    def fates(self) -> Fates:
        """Looks up what became of events, as the destinations are now."""
        states = self.ledger.destination_states()
        return Fates(self.journal, self.connections, states, self.house.build_destination)

    def overview(self) -> Overview:
        facts = FactSources(
            self.journal,
            self.ledger,
            lambda: self.connections,
            lambda: self.refusal,
            self.settings.data_dir,
            self.house.clock,
        )
        return read_overview(facts)


@contextmanager
def open_desk(house: House) -> Iterator[Desk]:
    """Raises Unreachable when the settings have mistakes, or the journal or the ledger cannot be opened."""
    with reaching():
        settings = house.load_settings()
        live = house.read_connections(settings)
        journal = house.open_journal(settings)
        ledger = house.open_ledger(settings)
    try:
        if live.problem:
            note("the connections file has mistakes, so the last good one is taken: `check` shows them", "yellow")
        yield Desk(house, settings, live.current, live.problem, journal, ledger)
    finally:
        ledger.close()
        journal.close()


def destination_named(connections: Connections, name: str) -> Connection:
    """Raises Refusal, with the names that there are, when there is none of this name."""
    found = next((connection for connection in connections.destinations if connection.name == name), None)
    if found is None:
        names = ", ".join(connection.name for connection in connections.destinations) or "none"
        raise Refusal(f"there is no destination {name!r}; configured: {names}")
    return found


def source_named(connections: Connections, name: str | None) -> Source:
    """The source of this name, or the first that is enabled. Raises Refusal when there is none."""
    for source in connections.sources:
        if source.name == name or (name is None and source.enabled):
            return source
    names = ", ".join(source.name for source in connections.sources) or "none"
    raise Refusal(f"there is no source {name!r}; configured: {names}" if name else f"no source is enabled of: {names}")


def base_url(settings: Settings) -> str:
    """Where this machine reaches the service that these settings start."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"

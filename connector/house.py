"""What `app.py` has put together, for the commands to ask for. Nothing is opened before it is asked."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from connector.clock import Clock
from connector.connections import LiveConnections
from connector.destinations.base import Destination
from connector.journal.base import Journal
from connector.ledger import Ledger
from connector.model import Connection
from connector.settings import Settings
from connector.transports.base import Transport


@dataclass(frozen=True, slots=True)
class House:
    """Each call opens anew; who opens a journal or a ledger closes it."""

    clock: Clock
    load_settings: Callable[[], Settings]  # raises SettingsError
    open_journal: Callable[[Settings], Journal]
    open_ledger: Callable[[Settings], Ledger]
    read_connections: Callable[[Settings], LiveConnections]  # raises SettingsError
    build_destination: Callable[[Connection], Destination]
    open_transport: Callable[[Settings, str], Transport]  # by a destination's `transport`
    project: Path  # the folder of app.py, gunicorn.conf.py and fixtures/
    deliver: Callable[[Settings, threading.Event], None]  # the delivering process, until the event is set

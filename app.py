"""Puts everything together: settings, journal, ledger, transports, workers, web app. The only file that chooses
implementations. `app`, for `gunicorn app:app`, is made when it is first asked for, in the worker that needs it.
"""

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask

from connector import __version__, tally
from connector.clock import SystemClock
from connector.commands import command_line
from connector.connections import LiveConnections
from connector.destinations import build_destination
from connector.errors import JournalError, SettingsError
from connector.gunicorn_worker import body_deadline, close_after_answer
from connector.house import House
from connector.journal.base import Journal
from connector.journal.group_commit import GroupCommit
from connector.journal.sqlite import SqliteJournal
from connector.ledger import Ledger
from connector.model import Connection, Reader
from connector.normalize import normalize, unknown_name, validate
from connector.overview import FactSources
from connector.pace import Pace
from connector.receive import Receiver, ReceiverLimits, ReceiverPorts
from connector.record import Record
from connector.replay import Routes
from connector.settings import Settings, load_settings
from connector.supervise import Supervisor, know_readers
from connector.transports.base import Transport
from connector.transports.file import FileTransport
from connector.transports.http import HttpTransport
from connector.transports.kafka import KafkaTransport
from connector.transports.objects import ObjectTransport
from connector.transports.sql import SqlTransport
from connector.web import build_web, keep_connections_fresh, start_keeping_counts
from connector.worker import DestinationWorker, WorkerPorts

CLOCK = SystemClock()
SQLITE = "sqlite:///"
USER_AGENT = f"customerio-connector/{__version__}"
TRANSPORTS: dict[str, Callable[[Settings], Transport]] = {
    "http": lambda settings: HttpTransport(settings.allow_networks, USER_AGENT),
    "file": lambda settings: FileTransport(),
    "objects": lambda settings: ObjectTransport(settings.allow_networks),
    "kafka": lambda settings: KafkaTransport(settings.allow_networks),
    "sql": lambda settings: SqlTransport(settings.allow_networks),
}


def open_journal(settings: Settings) -> Journal:
    if not settings.journal_url.startswith(SQLITE):
        raise SettingsError([f"CONNECTOR_JOURNAL={settings.journal_url}: this version knows only sqlite:///PATH"])
    path = Path(settings.journal_url.removeprefix(SQLITE))
    return SqliteJournal(path, CLOCK, reserve_bytes=settings.disk_reserve_bytes)


def open_ledger(settings: Settings) -> Ledger:
    return Ledger(settings.ledger_url)


def open_transport(settings: Settings, name: str) -> Transport:
    if name not in TRANSPORTS:  # of a type that another package brings
        raise SettingsError([f"there is no transport {name!r}, only {', '.join(TRANSPORTS)}"])
    return TRANSPORTS[name](settings)


def build_worker(
    settings: Settings,
    journal: Journal,
    record: Record,
    connection: Connection,
    readers: Callable[[], Sequence[Reader]],
) -> DestinationWorker:
    destination = build_destination(connection)
    ports = WorkerPorts(
        transport=open_transport(settings, destination.transport),
        journal=journal,
        readers=readers,
        routes=Routes(destination, journal),
        clock=CLOCK,
        record=record.attempt,
        count=partial(record.count, tally.DELIVERED, connection.name),
        chance=random.random,
    )
    return DestinationWorker(destination, Pace(connection, CLOCK.now()), ports)


def deliver(settings: Settings, stopping: threading.Event) -> None:
    """The delivering process: returns when `stopping` is set and all that was claimed is settled."""
    journal, ledger, connections = open_journal(settings), open_ledger(settings), LiveConnections(settings)
    record = Record(ledger, CLOCK)
    build = partial(build_worker, settings, journal, record)
    Supervisor(connections, build, journal, ledger, record, CLOCK).run(stopping)
    journal.close()
    ledger.close()


def create_app() -> Flask:
    """The web application of one worker process; call it after the fork."""
    settings = load_settings()
    journal, ledger, connections = open_journal(settings), open_ledger(settings), LiveConnections(settings)
    with suppress(JournalError):  # a disk that is full just now; the delivering process does it once there is room
        know_readers(journal, connections.current)
    counted = tally.Tally()
    receiver = Receiver(
        ReceiverPorts(
            store=GroupCommit(journal).store,
            connections=lambda: connections.current,
            preview=partial(normalize, identify=True, keep_content=True),
            validate=validate,
            clock=CLOCK,
            tally=counted,
            unknown_name=unknown_name,
            deadline=body_deadline,
            close_connection=close_after_answer,
        ),
        ReceiverLimits(
            max_body_bytes=settings.max_body_bytes,
            store_seconds=settings.store_timeout_seconds,
            trusted_proxies=tuple(settings.forwarded_allow_ips.split(",")),
        ),
    )
    facts = FactSources(
        journal, ledger, lambda: connections.current, lambda: connections.problem, settings.data_dir, CLOCK
    )
    start_keeping_counts(counted, ledger, CLOCK)
    keep_connections_fresh(connections)
    return build_web(receiver, facts)


HOUSE = House(
    clock=CLOCK,
    load_settings=load_settings,
    open_journal=open_journal,
    open_ledger=open_ledger,
    read_connections=LiveConnections,
    build_destination=build_destination,
    open_transport=open_transport,
    project=Path(__file__).resolve().parent,
    deliver=deliver,
)


def main() -> None:
    command_line(HOUSE)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = application = create_app()
    return application

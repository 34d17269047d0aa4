"""The web side on a real journal and ledger, without the command line: what test servers run.

The folder comes in as CONNECTOR_DATA_DIR; the sources are those of SOURCES.
"""

import os
from functools import partial
from pathlib import Path

from connector.clock import SystemClock
from connector.gunicorn_worker import body_deadline, close_after_answer
from connector.journal.group_commit import GroupCommit
from connector.journal.sqlite import SqliteJournal
from connector.ledger import Ledger
from connector.model import Connection, Connections, Retention, SignatureMode, Source
from connector.normalize import normalize, validate
from connector.overview import FactSources
from connector.receive import Receiver, ReceiverLimits, ReceiverPorts
from connector.tally import Tally
from connector.web import build_web, start_keeping_counts

SOURCES = (
    Source("production", ("key",)),
    Source("signed", ("signed-key",), ("secret",), SignatureMode.ENFORCE),
    Source("auto", ("auto-key",), ("old", "new"), SignatureMode.AUTO),
    Source("disabled", ("disabled-key",), enabled=False),
)
DESTINATION = Connection("rudder <b>", "rudderstack", {})
BODY_SECONDS = 1.0  # short, so that a test of a stalled body need not wait long

data_dir = Path(os.environ["CONNECTOR_DATA_DIR"])
clock = SystemClock()
connections = Connections(SOURCES, (DESTINATION,), Retention(), "f" * 64)
journal = SqliteJournal(data_dir / "journal.db", clock)
ledger = Ledger(f"sqlite:///{data_dir / 'ledger.db'}")
tally = Tally()
receiver = Receiver(
    ReceiverPorts(
        store=GroupCommit(journal).store,
        connections=lambda: connections,
        preview=partial(normalize, profile="rudderstack", identify=True, keep_content=True),
        validate=validate,
        clock=clock,
        tally=tally,
        deadline=body_deadline,
        close_connection=close_after_answer,
    ),
    ReceiverLimits(max_body_bytes=100_000, body_seconds=BODY_SECONDS),
)
app = build_web(receiver, FactSources(journal, ledger, lambda: connections, lambda: None, data_dir, clock))
start_keeping_counts(tally, ledger, clock)

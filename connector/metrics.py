"""The name of every metric, each with its labels and a sentence. Nothing is counted here."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """As Prometheus shows it; a counter's name gets `_total` at its end there."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    sentence: str


RECEIVED = Metric(
    "connector_received", "counter", ("source", "outcome"), "Calls with a right write key, by what became of them."
)
ANSWER_SECONDS = Metric(
    "connector_answer_seconds",
    "histogram",
    ("source",),
    "Time from a call's arrival to its answer.",
)
REJECTED_KEYS = Metric(
    "connector_rejected_keys", "counter", ("outcome",), "Calls without a write key, or with an unknown one."
)
SIGNATURES = Metric("connector_signatures", "counter", ("source", "state"), "Signatures: genuine, wrong or missing.")
SIGNATURE_AGES = Metric(
    "connector_signature_ages", "counter", ("source", "age"), "How old the timestamps of signatures were, at most."
)
UNKNOWN_EVENTS = Metric(
    "connector_unknown_events",
    "counter",
    ("source", "event"),
    "Events of a kind not known yet; they travel too.",
)
DELIVERIES = Metric(
    "connector_deliveries",
    "counter",
    ("destination", "outcome"),
    "Deliveries, by what became of them.",
)
ATTEMPTS = Metric(
    "connector_attempts", "counter", ("destination", "outcome"), "Requests to destinations, by how they ended."
)
BACKLOG_WAITING = Metric(
    "connector_backlog_waiting", "gauge", ("destination", "source"), "Events that a destination has not got to yet."
)
BACKLOG_RETRYING = Metric(
    "connector_backlog_retrying", "gauge", ("destination", "source"), "Deliveries that failed and wait for another try."
)
DEAD_LETTERS = Metric(
    "connector_dead_letters", "gauge", ("destination", "source"), "Deliveries given up that nobody has dealt with yet."
)
BACKLOG_OLDEST_SECONDS = Metric(
    "connector_backlog_oldest_seconds", "gauge", ("destination", "source"), "Age of the oldest event still waiting."
)
DESTINATION_STATE = Metric(
    "connector_destination_state", "gauge", ("destination", "state"), "1 for the state that a destination is in."
)
CONFIGURATION_REFUSED = Metric(
    "connector_configuration_refused",
    "gauge",
    (),
    "1 while a changed configuration is refused.",
)
DISK_FREE_BYTES = Metric("connector_disk_free_bytes", "gauge", (), "Room left on the disk of the data folder.")
UNREADABLE_FACTS = Metric(
    "connector_unreadable_facts", "gauge", (), "Parts of this page that could not be read just now, and are missing."
)

METRICS: tuple[Metric, ...] = (
    RECEIVED,
    ANSWER_SECONDS,
    REJECTED_KEYS,
    SIGNATURES,
    SIGNATURE_AGES,
    UNKNOWN_EVENTS,
    DELIVERIES,
    ATTEMPTS,
    BACKLOG_WAITING,
    BACKLOG_RETRYING,
    DEAD_LETTERS,
    BACKLOG_OLDEST_SECONDS,
    DESTINATION_STATE,
    CONFIGURATION_REFUSED,
    DISK_FREE_BYTES,
    UNREADABLE_FACTS,
)

"""One group of deliveries to one destination: packed into requests, sent, judged. What becomes of each delivery is
decided elsewhere (`retry`).
"""

import logging
import time
from collections.abc import Sequence

from connector.clock import Clock
from connector.destinations.base import Destination
from connector.errors import TransportError
from connector.model import Attempt, Batch, Delivery, Outcome, OutcomeKind
from connector.transports.base import Transport

ALONE_FROM_ATTEMPT = 4  # later tries of a delivery share a request with nobody

log = logging.getLogger(__name__)


def pack(deliveries: Sequence[Delivery], batch: Batch, envelope_bytes: int) -> list[list[Delivery]]:
    """Requests' worth of deliveries within the limits of count and bytes, in order; much-failed ones stand alone."""
    packed: list[list[Delivery]] = []
    alone: list[list[Delivery]] = []
    current: list[Delivery] = []
    size = envelope_bytes
    for delivery in deliveries:
        if delivery.attempts + 1 >= ALONE_FROM_ATTEMPT:
            alone.append([delivery])
            continue
        needed = len(delivery.encoded) + 1
        if current and (len(current) >= batch.max_events or size + needed > batch.max_bytes):
            packed.append(current)
            current, size = [], envelope_bytes
        current.append(delivery)
        size += needed
    if current:
        packed.append(current)
    return packed + alone


def attempt(destination: Destination, transport: Transport, part: Sequence[Delivery], clock: Clock) -> Attempt:
    """One request and what came of it; never raises for anything that a destination or its network does."""
    connection = destination.connection
    started_at = clock.now()
    request = destination.prepare(part, started_at)
    begun = time.perf_counter()
    try:
        response = transport.send(request, connection.timeout_seconds)
    except TransportError as failure:
        error = str(failure)
        outcomes = [Outcome(OutcomeKind.TRANSIENT, error)] * len(part)
        answered = None
    else:
        error, answered = "", response
        outcomes = destination.judge(response, part)
    made = Attempt(
        destination=connection.name,
        started_at=started_at,
        duration_seconds=time.perf_counter() - begun,
        request=request,
        response=answered,
        error=error,
        deliveries=part,
        outcomes=outcomes,
        replay=part[0].reader.replay,
    )
    _log(made)
    return made


def _log(made: Attempt) -> None:
    delivered = sum(outcome.kind is OutcomeKind.DELIVERED for outcome in made.outcomes)
    worst = next((item for item in made.outcomes if item.kind is not OutcomeKind.DELIVERED), made.outcomes[0])
    first = made.deliveries[0]
    log.log(
        logging.INFO if delivered == len(made.outcomes) else logging.WARNING,
        "attempt destination=%s replay=%s events=%d delivered=%d first=%s action=%r attempt=%d outcome=%s status=%s "
        "duration_ms=%d reason=%r",
        made.destination,
        made.replay or "-",
        len(made.deliveries),
        delivered,
        first.event.event_id,
        first.action,
        first.attempts + 1,
        worst.kind,
        made.response.status if made.response else "-",
        made.duration_seconds * 1000,
        worst.reason,
    )

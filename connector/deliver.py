"""One group of deliveries to one destination: packed into requests, sent, judged. What becomes of each delivery is
decided elsewhere (`retry`).
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from connector.clock import Clock
from connector.destinations.base import Destination
from connector.errors import TransportError
from connector.model import Attempt, Batch, Connection, Delivery, Event, Outcome, OutcomeKind, Request, Response
from connector.transports.base import Transport

ALONE_FROM_ATTEMPT = 4  # later tries of a delivery share a request with nobody
NO_REQUEST = Request("", "", {}, b"")  # of an attempt that ended before it was made

log = logging.getLogger(__name__)


def pack(
    deliveries: Sequence[Delivery], batch: Batch, envelope_bytes: int, lane_of: Callable[[Event], str] | None = None
) -> list[list[Delivery]]:
    """Requests' worth of deliveries within the limits of count and bytes, in order; much-failed ones stand alone.

    With `lane_of`, those of different lanes are packed apart.
    """
    if lane_of is not None:
        lanes: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            lanes[lane_of(delivery.event)].append(delivery)
        return [part for lane in lanes.values() for part in pack(lane, batch, envelope_bytes)]
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
    """One request and what came of it. Never raises: a defect of a destination type or a transport is an outcome too.

    What no request can be made of is refused, so that halving finds the culprit; anything odd after that is tried
    again, since the events may or may not have arrived.
    """
    connection = destination.connection
    started_at = clock.now()
    begun = time.perf_counter()
    request, response, error = NO_REQUEST, None, ""
    try:
        request = destination.prepare(part, started_at)
    except Exception as defect:
        error = _told(defect, connection.name, "no request can be made")
        outcomes = [Outcome(OutcomeKind.REJECTED, error)] * len(part)
    else:
        response, error = _answer(transport, request, connection)
        if response is None:
            outcomes = [Outcome(OutcomeKind.TRANSIENT, error)] * len(part)
        else:
            outcomes = _judged(destination, response, part)
    made = Attempt(
        destination=connection.name,
        started_at=started_at,
        duration_seconds=time.perf_counter() - begun,
        request=request,
        response=response,
        error=error,
        deliveries=part,
        outcomes=outcomes,
        replay=part[0].reader.replay,
    )
    _log(made)
    return made


def _answer(transport: Transport, request: Request, connection: Connection) -> tuple[Response | None, str]:
    """The answer, or why there was none."""
    try:
        return transport.send(request, connection.timeout_seconds), ""
    except TransportError as failure:
        return None, str(failure)
    except Exception as defect:
        return None, _told(defect, connection.name, "the request was not sent as it should be")


def _judged(destination: Destination, response: Response, part: Sequence[Delivery]) -> list[Outcome]:
    try:
        outcomes = destination.judge(response, part)
        if len(outcomes) == len(part):
            return outcomes
        reason = f"{len(outcomes)} outcomes for {len(part)} deliveries"
        log.error("destination %s: the answer was judged with %s", destination.connection.name, reason)
    except Exception as defect:
        reason = _told(defect, destination.connection.name, "the answer cannot be judged")
    return [Outcome(OutcomeKind.TRANSIENT, reason)] * len(part)


def _told(defect: Exception, destination: str, what: str) -> str:
    """The reason, for a person; the log gets the traceback."""
    log.error("destination %s: %s", destination, what, exc_info=defect)
    return f"{what}: {type(defect).__name__}"


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

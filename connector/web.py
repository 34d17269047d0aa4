"""Builds the web application: the webhook ahead of everything, the pages behind it, the threads they wait in."""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar, cast

import gevent
from flask import Flask, Response
from gevent.threadpool import ThreadPool
from werkzeug.exceptions import HTTPException

from connector.api.pages import build_api
from connector.clock import Clock
from connector.connections import LiveConnections
from connector.console.status import build_console
from connector.ledger import Ledger, LedgerError
from connector.overview import FactSources, Overview, read_overview
from connector.receive import Receiver, WebhookMiddleware
from connector.tally import Taken, Tally

T = TypeVar("T")

log = logging.getLogger(__name__)

PAGE_THREADS = 4  # apart from those that store events: pages that wait for a lock must not hold up receiving
OVERVIEW_SECONDS = 3.0
LEDGER_SECONDS = 60.0
CONNECTIONS_SECONDS = 1.0  # between two looks at the connections file
TALLY_SECONDS = 2.0  # what a kill may lose of the counts


class OffHub:
    """Runs work in real threads, so that what waits for a lock or a disk does not freeze the worker."""

    def __init__(self, threads: int = PAGE_THREADS) -> None:
        self._pool = ThreadPool(threads)
        self._threads = threads
        self._running = 0

    def run(self, work: Callable[[], T], timeout_seconds: float) -> T:
        """What `work` returns or raises. Raises TimeoutError when it takes longer; then it goes on, unheard."""
        if self._running >= self._threads:
            raise TimeoutError("all threads wait already")
        self._running += 1
        # gevent prints the traceback of whatever a thread raises, so errors come back as values.
        task = self._pool.spawn(_outcome_of, work)
        task.rawlink(self._ended)
        with gevent.Timeout(timeout_seconds, TimeoutError):
            result, error = task.get()  # type: ignore[misc]  # the stub says it may be None
        if error is not None:
            raise error
        return cast(T, result)

    def _ended(self, _: object) -> None:
        self._running -= 1


def _outcome_of(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def build_web(receiver: Receiver, facts: FactSources) -> Flask:
    """The WSGI application for one worker process; call it after the fork."""
    off_hub = OffHub()
    # Apart from the pages': while the journal is locked these wait, and who looks at /status then must see it.
    ready_off_hub = OffHub()
    web = Flask("connector", static_folder=None)

    def overview_off_hub() -> Overview:
        return off_hub.run(lambda: read_overview(facts), OVERVIEW_SECONDS)

    def check_writable(timeout_seconds: float) -> None:
        ready_off_hub.run(facts.journal.check_writable, timeout_seconds)

    web.register_blueprint(build_api(overview_off_hub, check_writable))
    web.register_blueprint(build_console(overview_off_hub))
    web.after_request(_harden)
    web.register_error_handler(HTTPException, _plain_error)
    web.wsgi_app = WebhookMiddleware(web.wsgi_app, receiver)  # type: ignore[method-assign]  # Flask's own way
    return web


def _harden(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def _plain_error(error: HTTPException) -> Response:
    return Response(f"{error.name}\n", error.code, content_type="text/plain; charset=utf-8")


# ── keeping the counts ──


def keep_counts(taken: Taken, ledger: Ledger, now: datetime) -> None:
    """Writes what was counted. Raises LedgerError when the counts could not be written, and then none of them are."""
    minute = now.replace(second=0, microsecond=0)
    ledger.add_counts({(minute, *key): number for key, number in taken.counts.items()}, now)
    if taken.rejections:
        try:
            ledger.add_rejected({(seen.masked_key, seen.address): seen.count for seen in taken.rejections}, now)
        except LedgerError as error:
            log.warning("%s; some rejected keys will not be shown", error)


def start_keeping_counts(tally: Tally, ledger: Ledger, clock: Clock) -> "gevent.Greenlet[[], None]":
    """Moves the tally into the ledger every TALLY_SECONDS, for as long as the process lives."""
    off_hub = OffHub(threads=1)

    def keep() -> None:
        while True:
            gevent.sleep(TALLY_SECONDS)
            taken, now = tally.take(), clock.now()  # on the hub, where the counting is
            try:
                off_hub.run(partial(keep_counts, taken, ledger, now), LEDGER_SECONDS)
            except (LedgerError, TimeoutError) as error:
                log.warning("counts wait: %s", error)
                tally.give_back(taken)

    return gevent.spawn(keep)


def keep_connections_fresh(connections: LiveConnections) -> "gevent.Greenlet[[], None]":
    """Takes up a changed connections file within a second or two, for as long as the process lives."""
    off_hub = OffHub(threads=1)

    def keep() -> None:
        while True:
            gevent.sleep(CONNECTIONS_SECONDS)
            try:
                off_hub.run(connections.refresh, LEDGER_SECONDS)
            except TimeoutError:
                log.warning("the connections file could not be read for a minute")

    return gevent.spawn(keep)

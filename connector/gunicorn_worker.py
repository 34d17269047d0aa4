"""gunicorn's gevent worker, with what this service promises beside it: no connection is reset, no key is logged.

A reload lets idle connections live until their keep-alive ends; a stop of the whole service closes them at once. What
does not start any more leaves in peace what still runs.
"""

import contextlib
import logging
import mmap
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import gevent
from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventWorker

from connector.collector import ease_collector
from connector.errors import ConnectorError

IDLE_GRACE_SECONDS = 1.0  # a connection as young as this may have its first request on the way
BOOT_RETRY_SECONDS = 5.0
HEARTBEAT_SECONDS = 3.0  # a worker beats every second; one silent for so long is gone, and its id may be another's
LINGER_SECONDS = 30.0  # how long an unwanted rest of a body is swallowed, lest the close resets the answer away
LINGER_IDLE_SECONDS = 5.0
LINGER_PIECE_BYTES = 262_144
QUERY = re.compile(r"(?<=\?)[^\s'\"<>]+|(?<=writeKey=)[^\s'\"&]+")


class ConnectorWorker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """One web process."""

    # One byte that all processes share: the master sets it when the service stops, rather than reloads. Made when the
    # master loads this module, before it forks.
    _stop_flag = mmap.mmap(-1, 1)
    # Set in the master at a reload: the workers that end once a new one serves.
    predecessors: "tuple[ConnectorWorker, ...]" = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clients: dict[Any, Any] = {}  # greenlet: its socket
        self._waiting_since: dict[Any, float] = {}  # greenlet: since when it waits for a request

    @classmethod
    def announce_stop(cls) -> None:
        """Called in the master: workers told to end from now on close idle connections."""
        cls._stop_flag[0] = 1

    @property
    def is_beating(self) -> bool:
        """Also true in other processes than its own: the heartbeat is a file."""
        try:
            return bool(time.monotonic() - self.tmp.last_update() < HEARTBEAT_SECONDS)
        except (OSError, ValueError):
            return False

    # ── its life ──

    def init_signals(self) -> None:
        super().init_signals()
        # A terminal sends Ctrl-C to every process. gunicorn's worker would leave its requests and exit, with a
        # traceback when the master's signal follows. The master tells it what to do.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def load_wsgi(self) -> None:
        try:
            super().load_wsgi()
        except Exception as error:
            if self.age <= self.cfg.workers:
                raise  # the first ones: the service does not start at all
            # gunicorn would stop everything; but the others, and those before a reload, still serve.
            is_ours = isinstance(error, ConnectorError)
            self.log.error("a new worker cannot start, the old ones go on: %s", error, exc_info=not is_ours)
            time.sleep(BOOT_RETRY_SECONDS)
            sys.exit(1)

    def run(self) -> None:
        ease_collector()
        if self.predecessors:
            self.log.info("a new worker serves and tells %d old ones to end", len(self.predecessors))
        super().run()

    # ── connections ──

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        greenlet = gevent.getcurrent()
        self._clients[greenlet] = client
        try:
            super().handle(listener, client, addr)
        finally:
            del self._clients[greenlet]

    def timeout_ctx(self) -> "_WaitForRequest":
        return _WaitForRequest(self.cfg.keepalive, self._waiting_since)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:
            if req.must_close:
                _linger(sock)
            raise

    def notify(self) -> None:
        """gunicorn calls it every second, while it serves and while it drains."""
        super().notify()
        if self._stop_flag[0]:
            self.alive = False  # one that was just starting did not hear the signal
            self._close_idle()
        # Every second until they are gone: one that is just starting does not hear the first time.
        for worker in self.predecessors:
            if worker.is_beating:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGTERM)

    def _close_idle(self) -> None:
        now = time.monotonic()
        for greenlet, since in list(self._waiting_since.items()):
            client = self._clients.get(greenlet)
            if client is None or now - since < IDLE_GRACE_SECONDS:
                continue
            if not select.select([client], [], [], 0)[0]:  # else a request is arriving
                greenlet.kill(StopIteration, block=False)  # what gunicorn's own loop ends with


class _WaitForRequest(gevent.Timeout):
    """Ends the wait for a request's head after the keep-alive time, and says who is waiting."""

    def __init__(self, seconds: float, waiting_since: dict[Any, float]) -> None:
        super().__init__(seconds, False)  # type: ignore[arg-type]  # False: end quietly; the stub forgot it
        self._waiting_since = waiting_since

    def __enter__(self) -> "_WaitForRequest":
        self._waiting_since[gevent.getcurrent()] = time.monotonic()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        del self._waiting_since[gevent.getcurrent()]
        return super().__exit__(kind, value, traceback)


def _linger(sock: Any) -> None:
    """Swallows what the peer still sends after an early answer, so that closing does not reset the connection."""
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(LINGER_IDLE_SECONDS)
        with gevent.Timeout(LINGER_SECONDS, False):  # type: ignore[arg-type]  # as above
            while sock.recv(LINGER_PIECE_BYTES):
                pass
    except OSError:
        return  # the peer is gone, which is what was waited for


def body_deadline(seconds: float) -> gevent.Timeout:
    """A `with` block that raises TimeoutError when it takes longer."""
    return gevent.Timeout(seconds, TimeoutError)


def close_after_answer(start_response: Callable[..., Any]) -> None:
    """Makes this answer the connection's last. A WSGI application cannot: gunicorn drops its Connection header."""
    response = getattr(start_response, "__self__", None)
    if response is not None:
        response.req.force_close()


# ── logging ──


def without_queries(text: str) -> str:
    """The text with the query of every address in it left out: it holds the write key."""
    return QUERY.sub("[query]", text)


class _MaskingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_queries(super().format(record))


class ConnectorLogger(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn's logger; neither its error log nor its access log, when one is asked for, shows a write key."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            before = handler.formatter
            if before is not None and not isinstance(before, _MaskingFormatter):
                handler.setFormatter(_MaskingFormatter(before._fmt, before.datefmt))
        ours = logging.getLogger("connector")
        ours.handlers = self.error_log.handlers
        ours.setLevel(self.error_log.level)
        ours.propagate = False

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        atoms: dict[str, Any] = super().atoms(resp, req, environ, request_time)
        return atoms | {"q": "", "{authorization}i": "-"}

"""Minds the delivering process beside the web server: starts it, starts it again when it ended, stops it."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

log = logging.getLogger("gunicorn.error")  # the master has no other

COMMAND = (sys.executable, "-m", "connector", "deliver")
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0  # having run this long it is sound again: the pauses start over
STOP_SECONDS = 20.0  # a request to a destination may take 10


class DeliveryProcess:
    """One child process, kept alive by a thread. It ends by itself once CONNECTOR_PARENT_PID is not its parent."""

    def __init__(
        self, environment: Mapping[str, str], command: Sequence[str] = COMMAND, forking: "threading.Lock | None" = None
    ) -> None:
        """Who forks in the same process holds `forking` meanwhile: a child forked while another is being started would
        inherit the pipe by which that start reports back, and the start would never end."""
        self._forking = forking or threading.Lock()
        self._command = tuple(command)
        self._environment = dict(environment)
        self._lock = threading.Lock()  # guards _process against a stop in the moment of a start
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._restarting = threading.Event()
        self._thread = threading.Thread(target=self._mind, name="delivery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def restart(self, environment: Mapping[str, str]) -> None:
        """Ends it gracefully; it comes back at once with this environment."""
        self._environment = dict(environment)
        self._restarting.set()
        self._terminate()

    def begin_stop(self) -> None:
        """Tells it to end; returns at once."""
        self._stopping.set()
        self._restarting.set()
        self._terminate()

    def finish_stop(self) -> None:
        """Returns when it has ended, killed if need be."""
        self.begin_stop()
        self._thread.join(STOP_SECONDS)
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                log.warning("the delivering process did not end within %g s and is killed", STOP_SECONDS)
                self._process.kill()
        self._thread.join(1.0)

    def _terminate(self) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def _mind(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            with self._lock:
                if self._stopping.is_set():
                    return
                self._restarting.clear()
                environment = {**self._environment, "CONNECTOR_PARENT_PID": str(os.getpid())}
                with self._forking:
                    self._process = process = subprocess.Popen(self._command, env=environment)  # noqa: S603  # our own
            started_at = time.monotonic()
            process.wait()  # gunicorn's master reaps every child, so the exit code may be lost; it is not needed
            if self._stopping.is_set():
                return
            if self._restarting.is_set() or time.monotonic() - started_at >= STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            if not self._restarting.is_set():
                log.error("the delivering process ended; it is started again in %g s", pause)
                self._restarting.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

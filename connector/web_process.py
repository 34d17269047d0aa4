"""The master of the web server: its settings, and what it does when it is ready, reloads and stops."""

import os
import resource
import threading
from typing import Any

from connector.delivery_process import DeliveryProcess
from connector.errors import SettingsError
from connector.gunicorn_worker import ConnectorWorker
from connector.settings import Settings, load_settings

OPEN_FILES = 65_536  # one per connection


class WebProcess:
    """Lives as long as the master; gunicorn.conf.py is executed anew at each reload and finds it here."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._delivery: DeliveryProcess | None = None
        self._forking = threading.Lock()  # see DeliveryProcess
        self._retired: dict[int, ConnectorWorker] = {}  # by process id: draining since a reload
        self.refusal: str | None = None

    def read_settings(self) -> Settings:
        """The settings of the environment; at a reload the last good ones when there are mistakes in the new ones.

        Raises SystemExit, with the mistakes as its text, when there are none to go on with.
        """
        try:
            self._settings = load_settings()
            self.refusal = None
        except SettingsError as error:
            if self._settings is None:
                raise SystemExit(str(error)) from None
            self.refusal = str(error)
        return self._settings

    def when_ready(self, arbiter: Any) -> None:
        """Listening, before the first worker starts."""
        raise_open_files()
        stop = arbiter.stop

        def announced_stop(_graceful: bool = True) -> None:
            ConnectorWorker.announce_stop()
            if self._delivery is not None:
                self._delivery.begin_stop()
            # gunicorn waits for them now, too.
            arbiter.WORKERS.update({pid: worker for pid, worker in self._retired.items() if is_living_child(pid)})
            # Asked with INT (Ctrl-C), gunicorn would reset the requests under way. A second INT still makes it hurry.
            stop(True)

        # gunicorn tells workers to end in the same way whether it reloads or stops; only here can it be seen.
        arbiter.stop = announced_stop
        spawn_worker = arbiter.spawn_worker

        def spawn_apart() -> Any:
            with self._forking:
                return spawn_worker()

        arbiter.spawn_worker = spawn_apart
        settings = self.read_settings()
        if settings.deliver:
            self._delivery = DeliveryProcess(settings.environment, forking=self._forking)
            self._delivery.start()

    def on_reload(self, arbiter: Any) -> None:
        """After HUP: gunicorn.conf.py has been read again, new workers are about to start."""
        self._retire_workers(arbiter)
        if self.refusal is not None:
            arbiter.log.error("the new settings are refused, the old ones stay in force:\n%s", self.refusal)
        elif self._delivery is not None and self._settings is not None:
            self._delivery.restart(self._settings.environment)

    def _retire_workers(self, arbiter: Any) -> None:
        """Takes the old workers off gunicorn's list; the first new one that serves tells them to end.

        On the list, gunicorn would tell them at once, wait for minutes until the last idle connection has ended, heed
        no signal meanwhile, and not replace a new worker that dies.
        """
        for pid, worker in list(self._retired.items()):
            if not is_living_child(pid):
                worker.tmp.close()
                del self._retired[pid]
        self._retired.update(arbiter.WORKERS)
        arbiter.WORKERS.clear()
        ConnectorWorker.predecessors = tuple(self._retired.values())

    def on_exit(self, arbiter: Any) -> None:
        """All workers have ended."""
        if self._delivery is not None:
            self._delivery.finish_stop()


def is_living_child(pid: int) -> bool:
    """Certain, unlike a signal: an id that has gone to a stranger is no child of ours."""
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return ended == 0


def raise_open_files() -> None:
    """As many connections as the system allows, up to OPEN_FILES; workers inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# gunicorn.conf.py is executed anew at each reload; this module stays.
web_process = WebProcess()

"""Load on a running server, and what to wait for while it goes on."""

import http.client
import json
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

from tests.integration.server import RunningServer, read_answer


class Load:
    """Threads that post new events over kept connections, each until `end`; what they were answered is kept."""

    def __init__(self, server: RunningServer, threads: int = 4) -> None:
        self._server = server
        self._ending = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.troubles: list[str] = []
        self.stored: set[str] = set()
        self._threads = [threading.Thread(target=self._post, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _post(self, thread: int) -> None:
        connection = self._server.connect()
        number = 0
        while not self._ending.is_set():
            number += 1
            event_id = f"load-{thread}-{number}"
            try:
                connection.request("POST", "/v1/webhook?writeKey=key", json.dumps({"event_id": event_id}))
                status = read_answer(connection).status
            except (OSError, http.client.HTTPException) as error:
                self.troubles.append(repr(error))
                connection.close()
                if self._server.process.poll() is not None:
                    return
                continue
            self.statuses[status] += 1
            if status == 200:
                self.stored.add(event_id)
        connection.close()

    def wait_for(self, answers: int) -> None:
        target = sum(self.statuses.values()) + answers
        deadline = time.monotonic() + 20
        while sum(self.statuses.values()) < target:
            assert time.monotonic() < deadline, (self.statuses, self.troubles[:3])
            time.sleep(0.01)

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()


def kept_event_ids(server: RunningServer) -> set[str]:
    with closing(sqlite3.connect(server.folder / "journal.db")) as journal:
        return {event_id for (event_id,) in journal.execute("SELECT event_id FROM received")}


def idle_connections(server: RunningServer, number: int) -> list[http.client.HTTPConnection]:
    """Kept connections that have been answered once."""
    connections = [server.connect() for _ in range(number)]
    for connection in connections:
        connection.request("GET", "/healthz")
        assert read_answer(connection).status == 200
    return connections


def workers_of(server: RunningServer) -> set[int]:
    return {int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", server.log)}


def wait_until(is_so: Callable[[], bool], server: RunningServer) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, server.log
        time.sleep(0.02)


def wait_for_log(server: RunningServer, text: str) -> None:
    wait_until(lambda: text in server.log, server)

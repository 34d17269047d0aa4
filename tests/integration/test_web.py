"""The pages, and what happens to connections when the service is reloaded or stopped under load."""

import http.client
import json
import os
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connector.metrics import METRICS
from tests.integration.server import ROOT, RunningServer, read_answer

STOP_SECONDS = 6.0  # far less than keep-alive: idle connections must not hold up a stop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("web")).start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log


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


# ── pages ──


def test_it_is_alive_and_ready(server: RunningServer) -> None:
    assert [server.get(path).status for path in ("/healthz", "/readyz", "/")] == [200, 200, 200]


def test_readiness_tells_why_it_cannot_store(server: RunningServer) -> None:
    with closing(sqlite3.connect(server.folder / "journal.db", isolation_level=None)) as journal:
        journal.execute("BEGIN IMMEDIATE")
        started_at = time.monotonic()

        answers = [server.get("/readyz") for _ in range(2)]

        assert time.monotonic() - started_at < 3
        journal.execute("ROLLBACK")

    assert {(answer.status, answer.body) for answer in answers} == {(503, b"the journal did not answer within 1 s\n")}
    deadline = time.monotonic() + 10
    while server.get("/readyz").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_metrics_are_those_that_have_a_name(server: RunningServer) -> None:
    server.post(b'{"event_id":"metrics"}')
    deadline = time.monotonic() + 10
    while 'connector_received_total{outcome="stored",source="production"}' not in (
        text := server.get("/metrics").body.decode()
    ):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)

    shown = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert shown == {metric.name + ("_total" if metric.kind == "counter" else "") for metric in METRICS}
    assert 'connector_answer_seconds_bucket{le="+Inf",source="production"}' in text


def test_the_status_page_is_plain_safe_and_complete(server: RunningServer) -> None:
    answer = server.get("/status", {"Accept": "text/html"})
    page = answer.body.decode()

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "rudder &lt;b&gt;" in page
    assert "<b>rudder" not in page
    assert "<script" not in page
    nonce = re.search(r"style-src 'nonce-([^']+)'", answer.headers["content-security-policy"])
    assert nonce is not None
    assert f'<style nonce="{nonce[1]}">' in page
    for secret in ("signed-key", "disabled-key", "secret"):
        assert secret not in page
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(("path", "accept"), [("/status?json", "text/html"), ("/status", "application/json")])
def test_the_status_comes_as_json_too(server: RunningServer, path: str, accept: str) -> None:
    status = json.loads(server.get(path, {"Accept": accept}).body)

    assert [source["name"] for source in status["sources"]] == ["production", "signed", "auto", "disabled"]
    assert [destination["state"] for destination in status["destinations"]] == ["not started"]
    assert "secret" not in json.dumps(status)


def test_an_unknown_page_is_404(server: RunningServer) -> None:
    assert server.get("/nothing").status == 404


# ── reload and stop ──


def test_a_reload_under_load_refuses_and_resets_nothing(server: RunningServer) -> None:
    idle = idle_connections(server, 12)
    load = Load(server)
    load.wait_for(100)

    server.send_signal(signal.SIGHUP)
    wait_for_log(server, "tells 2 old ones to end")
    load.wait_for(500)
    load.end()

    assert (load.troubles, set(load.statuses)) == ([], {200})
    assert load.stored <= kept_event_ids(server)
    answers = []
    for connection in idle:
        connection.request("POST", "/v1/webhook?writeKey=key", b"{}")
        answers.append(read_answer(connection))
        connection.close()
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["connection"] for answer in answers} == {"close"}, "else they are not the old ones"


def test_a_worker_that_dies_while_old_connections_drain_is_replaced(tmp_path: Path) -> None:
    server = RunningServer(tmp_path).start()
    idle = idle_connections(server, 12)
    old = workers_of(server)
    server.send_signal(signal.SIGHUP)
    wait_for_log(server, "tells 2 old ones to end")

    for worker in workers_of(server) - old:
        os.kill(worker, signal.SIGKILL)

    wait_until(lambda: len(workers_of(server)) == 6, server)
    assert server.post(b'{"event_id":"after"}').status == 200
    for connection in idle:
        connection.request("GET", "/healthz")
        assert read_answer(connection).status == 200
        connection.close()
    assert server.stop() == 0


def test_a_stop_soon_after_a_reload_is_as_quick(tmp_path: Path) -> None:
    server = RunningServer(tmp_path).start()
    idle = idle_connections(server, 12)
    server.send_signal(signal.SIGHUP)
    wait_for_log(server, "tells 2 old ones to end")
    server.send_signal(signal.SIGHUP)

    started_at = time.monotonic()
    assert server.stop() == 0

    assert time.monotonic() - started_at < STOP_SECONDS
    for connection in idle:
        connection.close()


def test_an_application_that_does_not_start_any_more_leaves_the_old_one_serving(tmp_path: Path) -> None:
    application = tmp_path / "breakable.py"
    application.write_text("from tests.integration.web_under_test import app\n")
    server = RunningServer(tmp_path, "breakable:app", {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}).start()
    application.write_text("raise RuntimeError('broken on purpose')\n")

    server.send_signal(signal.SIGHUP)
    wait_for_log(server, "cannot start, the old ones go on: broken on purpose")

    assert server.post(b'{"event_id":"still"}').status == 200
    application.write_text("from tests.integration.web_under_test import app\n")
    wait_for_log(server, "tells 2 old ones to end")
    assert server.post(b'{"event_id":"again"}').status == 200
    assert server.stop() == 0


def test_a_stop_under_load_loses_nothing_and_does_not_wait_for_idle_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = RunningServer(tmp_path_factory.mktemp("stop")).start()
    idle = idle_connections(server, 12)
    load = Load(server)
    load.wait_for(200)

    started_at = time.monotonic()
    code = server.stop()
    took = time.monotonic() - started_at
    load.end()

    assert code == 0
    assert took < STOP_SECONDS
    assert set(load.statuses) == {200}
    assert load.stored <= kept_event_ids(server)
    assert "Traceback" not in server.log
    for connection in idle:
        connection.close()

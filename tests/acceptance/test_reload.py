"""Reloads that go wrong, with real processes: a worker dies, a stop comes soon after, nothing starts any more."""

import os
import signal
import time
from pathlib import Path

from tests.integration.load import idle_connections, wait_for_log, wait_until, workers_of
from tests.integration.server import ROOT, RunningServer, read_answer

STOP_SECONDS = 6.0  # far less than keep-alive: idle connections must not hold up a stop


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
    application.write_text("from tests.integration.served_app import app\n")
    server = RunningServer(tmp_path, "breakable:app", {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}).start()
    application.write_text("raise RuntimeError('broken on purpose')\n")

    server.send_signal(signal.SIGHUP)
    wait_for_log(server, "cannot start, the old ones go on: broken on purpose")

    assert server.post(b'{"event_id":"still"}').status == 200
    application.write_text("from tests.integration.served_app import app\n")
    wait_for_log(server, "tells 2 old ones to end")
    assert server.post(b'{"event_id":"again"}').status == 200
    assert server.stop() == 0

"""The pages, and what happens to connections when the service is reloaded or stopped under load."""

import json
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from connector.metrics import METRICS
from tests.integration.load import Load, idle_connections, kept_event_ids, wait_for_log
from tests.integration.server import RunningServer, read_answer

STOP_SECONDS = 6.0  # far less than keep-alive: idle connections must not hold up a stop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("web")).start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log


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

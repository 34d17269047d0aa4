"""The commands beside a running service: started by `up` in a folder of its own, with a first .env that it writes."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures" / "events"
START_SECONDS, STOP_SECONDS = 30.0, 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """`python -m connector up`, and further commands in the same folder."""

    folder: Path
    port: int
    more: Mapping[str, str] = field(default_factory=dict)  # further variables

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "CONNECTOR_KEEPALIVE": "1",
            "CONNECTOR_WORKERS": "1",
            "CONNECTOR_DISK_RESERVE": "1MB",
            **self.more,
        }

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / "log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "connector", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        return process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")

    def wait_for(self, text: str, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.log:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def run(self, *arguments: str, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        """What the command said; it must end with this code, if one is given."""
        made = subprocess.run(
            [sys.executable, "-m", "connector", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert code in (None, made.returncode), f"{made.returncode}\n{made.stdout}\n{made.stderr}"
        return made

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"), free_port())
    process = running.start("up")
    try:
        running.wait_for("Booting worker")
        running.wait_for("connections in force")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()


def test_up_writes_the_first_env_and_says_which_url_to_paste(service: Service) -> None:
    key = re.search(r"^WRITE_KEY=(\S+)$", (service.folder / ".env").read_text(), re.MULTILINE)

    assert key is not None
    assert f"http://127.0.0.1:{service.port}/v1/webhook?writeKey={key[1]}" in service.log
    assert "cloudflared tunnel" in service.log
    assert "file data/events" in service.log


def test_a_second_service_is_told_that_the_port_is_taken(service: Service) -> None:
    assert "cannot listen on" in service.run("up", code=3).stderr


def test_the_demo_shows_every_documented_event_by_name(service: Service) -> None:
    found = service.json("demo")
    again = service.run("demo").stdout

    documented = [event for event in found["events"] if event["is_documented"]]
    assert found["documented"] == found["arrived"] == len(documented)
    assert all(event["name"] == event["fixture"] for event in documented)
    assert {event["destinations"]["file"] for event in found["events"]} == {"delivered"}
    assert f"{found['documented']} of {found['documented']} documented events" in again
    assert re.search(r"What arrived at file is in /.+/events\n", again)


def test_what_is_sent_is_counted_by_outcome(service: Service) -> None:
    path = str(FIXTURES / "email_opened.json")
    first = service.json("send", path, "--new-ids", "--repeat", "3")
    same = service.json("send", path, path, path)

    assert first["outcomes"] == {"stored": 3}
    assert same["outcomes"]["duplicate"] >= 2


def test_a_replay_that_is_waited_for_tells_what_it_left_behind(service: Service) -> None:
    service.json("send", str(FIXTURES / "email_opened.json"), "--new-ids")

    assert re.search(r": done, \d+ events? passed, 0 dead letters\n", service.run("replay", "file", "--wait").stdout)


def rejected_keys(service: Service) -> list[dict[str, str]]:
    findings = service.json("doctor", "--offline", code=None)["findings"]
    return [one for one in findings if one["about"] == "rejected key"]


def test_a_rejected_key_fails_and_doctor_tells_of_it(service: Service) -> None:
    sent = service.run("send", str(FIXTURES / "email_opened.json"), "--write-key", "wrong-write-key", code=1)
    deadline = time.monotonic() + 20
    while not rejected_keys(service) and time.monotonic() < deadline:
        time.sleep(0.1)  # the counts of the web workers are kept every other second

    assert "401" in sent.stdout
    assert rejected_keys(service)[0]["level"] == "fail"


def test_doctor_asks_the_running_service_and_its_public_url(service: Service) -> None:
    asking = replace(service, more={"PUBLIC_URL": f"http://127.0.0.1:{service.port}"})

    found = {one["text"] for one in asking.json("doctor", code=None)["findings"]}

    assert f"http://127.0.0.1:{service.port} leads here; the write key is known" in found
    assert "the delivering process lives" in found


def test_tail_follows_what_comes_in(service: Service) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", "tail", "-n", "0", "-f", "--json"],
        cwd=service.folder,
        env=service.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        # What came before its first look is not shown: an event comes again until one is.
        while not select.select([process.stdout], [], [], 1.0)[0]:
            service.run("send", str(FIXTURES / "sms_sent.json"), "--new-ids")
        told = json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)
        process.stdout.close()

    assert told["name"] == "sms_sent"
    assert told["destinations"][0]["state"] == "delivered"


def test_the_demo_starts_a_service_of_its_own_when_none_runs(tmp_path: Path) -> None:
    alone = Service(tmp_path, free_port())

    made = alone.run("demo", "--json")

    found = json.loads(made.stdout)
    assert found["documented"] == found["arrived"]
    assert "No service answers here" in made.stderr
    assert not (tmp_path / ".env").exists()


def test_serve_only_receives_and_deliver_only_delivers(tmp_path: Path) -> None:
    halves = Service(tmp_path, free_port())
    web = halves.start("serve")
    try:
        halves.wait_for("Booting worker")
        halves.run("send", str(FIXTURES / "email_opened.json"))
        waiting = halves.run("tail", "-n", "1").stdout
        delivering = halves.start("deliver", "--json")
        halves.wait_for("connections in force")
        delivering.terminate()
        code = delivering.wait(STOP_SECONDS)
    finally:
        web.terminate()
        web.wait(STOP_SECONDS)

    assert "waiting: file" in waiting
    assert code == 0
    assert '"logger": "connector.supervise"' in halves.log

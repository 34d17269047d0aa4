"""The example of a destination outside this repository: its own tests, and a configured one that delivers."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from connector.destinations import installed
from tests.installed_package import install_project
from tests.integration.command_line import CommandLine

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_destination"
CONFIGURATION = """
sources: [{{name: production, write_keys: [wk_0123456789abcdef], signing_keys: [s]}}]
destinations:
  - {{name: search, type: elasticsearch, url: "http://127.0.0.1:{port}", api_key: made-up-secret}}
"""


class Cluster(ThreadingHTTPServer):
    """Takes documents as Elasticsearch does: one line with the action, one with the document."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        super().__init__(("127.0.0.1", 0), _Bulk)


class _Bulk(BaseHTTPRequestHandler):
    server: Cluster

    def do_POST(self) -> None:
        lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            name = json.loads(action)["create"]["_id"]
            items.append({"create": {"_id": name, "status": 409 if name in self.server.documents else 201}})
            self.server.documents[name] = json.loads(document)
        body = json.dumps({"took": 1, "errors": False, "items": items}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the test's own output is what matters."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    server = Cluster()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def line(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The commands, with the example installed."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(install_project(EXAMPLE, tmp_path / "site")))
    installed.cache_clear()
    (tmp_path / "connector.yaml").write_text(CONFIGURATION.format(port=cluster.server_port), "utf-8")
    environment = {
        "CONNECTOR_CONFIG": str(tmp_path / "connector.yaml"),
        "CONNECTOR_DATA_DIR": str(tmp_path / "data"),
        "CONNECTOR_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    yield CommandLine(tmp_path, environment)
    installed.cache_clear()


def test_the_example_passes_its_own_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not every_example"],
        cwd=EXAMPLE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLE}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_connection_of_the_installed_type_is_checked(line: CommandLine) -> None:
    assert line.json("check")["destinations"] == [{"name": "search", "type": "elasticsearch", "enabled": True}]


def test_an_event_is_brought_to_it(line: CommandLine, cluster: Cluster) -> None:
    made = line.json("test", "search", "--fixture", "email_opened")

    assert made["attempts"][0]["deliveries"][0]["outcome"] == "delivered"
    assert [document["event"] for document in cluster.documents.values()] == ["Email Opened"]

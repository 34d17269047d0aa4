"""The web server's master and its log: what a mistake in the settings costs, and what is never written down."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from connector.gunicorn_worker import close_after_answer, without_queries
from connector.web_process import WebProcess


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, whose .env is read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORT", raising=False)
    return tmp_path


def test_a_mistake_at_the_start_is_told_and_ends_it(folder: Path) -> None:
    (folder / ".env").write_text("PORT=many\n")

    with pytest.raises(SystemExit, match="PORT: expected"):
        WebProcess().read_settings()


def test_a_mistake_at_a_reload_leaves_the_last_good_settings_in_force(folder: Path) -> None:
    (folder / ".env").write_text("PORT=8081\n")
    process = WebProcess()
    process.read_settings()
    (folder / ".env").write_text("PORT=many\n")

    assert process.read_settings().port == 8081
    assert process.refusal is not None
    assert process.refusal.startswith("PORT: expected")

    (folder / ".env").write_text("PORT=8082\n")
    assert process.read_settings().port == 8082
    assert process.refusal is None


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Error handling request POST /v1/webhook?writeKey=abc", "Error handling request POST /v1/webhook?[query]"),
        ("GET http://h/?a=1&writeKey=abc HTTP/1.1", "GET http://h/?[query] HTTP/1.1"),
        ("Invalid Request Line 'POST /v1?writeKey=abc'", "Invalid Request Line 'POST /v1?[query]'"),
        ("writeKey=abc&b=1", "writeKey=[query]&b=1"),
        ("Perhaps out of memory?", "Perhaps out of memory?"),
        ("nothing", "nothing"),
    ],
)
def test_a_query_is_never_logged(text: str, masked: str) -> None:
    assert without_queries(text) == masked


def test_closing_is_asked_of_gunicorn_only() -> None:
    asked = []

    class Response:
        req = SimpleNamespace(force_close=lambda: asked.append("close"))

        def start_response(self, status: str, headers: list[tuple[str, str]]) -> None:
            pass

    close_after_answer(Response().start_response)
    close_after_answer(lambda status, headers: None)

    assert asked == ["close"]

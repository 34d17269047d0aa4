"""The service itself: `up` is all of it, `serve` and `deliver` are one half each."""

import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import click

from connector.collector import ease_collector
from connector.commands.answers import Unreachable, json_option, note, reaching, say, show_json
from connector.commands.desk import base_url, source_named
from connector.commands.second_looks import second_looks
from connector.house import House
from connector.model import Connections
from connector.settings import Settings, inherited_environment, write_first_env

WEBHOOK_PATH = "/v1/webhook"
NICENESS = 5  # beside the web server: whoever waits four seconds for an answer goes before a backlog
PARENT_VARIABLE = "CONNECTOR_PARENT_PID"  # set by the web server: this process ends when that one has
FOLLOW_SECONDS = 0.5
# As gunicorn's lines, between which these stand when one terminal or one file takes both.
LINE_FORMAT, LINE_TIME = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s", "[%Y-%m-%d %H:%M:%S %z]"


@click.command()
@json_option
@click.pass_obj
def up(house: House, as_json: bool) -> None:
    """The whole service in one terminal. Web server and delivery; writes a first .env if there is none."""
    _start_web(house, as_json, delivers=True)


@click.command()
@json_option
@click.pass_obj
def serve(house: House, as_json: bool) -> None:
    """Only receives; `deliver` is the other half."""
    _start_web(house, as_json, delivers=False)


def _start_web(house: House, as_json: bool, delivers: bool) -> None:
    """Becomes the web server; the working directory stays, since .env and the data folder are found from there."""
    with reaching():
        settings = house.load_settings()
        written = None
        if settings.write_key is None and settings.config_path is None:
            written = Path(".env") if write_first_env(Path(".env"), {}) else None
            settings = house.load_settings()
        live = house.read_connections(settings)
        connections = live.current
    if live.problem:
        note(f"The connections file has mistakes, so the last good one is in force:\n{live.problem}", "red")
    _check_port(settings)
    if as_json:
        show_json({"url": webhook_url(settings, connections), "status": f"{base_url(settings)}/status"})
    else:
        _say_banner(settings, connections, written, delivers and settings.deliver)
    sys.stdout.flush()
    changed = {} if delivers else {"CONNECTOR_DELIVER": "no"}
    command = [sys.executable, "-m", "gunicorn", "-c", str(house.project / "gunicorn.conf.py"), "app:app"]
    os.execve(sys.executable, command, inherited_environment(**changed))  # noqa: S606  # no shell is wanted


def _check_port(settings: Settings) -> None:
    """Says at once what the server would say after several tries. Raises Unreachable when the port is not free."""
    if settings.environment.get("LISTEN_FDS") or settings.environment.get("GUNICORN_FD") or not settings.port:
        return  # somebody hands the socket in
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise Unreachable(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; set another PORT or HOST, "
                "or stop what listens there"
            ) from None


def webhook_url(settings: Settings, connections: Connections) -> str:
    """What is pasted into Customer.io; it holds the write key."""
    write_key = source_named(connections, None).write_keys[0]
    return f"{settings.public_url or base_url(settings)}{WEBHOOK_PATH}?writeKey={write_key}"


def _say_banner(settings: Settings, connections: Connections, written: Path | None, delivers: bool) -> None:
    say()
    if written:
        say(f"  A first {written.resolve()} with new keys is written.")
    say("  Paste this URL into Customer.io (Integrations → Reporting Webhooks → Webhook Endpoint):")
    say()
    say(f"    {webhook_url(settings, connections)}", "bold")
    say()
    if settings.public_url is None:
        say("  Customer.io cannot reach this address yet. To try it out, open a tunnel in another terminal:")
        say(f"    cloudflared tunnel --url {base_url(settings)}      (or: ngrok http {settings.port})")
        say("  and set PUBLIC_URL to the address that it prints. For production see README.md, “Connect Customer.io”.")
        say()
    for destination in connections.destinations:
        place = destination.options.get("url") or destination.options.get("path") or ""
        state = "" if destination.enabled else "   (disabled)"
        say(f"  Events go to   {destination.name}: {destination.type} {place}{state}")
    if not delivers:
        say("  Nothing is delivered by this process; `python -m connector deliver` does it.")
    say(f"  How it is      {base_url(settings)}/status")
    say("  Try it         make demo      (or: python -m connector demo)")
    for warning in second_looks(connections, settings):
        say(f"  Note           {warning}", "yellow")
    say()


@click.command()
@json_option
@click.pass_obj
def deliver(house: House, as_json: bool) -> None:
    """Only delivers, until it is stopped. One line on stderr for each attempt."""
    with reaching():
        settings = house.load_settings()
    start_logging(settings.log_level, as_json)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    parent = settings.environment.get(PARENT_VARIABLE)
    if parent:
        os.nice(NICENESS)
        threading.Thread(target=_follow, args=(int(parent), stopping), name="follow", daemon=True).start()
    ease_collector()
    house.deliver(settings, stopping)


def _follow(parent: int, stopping: threading.Event) -> None:
    """Sets `stopping` once the parent is another process: the one that started us has died."""
    while os.getppid() == parent:
        if stopping.wait(FOLLOW_SECONDS):
            return
    stopping.set()


class JsonLines(logging.Formatter):
    """A JSON document for each log record."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def start_logging(level: str, as_json: bool) -> None:
    """Everything to stderr; what the HTTP library says of each connection is noise beside the attempts."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(LINE_FORMAT, LINE_TIME))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("urllib3").setLevel(logging.WARNING)

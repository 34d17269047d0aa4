"""Puts the commands together and turns errors into a sentence and an exit code."""

import logging
import os
import signal
import sys
import threading

import click

from connector.errors import ConnectorError
from connector.house import House


@click.group()
def cli() -> None:
    """The Customer.io connector."""


@cli.command()
@click.pass_obj
def deliver(house: House) -> None:
    """Delivers what the journal holds, until it is stopped."""
    settings = house.load_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    parent = os.environ.get("CONNECTOR_PARENT_PID")
    if parent:
        threading.Thread(target=_follow, args=(int(parent), stopping), daemon=True).start()
    house.deliver(settings, stopping)


def _follow(parent: int, stopping: threading.Event) -> None:
    while os.getppid() == parent:
        if stopping.wait(0.5):
            return
    stopping.set()


def command_line(house: House) -> None:
    try:
        cli(obj=house, standalone_mode=True)
    except ConnectorError as error:
        print(error, file=sys.stderr)
        sys.exit(1)

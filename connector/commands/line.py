"""Puts the commands together and turns errors into a sentence and an exit code."""

from typing import Any

import click

from connector import __version__
from connector.commands.adobe import adobe_field_group
from connector.commands.answers import Refusal, Unreachable, describe
from connector.commands.comparing import compare_command
from connector.commands.demo import demo
from connector.commands.doctor import doctor
from connector.commands.first_steps import check, encrypt, init
from connector.commands.leftovers import dead, quarantine
from connector.commands.mapping import dry_run, map_event
from connector.commands.operating import backlog, event, tail
from connector.commands.replaying import replay
from connector.commands.running import deliver, serve, up
from connector.commands.trying import normalize, send, test
from connector.errors import ConnectorError, JournalError, SettingsError
from connector.house import House
from connector.ledger import LedgerError


class CommandLine(click.Group):
    """Lists the commands in the order in which a person meets them; expected errors are shown without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, JournalError, LedgerError) as error:
            raise Unreachable(str(error)) from error
        except (ConnectorError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise  # whoever reads has seen enough; click ends quietly
            raise Refusal(describe(error)) from error


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="connector")
def cli() -> None:
    """The Customer.io connector: receives reporting webhooks, keeps them safe, brings them to your destinations.

    Exit codes: 0 fine; 1 not done, or something is wrong; 2 the command line was wrong; 3 the settings, the journal
    or a service could not be opened or reached.
    """


for command in (
    *(init, check, up, doctor, demo),
    *(send, normalize, map_event, dry_run, test),
    *(tail, event, backlog),
    *(replay, dead, quarantine, compare_command),
    *(serve, deliver, encrypt),
    adobe_field_group,
):
    cli.add_command(command)


def command_line(house: House) -> None:
    """Runs what the arguments of this process ask for; ends the process."""
    cli(obj=house, prog_name="python -m connector")

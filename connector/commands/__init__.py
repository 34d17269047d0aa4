"""The command line; `command_line` is all that others need of it."""

from connector.commands.line import command_line

__all__ = ["command_line"]

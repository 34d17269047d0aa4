"""The reference in docs/commands.md, made of the command line's own help."""

from collections.abc import Iterator

import click


def leaves(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name: `("dead list", …)`."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix}{name} ")
            if command.invoke_without_command:
                yield f"{prefix}{name}", command
        else:
            yield f"{prefix}{name}", command


def command_reference(group: click.Group) -> str:
    return "\n\n".join(_section(name, command) for name, command in leaves(group))


def _section(name: str, command: click.Command) -> str:
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    lines = [f"### `{' '.join([name, *arguments])}`", "", _text(command.help)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        lines += ["", "| Option | Meaning |", "|---|---|"]
        lines += [f"| `{_spelling(option)}` | {_text(option.help)} |" for option in options]
    return "\n".join(lines)


def _spelling(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag or option.count else f" {option.make_metavar(click.Context(click.Command('any')))}"
    return (names + value).replace("|", "\\|")


def _text(help_text: str | None) -> str:
    return " ".join((help_text or "").replace("\b", "").split()).replace("|", "\\|")

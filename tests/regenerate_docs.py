"""Writes what the code knows into the docs: `python -m tests.regenerate_docs`. Tests compare the two."""

from connector.commands.line import cli
from tests.docs_commands import command_reference
from tests.docs_events import full_table, short_table
from tests.docs_metrics import metrics_table
from tests.docs_tables import write_table


def main() -> None:
    write_table("README.md", short_table())
    write_table("docs/events.md", full_table())
    write_table("docs/metrics.md", metrics_table())
    write_table("docs/commands.md", command_reference(cli))


if __name__ == "__main__":
    main()

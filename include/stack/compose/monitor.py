"""`python -m stack.compose.monitor`: whether the model of a compose project is still right, and acknowledging alarms.

A container does not know the calling user. The name for the ledger is an option, and is not checked.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from heartline.ledger import store as ledger
from heartline.monitoring import store
from stack.commands import monitor
from stack.commands.monitor import Databases
from stack.commands.usage import run
from stack.errors import Exit


@click.command()
@click.option("--version", metavar="V", default="", help="A monitored version, by default the one in production.")
@click.option("--page", metavar="FILE", help="Write the page Monitoring to this file, as HTML.")
@click.option("--acknowledge", "number", metavar="N", type=int, help="Acknowledge the alarm of this number.")
@click.option("--reason", metavar="TEXT", help="With --acknowledge: what was found or done, at least ten characters.")
@click.option("--by", metavar="NAME", help="With --acknowledge: your name, for the ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cli(version: str, page: str | None, number: int | None, reason: str | None, by: str | None, as_json: bool) -> None:
    """Show today in one sentence, the open alarms and the key figures. Exit code 1 while an alarm is open."""
    if number is not None and not by:
        raise click.UsageError("--acknowledge needs --by NAME")
    databases = Databases(store.configured(), ledger.configured(), os.environ)
    file = Path(page) if page else None
    if monitor.show(databases, version, page=file, number=number, reason=reason, by=by or "", as_json=as_json):
        sys.exit(Exit.FAILED)


def main() -> NoReturn:
    """Run the command line. The exit codes are the launcher's."""
    run(cli, "python -m stack.compose.monitor")


if __name__ == "__main__":
    main()

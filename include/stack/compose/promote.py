"""`python -m stack.compose.promote`: moves `production` of a compose project by a name, and shows who moved it.

A container knows no user, so the name is what the caller says; nothing checks it.
"""

import os
import sys

import click

from stack import console
from stack.clients.mlflow import Registry
from stack.commands import promote as production
from stack.errors import StackError

by_option = click.option("--by", required=True, metavar="NAME", help="Who does this, for the history.")
force_option = click.option("--force", is_flag=True, help="Let a model of the sample replace one of real data.")


@click.group()
def cli() -> None:
    """Move production, or show who moved it."""


@cli.command()
@click.argument("version", required=False)
@by_option
@force_option
def promote(version: str | None, by: str, force: bool) -> None:
    """Put a registered version into production, by default the one at `staging`."""
    print(f"production is at version {production.promote(_registry(), version, by=by, force=force)}")


@cli.command()
@by_option
@force_option
def rollback(by: str, force: bool) -> None:
    """Put the version back that was in production before; a second time, the one before that."""
    print(f"production is at version {production.rollback(_registry(), by=by, force=force)}")


@cli.command()
def history() -> None:
    """Show who moved production, when, from what to what; the last move first."""
    moves = production.moves(_registry())[::-1]
    console.out.print(production.table(moves) if moves else "production was never moved")


def _registry() -> Registry:
    return Registry(os.environ["MLFLOW_TRACKING_URI"])


def main() -> None:
    """Run a command, and end with the launcher's exit codes."""
    try:
        cli(prog_name="python -m stack.compose.promote")
    except StackError as error:
        console.fail(error)
        sys.exit(error.code)


if __name__ == "__main__":
    main()

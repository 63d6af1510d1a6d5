"""`python -m stack.compose.promote`: moves `production` of a compose project, and shows its history.

A container does not know the calling user. The name for the history is an option, and is not checked.
"""

import os
from typing import NoReturn

import click

from heartline.registry import alias_lock, approvals, served_model
from stack import console
from stack.clients.mlflow import Registry
from stack.commands import promote
from stack.commands.usage import run

by_option = click.option("--by", required=True, metavar="NAME", help="Your name, for the history.")
force_option = click.option(
    "--force", is_flag=True, help="Allow a model trained on the sample to replace one trained on real data."
)


@click.group()
def cli() -> None:
    """Move production, or show its history."""


@cli.command("promote")
@click.argument("version", required=False)
@by_option
@force_option
def promote_command(version: str | None, by: str, force: bool) -> None:
    """Put a registered version into production, by default the one at `staging`."""
    promoted = promote.promote(_registry(), version, by=by, force=force)
    print(f"production is at version {promoted}")
    if warning := promote.warning(_registry(), promoted):
        console.warn(warning)


@cli.command("rollback")
@by_option
@force_option
def rollback_command(by: str, force: bool) -> None:
    """Put the previous version back into production; a second time, the one before that."""
    print(f"production is at version {promote.rollback(_registry(), by=by, force=force)}")


@cli.command("history")
def history_command() -> None:
    """Show each move of production, the last one first: when, from, to, by whom."""
    moves = promote.moves(_registry())[::-1]
    console.out.print(promote.table(moves) if moves else "production was never moved")


def _registry() -> Registry:
    return Registry(
        os.environ["MLFLOW_TRACKING_URI"],
        os.environ.get(alias_lock.VARIABLE, ""),
        os.environ.get(served_model.VARIABLE, ""),
        approval_secret=approvals.secret_if_required(os.environ),
    )


def main() -> NoReturn:
    """Run the command line. The exit codes are the launcher's."""
    run(cli, "python -m stack.compose.promote")


if __name__ == "__main__":
    main()

"""`python -m stack.compose.promote`: moves `production` of a compose project, and shows the ledger.

A container does not know the calling user. The name for the ledger is an option, and is not checked.
"""

import json
import os
import sys
from typing import NoReturn

import click

from heartline.ledger import store
from heartline.registry.production import alias_lock, approvals, served_model
from stack import console
from stack.clients.mlflow import Registry
from stack.commands import history, promote
from stack.commands.usage import run
from stack.errors import Exit

by_option = click.option("--by", required=True, metavar="NAME", help="Your name, for the ledger.")
force_option = click.option(
    "--force", is_flag=True, help="Allow a model trained on the sample to replace one trained on real data."
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def cli() -> None:
    """Move production, or show the ledger."""


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
@click.option("--at", "time", metavar="TIME", help="Show what was in production at this time, ISO 8601, UTC.")
@json_option
def history_command(time: str | None, as_json: bool) -> None:
    """Show the ledger, the last entry first, or what was in production at a time."""
    at = history.parse_time(time) if time is not None else None
    found = history.entries(_registry())
    if at is not None:
        print(
            json.dumps(history.state_as_dict(found, at), indent=2)
            if as_json
            else "\n".join(history.state_lines(found, at))
        )
    elif as_json:
        print(json.dumps([history.as_dict(one) for one in reversed(found)], indent=2))
    else:
        console.out.print(history.table(found) if found else "the ledger is empty")


@cli.command("verify")
@json_option
def verify_command(as_json: bool) -> None:
    """Check the ledger's chain of hashes. Exit code 0 if it is intact, else 1."""
    found = history.verify(store.Store(store.configured()), _registry())
    print(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(found.lines()))
    if found.broken:
        sys.exit(Exit.FAILED)


def _registry() -> Registry:
    return Registry(
        os.environ["MLFLOW_TRACKING_URI"],
        os.environ.get(alias_lock.VARIABLE, ""),
        os.environ.get(served_model.VARIABLE, ""),
        store.Store(store.configured()),
        approval_secret=approvals.secret_if_required(os.environ),
    )


def main() -> NoReturn:
    """Run the command line. The exit codes are the launcher's."""
    run(cli, "python -m stack.compose.promote")


if __name__ == "__main__":
    main()

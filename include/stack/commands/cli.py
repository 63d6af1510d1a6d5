"""The command line: what each command takes and prints. What it does stands in the modules beside this one."""

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from heartline.errors import HeartlineError
from heartline.ingestion import source_catalog
from stack import console
from stack.bootstrap.launcher import HELP
from stack.clients import service
from stack.commands import status as status_module
from stack.commands import train as training
from stack.commands import up as up_module
from stack.commands.keys import keys
from stack.commands.promote import table
from stack.commands.test import run
from stack.errors import Exit, MachineError, StackError, UsageError, from_os_error
from stack.processes import lifecycle
from stack.processes.databases import NAMES
from stack.processes.lifecycle import Stack
from stack.secrets import env_file
from stack.settings import ROOT, Settings


class _Group(click.Group):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(HELP)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Heartline."""


source_option = click.option("--source", metavar="S", help=f"{source_catalog.choices()}.")
set_option = click.option(
    "--set", "assigned", metavar="PARAM=VALUE", multiple=True, help="A parameter of the training DAG; may be repeated."
)

force_option = click.option("--force", is_flag=True, help="Let a model of the sample replace one of real data.")
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@cli.command()
@source_option
@set_option
def up(source: str | None, assigned: tuple[str, ...]) -> None:
    """Start everything here, train where there is no model yet, and print a prediction.

    Without --source the records are those of HEARTLINE_SOURCE, else of the UCI archive where it answers, else a
    synthetic sample. A stack that runs is left running, and where there is a model in production nothing is trained.
    """
    stack = Stack.of(Settings.load())
    up_module.up(stack, training.parameters(source, assigned))


@cli.command()
@source_option
@set_option
def train(source: str | None, assigned: tuple[str, ...]) -> None:
    """Start a training run and follow it. Exit code 1 when it fails.

    The run registers a version and points `staging` at the winner; `promote` puts it into production.
    """
    stack = Stack.of(Settings.load())
    result = training.train(stack, training.parameters(source, assigned))
    print(json.dumps(result, indent=2, default=str))
    console.say(f"`staging` is at version {result['version']}. ./heartline promote puts it into production")


@cli.command()
@click.argument("file", required=False)
def predict(file: str | None) -> None:
    """Ask the service for a prediction.

    FILE holds a record or a list of records as JSON, - is standard input. Without FILE an example is sent.
    Exit code 1 when the record is refused.
    """
    settings = Settings.load()
    body: Any = service.example() if file is None else _read(file)
    print(json.dumps(service.predict(settings, body), indent=2))


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    path = Path(file)
    if not path.is_file():
        raise UsageError(
            "there is no such file",
            where=file,
            expected="a file with a record, or a list of records, as JSON",
            hint="correct the path, or leave it out to send an example",
        )
    return path.read_bytes()


@cli.command()
@click.argument("version", required=False)
@force_option
def promote(version: str | None, force: bool) -> None:
    """Put a registered version into production, by default the one at `staging`.

    A model trained on the synthetic sample replaces one trained on real data only with --force.
    """
    stack = Stack.of(Settings.load())
    _serve(stack, training.promote(stack, version, force=force))


@cli.command()
@force_option
def rollback(force: bool) -> None:
    """Put the version back that was in production before.

    It undoes the last move of `production`. A second rollback goes one move further back, never forth again: for that,
    promote VERSION. Exit code 2 where there is nothing to go back to.
    """
    stack = Stack.of(Settings.load())
    _serve(stack, training.rollback(stack, force=force))


def _serve(stack: Stack, version: str) -> None:
    with console.step(f"service answers with version {version}"):
        service.wait_until_served(stack.settings, version)
    print(f"production is at version {version}")


@cli.command()
@json_option
def history(as_json: bool) -> None:
    """Show who moved production, when, from what to what; the last move first.

    A move made in MLflow's UI is noted when a command or a training run next looks, with that time and an unknown
    mover; so is one whose command was cut off before it could note it.
    """
    moves = training.moves(Stack.of(Settings.load()))[::-1]
    if as_json:
        print(json.dumps([move.as_dict() for move in moves], indent=2))
    elif moves:
        console.out.print(table(moves))
    else:
        console.say("production was never moved")


@cli.command()
@click.argument("folder")
@click.option("--version", metavar="V", help="A registered version, by default the one in production.")
def export(folder: str, version: str | None) -> None:
    """Write a version's training and test rows as CSV: X_train, X_test, y_train, y_test.

    FOLDER is new or empty. The rows are those that the version was trained on, and those held out from it; y is 1
    for heart disease. Prints how many there are, and the snapshot and origin of the data.
    """
    from stack.commands import export as export_module  # pandas takes a second, and no other command needs it

    stack = Stack.of(Settings.load())
    print(json.dumps(export_module.export(stack, Path(folder), version), indent=2))


@cli.command()
@json_option
def status(as_json: bool) -> int:
    """Show each part of the stack, and what production serves. Exit code 0 when all is healthy, else 5."""
    stack = Stack.of(Settings.load())
    found = status_module.look(stack)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        console.out.print(status_module.table(found))
        console.out.print(status_module.summary(found), markup=False)
        console.out.print(status_module.login(stack), markup=False)
    return Exit.OK if found.healthy() else Exit.UNHEALTHY


@cli.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added.")
@click.option("-n", "--lines", default=50, show_default=True, help="Lines of each log.")
def logs(name: str | None, follow: bool, lines: int) -> None:
    """Show the logs of the parts; NAME is one of those that `status` shows."""
    settings = Settings.load()
    names = sorted(path.stem for path in settings.logs.glob("*.log"))
    if name and name not in names:
        raise UsageError(
            f"there is no log of {name!r}",
            where=str(settings.logs),
            expected="one of " + (", ".join(names) or "those that exist once the stack was started"),
            hint="correct the name",
        )
    if not names:
        console.say("there are no logs yet")
        return
    files = [str(settings.logs / f"{one}.log") for one in ([name] if name else names)]
    # It knows how to follow a file that is rotated.
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *files])  # noqa: S606 - no shell is wanted


cli.add_command(keys)


@cli.command()
def init() -> None:
    """Generate the secrets of the docker compose stack in .env; what is there is never changed."""
    generated = env_file.init(ROOT)
    print(env_file.summary(generated))


@cli.command()
@click.option("--purge", is_flag=True, help="Also delete the state: database, models, logs, secrets.")
def down(purge: bool) -> None:
    """Stop everything that was started here, and nothing else."""
    stack = Stack.of(Settings.load())
    if not stack.settings.home.exists():
        console.say("nothing runs, and there is no state")
        return
    with stack.locked("down"):
        with console.err.status("stopping"):
            ran = lifecycle.stop(stack)
        console.say(f"stopped: {', '.join(ran)}" if ran else "nothing ran")
        if purge:
            lifecycle.purge(stack)
            console.say(f"deleted: {stack.settings.home}")
            if stack.settings.postgres_url:
                console.say(f"your PostgreSQL server still has the databases and roles {', '.join(NAMES)}")


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGS]")
def test(arguments: tuple[str, ...]) -> None:
    """Run lint, types and tests. With arguments only pytest, which gets them."""
    run(arguments)


def main() -> int:
    """Run the command line, and return its exit code. Every failure has the one error shape."""
    try:
        code = cli.main(prog_name="heartline", standalone_mode=False)
        return code if isinstance(code, int) else Exit.OK
    except click.ClickException as error:
        return _fail(_usage(error))
    except HeartlineError as error:
        return _fail(error)
    except OSError as error:
        return _fail(from_os_error(error))
    except (KeyboardInterrupt, click.Abort):
        console.say("\ninterrupted; ./heartline status shows what runs")
        return Exit.INTERRUPTED
    except Exception as error:
        return _fail(_unexpected(error))


def _fail(error: HeartlineError) -> int:
    console.fail(error)
    return error.code if isinstance(error, StackError) else Exit.FAILED


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "heartline"
    return UsageError(
        error.format_message(),
        where=f"command line: {command}",
        expected=(context.get_usage() if context else "a command").removeprefix("Usage: "),
        hint=f"see ./{command} --help",
    )


def _unexpected(error: Exception) -> MachineError:
    log = Settings.load().logs / "launcher.log"
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            traceback.print_exception(error, file=file)
    return MachineError(
        f"the launcher met what it does not expect: {type(error).__name__}: {error}",
        where=f"{log} has the details",
        expected="no such thing: this is a fault of the launcher",
        hint="report it with that log",
    )

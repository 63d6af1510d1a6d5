"""The command line: options and output of each command. The other modules of this package do the work."""

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from heartline.errors import HeartlineError
from heartline.ingestion import source_catalog
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ledger import schema
from heartline.parameters import training as parameters
from heartline.parameters.parameter import Parameter
from stack import console, source_choice
from stack.bootstrap.launcher import HELP
from stack.clients import service
from stack.commands import db, history, monitor, personal_data, promote, status, test, up
from stack.commands.bundle import bundle
from stack.commands.keys import keys
from stack.commands.training import train
from stack.commands.usage import usage_error
from stack.errors import Exit, MachineError, UsageError, exit_code, from_os_error
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


class _TrainingCommand(click.Command):
    """A command with --set: its help ends with the parameters."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Parameters for --set"):
            formatter.write_dl([(one.name, _help_of(one)) for one in parameters.PARAMETERS])


def _help_of(parameter: Parameter) -> str:
    default = parameter.default_words or ("none" if parameter.default is None else str(parameter.default))
    return f"{parameter.title}: {parameter.bounds()}; default {default}".replace("`", "")


source_option = click.option("--source", metavar="S", help=f"{source_catalog.choices()}.")
mapping_option = click.option(
    "--mapping",
    metavar="M",
    help=f"How the file's columns and words become the contract's: a file that `mapping` wrote, or one of "
    f"{', '.join(mapping_catalog.NAMES)}.",
)
set_option = click.option(
    "--set", "assigned", metavar="PARAM=VALUE", multiple=True, help="A parameter of the training DAG; may be repeated."
)

force_option = click.option(
    "--force", is_flag=True, help="Allow a model trained on the sample to replace one trained on real data."
)
offline_option = click.option(
    "--offline", is_flag=True, help="Download nothing; packages come from the folder that `bundle` wrote."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@cli.command("up", cls=_TrainingCommand)
@source_option
@mapping_option
@set_option
@offline_option
def up_command(source: str | None, mapping: str | None, assigned: tuple[str, ...], offline: bool) -> None:
    """Start the stack, train a model if there is none, and print a prediction.

    Without --source, the records come from HEARTLINE_SOURCE, else from the UCI archive if it answers, else from a
    synthetic sample. Running processes continue. If there is a model in production, nothing is trained.
    """
    del offline  # the launcher has read it, and set HEARTLINE_OFFLINE
    stack = Stack.of(Settings.load())
    usual = source_choice.nightly(stack.settings.home)
    up.up(stack, train.run_parameters(source, assigned, mapping=mapping, usual_source=usual))


@cli.command("train", cls=_TrainingCommand)
@source_option
@mapping_option
@set_option
@json_option
def train_command(source: str | None, mapping: str | None, assigned: tuple[str, ...], as_json: bool) -> None:
    """Start a training run, follow it, and print what it did. Exit code 1 if it fails.

    The run registers a version of each family and points `staging` to the winner; `promote` puts it into production.
    """
    stack = Stack.of(Settings.load())
    usual = source_choice.nightly(stack.settings.home)
    given = train.run_parameters(source, assigned, mapping=mapping, usual_source=usual)
    train.train(stack, given, as_json=as_json)


@cli.command("mapping")
@click.argument("file")
@click.option("--out", metavar="NEW", help="Write to this file, which must not exist, instead of printing.")
def mapping_command(file: str, out: str | None) -> None:
    """Write a first draft of a mapping for a file whose columns, words or units are not the contract's.

    What cannot be told from the file is left open as "?", with a comment. Fill it in, then: train --source FILE
    --mapping NEW. The draft shows words of columns with few different words, and no other values of the file.
    """
    from stack.commands import mapping  # imports pandas, which takes a second and no other command needs

    mapping.draft(Path(file), Path(out) if out else None)


@cli.command("predict")
@click.argument("file", required=False)
def predict_command(file: str | None) -> None:
    """Ask the service for a prediction.

    FILE holds a record or a list of records as JSON; - is standard input. Without FILE, an example is sent.
    Exit code 1 if the record is refused.
    """
    settings = Settings.load()
    body: Any = service.example() if file is None else _read_json(file)
    if file is None:
        console.say(f"the example record: {json.dumps(body)}")
    print(json.dumps(service.predict(settings, body), indent=2))


def _read_json(file: str) -> bytes:
    """Return the bytes of a file, or of standard input, after checking that they are JSON."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except FileNotFoundError:
        raise _unreadable("there is no such file", file) from None
    except OSError as error:
        raise _unreadable(f"the file cannot be read: {error.strerror}", file) from error
    if not content.strip():
        raise _unreadable("there is nothing in it", file)
    try:
        json.loads(content)
    except ValueError as error:
        raise _unreadable(f"this is not JSON: {error}", file) from error
    return content


def _unreadable(what: str, file: str) -> UsageError:
    return UsageError(
        what,
        where="standard input" if file == "-" else file,
        expected="a record, or a list of records, as JSON",
        hint="name such a file, or none to send an example; `POST /predict` also takes CSV",
    )


@cli.command("score")
@click.argument("source", metavar="FILE")
@click.option(
    "--output",
    metavar="OUT",
    required=True,
    help="A .parquet or .csv file; a folder or address, in which the run makes a folder of its own; or postgres:TABLE.",
)
@click.option("--version", metavar="V", help="A registered version, by default the one in production.")
@mapping_option
@click.option("--keys", metavar="NAMES", help="Columns that the output repeats, separated by commas; by default all.")
@click.option("--query", metavar="SQL", help="For the source postgres.")
@click.option("--encoding", type=click.Choice(["contract", "kaggle"]), help="How the codes of the file are meant.")
@click.option("--format", "kind", type=click.Choice(["parquet", "csv", "both"]), help="Of the files in a folder.")
@json_option
def score_command(source: str, as_json: bool, kind: str | None, **options: str | None) -> None:
    """Score the records of a file or another source.

    The output has a row for each row of FILE, in its order: a probability, or the reason why it was rejected. Records
    are checked and answered as by the service. FILE may also be a URL, or the source postgres with --query.
    """
    from stack.commands import score  # imports pandas, which takes a second and no other command needs

    given = score.run_parameters(source, {**options, "format": kind})
    content = score.score(Stack.of(Settings.load()), given)
    if as_json:
        print(json.dumps(content, indent=2))
    else:
        for line in score.summary(content):
            console.out.print(line, markup=False)


@cli.command("promote")
@click.argument("version", required=False)
@force_option
def promote_command(version: str | None, force: bool) -> None:
    """Put a registered version into production, by default the one at `staging`.

    A model trained on the synthetic sample replaces one trained on real data only with --force. A warning says where
    the evidence of the version's comparison does not suffice for a run to promote it (promotion=if_better).
    """
    stack = Stack.of(Settings.load())
    promoted = promote.promote(stack.registry, version, by=promote.current_user(), force=force)
    _serve(stack, promoted)
    if warning := promote.warning(stack.registry, promoted):
        console.warn(warning)


@cli.command("rollback")
@force_option
def rollback_command(force: bool) -> None:
    """Put the previous version back into production.

    It undoes the last move of `production`. A second rollback goes one move further back; to go forward again, use
    promote VERSION. Exit code 2 if there is no previous version.
    """
    stack = Stack.of(Settings.load())
    _serve(stack, promote.rollback(stack.registry, by=promote.current_user(), force=force))


def _serve(stack: Stack, version: str) -> None:
    with console.step(f"service answers with version {version}"):
        service.wait_until_served(stack.settings, version)
    print(f"production is at version {version}")


@cli.group("history", invoke_without_command=True)
@click.option("--at", "time", metavar="TIME", help="Show what was in production at this time, ISO 8601, UTC.")
@json_option
@click.pass_context
def history_command(context: click.Context, time: str | None, as_json: bool) -> None:
    """Show the ledger, the last entry first: registrations, approvals, moves of production, and what the service did.

    With --at TIME: which version was in production then, who put it there and why, and what the service served.
    `history verify` checks that no entry was altered, removed or moved to another place.

    A move in MLflow's UI is entered by the next command or training run that reads the alias, with that time and an
    unknown user. A move whose command was killed is entered with its user if the alias was moved.
    """
    if context.invoked_subcommand:
        return
    at = history.parse_time(time) if time is not None else None
    found = history.entries(Stack.of(Settings.load()).registry)
    if at is not None:
        if as_json:
            print(json.dumps(history.state_as_dict(found, at), indent=2))
        else:
            print("\n".join(history.state_lines(found, at)))
    elif as_json:
        print(json.dumps([history.as_dict(one) for one in reversed(found)], indent=2))
    elif found:
        console.out.print(history.table(found))
    else:
        console.say("the ledger is empty")


@history_command.command("verify")
@json_option
def verify_command(as_json: bool) -> int:
    """Check the chain of hashes. Exit code 0 if it is intact, else 1.

    It names the first entry that was altered, removed or moved to another place. The last move's hash is also compared
    with the one that is noted in MLflow.
    """
    stack = Stack.of(Settings.load())
    found = history.verify(stack.ledger, stack.registry)
    print(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(found.lines()))
    return Exit.FAILED if found.broken else Exit.OK


@cli.command("monitor")
@click.option("--version", metavar="V", default="", help="A monitored version, by default the one in production.")
@click.option("--page", metavar="FILE", help="Write the page Monitoring to this file, as HTML.")
@click.option("--acknowledge", "number", metavar="N", type=int, help="Acknowledge the alarm of this number.")
@click.option("--reason", metavar="TEXT", help="With --acknowledge: what was found or done, at least ten characters.")
@json_option
def monitor_command(version: str, page: str | None, number: int | None, reason: str | None, as_json: bool) -> int:
    """Show whether the model is still right: today in one sentence, the open alarms, and the key figures.

    Exit code 0 if no alarm is open, 1 if one is, 5 if the stack does not run. With --acknowledge, the ledger keeps the
    reason with your name, and the exit code says whether another alarm is open.
    """
    databases, by = monitor.Databases.of(Stack.of(Settings.load())), promote.current_user()
    file = Path(page) if page else None
    found = monitor.show(databases, version, page=file, number=number, reason=reason, by=by, as_json=as_json)
    return Exit.FAILED if found else Exit.OK


@cli.command("export")
@click.argument("folder")
@click.option("--version", metavar="V", help="A registered version, by default the one in production.")
def export_command(folder: str, version: str | None) -> None:
    """Write a version's training and test rows as CSV: X_train, X_test, y_train, y_test.

    FOLDER must be new or empty. The rows are the version's training set and test set; y is 1 for heart disease.
    Prints the number of rows, and the snapshot and origin of the data.
    """
    from stack.commands import export  # imports pandas, which takes a second and no other command needs

    stack = Stack.of(Settings.load())
    print(json.dumps(export.export(stack, Path(folder), version), indent=2))


@cli.command("status")
@json_option
def status_command(as_json: bool) -> int:
    """Show each process of the stack, and the version in production. Exit code 0 if all are healthy, else 5."""
    stack = Stack.of(Settings.load())
    found = status.check_all(stack)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        console.out.print(status.table(found))
        for line in status.lines(stack, found):
            console.out.print(line, markup=False)
    return Exit.OK if found.healthy() else Exit.UNHEALTHY


@cli.command("db", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--database",
    default=db.DEFAULT,
    show_default=True,
    metavar="NAME",
    help=f"One of {', '.join(NAMES)}; the source `postgres` reads {db.DEFAULT}.",
)
@click.option("--read-only", is_flag=True, help="Open the prediction log as a user who can only read it.")
@click.option("--url", is_flag=True, help="Print the URL with user and password, for another program.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL ARGS]")
@click.pass_context
def db_command(context: click.Context, database: str, read_only: bool, url: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on a database of the stack. PSQL ARGS are handed to it, for example -c SQL or -f FILE.

    The user is named like the database; the password is in secrets/NAME_db_password of the state folder. With
    --read-only the database is predictions, and the user predictions_reader.
    """
    stack = Stack.of(Settings.load())
    given = context.get_parameter_source("database") is ParameterSource.COMMANDLINE
    login = db.login(database if given or not read_only else db.LOG, read_only=read_only)
    if url:
        print(db.url(stack, login))
    else:
        db.open_psql(stack, login, list(arguments))


record_option = click.option(
    "--record", metavar="FILE", help="One record as JSON: all predictions of exactly this record; - is standard input."
)


@cli.command("forget")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@record_option
@click.option("--yes", is_flag=True, help="Erase. Without it, nothing is erased.")
def forget_command(ids: tuple[str, ...], record: str | None, yes: bool) -> int:
    """Show which predictions of a person the log holds, and erase them with --yes.

    ID is the prediction_id of a response. Their outcomes are erased with them, also what waits on disk. The ledger gets
    an entry with the number and your name. docs/privacy.md lists what remains elsewhere.
    """
    stack = Stack.of(Settings.load())
    options = ["--by", promote.current_user(), *(["--yes"] if yes else [])]
    return personal_data.call(stack, "forget", ids, record, *options)


@cli.command("export-person")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@record_option
@click.option("--out", metavar="FILE", required=True, help="A new file, readable by you only; - is standard output.")
def export_person_command(ids: tuple[str, ...], record: str | None, out: str) -> int:
    """Write all that the prediction log holds of one person to a JSON file: predictions, models and outcomes."""
    target = out if out == "-" else str(Path(out).absolute())
    return personal_data.call(Stack.of(Settings.load()), "export", ids, record, "--out", target)


@cli.command("logs")
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Follow the logs.")
@click.option("-n", "--lines", default=50, show_default=True, help="Last lines of each log.")
def logs_command(name: str | None, follow: bool, lines: int) -> None:
    """Show the logs of the processes; NAME is a process that `status` lists."""
    settings = Settings.load()
    names = sorted(path.stem for path in settings.logs.glob("*.log"))
    if name and name not in names:
        raise UsageError(
            f"there is no log of {name!r}",
            where=str(settings.logs),
            expected="one of " + (", ".join(names) or "the logs that exist once the stack was started"),
            hint="correct the name",
        )
    if not names:
        console.say("there are no logs yet")
        return
    files = [str(settings.logs / f"{one}.log") for one in ([name] if name else names)]
    # tail follows a log file across its rotation.
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *files])  # noqa: S606 - no shell is wanted


cli.add_command(keys)
cli.add_command(bundle)


@cli.command("init")
def init_command() -> None:
    """Generate the secrets for docker compose in .env. Existing values are never changed."""
    generated = env_file.init(ROOT)
    print(env_file.summary(generated))


@cli.command("down")
@click.option("--purge", is_flag=True, help="Also delete the state: database, models, logs, secrets.")
def down_command(purge: bool) -> None:
    """Stop every process of this clone's stack, and nothing else."""
    stack = Stack.of(Settings.load())
    if not stack.settings.home.exists():
        console.say("nothing runs, and there is no state folder")
        return
    with stack.locked("down"):
        with console.err.status("stopping"):
            ran = lifecycle.stop(stack)
        console.say(f"stopped: {', '.join(ran)}" if ran else "nothing was running")
        if purge:
            _purge(stack)


def _purge(stack: Stack) -> None:
    """Say what is deleted, and delete it."""
    paths = lifecycle.purged(stack)
    console.say("deleting:" if paths else "nothing to delete")
    for path in paths:
        console.say(f"  {lifecycle.size(path) / 1e6:9.1f} MB  {path}")
    lifecycle.purge(stack)
    console.say(f"deleted: {stack.settings.home}")
    if stack.settings.postgres_url:
        ledger = ", ".join((*schema.LOGINS, schema.OWNER))
        console.say(
            f"your PostgreSQL server still has the databases and roles {', '.join(NAMES)}, and the roles {ledger}"
        )


@cli.command(
    "test",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--all", "everything", is_flag=True, help="Also run the slow tests and those that start the stack.")
@offline_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGS]")
def test_command(everything: bool, offline: bool, arguments: tuple[str, ...]) -> None:
    """Run lint, type checks and the tests that need no stack, browser or Docker engine.

    With PYTEST ARGS, run only pytest, which gets them.
    """
    del offline  # the launcher has read it, and set HEARTLINE_OFFLINE
    test.run(arguments, everything=everything)


def main() -> int:
    """Run the command line and return its exit code. Every error is printed in the project's error shape."""
    try:
        code = cli.main(prog_name="heartline", standalone_mode=False)
        return code if isinstance(code, int) else Exit.OK
    except click.ClickException as error:
        return _fail(usage_error(error))
    except HeartlineError as error:
        return _fail(error)
    except OSError as error:
        return _fail(from_os_error(error))
    except (KeyboardInterrupt, click.Abort):
        console.say("\ninterrupted; ./heartline status shows what is running")
        return Exit.INTERRUPTED
    except Exception as error:
        return _fail(_unexpected(error))


def _fail(error: HeartlineError) -> int:
    console.fail(error)
    return exit_code(error)


def _unexpected(error: Exception) -> MachineError:
    log = Settings.load().logs / "launcher.log"
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            traceback.print_exception(error, file=file)
    return MachineError(
        f"unexpected error in the launcher: {type(error).__name__}: {error}",
        where=f"{log} has the details",
        expected="no such error: this is a bug of the launcher",
        hint="report it with that log",
    )

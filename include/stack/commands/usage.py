"""Errors of click in the project's error shape, and a program of docker compose with such errors."""

import sys
from typing import NoReturn

import click

from heartline.errors import HeartlineError
from stack import console
from stack.errors import Exit, UsageError, exit_code


def usage_error(error: click.ClickException) -> UsageError:
    """Return an error of the command line: what is wrong, the command, its usage, and how to get help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "heartline"
    message = error.format_message().rstrip(".")
    program = command if command.startswith("python") else f"./{command}"
    return UsageError(
        message[:1].lower() + message[1:],
        where=f"command line: {command}",
        expected=(context.get_usage() if context else "a command").removeprefix("Usage: "),
        hint=f"see {program} --help",
    )


def run(command: click.Command, program: str) -> NoReturn:
    """Run a click command and exit with the launcher's exit codes."""
    try:
        command(prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        console.fail(usage_error(error))
        sys.exit(Exit.USAGE)
    except HeartlineError as error:
        console.fail(error)
        sys.exit(exit_code(error))
    sys.exit(Exit.OK)

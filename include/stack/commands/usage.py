"""Errors of click in the project's error shape."""

import click

from stack.errors import UsageError


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

"""`heartline db`: opens psql on a database of the stack, or prints its URL."""

import os
import shutil
from typing import NoReturn

import psycopg2  # type: ignore[import-untyped]

from stack.errors import UnhealthyError, UsageError
from stack.processes.databases import NAMES
from stack.processes.lifecycle import Stack
from stack.processes.postgres import psql

DEFAULT = "heartline"  # the database that the source `postgres` reads


def url(stack: Stack, name: str) -> str:
    """Return the libpq URL of a database, with its user's password.

    Raises:
        UsageError: there is no such database.
    """
    _check(name)
    return stack.server.address(name, stack.credentials[f"{name}_db_password"], driver=None)


def open_psql(stack: Stack, name: str, arguments: list[str]) -> NoReturn:
    """Replace this process by psql.

    Raises:
        UsageError: there is no such database.
        UnhealthyError: PostgreSQL does not answer.
    """
    _check(name)
    try:
        stack.server.connect(name, stack.credentials[f"{name}_db_password"], name).close()
    except psycopg2.OperationalError as error:
        raise UnhealthyError(
            f"PostgreSQL does not answer: {str(error).strip().splitlines()[-1]}",
            where=f"{stack.server.host}:{stack.server.port}, database {name}",
            expected="a running stack",
            hint="./heartline up, then the same command again",
        ) from error
    program = shutil.which("psql") or str(psql())
    # As environment variables, because other users of this machine can read a command line.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= stack.server.libpq(name, stack.credentials[f"{name}_db_password"])
    os.execve(program, [program, *arguments], environment)  # noqa: S606 - no shell is wanted


def _check(name: str) -> None:
    if name not in NAMES:
        raise UsageError(
            f"the stack has no database {name!r}",
            where="command line: --database",
            expected="one of " + ", ".join(NAMES),
            hint="correct the name",
        )

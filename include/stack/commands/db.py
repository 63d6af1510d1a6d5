"""`heartline db`: opens psql on a database of the stack, or prints its URL."""

import os
import shutil
from dataclasses import dataclass
from typing import NoReturn

import psycopg2  # type: ignore[import-untyped]

from stack.errors import UnhealthyError, UsageError
from stack.processes import reading_roles
from stack.processes.databases import NAMES
from stack.processes.lifecycle import Stack
from stack.processes.postgres import psql

LOG = reading_roles.LOG_DATABASE
DEFAULT = "heartline"  # the database that the source `postgres` reads


@dataclass(frozen=True)
class Login:
    """A database of the stack, and the role with which it is opened."""

    database: str
    role: str


def login(database: str, *, read_only: bool = False) -> Login:
    """Return the role that opens a database: its owner, or one that can only read.

    Raises:
        UsageError: there is no such database, or no role that only reads it.
    """
    if database not in NAMES:
        raise UsageError(
            f"the stack has no database {database!r}",
            where="command line: --database",
            expected="one of " + ", ".join(NAMES),
            hint="correct the name",
        )
    if read_only and database != LOG:
        raise UsageError(
            f"no role only reads the database {database}",
            where="command line: --read-only",
            expected=f"--database {LOG}, or none",
            hint="leave --database out, or --read-only",
        )
    return Login(database, reading_roles.READER if read_only else database)


def url(stack: Stack, opened: Login) -> str:
    """Return the libpq URL of a database, with its user's password."""
    password = stack.credentials[f"{opened.role}_db_password"]
    return stack.server.address(opened.role, password, driver=None, database=opened.database)


def open_psql(stack: Stack, opened: Login, arguments: list[str]) -> NoReturn:
    """Replace this process by psql.

    Raises:
        UnhealthyError: PostgreSQL does not answer.
    """
    name, password = opened.database, stack.credentials[f"{opened.role}_db_password"]
    try:
        stack.server.connect(opened.role, password, name).close()
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
    environment |= stack.server.libpq(opened.role, password) | {"PGDATABASE": name}
    os.execve(program, [program, *arguments], environment)  # noqa: S606 - no shell is wanted

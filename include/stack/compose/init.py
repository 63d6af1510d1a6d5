"""`python -m stack.compose.init`: docker compose runs it at every `up`, before Airflow and MLflow start."""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import psycopg2  # type: ignore[import-untyped]

from heartline.ledger import retention
from stack import setting_checks
from stack.errors import StackError, UnhealthyError
from stack.processes.databases import SUPERUSER, Server, create_missing, prune_ledger
from stack.secrets.credentials import Credentials, logins, write_private

HOST, PORT = "postgres", 5432


class FromEnvironment(Credentials):
    """The secrets of ``.env``, which docker compose passes as environment variables."""

    def __init__(self) -> None:
        pass

    def __getitem__(self, name: str) -> str:
        """Return a secret. Docker compose has refused to start if one is missing."""
        return os.environ[name.upper()]


def databases(credentials: Credentials) -> None:
    """Create the roles and databases that are missing.

    Raises:
        UnhealthyError: PostgreSQL does not answer, or refuses a password of ``.env``.
    """
    server = Server(HOST, PORT, SUPERUSER, credentials["postgres_password"], SUPERUSER, "")
    try:
        server.connect().close()
        create_missing(server, credentials)
        prune_ledger(server, retention.days(os.environ.get(retention.VARIABLE)), by="docker compose up")
    except (psycopg2.OperationalError, StackError) as error:
        raise UnhealthyError(
            f"PostgreSQL refuses: {error.what if isinstance(error, StackError) else _last_line(error)}",
            where=f"{HOST}:{PORT}",
            expected="the .env with which the database volume was made",
            hint="restore that .env; or, to start again WITHOUT the data, docker compose down --volumes",
        ) from error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def main() -> NoReturn:
    """Check the settings, create the databases and Airflow's logins, then hand over to Airflow's migration."""
    credentials = FromEnvironment()
    try:
        setting_checks.check(os.environ, in_container=True)
        databases(credentials)
    except StackError as error:
        sys.exit(f"heartline: {error}")
    passwords = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    passwords.parent.mkdir(exist_ok=True)
    write_private(passwords, json.dumps(logins(credentials)))
    os.execvp("airflow", ["airflow", "db", "migrate"])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()

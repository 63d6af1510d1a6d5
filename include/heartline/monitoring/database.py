"""Connections of the monitoring to PostgreSQL, and its errors in the shape of Heartline's."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import errors

from heartline import postgres
from heartline.errors import MonitoringError, MonitoringRefusedError

STATEMENT_SECONDS = 60.0
# Another transaction was first: the same one again can succeed.
_OVERTAKEN = (
    errors.UniqueViolation,
    errors.ForeignKeyViolation,
    errors.SerializationFailure,
    errors.DeadlockDetected,
)


@contextmanager
def transaction(
    url: str, setting: str, *, read_only: bool = False, seconds: float = STATEMENT_SECONDS
) -> Iterator[Any]:
    """Yield a cursor of one transaction; commit when the block ends.

    Args:
        url: of the database, as libpq or SQLAlchemy spell it.
        setting: the environment variable that holds it, for messages.
        read_only: whether the transaction may write nothing, and sees one state of the database.
        seconds: that a statement may take.

    Raises:
        MonitoringError: the database does not answer, and it is unknown whether the transaction was made; or another
            transaction changed the same rows, and it was not made.
        MonitoringRefusedError: the URL is empty, or the database refuses.
    """
    if not url:
        raise MonitoringRefusedError(
            "no database is configured",
            where=f"setting {setting}",
            expected="the database that the stack sets for its tasks",
            hint="./heartline up; with docker compose: ./heartline init, then docker compose up --wait",
        )
    where = f"PostgreSQL at {postgres.place(url)}, role {postgres.role(url)}"
    try:
        with closing(postgres.connect(url)) as opened:
            if read_only:
                opened.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with opened, opened.cursor() as cursor:
                # of the transaction and not of the session: also right behind a pooler of transactions
                cursor.execute("SET LOCAL timezone = 'UTC'")
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", (f"{seconds:g}s",))
                yield cursor
    except _OVERTAKEN as error:
        raise MonitoringError(
            f"another writer changed the same rows: {postgres.first_line(error)}",
            where=where,
            expected="rows that stay until the transaction ends",
            hint="try again",
        ) from error
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise MonitoringError(
            f"the database cannot be reached: {postgres.first_line(error)}",
            where=where,
            expected="a PostgreSQL database that answers",
            hint="check that PostgreSQL runs (./heartline status), then try again",
        ) from error
    except psycopg2.Error as error:
        missing = isinstance(error, (errors.UndefinedTable, errors.UndefinedColumn, errors.InsufficientPrivilege))
        raise MonitoringRefusedError(
            f"the database refuses: {postgres.first_line(error)}",
            where=where,
            expected="the tables and rights that the service and `up` create" if missing else "a statement it takes",
            hint="./heartline up (docker compose up --wait), then clear the task" if missing else "see the message",
        ) from error

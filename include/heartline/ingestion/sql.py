"""Reads rows from a database with one SQL query, in a read-only transaction."""

import re

import pandas as pd
from sqlalchemy import URL, Connection, create_engine, make_url
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from heartline.errors import SourceError, SourceRefusedError

_CHUNK = 50_000  # rows fetched at a time: the driver's objects need ten times the memory of the numbers


def select(url: str, query: str, *, seconds: float, connect_seconds: float = 5) -> tuple[list[str], pd.DataFrame]:
    """Return the names of a query's columns, and its rows.

    On PostgreSQL the transaction is read only, and the server cancels a statement after ``seconds``. On other databases
    nothing is committed.

    Args:
        url: a SQLAlchemy URL.
        query: one SELECT statement.
        seconds: the time limit of a statement.
        connect_seconds: the time limit of the connection.

    Returns:
        The k names, and the rows, shape [n, k]; the columns are numbered from 0, because a name may occur twice.

    Raises:
        SourceRefusedError: the URL, the login or the query is wrong; a retry cannot change that.
        SourceError: the database is unreachable, or was interrupted.
    """
    address = _address(url)
    statement = _one_statement(query)
    try:
        engine = create_engine(address, connect_args=_limits(address, seconds, connect_seconds))
        connection = engine.connect()
    except (SQLAlchemyError, ImportError) as error:
        raise _connection_error(error, _public(address)) from None  # the original message may contain the URL
    try:
        with connection:
            return _rows(connection, statement)
    except SQLAlchemyError as error:
        raise _query_error(error, f"{_public(address)}, query: {shorten(statement)}") from None
    finally:
        engine.dispose()


def public(url: str) -> str:
    """Return a database URL without user, password and options.

    Raises:
        SourceError: it cannot be parsed.
    """
    return _public(_address(url))


def _connection_error(error: Exception, where: str) -> SourceError:
    if isinstance(error, ImportError) or not _may_pass(error):
        return SourceRefusedError(
            f"the database refuses the connection: {_words(error)}",
            where=where,
            expected="a driver, a login and a database that exist",
            hint="correct HEARTLINE_DATABASE_URL, or create the user or the database that it names",
        )
    return SourceError(
        f"the database cannot be reached: {_words(error)}",
        where=where,
        expected="a database that accepts connections",
        hint="check that the database runs, and host and port in HEARTLINE_DATABASE_URL; Airflow retries the task",
    )


def _query_error(error: SQLAlchemyError, where: str) -> SourceError:
    if not _may_pass(error):
        return SourceRefusedError(
            f"the query failed: {_words(error)}",
            where=where,
            expected="a SELECT that the database's user may run",
            hint="correct the query, create the table that it names, or grant the user SELECT on it",
        )
    return SourceError(
        f"the query was interrupted: {_words(error)}",
        where=where,
        expected="a database that answers until the last row, within HEARTLINE_SOURCE_SECONDS for each statement",
        hint="check the database's log and load; Airflow retries the task",
    )


# What passes by waiting, by SQLSTATE: connection lost, deadlock and serialization, too many connections and no memory,
# cancelled or shutting down, input/output.
_PASSING_CLASSES = ("08", "40", "53", "57", "58")
_PASSING_STATES = ("25P03", "55P03", "55006")  # idle for too long, a lock, an object in use
_LASTING_STATES = ("57P04",)  # the database was dropped
# What libpq says where a connection fails; psycopg2 gives no SQLSTATE there.
_LASTING_WORDS = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied|is not permitted to log in|"
    r"(database|role|user) .+ does not exist|could not translate host name|invalid (connection option|port number)|"
    r"unsupported|certificate|unrecognized"
)


def _may_pass(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    cause = getattr(error, "orig", None)
    state = getattr(cause, "pgcode", None)
    if state:
        lasting = state in _LASTING_STATES or not (state.startswith(_PASSING_CLASSES) or state in _PASSING_STATES)
        return not lasting
    words = _words(error)
    if isinstance(error, OperationalError | InternalError):
        return not _LASTING_WORDS.search(words) and not re.match(r"no such |near |unable to open database file", words)
    return (isinstance(error, DBAPIError) and error.connection_invalidated) or isinstance(error, PoolTimeout)


def _rows(connection: Connection, statement: str) -> tuple[list[str], pd.DataFrame]:
    options = {"stream_results": True, "no_parameters": True}
    if connection.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    result = connection.execution_options(**options).exec_driver_sql(statement)
    names = list(result.keys())
    numbered = range(len(names))
    parts = [pd.DataFrame.from_records(part, columns=numbered, coerce_float=True) for part in result.partitions(_CHUNK)]
    return names, pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=numbered)


def _one_statement(query: str) -> str:
    statement = query.strip().rstrip(";")
    if not statement or ";" in statement:
        raise SourceRefusedError(
            "the query is not one statement",
            where="parameter query",
            expected="one SELECT statement",
            hint="remove the first semicolon and everything after it",
        )
    return statement


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise SourceRefusedError(
            "the URL of the database cannot be parsed",
            where="setting HEARTLINE_DATABASE_URL",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            hint="correct it; characters such as @ and / in a password are written as %40 and %2F",
        ) from None
    if address.drivername in ("postgres", "postgresql"):
        return address.set(drivername="postgresql+psycopg2")
    return address


def _limits(address: URL, seconds: float, connect_seconds: float) -> dict[str, str | int]:
    if address.get_backend_name() != "postgresql":
        return {}
    milliseconds = round(seconds * 1000)
    return {
        "connect_timeout": max(2, round(connect_seconds)),  # libpq's minimum
        "options": f"-c statement_timeout={milliseconds} -c default_transaction_read_only=on",
    }


def _words(error: Exception) -> str:
    """Return the driver's message on one line, without the statement if the driver separates it."""
    cause = getattr(error, "orig", None) or error
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return " ".join(str(primary or cause).split())


def _public(address: URL) -> str:
    port = f":{address.port}" if address.port else ""
    return f"{address.get_backend_name()}://{address.host or ''}{port}/{address.database or ''}"


def shorten(statement: str) -> str:
    """Return a query on one line, cut to 200 characters."""
    line = " ".join(statement.split())
    return line if len(line) <= 200 else f"{line[:199]}…"

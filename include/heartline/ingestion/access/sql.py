"""Reads rows from a database with one SQL query, in a read-only transaction."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pandas as pd
from sqlalchemy import URL, Connection, create_engine, make_url
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from heartline import visible
from heartline.errors import SourceError, SourceRefusedError, TooLargeError
from heartline.ingestion import limits
from heartline.ingestion.access.http import Limits
from heartline.ingestion.mapping.file_mapping import plain

_SHOWN = 200  # characters of a query in a message
_FETCH = 1_000  # rows fetched at a time: a cell may be long
_CHUNK = 50_000  # rows handed over at a time: the driver's objects need ten times the memory of the numbers
_MISESTIMATE = 4  # a plan's number of rows may exceed the real one by this factor without being refused

T = TypeVar("T")


def select(
    url: str,
    query: str,
    within: Limits,
    collect: Callable[[list[str], Iterator[pd.DataFrame]], T],
    *,
    exact: str | Callable[[list[str]], Sequence[int]] = "",
) -> T:
    """Pass the names of a query's columns and its rows, part by part, to ``collect``, and return its result.

    On PostgreSQL the transaction is read only, the rows come from a server-side cursor, and the server cancels a
    statement after ``within.seconds``. A query whose plan has far more rows than allowed is not started. On other
    databases nothing is committed.

    Args:
        url: a SQLAlchemy URL.
        query: one SELECT statement.
        within: the limits of time and of rows.
        collect: takes the k names, and frames of shape [n, k] with consecutive rows, at least one; the columns are
            numbered from 0, because a name may occur twice.
        exact: the name of a column whose numbers stay as they are: as float64, long ones would become equal; or a
            function that takes the k names and returns the positions of such columns.

    Raises:
        SourceRefusedError: the URL, the login or the query is wrong; a retry cannot change that.
        SourceError: the database is unreachable, or was interrupted.
        TooLargeError: the plan has too many rows, or a cell is too long.
    """
    address = _address(url)
    statement = _one_statement(query)
    try:
        engine = create_engine(address, connect_args=_limits(address, within.seconds, within.connect_seconds))
        connection = engine.connect()
    except (SQLAlchemyError, ImportError) as error:
        raise _connection_error(error, _public(address)) from None  # the original message may contain the URL
    try:
        with connection:
            _expect_few_rows(connection, statement, _where(address, statement), within.rows)
            return collect(*_rows(connection, statement, _where(address, statement), exact))
    except SQLAlchemyError as error:
        raise _query_error(error, _where(address, statement)) from None
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
_ABOUT_VALUES = "22"  # data exceptions: the message quotes the value, which may be that of a patient
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


def _expect_few_rows(connection: Connection, statement: str, where: str, rows: int) -> None:
    """Raise if PostgreSQL's plan has far more rows than allowed: some plans fill a disk before their first row."""
    if connection.dialect.name != "postgresql":
        return
    try:
        plan = connection.exec_driver_sql(
            f"EXPLAIN (FORMAT JSON) {statement}", execution_options={"no_parameters": True}
        ).scalar_one()
    except SQLAlchemyError:
        return  # no SELECT, or a wrong one: the statement itself says what is wrong
    finally:
        connection.rollback()
    expected = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"]
    if expected > _MISESTIMATE * rows:
        raise TooLargeError(
            f"the query would return about {expected:,} rows, as PostgreSQL estimates it",
            where=where,
            expected=f"at most {rows:,} rows",
            hint="select fewer rows, or raise HEARTLINE_SOURCE_MAX_ROWS if the machine has memory for them",
        )


def _rows(
    connection: Connection, statement: str, where: str, exact: str | Callable[[list[str]], Sequence[int]]
) -> tuple[list[str], Iterator[pd.DataFrame]]:
    options = {"stream_results": True, "no_parameters": True}
    if connection.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    result = connection.execution_options(**options).exec_driver_sql(statement)
    names = list(result.keys())
    if len(names) > limits.COLUMNS:
        raise limits.too_many_columns(where, len(names))

    if isinstance(exact, str):
        as_they_are: Sequence[int] = [at for at, name in enumerate(names) if plain(name) == plain(exact)]
    else:
        as_they_are = exact(names)

    def parts() -> Iterator[pd.DataFrame]:
        waiting: list[Any] = []
        for part in result.partitions(_FETCH):
            _expect_short(part, names, where)
            waiting += part
            if len(waiting) >= _CHUNK:
                yield _frame(waiting, len(names), as_they_are)
                waiting = []
        yield _frame(waiting, len(names), as_they_are)

    return names, parts()


def _frame(rows: list[Any], width: int, as_they_are: Sequence[int]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(rows, columns=range(width), coerce_float=True)
    for at in as_they_are:
        frame[at] = pd.Series([row[at] for row in rows], dtype="object", index=frame.index)
    return frame


def _expect_short(rows: Sequence[Sequence[Any]], names: Sequence[str], where: str) -> None:
    for row in rows:
        for name, cell in zip(names, row, strict=True):
            if isinstance(cell, str | bytes | memoryview) and len(cell) > limits.LINE:
                raise TooLargeError(
                    f"a cell of the column {visible.visible(name)} has {len(cell):,} characters",
                    where=where,
                    expected=f"cells of at most {limits.LINE:,} characters",
                    hint="select only the contract's columns",
                )


def _where(address: URL, statement: str) -> str:
    return f"{_public(address)}, query: {shorten(statement)}"


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
    words = " ".join(str(primary or cause).split())
    if str(getattr(cause, "pgcode", None) or "").startswith(_ABOUT_VALUES):
        words = re.sub('"[^"]*"', '"…"', words)
    return visible.visible(words, visible.LONG)


def _public(address: URL) -> str:
    port = f":{address.port}" if address.port else ""
    return f"{address.get_backend_name()}://{address.host or ''}{port}/{address.database or ''}"


def shorten(statement: str) -> str:
    """Return a query on one line, cut to 200 characters."""
    return visible.visible(" ".join(statement.split()), _SHOWN)

"""Reads rows from a database with one SQL query, in a read-only transaction."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pandas as pd
from sqlalchemy import URL, Connection, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from heartline import visible
from heartline.errors import SourceError, TooLargeError
from heartline.ingestion import limits
from heartline.ingestion.http import Limits

_SHOWN = 200  # characters of a query in a message
_FETCH = 1_000  # rows fetched at a time: a cell may be long
_CHUNK = 50_000  # rows handed over at a time: the driver's objects need ten times the memory of the numbers
_MISESTIMATE = 4  # a plan's number of rows may exceed the real one by this factor without being refused

T = TypeVar("T")


def select(url: str, query: str, within: Limits, collect: Callable[[list[str], Iterator[pd.DataFrame]], T]) -> T:
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

    Raises:
        SourceError: the URL is wrong, the database is unreachable, or it refuses the query.
        TooLargeError: the plan has too many rows, or a cell is too long.
    """
    address = _address(url)
    statement = _one_statement(query)
    try:
        engine = create_engine(address, connect_args=_limits(address, within.seconds, within.connect_seconds))
        connection = engine.connect()
    except (SQLAlchemyError, ImportError) as error:
        raise SourceError(
            f"the database cannot be reached: {_words(error)}",
            where=_public(address),
            expected="a reachable database",
            hint="check HEARTLINE_DATABASE_URL, that the database runs, and that the user may connect",
        ) from None  # the original message may contain the URL
    try:
        with connection:
            _expect_few_rows(connection, statement, _where(address, statement), within.rows)
            return collect(*_rows(connection, statement, _where(address, statement)))
    except SQLAlchemyError as error:
        raise SourceError(
            f"the query failed: {_words(error)}",
            where=_where(address, statement),
            expected="a SELECT that the database's user may run",
            hint="correct the query, or create the table that it names",
        ) from None
    finally:
        engine.dispose()


def public(url: str) -> str:
    """Return a database URL without user, password and options.

    Raises:
        SourceError: it cannot be parsed.
    """
    return _public(_address(url))


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


def _rows(connection: Connection, statement: str, where: str) -> tuple[list[str], Iterator[pd.DataFrame]]:
    options = {"stream_results": True, "no_parameters": True}
    if connection.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    result = connection.execution_options(**options).exec_driver_sql(statement)
    names = list(result.keys())
    if len(names) > limits.COLUMNS:
        raise limits.too_many_columns(where, len(names))

    def parts() -> Iterator[pd.DataFrame]:
        waiting: list[Any] = []
        for part in result.partitions(_FETCH):
            _expect_short(part, names, where)
            waiting += part
            if len(waiting) >= _CHUNK:
                yield _frame(waiting, len(names))
                waiting = []
        yield _frame(waiting, len(names))

    return names, parts()


def _frame(rows: list[Any], width: int) -> pd.DataFrame:
    return pd.DataFrame.from_records(rows, columns=range(width), coerce_float=True)


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
        raise SourceError(
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
        raise SourceError(
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
    return visible.visible(" ".join(str(primary or cause).split()), visible.LONG)


def _public(address: URL) -> str:
    port = f":{address.port}" if address.port else ""
    return f"{address.get_backend_name()}://{address.host or ''}{port}/{address.database or ''}"


def shorten(statement: str) -> str:
    """Return a query on one line, cut to 200 characters."""
    return visible.visible(" ".join(statement.split()), _SHOWN)

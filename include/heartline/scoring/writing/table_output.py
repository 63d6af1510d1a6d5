"""Writes the output of a run into a table of PostgreSQL. Writing a chunk again replaces its rows in one transaction."""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import pyarrow as pa
from psycopg2 import errorcodes, extensions, sql
from pyarrow import csv
from sqlalchemy.engine import make_url

from heartline import visible
from heartline.errors import ParameterError, PermanentError, SourceRefusedError
from heartline.scoring.reading.layout import RESULTS
from heartline.scoring.writing import results
from heartline.scoring.writing.outputs import OutputError

PREFIX = "postgres:"
PATTERN = rf"{PREFIX}(?:[a-z_][a-z0-9_]{{0,50}}\.)?[a-z_][a-z0-9_]{{0,50}}"
RUNS = "_runs"  # behind the table's name: the table of the manifests
_COLUMNS = ("run", "chunk", *RESULTS, "keys")
_TYPES = {
    "run": "text NOT NULL",
    "chunk": "integer NOT NULL",
    "row": "bigint NOT NULL",
    "probability": "real",
    "has_heart_disease": "boolean",
    "imputed": "text",
    "version": "text NOT NULL",
    "snapshot": "text NOT NULL",
    "reason": "text",
    "errors": "jsonb",
    "keys": "jsonb NOT NULL",
}


class TableError(OutputError, PermanentError):
    """The database answers, and refuses: the table, the login or a permission has to be corrected."""


class ScoreTable:
    """A table with the results of runs: ``run`` and ``row`` are its primary key.

    Args:
        output: the parameter ``output``: ``postgres:TABLE`` or ``postgres:SCHEMA.TABLE``.
        url: of the database.

    Raises:
        ParameterError: it is no such value.
        SourceRefusedError: no database is configured.
    """

    def __init__(self, output: str, url: str) -> None:
        if not re.fullmatch(PATTERN, output):
            raise ParameterError(
                f"this is no table: {visible.visible(output)}",
                where="parameter output",
                expected="postgres:TABLE or postgres:SCHEMA.TABLE, in lower case",
                hint="correct the name",
            )
        if not url:
            raise SourceRefusedError(
                "no database is configured",
                where="setting HEARTLINE_DATABASE_URL",
                expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                hint="set it where the task runs",
            )
        self.name = output.removeprefix(PREFIX)
        self._table = sql.Identifier(*self.name.split("."))
        self._runs = sql.Identifier(*f"{self.name}{RUNS}".split("."))
        address = make_url(url)
        self._dsn = address.set(drivername="postgresql").render_as_string(hide_password=False)
        self._public = f"{address.host or ''}:{address.port or 5432}/{address.database}, table {self.name}"

    def prepare(self) -> None:
        """Create the tables where they do not exist.

        Raises:
            TableError, OutputError: the database refuses, or is away.
        """
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_TYPES[name])) for name in _COLUMNS
        )
        with self._transaction() as cursor:
            # two runs may start at once: CREATE TABLE IF NOT EXISTS alone fails then
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"heartline scores {self.name}"])
            cursor.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (run, row))").format(self._table, columns)
            )
            cursor.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} (run text PRIMARY KEY, manifest jsonb NOT NULL)").format(
                    self._runs
                )
            )

    def write(self, tables: Iterable[pa.Table], run: str, chunk: int) -> int:
        """Write the rows of a chunk in place of those that an earlier attempt wrote, and return their number.

        Raises:
            TableError, OutputError: the database refuses, or is away.
        """
        copy = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT csv)").format(
            self._table, sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
        )
        count = 0
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("DELETE FROM {} WHERE run = %s AND chunk = %s").format(self._table), [run, chunk])
            for table in tables:
                cursor.copy_expert(copy, _lines(table, run, chunk))
                count += table.num_rows
        return count

    def write_manifest(self, run: str, content: Mapping[str, Any]) -> None:
        """Write the manifest of a run: its row says that the run is complete.

        Raises:
            TableError, OutputError: the database refuses, or is away.
        """
        with self._transaction() as cursor:
            cursor.execute(
                sql.SQL(
                    "INSERT INTO {} VALUES (%s, %s) ON CONFLICT (run) DO UPDATE SET manifest = excluded.manifest"
                ).format(self._runs),
                [run, json.dumps(content)],
            )

    def count(self, run: str) -> int:
        """Return how many rows of a run the table holds.

        Raises:
            TableError, OutputError: the database refuses, or is away.
        """
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("SELECT count(*) FROM {} WHERE run = %s").format(self._table), [run])
            return int(cursor.fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[extensions.cursor]:
        try:
            connection = psycopg2.connect(self._dsn, connect_timeout=10, application_name="heartline scoring")
            try:
                with connection, connection.cursor() as cursor:
                    yield cursor
            finally:
                connection.close()
        except psycopg2.Error as error:
            raise self._error(error) from None

    def _error(self, error: psycopg2.Error) -> OutputError:
        state = error.pgcode or ""
        lasting = state[:2] in ("22", "23", "28", "3D", "3F", "42") and state != errorcodes.DEADLOCK_DETECTED
        words = visible.visible(
            (error.diag.message_primary if error.diag else "") or " ".join(str(error).split()), visible.LONG
        )
        return (TableError if lasting else OutputError)(
            f"the table cannot be written: {words}",
            where=self._public,
            expected="a database whose user may create and write the table",
            hint="grant the user CREATE on the schema, or name another table"
            if lasting
            else "check that the database runs; Airflow retries the task",
        )


def _lines(table: pa.Table, run: str, chunk: int) -> io.BytesIO:
    """Return rows as CSV without a header, in the order of ``_COLUMNS``."""
    own = [name for name in table.column_names if name not in RESULTS]
    rows = results.plain(table)
    count = table.num_rows
    columns = {
        "run": pa.repeat(run, count),
        "chunk": pa.repeat(chunk, count),
        **{name: rows[name] for name in RESULTS},
        "keys": _objects(rows, own),
    }
    buffer = io.BytesIO()
    csv.write_csv(pa.table(columns), buffer, csv.WriteOptions(include_header=False))
    buffer.seek(0)
    return buffer


def _objects(rows: pa.Table, names: Sequence[str]) -> pa.Array:
    if not names:
        return pa.repeat("{}", rows.num_rows)
    return pa.array([json.dumps(one, default=str) for one in rows.select(list(names)).to_pylist()], pa.string())

"""The tables of the prediction log, and all its SQL statements.

Each statement has a deadline that also applies if the server hangs or packets are dropped: the connections are
asynchronous, and ``LogDatabase._wait`` waits for them.
"""

import logging
import select
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg2  # type: ignore[import-untyped]
from psycopg2 import extensions

from serving.prediction_log.entries import Batch, Found
from serving.settings import PREFIX, SettingError

CONNECT_TIMEOUT_SECONDS = 3.0
STATEMENT_TIMEOUT_SECONDS = 10.0
POLL_MILLISECONDS = 100  # after which a changed deadline takes effect
EXPIRE_BATCH_ROWS = 5_000  # of one DELETE, so that it ends long before its time-out
CLOCK_SECONDS = 3600.0  # by which the clocks of database and service may differ when predictions are deleted
APPLICATION = "heartline-service"
LOCK = 0x4865617274  # base of our advisory locks; one of the next two numbers is added
CREATE_SCHEMA, EXPIRE = 1, 2
LOG = logging.getLogger(__name__)

# The statements of each schema version. The table prediction_log stores which versions a database has.
SCHEMA = (
    """
    CREATE TABLE model (
        key text PRIMARY KEY,
        name text NOT NULL,
        version text NOT NULL,
        alias text NOT NULL,
        family text NOT NULL,
        origin text NOT NULL,
        snapshot text NOT NULL,
        contract_version text NOT NULL,
        bundle text NOT NULL,
        run_id text,
        source text,
        trained_at timestamptz
    );
    CREATE TABLE prediction (
        prediction_id uuid PRIMARY KEY,
        request_id text NOT NULL,
        request_row integer NOT NULL,
        answered timestamptz NOT NULL,
        model_key text NOT NULL REFERENCES model,
        has_heart_disease boolean NOT NULL,
        probability double precision NOT NULL,
        imputed text[] NOT NULL,
        features jsonb NOT NULL
    );
    CREATE INDEX prediction_answered ON prediction (answered);
    """,
)


class LogDatabaseError(Exception):
    """A statement failed; the text says why, without any secret."""


def check_url(url: str) -> None:
    """Check that the database driver can parse ``url``.

    Raises:
        SettingError: it cannot. The text does not repeat the URL, which contains a password.
    """
    try:
        extensions.parse_dsn("" if url == "off" else url)
    except psycopg2.Error:
        raise SettingError(
            "the value cannot be parsed",
            where=PREFIX + "PREDICTION_LOG_URL",
            expected="postgresql://user:password@host:port/database, special characters in it as %XX",
            hint="correct the variable, or unset it to switch the prediction log off",
        ) from None


class LogDatabase:
    """One connection, opened when it is needed and closed after any failure. For one thread.

    Args:
        url: connection URL of libpq, of a role that owns the database.
        seconds: time-out of a statement; it may be changed at any time.
    """

    def __init__(self, url: str, seconds: float = STATEMENT_TIMEOUT_SECONDS) -> None:
        self._url = url
        self._connection: Any = None
        self._known: set[str] = set()
        self.seconds = seconds

    def open(self) -> None:
        """Connect, unless connected, and create missing tables.

        Raises:
            LogDatabaseError: the database is unreachable, or its tables are of a newer service.
        """
        if self._connection is None:
            self._run(self._open)

    def write(self, batch: Batch) -> int:
        """Insert a batch and return the number of its records that were new.

        Raises:
            LogDatabaseError: it was not inserted.
            ValueError: the database refuses the data.
        """
        return int(self._run(lambda: self._write(batch)))

    def find(self, prediction_id: str) -> Found | None:
        """Return the prediction with this id, or None.

        Raises:
            LogDatabaseError: the query failed.
        """
        found: Found | None = self._run(lambda: self._find(prediction_id))
        return found

    def expire(self, days: int) -> int:
        """Delete predictions older than ``days`` and return their number: those of the oldest day of the log at most.

        One process at a time deletes; in the others this returns 0. If a clock is wrong, all of the log may seem to be
        old. So nothing is deleted while the clocks of database and service differ, and of several days that are due,
        one is deleted with each call; the log says so.

        Raises:
            LogDatabaseError: not all were deleted.
        """
        return int(self._run(lambda: self._expire(days)))

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        self._known.clear()
        if connection is not None:
            with suppress(psycopg2.Error):
                connection.close()

    def _run(self, action: Any) -> Any:
        try:
            if self._connection is None:
                self._open()
            return action()
        except psycopg2.DataError as error:
            self.close()
            raise ValueError(_first_line(error)) from None
        except psycopg2.Error as error:
            self.close()
            raise LogDatabaseError(_first_line(error)) from None

    def _open(self) -> None:
        if self._connection is not None:
            return
        self._connection = psycopg2.connect(self._url, application_name=APPLICATION, async_=True)
        self._wait(CONNECT_TIMEOUT_SECONDS)
        milliseconds = int(self.seconds * 1000)
        self._execute(
            "SET timezone = 'UTC'; SET statement_timeout = %s; SET lock_timeout = %s", milliseconds, milliseconds
        )
        self._create_schema()

    def _create_schema(self) -> None:
        self._execute("BEGIN; SELECT pg_advisory_xact_lock(%s)", LOCK + CREATE_SCHEMA)
        self._execute("CREATE TABLE IF NOT EXISTS prediction_log (schema_version integer NOT NULL)")
        version = self._execute("SELECT max(schema_version) FROM prediction_log").fetchone()[0] or 0
        if version > len(SCHEMA):
            raise psycopg2.OperationalError(
                f"its tables have schema version {version}; this service supports versions up to {len(SCHEMA)}"
            )
        for number, statements in enumerate(SCHEMA[version:], version + 1):
            self._execute(statements)
            self._execute("INSERT INTO prediction_log VALUES (%s)", number)
        self._execute("COMMIT")

    def _write(self, batch: Batch) -> int:
        if batch.model.key not in self._known:
            self._execute(_ADD_MODEL, msgspec.json.encode(batch.model).decode())
            self._known.add(batch.model.key)
        return int(self._execute(_ADD_PREDICTIONS, batch.model.key, bytes(batch.parts).decode()).rowcount)

    def _find(self, prediction_id: str) -> Found | None:
        row = self._execute(_FIND, prediction_id).fetchone()
        return msgspec.json.decode(row[0], type=Found) if row else None

    def _expire(self, days: int) -> int:
        if not self._execute("SELECT pg_try_advisory_lock(%s)", LOCK + EXPIRE).fetchone()[0]:
            return 0
        total, deleted = 0, EXPIRE_BATCH_ROWS
        before = self._expire_before(days)
        while before is not None and deleted == EXPIRE_BATCH_ROWS:
            deleted = int(self._execute(_EXPIRE, before, EXPIRE_BATCH_ROWS).rowcount)
            total += deleted
        self._execute("SELECT pg_advisory_unlock(%s)", LOCK + EXPIRE)
        return total

    def _expire_before(self, days: int) -> datetime | None:
        """Return the time of the first prediction to keep in this step; None if none is to be deleted."""
        oldest, limit, now = self._execute(_OLDEST, days).fetchone()
        if oldest is None or oldest >= limit:
            return None
        if (apart := abs((now - datetime.now(UTC)).total_seconds())) > CLOCK_SECONDS:
            LOG.error("no prediction is deleted: the clocks of database and service are %.0f s apart", apart)
            return None
        step: datetime = min(limit, oldest + timedelta(days=1))
        if step < limit:
            LOG.warning(
                "%d days of predictions are older than %d days; those before %s are deleted now, one day each hour."
                " If a clock is wrong, set HEARTLINE_PREDICTION_LOG_DAYS=0 to keep the others",
                (limit - oldest).days,
                days,
                step.isoformat(timespec="seconds"),
            )
        return step

    def _execute(self, statement: str, *values: Any) -> Any:
        """Run a statement, wait for its end, and return its cursor."""
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        self._wait(STATEMENT_TIMEOUT_SECONDS)
        return cursor

    def _wait(self, seconds: float) -> None:
        """Wait until the server has answered, at most ``seconds`` and at most the present ``self.seconds``."""
        start = time.monotonic()
        while (state := self._connection.poll()) != extensions.POLL_OK:
            poller = select.poll()
            poller.register(
                self._connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
            )
            while not poller.poll(POLL_MILLISECONDS):
                if time.monotonic() - start >= min(seconds, self.seconds):
                    raise psycopg2.OperationalError(f"no response within {min(seconds, self.seconds):g} seconds")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


_ADD_MODEL = "INSERT INTO model SELECT * FROM json_populate_record(NULL::model, %s) ON CONFLICT DO NOTHING"
# One parameter for a complete batch: the server gets the same JSON that a spill file would. Most lists of imputed
# fields are empty.
_ADD_PREDICTIONS = """INSERT INTO prediction (prediction_id, request_id, request_row, answered, model_key,
        has_heart_disease, probability, imputed, features)
    SELECT row.prediction_id::uuid, part.request_id, part.first_row + row.position - 1, part.answered, %s,
        row.has_heart_disease::boolean, row.probability::double precision,
        CASE row.imputed::text WHEN '[]' THEN '{}' ELSE ARRAY(SELECT json_array_elements_text(row.imputed)) END,
        row.features::jsonb
    FROM json_to_recordset(%s) AS part(request_id text, answered timestamptz, first_row integer, prediction_id json,
        has_heart_disease json, probability json, imputed json, features json),
    LATERAL ROWS FROM (json_array_elements_text(part.prediction_id), json_array_elements_text(part.has_heart_disease),
        json_array_elements_text(part.probability), json_array_elements(part.imputed),
        json_array_elements(part.features)) WITH ORDINALITY
        AS row(prediction_id, has_heart_disease, probability, imputed, features, position)
    ON CONFLICT DO NOTHING"""
_FIND = """SELECT json_build_object('entry', to_json(p), 'model', to_json(m))::text
    FROM prediction AS p JOIN model AS m ON m.key = p.model_key WHERE p.prediction_id = %s"""
_EXPIRE = """DELETE FROM prediction WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM prediction WHERE answered < %s LIMIT %s))"""
_OLDEST = "SELECT min(answered), now() - make_interval(days => %s), now() FROM prediction"

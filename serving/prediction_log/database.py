"""The tables of the prediction log, and all its SQL statements."""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg2  # type: ignore[import-untyped]

from serving.prediction_log.connection import STATEMENT_TIMEOUT_SECONDS, Connection
from serving.prediction_log.entries import Batch, Found
from serving.prediction_log.outcomes import Outcome, decide

MIGRATION_SECONDS = 600.0  # of a change of the schema: a million predictions take about ten seconds
EXPIRE_BATCH_ROWS = 5_000  # of one DELETE, so that it ends long before its time-out
ENTER_ATTEMPTS = 5  # to store outcomes while others store outcomes of the same predictions
CLOCK_SECONDS = 3600.0  # by which the clocks of database and service may differ when predictions are deleted
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
    # Predictions of before have the time of their answer: they were written half a second later. A worker of version 1
    # that is connected still inserts, because it names its columns.
    """
    ALTER TABLE prediction ADD COLUMN logged timestamptz;
    ALTER TABLE prediction
        ALTER COLUMN logged TYPE timestamptz USING answered,
        ALTER COLUMN logged SET DEFAULT now(),
        ALTER COLUMN logged SET NOT NULL;
    CREATE INDEX prediction_logged ON prediction (logged, prediction_id);
    CREATE TABLE outcome (
        prediction_id uuid NOT NULL REFERENCES prediction ON DELETE CASCADE,
        revision integer NOT NULL CHECK (revision > 0),
        outcome boolean NOT NULL,
        num smallint CHECK (num BETWEEN 0 AND 4 AND (num > 0) = outcome),
        observed_at timestamptz NOT NULL CHECK (observed_at >= '0001-01-01T00:00:00Z'),
        received timestamptz NOT NULL DEFAULT now(),
        source text,
        PRIMARY KEY (prediction_id, revision)
    );
    CREATE INDEX outcome_received ON outcome (received, prediction_id, revision);
    CREATE TABLE rejected (
        day date NOT NULL,
        reason text NOT NULL,
        count bigint NOT NULL,
        PRIMARY KEY (day, reason)
    );
    """,
)

# The roles that read the log, where the stack has created them. It grants the same to tables that exist before them, in
# include/stack/processes/reading_roles.py, and holds the lock CREATE_SCHEMA meanwhile.
_GRANT = """
    DO $$ BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitoring') THEN
            GRANT SELECT ON prediction, model, outcome, rejected TO monitoring;
            GRANT INSERT ON outcome TO monitoring;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'predictions_reader') THEN
            GRANT SELECT ON prediction, model, outcome, rejected, prediction_log TO predictions_reader;
        END IF;
    END $$"""


class LogDatabase(Connection):
    """The database of the prediction log.

    Args:
        url: connection URL of libpq, of a role that owns the database.
        seconds: time-out of a statement; it may be changed at any time.
        waits: whether a change of the schema may take longer; where a request waits, it may not.
    """

    def __init__(self, url: str, seconds: float = STATEMENT_TIMEOUT_SECONDS, *, waits: bool = True) -> None:
        super().__init__(url, seconds)
        self._migration_seconds = MIGRATION_SECONDS if waits else seconds
        self._known: set[str] = set()

    def write(self, batch: Batch) -> int:
        """Insert a batch and return the number of its records that were new.

        Raises:
            DatabaseError: it was not inserted.
            ValueError: the database refuses the data.
        """
        return int(self._run(lambda: self._write(batch)))

    def find(self, prediction_id: str) -> Found | None:
        """Return the prediction with this id, or None.

        Raises:
            DatabaseError: the query failed.
        """
        found: Found | None = self._run(lambda: self._find(prediction_id))
        return found

    def unknown(self, prediction_ids: Collection[str]) -> set[str]:
        """Return which of these ids no stored prediction has.

        Raises:
            DatabaseError: the query failed.
        """
        rows: list[tuple[str]] = self._run(lambda: self._execute(_KNOWN, list(prediction_ids)).fetchall())
        return set(prediction_ids) - {name for (name,) in rows}

    def enter(self, sent: Sequence[Outcome]) -> list[tuple[str, int]]:
        """Store outcomes, all of them or none, and return what became of each, with its revision.

        Raises:
            DatabaseError: nothing was stored.
        """
        results: list[tuple[str, int]] = self._run(lambda: self._enter(sent))
        return results

    def add_rejected(self, counts: Mapping[str, int]) -> None:
        """Add to the numbers of refused requests of this day, by reason.

        Raises:
            DatabaseError: they were not added.
        """
        self._run(lambda: self._execute(_ADD_REJECTED, msgspec.json.encode(counts).decode()))

    def expire(self, days: int) -> int:
        """Delete predictions older than ``days`` and return their number: those of the oldest day of the log at most.

        One process at a time deletes; in the others this returns 0. If a clock is wrong, all of the log may seem to be
        old. So nothing is deleted while the clocks of database and service differ, and of several days that are due,
        one is deleted with each call; the log says so.

        Raises:
            DatabaseError: not all were deleted.
        """
        return int(self._run(lambda: self._expire(days)))

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._known.clear()
        super().close()

    def _prepare(self) -> None:
        """Create missing tables, and change those of an older version."""
        self._execute("BEGIN; SELECT pg_advisory_xact_lock(%s)", LOCK + CREATE_SCHEMA)
        self._execute("CREATE TABLE IF NOT EXISTS prediction_log (schema_version integer NOT NULL)")
        version = self._execute("SELECT max(schema_version) FROM prediction_log").fetchone()[0] or 0
        if version > len(SCHEMA):
            raise psycopg2.OperationalError(
                f"its tables have schema version {version}; this service supports versions up to {len(SCHEMA)}"
            )
        for number, statements in enumerate(SCHEMA[version:], version + 1):
            self._execute_long(statements, self._migration_seconds)
            self._execute("INSERT INTO prediction_log VALUES (%s)", number)
        if version < len(SCHEMA):
            self._execute(_GRANT)
        self._execute("COMMIT")

    def _write(self, batch: Batch) -> int:
        if batch.model.key not in self._known:
            self._execute(_ADD_MODEL, msgspec.json.encode(batch.model).decode())
            self._known.add(batch.model.key)
        return int(self._execute(_ADD_PREDICTIONS, batch.model.key, bytes(batch.parts).decode()).rowcount)

    def _find(self, prediction_id: str) -> Found | None:
        row = self._execute(_FIND, prediction_id).fetchone()
        return msgspec.json.decode(row[0], type=Found) if row else None

    def _enter(self, sent: Sequence[Outcome]) -> list[tuple[str, int]]:
        for _ in range(ENTER_ATTEMPTS):
            self._execute("BEGIN")
            rows = self._execute(_LATEST, sorted({one.prediction_id for one in sent})).fetchall()
            stored = {row[0]: (row[1] or 0, Outcome(row[0], *row[2:]) if row[1] else None) for row in rows}
            results, new = decide(sent, stored)
            content = [{"revision": revision, **msgspec.structs.asdict(outcome)} for revision, outcome in new]
            added = self._execute(_ADD_OUTCOMES, msgspec.json.encode(content).decode()).rowcount if new else 0
            self._execute("COMMIT" if added == len(new) else "ROLLBACK")
            if added == len(new):
                return results
        raise psycopg2.OperationalError("others store outcomes of the same predictions")

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
_FIND = """SELECT json_build_object('entry', to_json(p), 'model', to_json(m), 'outcomes', coalesce((
        SELECT json_agg(json_build_object('revision', o.revision, 'outcome', o.outcome::integer, 'num', o.num,
            'observed_at', o.observed_at, 'received', o.received, 'source', o.source) ORDER BY o.revision)
        FROM outcome AS o WHERE o.prediction_id = p.prediction_id), '[]'::json))::text
    FROM prediction AS p JOIN model AS m ON m.key = p.model_key WHERE p.prediction_id = %s"""
_KNOWN = "SELECT prediction_id::text FROM prediction WHERE prediction_id = ANY(%s::uuid[])"
# The predictions are locked against deletion until the outcomes are stored.
_LATEST = """SELECT p.prediction_id::text, o.revision, o.outcome, o.num, o.observed_at, o.source
    FROM prediction AS p LEFT JOIN LATERAL (
        SELECT * FROM outcome WHERE outcome.prediction_id = p.prediction_id ORDER BY revision DESC LIMIT 1
    ) AS o ON true
    WHERE p.prediction_id = ANY(%s::uuid[]) FOR KEY SHARE OF p"""
_ADD_OUTCOMES = """INSERT INTO outcome (prediction_id, revision, outcome, num, observed_at, source)
    SELECT prediction_id, revision, outcome, num, observed_at, source
    FROM json_to_recordset(%s) AS sent(prediction_id uuid, revision integer, outcome boolean, num smallint,
        observed_at timestamptz, source text)
    ORDER BY prediction_id, revision
    ON CONFLICT DO NOTHING"""
# The day is that of the arrival here, as for predictions and outcomes: the counts of a past day never change.
_ADD_REJECTED = """INSERT INTO rejected (day, reason, count)
    SELECT (now() AT TIME ZONE 'UTC')::date, key, value::bigint FROM json_each_text(%s) ORDER BY key
    ON CONFLICT (day, reason) DO UPDATE SET count = rejected.count + EXCLUDED.count"""
_EXPIRE = """DELETE FROM prediction WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM prediction WHERE answered < %s LIMIT %s))"""
_OLDEST = "SELECT min(answered), now() - make_interval(days => %s), now() FROM prediction"

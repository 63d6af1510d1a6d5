"""Reads the service's prediction log: what arrived on a day for one version, in chunks, and adds outcomes to it.

A prediction belongs to the day (UTC) of ``prediction.logged``, an outcome to that of ``outcome.received``: a past day
never changes. The rows are streamed by PostgreSQL and become arrays chunk by chunk.
"""

import datetime
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from heartline import contract
from heartline.errors import MonitoringError
from heartline.monitoring import database
from heartline.monitoring.inputs import Answers, Floats, Outcomes

VARIABLE = "HEARTLINE_PREDICTIONS_URL"
_CHUNK_BYTES = 8 << 20
_STATEMENT_SECONDS = 600
_DAY = datetime.timedelta(days=1)

_FEATURES = ", ".join(f"(p.features->>'{name}')::float8" for name in contract.FEATURE_NAMES)
_ANSWERS = f"""COPY (
    SELECT p.prediction_id, p.probability, {_FEATURES}
    FROM prediction AS p JOIN model AS m ON m.key = p.model_key
    WHERE p.logged >= %s AND p.logged < %s AND m.bundle = %s
    ORDER BY p.logged, p.prediction_id
) TO STDOUT (FORMAT csv)"""  # noqa: S608 - names of the contract
_OUTCOMES = f"""COPY (
    SELECT o.prediction_id, o.outcome::int, coalesce(before.outcome::int, -1),
        greatest(0, extract(epoch FROM o.received - p.logged) / 86400.0)::float8, p.probability, {_FEATURES}
    FROM outcome AS o JOIN prediction AS p USING (prediction_id) JOIN model AS m ON m.key = p.model_key
    LEFT JOIN outcome AS before ON before.prediction_id = o.prediction_id AND before.revision = o.revision - 1
    WHERE o.received >= %s AND o.received < %s AND m.bundle = %s
    ORDER BY o.received, o.prediction_id, o.revision
) TO STDOUT (FORMAT csv)"""  # noqa: S608
_VERSIONS = """
    SELECT m.bundle, max(m.version) FROM prediction AS p JOIN model AS m ON m.key = p.model_key
        WHERE p.logged >= %(start)s AND p.logged < %(end)s GROUP BY m.bundle
    UNION
    SELECT m.bundle, max(m.version) FROM outcome AS o JOIN prediction AS p USING (prediction_id)
        JOIN model AS m ON m.key = p.model_key
        WHERE o.received >= %(start)s AND o.received < %(end)s GROUP BY m.bundle
    ORDER BY 1"""
# A row that is stored already, as any revision, is not added again: a file that is read each day does not undo a
# correction that came another way. A row for a prediction that got a revision meanwhile is left to the next attempt:
# two numbers that differ ask for one. The service adds its rows in the same order.
_ADD = """
    WITH new AS (
        SELECT given.id, coalesce(last.revision, 0) + 1 AS revision, given.outcome, given.num, given.observed_at,
            given.source
        FROM unnest(%s::uuid[], %s::boolean[], %s::smallint[], %s::timestamptz[], %s::text[])
            AS given (id, outcome, num, observed_at, source)
        JOIN prediction AS p ON p.prediction_id = given.id
        LEFT JOIN LATERAL (SELECT max(revision) AS revision FROM outcome WHERE prediction_id = given.id) AS last ON true
        WHERE NOT EXISTS (SELECT FROM outcome AS o WHERE o.prediction_id = given.id
            AND (o.outcome, o.observed_at) = (given.outcome, given.observed_at)
            AND o.num IS NOT DISTINCT FROM given.num AND o.source IS NOT DISTINCT FROM given.source)
    ), added AS (
        INSERT INTO outcome (prediction_id, revision, outcome, num, observed_at, source)
        SELECT id, revision, outcome, num, observed_at, source FROM new ORDER BY id
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM new), (SELECT count(*) FROM added)"""
_ADD_ATTEMPTS = 5


# A record is in one row, and the first one of a request has the number 0.
_SERVICE = """SELECT count(*), count(*) FILTER (WHERE request_row = 0) FROM prediction
    WHERE logged >= %s AND logged < %s"""
_NO_INPUT = (
    "unauthorized",
    "forbidden",
    "internal-error",
    "unsupported-transfer-coding",
    "not-ready",
    "overloaded",
    "log-unavailable",
)
"""Reasons that say nothing of a request's records: who may ask (401, 403), and what the service cannot (5xx)."""


@dataclass(frozen=True)
class ServiceDay:
    """A day of the whole service, of all versions.

    Attributes:
        records: predictions.
        requests: accepted requests, of one record or many.
        rejected: requests that were refused because of what was sent, by reason.
    """

    records: int
    requests: int
    rejected: Mapping[str, int]


@dataclass(frozen=True)
class LoggedVersion:
    """A version that the log knows.

    Attributes:
        digest: sha256 of its bundle's manifest.
        version: its number.
    """

    digest: str
    version: str


@dataclass(frozen=True)
class NewOutcome:
    """An outcome that is to be added.

    Attributes:
        prediction_id: of its prediction.
        outcome: whether there is disease.
        num: 0 to 4, where it is known.
        observed_at: when it was observed, with a time zone.
        source: who says so; None where it is not known.
    """

    prediction_id: str
    outcome: bool
    num: int | None
    observed_at: datetime.datetime
    source: str | None


class PredictionLog:
    """The prediction log.

    Args:
        url: of its database; None for that of ``HEARTLINE_PREDICTIONS_URL``.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = os.environ.get(VARIABLE, "") if url is None else url

    def exists(self) -> bool:
        """Return whether the service has created its tables in the form that holds outcomes.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._reading() as cursor:
            cursor.execute("SELECT to_regclass('outcome') IS NOT NULL AND to_regclass('rejected') IS NOT NULL")
            return bool(cursor.fetchone()[0])

    def first_day(self) -> datetime.date | None:
        """Return the first day on which anything arrived that is still there; None where there is nothing.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._reading() as cursor:
            cursor.execute(
                "SELECT (least(min(p), (SELECT min(received) FROM outcome)) AT TIME ZONE 'UTC')::date "
                "FROM (SELECT min(logged) AS p FROM prediction) AS first"
            )
            found: datetime.date | None = cursor.fetchone()[0]
        return found

    def versions(self, day: datetime.date) -> list[LoggedVersion]:
        """Return the versions with predictions or outcomes that arrived on a day, in the order of their digests.

        Raises:
            MonitoringError: the database does not answer.
        """
        start, end = _bounds(day)
        with self._reading() as cursor:
            cursor.execute(_VERSIONS, {"start": start, "end": end})
            return [LoggedVersion(digest, version) for digest, version in dict(cursor.fetchall()).items()]

    def answers(self, digest: str, day: datetime.date) -> Answers:
        """Return the predictions of a version that arrived on a day, in their order.

        Raises:
            MonitoringError: the database does not answer.
        """
        ids, numbers = self._copied(_ANSWERS, digest, day, 1 + len(contract.FEATURE_NAMES))
        return Answers(ids=ids, features=numbers[:, 1:], probabilities=numbers[:, 0])

    def outcomes(self, digest: str, day: datetime.date) -> Outcomes:
        """Return the outcomes that arrived on a day for predictions of a version, in their order.

        Raises:
            MonitoringError: the database does not answer.
        """
        _, numbers = self._copied(_OUTCOMES, digest, day, 4 + len(contract.FEATURE_NAMES))
        whole: NDArray[np.int64] = numbers[:, :2].astype(np.int64)
        return Outcomes(
            outcomes=whole[:, 0],
            replaced=whole[:, 1],
            delays=numbers[:, 2],
            probabilities=numbers[:, 3],
            features=numbers[:, 4:],
        )

    def rejected(self, day: datetime.date) -> dict[str, int]:
        """Return how many requests were refused on a day, by reason.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._reading() as cursor:
            cursor.execute("SELECT reason, count FROM rejected WHERE day = %s AND count > 0 ORDER BY reason", (day,))
            return {str(reason): int(count) for reason, count in cursor.fetchall()}

    def service(self, day: datetime.date) -> ServiceDay:
        """Return what the whole service did on a day.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._reading() as cursor:
            cursor.execute(_SERVICE, _bounds(day))
            records, requests = cursor.fetchone()
        rejected = {reason: count for reason, count in self.rejected(day).items() if reason not in _NO_INPUT}
        return ServiceDay(records, requests, rejected)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return which of these predictions are in the log.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._reading() as cursor:
            cursor.execute(
                "SELECT prediction_id::text FROM prediction WHERE prediction_id = ANY(%s::uuid[])", (list(ids),)
            )
            return {found for (found,) in cursor.fetchall()}

    def add(self, outcomes: Sequence[NewOutcome]) -> int:
        """Add the outcomes that are new, and return their number; those of unknown predictions are left out.

        Args:
            outcomes: each prediction at most once; a second outcome of it is a correction, for another call.

        Raises:
            MonitoringError: the database does not answer, others keep adding outcomes of the same predictions, or one
                of these was deleted meanwhile. None was added then; the same call again adds them.
        """
        columns = (
            [one.prediction_id for one in outcomes],
            [one.outcome for one in outcomes],
            [one.num for one in outcomes],
            [one.observed_at for one in outcomes],
            [one.source for one in outcomes],
        )
        with database.transaction(self._url, VARIABLE) as cursor:
            total, new, added = 0, 0, 0
            for _ in range(_ADD_ATTEMPTS):
                cursor.execute(_ADD, columns)
                new, added = cursor.fetchone()
                total += int(added)
                if added == new:
                    return total
            raise MonitoringError(
                "others add outcomes of the same predictions at the same time",
                where="table outcome of the prediction log",
                expected="outcomes that can be added",
                hint="try again",
            )

    def _copied(self, query: str, digest: str, day: datetime.date, width: int) -> tuple[list[str], Floats]:
        """Return the first column of a query's rows, and the others (n, width) as numbers, NaN for NULL."""
        ids: list[str] = []
        parts: list[Floats] = [np.empty((0, width))]

        def take(data: bytes) -> None:
            table = _table(data, width)
            ids.extend(table.column(0).to_pylist())
            part = np.empty((table.num_rows, width))
            for position in range(width):
                part[:, position] = table.column(position + 1).to_numpy()
            parts.append(part)

        with self._reading() as cursor:
            statement = cursor.mogrify(query, (*_bounds(day), digest)).decode()
            lines = _Lines(take)
            cursor.copy_expert(statement, lines)
            lines.end()
        return ids, np.concatenate(parts)

    def _reading(self) -> Any:
        return database.transaction(self._url, VARIABLE, read_only=True, seconds=_STATEMENT_SECONDS)


class _Lines(io.RawIOBase):
    """Takes what PostgreSQL streams, and hands it on in chunks of whole lines.

    Args:
        take: is called with each chunk.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        super().__init__()
        self._take = take
        self._waiting = bytearray()

    def write(self, data: Any) -> int:
        """Take some bytes; psycopg2 calls it with whole lines or parts of them."""
        self._waiting += data
        if len(self._waiting) >= _CHUNK_BYTES:
            end = self._waiting.rfind(b"\n") + 1
            if end:
                self._take(bytes(self._waiting[:end]))
                del self._waiting[:end]
        return len(data)

    def end(self) -> None:
        """Hand on the rest."""
        if self._waiting:
            self._take(bytes(self._waiting))
            self._waiting.clear()


def _table(data: bytes, width: int) -> pa.Table:
    names = ["id", *(f"n{position}" for position in range(width))]
    types = {"id": pa.string(), **{name: pa.float64() for name in names[1:]}}
    return csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=_CHUNK_BYTES * 2),
        convert_options=csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False),
    )


def _bounds(day: datetime.date) -> tuple[datetime.datetime, datetime.datetime]:
    start = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
    return start, start + _DAY

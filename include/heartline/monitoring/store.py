"""What the monitoring keeps, in the schema ``monitoring`` of the database ``heartline``: aggregates, no record, no id.

For each version (the digest of its bundle's manifest) and day it holds the report, and for each version the newest
state, written in one transaction. What is stored is not computed again. Older states are not kept: the difference of
the states of two days with one prediction between them would be that prediction.
"""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from heartline.monitoring import database
from heartline.monitoring.report import Alarm, Report

VARIABLE = "HEARTLINE_MONITORING_URL"
SCHEMA = "monitoring"
_LOCK = 0x4D6F6E69746F72  # advisory: two tasks do not create the tables at the same time

_TABLES = """
CREATE TABLE IF NOT EXISTS monitoring.report (
    digest text NOT NULL,
    day date NOT NULL,
    version text NOT NULL,
    alarms integer NOT NULL,
    report text NOT NULL,
    PRIMARY KEY (digest, day)
);
CREATE INDEX IF NOT EXISTS report_day ON monitoring.report (day);
CREATE TABLE IF NOT EXISTS monitoring.state (
    digest text PRIMARY KEY,
    day date NOT NULL,
    state text NOT NULL,
    in_production date
);
CREATE TABLE IF NOT EXISTS monitoring.day (
    day date PRIMARY KEY,
    notes text[] NOT NULL
);
CREATE TABLE IF NOT EXISTS monitoring.alarm (
    key text PRIMARY KEY,
    entry bigint NOT NULL,
    runs bigint NOT NULL,
    told boolean NOT NULL DEFAULT false,
    emitted boolean NOT NULL DEFAULT false
);
"""

_SAVE_REPORT = """INSERT INTO monitoring.report (digest, day, version, alarms, report) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING"""
_SAVE_STATE = """INSERT INTO monitoring.state AS old (digest, day, state, in_production) VALUES (%s, %s, %s, %s)
    ON CONFLICT (digest) DO UPDATE SET day = excluded.day, state = excluded.state,
        in_production = coalesce(excluded.in_production, old.in_production)
    WHERE old.day < excluded.day"""

_DONE = {
    "told": "UPDATE monitoring.alarm SET told = true WHERE key = %s",
    "emitted": "UPDATE monitoring.alarm SET emitted = true WHERE key = %s",
}


@dataclass(frozen=True)
class Stored:
    """The last state of a version.

    Attributes:
        digest: of the version.
        day: after which day it is.
        state: JSON, as ``State.to_json`` wrote it.
    """

    digest: str
    day: datetime.date
    state: bytes


@dataclass(frozen=True)
class Handled:
    """What was done about an alarm.

    Attributes:
        key: of the alarm.
        entry: number of its entry in the ledger.
        runs: how many training runs had started when it was raised.
        told: whether the team was told.
        emitted: whether the event of the asset was emitted.
    """

    key: str
    entry: int
    runs: int
    told: bool
    emitted: bool


def configured() -> str:
    """Return the URL of this process's environment, "" where there is none."""
    return os.environ.get(VARIABLE, "")


class Store:
    """The tables of the monitoring.

    Args:
        url: of the database; None for that of ``HEARTLINE_MONITORING_URL``.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = configured() if url is None else url

    def prepare(self) -> None:
        """Create what is missing of the schema and its tables.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            # PostgreSQL asks for the right to create a schema also where it exists
            cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,))
            if cursor.fetchone() is None:
                cursor.execute("CREATE SCHEMA monitoring")
            cursor.execute(_TABLES)

    def last(self, digest: str, *, before: datetime.date) -> Stored | None:
        """Return the last state of a version before a day; None where there is none.

        Raises:
            MonitoringError: the database does not answer.
        """
        return self._state("WHERE digest = %s AND day < %s", (digest, before))

    def last_in_production(self, *, before: datetime.date) -> Stored | None:
        """Return the last state of the version that was in production last before a day; None where there is none.

        It may be of the day itself, where outcomes of that version arrived although it was no longer in production.

        Raises:
            MonitoringError: the database does not answer.
        """
        return self._state("WHERE in_production < %s ORDER BY in_production DESC, digest LIMIT 1", (before,))

    def _state(self, where: str, values: tuple[Any, ...]) -> Stored | None:
        with self._transaction(read_only=True) as cursor:
            cursor.execute(f"SELECT digest, day, state FROM monitoring.state {where}", values)  # noqa: S608
            found = cursor.fetchone()
        return Stored(found[0], found[1], found[2].encode()) if found else None

    def report(self, digest: str, day: datetime.date) -> Report | None:
        """Return the report of a version on a day; None where there is none.

        Raises:
            MonitoringError: the database does not answer.
        """
        found = self._reports("WHERE digest = %s AND day = %s", (digest, day))
        return found[0] if found else None

    def save(self, report: Report, state: bytes, *, in_production: bool = True) -> None:
        """Store a day of a version: its report and the state after it, in the place of the version's state before.

        A day that is stored stays as it is.

        Args:
            report: of the day.
            state: after the day.
            in_production: whether the version was in production at the end of the day.

        Raises:
            MonitoringError: the database does not answer.
        """
        digest, day, text = report.digest, report.date, report.to_json().decode()
        with self._transaction() as cursor:
            cursor.execute(_SAVE_REPORT, (digest, day, report.version, len(report.alarms), text))
            if cursor.rowcount:
                cursor.execute(_SAVE_STATE, (digest, day, state.decode(), day if in_production else None))

    def completed(self) -> datetime.date | None:
        """Return the last day that is complete for all versions; None before the first one.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._transaction(read_only=True) as cursor:
            cursor.execute("SELECT max(day) FROM monitoring.day")
            found: datetime.date | None = cursor.fetchone()[0]
        return found

    def complete(self, day: datetime.date, notes: list[str]) -> None:
        """Store that all versions of a day are stored.

        Args:
            day: the day.
            notes: why versions of the day are not monitored, one sentence each.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._transaction() as cursor:
            cursor.execute("INSERT INTO monitoring.day VALUES (%s, %s) ON CONFLICT DO NOTHING", (day, notes))

    def notes(self, day: datetime.date) -> list[str]:
        """Return why versions of a day are not monitored.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._transaction(read_only=True) as cursor:
            cursor.execute("SELECT notes FROM monitoring.day WHERE day = %s", (day,))
            found = cursor.fetchone()
        return list(found[0]) if found else []

    def reports(self, since: datetime.date | None = None) -> list[Report]:
        """Return the reports from a day on, in the order of their days; None for all.

        Raises:
            MonitoringError: the database does not answer.
        """
        return self._reports("WHERE day >= %s", (since or datetime.date.min,))

    def latest(self) -> list[Report]:
        """Return the reports of the last day that has any.

        Raises:
            MonitoringError: the database does not answer.
        """
        return self._reports("WHERE day = (SELECT max(day) FROM monitoring.report)", ())

    def alarms(self) -> list[tuple[str, Alarm]]:
        """Return the alarms of all days, oldest first, each with the digest of its version.

        Raises:
            MonitoringError: the database does not answer.
        """
        return [(one.digest, alarm) for one in self._reports("WHERE alarms > 0", ()) for alarm in one.alarms]

    def handled(self) -> dict[str, Handled]:
        """Return what was done about each alarm, by key.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._transaction(read_only=True) as cursor:
            cursor.execute("SELECT key, entry, runs, told, emitted FROM monitoring.alarm ORDER BY entry")
            return {row[0]: Handled(*row) for row in cursor.fetchall()}

    def raised(self, key: str, entry: int, runs: int) -> None:
        """Store that an alarm was entered in the ledger. Again, it changes nothing.

        Args:
            key: of the alarm.
            entry: number of its entry.
            runs: how many training runs have started by now.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO monitoring.alarm (key, entry, runs) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (key, entry, runs),
            )

    def done(self, key: str, what: str) -> None:
        """Store that the team was told of an alarm, or its event was emitted.

        Args:
            key: of the alarm.
            what: ``told`` or ``emitted``.

        Raises:
            MonitoringError: the database does not answer.
        """
        with self._transaction() as cursor:
            cursor.execute(_DONE[what], (key,))

    def _reports(self, where: str, values: tuple[Any, ...]) -> list[Report]:
        with self._transaction(read_only=True) as cursor:
            cursor.execute("SELECT to_regclass(%s)", ("monitoring.report",))
            if cursor.fetchone()[0] is None:  # no day was monitored yet
                return []
            cursor.execute(f"SELECT report FROM monitoring.report {where} ORDER BY day, version, digest", values)  # noqa: S608
            return [Report.from_json(text) for (text,) in cursor.fetchall()]

    @contextmanager
    def _transaction(self, *, read_only: bool = False) -> Iterator[Any]:
        with database.transaction(self._url, VARIABLE, read_only=read_only) as cursor:
            yield cursor


def reports(since: datetime.date | None = None, *, url: str | None = None) -> list[Report]:
    """Return the reports from a day on, in the order of their days; see ``Store.reports``."""
    return Store(url).reports(since)


def latest(*, url: str | None = None) -> list[Report]:
    """Return the reports of the last day that has any; see ``Store.latest``."""
    return Store(url).latest()

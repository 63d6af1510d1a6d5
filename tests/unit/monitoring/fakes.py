"""A prediction log that a test fills, and a stand-in for the computation that counts what it is given."""

import datetime
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heartline import contract
from heartline.monitoring import database
from heartline.monitoring.inputs import Day, Reference, Settings
from heartline.monitoring.prediction_log import PredictionLog
from heartline.monitoring.report import Alarm, Awaited, Completeness, Drift, Harm, Report
from heartline.monitoring.store import VARIABLE, Store
from serving.prediction_log.database import LogDatabase
from tests.postgres import Postgres

DIGEST = "d" * 64
RECORD = dict.fromkeys(contract.FEATURE_NAMES, 1.0)


def moment(day: int, hour: int = 12) -> datetime.datetime:
    """Return a time of March 2026; the days may go on beyond it."""
    return datetime.datetime(2026, 3, 1, hour, tzinfo=datetime.UTC) + datetime.timedelta(days=day - 1)


def date(day: int) -> datetime.date:
    """Return a day of March 2026."""
    return moment(day).date()


class Log:
    """A prediction log in the database of a test."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        name, password = postgres.login("monitoring").split(":")
        self.url = postgres.server.address(name, password, driver=None, database="predictions")
        self.read = PredictionLog(self.url)
        postgres.clear()
        tables = LogDatabase(postgres.url)  # as the service creates them
        tables.open()
        tables.close()

    def model(self, version: str = "1", digest: str = DIGEST) -> None:
        """Add a version."""
        self.postgres.run(
            "INSERT INTO model (key, name, version, alias, family, origin, snapshot, contract_version, bundle) "
            "VALUES (%s, 'heart-disease', %s, 'production', 'f', 'o', 's', 'c', %s)",
            f"key {digest}",
            version,
            digest,
        )

    def predict(
        self,
        day: int,
        probability: float = 0.5,
        *,
        digest: str = DIGEST,
        record: Mapping[str, Any] = RECORD,
        hour: int = 12,
    ) -> str:
        """Add a prediction, and return its id; the same arguments have the same one only in their order."""
        (count,) = self.postgres.run("SELECT count(*) FROM prediction")[0]
        prediction_id = str(uuid.UUID(int=count + 1))
        self.postgres.run(
            "INSERT INTO prediction (prediction_id, request_id, request_row, answered, logged, model_key, "
            "has_heart_disease, probability, imputed, features) VALUES (%s, 'r', 0, %s, %s, %s, true, %s, '{}', %s)",
            prediction_id,
            moment(day, hour),
            moment(day, hour),
            f"key {digest}",
            probability,
            json.dumps(record),
        )
        return prediction_id

    def observe(self, prediction_id: str, day: int, outcome: bool, *, revision: int = 1) -> None:
        """Add an outcome."""
        self.postgres.run(
            "INSERT INTO outcome VALUES (%s, %s, %s, NULL, %s, %s)",
            prediction_id,
            revision,
            outcome,
            moment(day),
            moment(day),
        )

    def outcomes(self) -> list[tuple[Any, ...]]:
        """Return all outcomes: the last digits of the id, revision, outcome, num and source."""
        return self.postgres.run(
            "SELECT right(prediction_id::text, 2), revision, outcome, num, source FROM outcome ORDER BY 1, 2"
        )


@dataclass(frozen=True)
class Counted:
    """A state that counts; what it was given is its history, so that order shows."""

    seen: Sequence[str] = ()

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(list(self.seen)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Counted":
        """Return what ``to_json`` wrote."""
        return cls(json.loads(data))


HARMFUL = 0.9
"""Mean probability of a day at which ``advance`` raises an alarm of harm."""


def advance(
    state: Counted | None, reference: Reference, day: Day, settings: Settings, predecessor: Counted | None = None
) -> tuple[Counted, Report]:
    """Count a day; an alarm of harm where its mean probability is ``HARMFUL``, of silence where it has no record.

    Only the version in production raises one; what it continues of another version is marked with ``after``.
    """
    before = list((state or Counted()).seen)
    if predecessor is not None:
        before.append(f"after {predecessor.seen[-1]}")
    records = len(day.answers.ids)
    mean = float(day.answers.probabilities.mean()) if records else 0.0
    shadow = "" if day.answers.candidate is None else f" {day.candidate_version}"
    seen = [*before, f"{day.date:%d}: {records} {len(day.outcomes.outcomes)}{shadow}"]
    alarms = []
    if mean >= HARMFUL and not any("harm" in one for one in before):
        seen[-1] += " harm"
        alarms.append(alarm("harm", reference, day.date))
    if not day.in_production:
        return Counted([*before, f"{seen[-1]} replaced"]), report(day.date, reference, records)
    if not day.records:
        alarms.append(alarm("silence", reference, day.date))
    return Counted(seen), report(day.date, reference, records, alarms)


def alarm(kind: str, reference: Reference, day: datetime.date) -> Alarm:
    """Return an alarm."""
    return Alarm(kind, f"{kind}:{reference.digest}:{day}", day, reference.version, f"there is {kind}", "at most 1 %")


def report(day: datetime.date, reference: Reference, records: int = 0, alarms: Sequence[Alarm] = ()) -> Report:
    """Return a report."""
    return Report(
        date=day,
        version=reference.version,
        digest=reference.digest,
        reference_records=0,
        first=day,
        harm=Harm(1.0, 1.0, 100.0, 0.12, 0.02, 0, (), ()),
        drift=Drift(1.0, 1.0, 100.0, 1e-5, records, ()),
        completeness=Completeness(records, None, None, 0.0, 0.0, {}, 0.0),
        awaited=Awaited(records, 0, 0, None, ()),
        shadow=None,
        alarms=list(alarms),
        rate="at most 1 %",
    )


def stored(store: Store) -> list[tuple[str, str, str | None, str]]:
    """Return what is stored of all days in their order: digest, day, state, report; only newest states are kept."""
    with database.transaction(store._url, VARIABLE) as cursor:
        cursor.execute(
            "SELECT digest, day::text, state, report FROM monitoring.report LEFT JOIN monitoring.state "
            "USING (digest, day) ORDER BY 1, 2"
        )
        return list(cursor.fetchall())

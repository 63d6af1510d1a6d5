"""Three months of a clinic with 20 patients a day, in about a minute: what the monitoring finds, and what follows.

The clock is injected. The prediction log and what the monitoring keeps are in PostgreSQL; MLflow, the store, the
training, the shadow and the approval are the real ones. The model is trained on Cleveland's records.
"""

import datetime
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import psycopg2
import pytest
from psycopg2.extras import execute_values

from heartline import contract
from heartline.ledger import store as ledger_store
from heartline.monitoring import alarm_entries, summary
from heartline.monitoring import store as stores
from heartline.monitoring.prediction_log import VARIABLE
from heartline.monitoring.report import Report
from heartline.monitoring.shadow import Candidate
from heartline.monitoring.store import Store
from heartline.pipeline import decide as deciding
from heartline.pipeline import monitor, request_approval
from heartline.pipeline.compare import compare
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import mlflow_registry, runs, versions
from heartline.training import families
from serving.prediction_log.database import LogDatabase
from tests.memory_ledger import MemoryLedger
from tests.postgres import Postgres
from tests.unit.approval.test_answers import event
from tests.unit.pipeline.support import FOREST, LINEAR, SMALL, skip_service_and_figures

pytestmark = pytest.mark.slow

FIRST = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
A_DAY = 20
CHANGE = 60
DAYS = 90
DELAY = 5  # days until an outcome arrives
OLD = 61  # years: a quarter of the patients


@dataclass
class Clinic:
    """The clinic, its service and its nightly run.

    Attributes:
        log: connection to the database of the log.
        ledger: in memory, with the clinic's clock.
        told: kinds of the alarms that the team was told of, with their days from 0.
        trained: days on which a training run started because of an alarm.
        retrain: starts a training run.
    """

    log: Any
    ledger: MemoryLedger
    day: int = 0
    told: list[tuple[str, int]] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    retrain: Callable[[], None] = lambda: None
    served: Candidate | None = None
    waiting: dict[int, list[tuple[str, bool]]] = field(default_factory=dict)

    def now(self) -> datetime.datetime:
        """The present time."""
        return FIRST + datetime.timedelta(days=self.day, hours=12)

    def live(self, stream: Callable[[int], pd.DataFrame]) -> None:
        """Live through one day, and the night after it."""
        production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
        assert production is not None
        if self.served is None or self.served.version != production.number:
            self.served = Candidate.fetch(production.number)
        self._answer(stream(self.day))
        self.day += 1
        self._monitor()

    def _answer(self, records: pd.DataFrame) -> None:
        assert self.served is not None
        features = records[list(contract.FEATURE_NAMES)].to_numpy("float64")
        rows = []
        for at, probability in enumerate(self.served.answers(features)):
            record = {
                name: None if np.isnan(value) else value
                for name, value in zip(contract.FEATURE_NAMES, features[at], strict=True)
            }
            id_ = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.day} {at}"))
            when = self.now() + datetime.timedelta(seconds=at)
            rows.append(
                (
                    id_,
                    "r",
                    at,
                    when,
                    when,
                    self.served.digest,
                    bool(probability >= 0.5),
                    float(probability),
                    "{}",
                    json.dumps(record),
                )
            )
            outcome = bool(records["num"].iloc[at] > 0)
            self.waiting.setdefault(self.day + DELAY, []).append((id_, outcome))
        arrived = [(id_, 1, outcome, self.now(), self.now()) for id_, outcome in self.waiting.pop(self.day, [])]
        with self.log, self.log.cursor() as cursor:
            cursor.execute(
                "INSERT INTO model (key, name, version, alias, family, origin, snapshot, contract_version, bundle) "
                "VALUES (%s, 'heart-disease', %s, 'production', 'f', 'o', 's', 'c', %s) ON CONFLICT DO NOTHING",
                (self.served.digest, self.served.version, self.served.digest),
            )
            execute_values(
                cursor,
                "INSERT INTO prediction (prediction_id, request_id, request_row, answered, logged, model_key, "
                "has_heart_disease, probability, imputed, features) VALUES %s",
                rows,
            )
            if arrived:
                execute_values(
                    cursor,
                    "INSERT INTO outcome (prediction_id, revision, outcome, observed_at, received) VALUES %s",
                    arrived,
                )

    def _monitor(self) -> None:
        monitored = monitor.days(None, now=self.now())
        alarmed = monitor.alarms(
            monitored,
            run=f"monitoring {self.day}",
            tell=lambda alarm, entry: self.told.append((alarm.kind, (alarm.date - FIRST.date()).days)) or [],
            started=lambda: len(self.trained),
        )
        if "harm" in alarmed["assets"]:  # Airflow starts heart_training by this event
            self.trained.append(self.day)
            self.retrain()
        assert monitor.net(alarmed, started=lambda: len(self.trained)) == []

    def reports(self) -> list[Report]:
        """Return all reports."""
        return stores.reports()


@pytest.fixture
def clinic(
    ledger_server: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    real_data: Path,
) -> Iterator[Clinic]:
    """A clinic whose production version was trained on Cleveland's records."""
    server = ledger_server
    server.start()
    server.clear()
    tables = LogDatabase(server.url)
    tables.open()
    tables.close()
    server.administer("DROP SCHEMA IF EXISTS monitoring CASCADE", "CREATE SCHEMA monitoring AUTHORIZATION monitoring")
    name, password = server.login("monitoring").split(":")
    for variable, database in ((stores.VARIABLE, "heartline"), (VARIABLE, "predictions")):
        monkeypatch.setenv(variable, server.server.address(name, password, driver=None, database=database))
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "store").as_uri())
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", "/")
    monkeypatch.setenv("HEARTLINE_APPROVAL_SECRET", "k" * 64)
    monkeypatch.setitem(families.PROFILES, SMALL.name, SMALL)
    skip_service_and_figures(monkeypatch)
    log = psycopg2.connect(server.url)
    found = Clinic(log, MemoryLedger())
    found.ledger.clock = found.now
    for method in ("append", "entries", "head"):
        called = getattr(found.ledger, method)
        monkeypatch.setattr(ledger_store, method, lambda *given, url=None, to=called, **more: to(*given, **more))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    for experiment in (runs.EXPERIMENT, runs.DATA_EXPERIMENT, runs.COMPARISON_EXPERIMENT):
        client.create_experiment(experiment, artifact_location=(tmp_path / "artifacts").as_uri())
    first = trained(real_data / "processed.cleveland.data", "first")
    assert mlflow_registry.move_production(first, by="admin") == ""
    yield found
    log.close()
    mlflow.set_tracking_uri(before)


def trained(source: Path, run: str, names: Sequence[str] = (LINEAR,)) -> str:
    """Run a training, as ``heart_training`` does, and return the version that it stages."""
    validated = validate(ingest(str(source)), run=run)
    prepared = preprocess(validated, profile=SMALL.name, seed=0, families=names)
    found = [train(one, prepared, run=run) for one in names]
    version = register(compare(found, prepared, run=run), promotion="manual", run=run)["version"]
    assert version
    return version


def drawn(records: pd.DataFrame, day: int) -> pd.DataFrame:
    """Return the patients of a day."""
    return records.sample(A_DAY, replace=True, random_state=1000 + day)


def hungary(folder: Path, cleveland: pd.DataFrame) -> pd.DataFrame:
    """Return Hungary's patients; what its file lacks (slope, ca, thal) is taken from Cleveland's of the same label."""
    names = list(contract.COLUMN_NAMES)
    frame = pd.read_csv(folder / "processed.hungarian.data", header=None, na_values="?", dtype="float64", names=names)
    frame = frame.dropna(subset=names[:10]).reset_index(drop=True)
    for diseased in (False, True):
        there, here = frame["num"].gt(0) == diseased, cleveland[cleveland["num"].gt(0) == diseased]
        others = here.sample(int(there.sum()), replace=True, random_state=1)
        for name in ("slope", "ca", "thal"):
            frame.loc[there, name] = others[name].to_numpy()
    return frame


def flipped(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with the labels of a quarter of the patients, those of 61 years and more, turned round."""
    turned = records["age"] >= OLD
    return records.assign(num=np.where(turned, (records["num"] == 0).astype(float), records["num"]))


def test_a_quiet_clinic_is_quiet(clinic, cleveland):
    for _ in range(DAYS):
        clinic.live(lambda day: drawn(cleveland, day))
    assert clinic.told == []
    assert clinic.trained == []
    assert len(clinic.reports()) == DAYS
    last = clinic.reports()[-1]
    assert last.harm.counted == A_DAY * (DAYS - DELAY)
    assert last.awaited.predictions == A_DAY * DAYS


def test_other_patients_are_told_of_and_start_nothing(clinic, cleveland, real_data):
    others = hungary(real_data, cleveland)
    for _ in range(DAYS):
        clinic.live(lambda day: drawn(cleveland if day < CHANGE else others, day))
    (found,) = [day for kind, day in clinic.told if kind == "drift"]
    assert CHANGE <= found < CHANGE + 14
    assert "harm" not in {kind for kind, _ in clinic.told}
    assert clinic.trained == []
    assert {one.alarm.kind for one in alarm_entries.open_alarms()} >= {"drift"}


def test_wrong_labels_lead_to_a_new_version_in_production(clinic, cleveland, tmp_path):
    flipped(cleveland).to_csv(tmp_path / "recent.csv", index=False)
    clinic.retrain = lambda: trained(tmp_path / "recent.csv", "harm", [LINEAR, FOREST])
    first = mlflow_registry.aliased("production").number
    asked: dict[str, Any] = {}
    for _ in range(DAYS):
        clinic.live(lambda day: drawn(cleveland, day) if day < CHANGE else flipped(drawn(cleveland, day)))
        staged = mlflow_registry.aliased("staging").number
        decided = [
            one.shadow for one in stores.latest() if one.shadow and summary.shadow_verdict(one.shadow) == "better"
        ]
        if decided and not asked:  # the person waits for the shadow
            request = request_approval.request(
                None, run=f"approval {clinic.day}", by=None, events=[], active=lambda run: False, now=clinic.now()
            )
            if not request["ends"]:
                asked = {"request": request, "day": clinic.day}
                answer = deciding.check_answer(request, event("Approve"))
                deciding.decide(request, answer, run=f"approval {clinic.day}")
    harm = [day for kind, day in clinic.told if kind == "harm"]
    assert CHANGE + DELAY <= harm[0] <= CHANGE + DELAY + 15
    assert clinic.trained[0] == harm[0] + 1
    assert staged != first
    assert harm[0] < asked["day"] < DAYS
    assert "In the shadow" in asked["request"]["body"]
    assert "the candidate is *better*" in asked["request"]["body"]
    assert mlflow_registry.aliased("production").number == staged
    assert clinic.reports()[-1].version == staged or staged in {one.version for one in stores.latest()}
    assert versions.find(staged) is not None
    assert Store().completed() == (FIRST + datetime.timedelta(days=DAYS - 1)).date()

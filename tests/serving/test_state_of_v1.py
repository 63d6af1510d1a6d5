"""The files and tables of a service at commit 1f295f9 are read by the present one."""

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from serving.prediction_log.writer import FOLDER, PredictionLog
from serving.settings import Settings
from tests.postgres import Postgres
from tests.running import ROOT
from tests.serving.fakes import Service

V1 = ROOT / "tests" / "fixtures" / "v1" / "serving"
UNREACHABLE = "http://127.0.0.1:1"  # no MLflow server
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
PREDICTIONS: list[dict[str, Any]] = json.loads((V1 / "predictions.json").read_text())
WRITTEN, SPILLED = PREDICTIONS[:2], PREDICTIONS[2:]  # in the database, on disk


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield server
    server.remove()


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """A server with the old prediction log."""
    server.clear()
    server.run((V1 / "database.sql").read_text())
    return server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A copy of the old cache folder."""
    return Path(shutil.copytree(V1 / "cache", tmp_path / "cache"))


def start(cache: Path, database: str = NO_DATABASE) -> Service:
    return Service(Settings(mlflow_url=UNREACHABLE, cache=str(cache), prediction_log_url=database)).poll()


def log_of(service: Service) -> PredictionLog:
    log: PredictionLog = service.app.extensions["prediction_log"]
    return log


def test_the_cached_model_is_served_while_the_registry_is_unreachable(cache: Path) -> None:
    service = start(cache)

    page = service.get("/model")
    assert (page["model"]["version"], page["model"]["run_id"]) == ("3", "r3")
    assert page["model"]["trained_at"] == "2026-11-18T11:06:40.000+00:00"
    assert page["registry"]["reachable"] is False
    assert page["registry"]["last_contact"]
    assert page["refused"] is None
    assert page["metrics"]["cross_validation"]["roc_auc"]["n"] > 100
    assert page["metrics_reason"] is None
    for known in PREDICTIONS:
        answer = service.client.post("/predict", json=known["record"]).get_json()
        assert answer["probability"] == pytest.approx(known["probability"], abs=1e-5)


def test_spilled_predictions_are_found_on_disk(cache: Path) -> None:
    service = start(cache)

    for known in SPILLED:
        assert_same(service.get(f"/predictions/{known['prediction_id']}"), known)


def test_spilled_predictions_are_delivered_to_the_old_tables(cache: Path, postgres: Postgres) -> None:
    service = start(cache, postgres.url)
    new = service.client.post("/predict", json=SPILLED[0]["record"]).get_json()

    log_of(service).tick()

    state = log_of(service).describe()
    assert (state.written, state.spilled, state.dropped, state.reason) == (4, 0, 0, None)
    stored = {found for (found,) in postgres.run("SELECT prediction_id::text FROM prediction")}
    assert stored == {known["prediction_id"] for known in PREDICTIONS} | {new["prediction_id"]}
    assert postgres.run("SELECT count(*) FROM model") == [(1,)], "the same model has the same key"
    assert list((cache / FOLDER).iterdir()) == []


def test_old_predictions_are_found_by_their_id(cache: Path, postgres: Postgres) -> None:
    service = start(cache, postgres.url)

    for known in WRITTEN:
        assert_same(service.get(f"/predictions/{known['prediction_id']}"), known)


def assert_same(found: dict[str, Any], known: dict[str, Any]) -> None:
    """The response is the one of the old service, apart from the new name of ``time`` and the outcomes."""
    assert found.pop("outcomes") == []
    before, now = datetime.fromisoformat(known["time"]), datetime.fromisoformat(found.pop("predicted_at"))
    assert before == now
    for one in (run := found["lineage"]["run"], known_run := known["lineage"]["run"]):
        assert one["trained_at"]
    assert datetime.fromisoformat(run["trained_at"]) == datetime.fromisoformat(known_run["trained_at"])
    rest = {name: value for name, value in known.items() if name != "time"}
    assert {**found, "lineage": {**found["lineage"], "run": known_run}} == rest

"""The task ``train``: what it returns, stores and logs for a family."""

import hashlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pytest

from heartline.errors import HeartlineError
from heartline.packaging import export, smoke_test
from heartline.packaging.bundle import open_bundle
from heartline.pipeline import candidates
from heartline.pipeline.train import train
from heartline.registry import mlflow_registry, runs
from heartline.storage import object_store
from serving.model.bundle import Model
from tests.unit.pipeline.support import FOREST, LINEAR, mlflow_counts


def test_a_run_records_its_data_settings_and_scores(pair):
    run = pair.client.get_run(pair.linear["run_id"])
    assert run.info.run_name == "Logistic regression · test"
    assert run.data.tags["origin"] == pair.linear["origin"] == "sample"
    assert run.data.tags["family"] == run.data.params["family"] == LINEAR
    assert run.data.tags["profile"] == run.data.params["profile"] == "test"
    assert run.data.params["numpy"] == np.__version__
    assert (run.data.tags["mlflow.source.name"], run.data.tags["mlflow.user"]) == (
        "dags/heart_training.py",
        "heartline",
    )
    assert run.data.tags["mlflow.source.type"] == "JOB"
    names = {one.path for one in pair.client.list_artifacts(run.info.run_id)}
    assert names == {"data_docs.html", "evaluation.json", "validation.json"}
    assert pair.client.get_run(run.data.tags["validation_run"]).data.metrics["used"] == 250


def test_the_description_of_a_run_shows_its_scores(pair):
    run = pair.client.get_run(pair.forest["run_id"])
    scores = [f"{run.data.metrics[f'{place}roc_auc']:.3f} (" for place in ("", "holdout_")]
    (row,) = [line for line in run.data.tags["mlflow.note.content"].splitlines() if line.startswith("| ROC AUC")]
    assert [cell.strip()[: len(scores[0])] for cell in row.split("|")[2:4]] == scores


def test_a_run_starts_with_the_work_and_not_with_its_logging(pair, monkeypatch):
    started = datetime(2026, 3, 1, 2, tzinfo=UTC)
    logged: list[runs.Run] = []
    monkeypatch.setattr(mlflow_registry, "log_run", lambda run: logged.append(run) or "1")
    monkeypatch.setattr("heartline.pipeline.train.datetime", _Clock(started))
    train(LINEAR, pair.prepared)
    assert logged[0].started == started


class _Clock:
    """A clock that advances by an hour whenever it is read."""

    def __init__(self, start: datetime) -> None:
        self._time = start - timedelta(hours=1)

    def now(self, zone: object) -> datetime:
        self._time += timedelta(hours=1)
        return self._time


def test_mlflow_finds_the_dataset_of_a_run(pair):
    run = pair.client.get_run(pair.linear["run_id"])
    (data,) = run.inputs.dataset_inputs
    digest = {tag.key: tag.value for tag in data.tags}[mlflow_registry.DATASET_SHA256]
    assert digest == run.data.tags["snapshot"] == object_store.digest_of(pair.prepared["snapshot"])
    assert digest.startswith(data.dataset.digest)
    assert json.loads(data.dataset.source)["source"] == pair.prepared["source"]
    source = mlflow.data.get_source(data)
    assert source.uri == pair.prepared["snapshot"]
    assert hashlib.sha256(Path(source.load()).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("store", ["s3://bucket/heartline", "gs://bucket/heartline"])
def test_mlflow_finds_a_dataset_in_a_remote_store(mlflow_store, store):
    digest = hashlib.sha256(store.encode()).hexdigest()
    snapshot = runs.Dataset("heart-records", f"{store}/snapshots/{digest}.parquet", "a test", digest, rows=1)
    run_id = mlflow_registry.log_run(runs.Run(store, "a test", {}, {}, {}, {}, dataset=snapshot))
    (data,) = mlflow_store.get_run(run_id).inputs.dataset_inputs
    assert mlflow.data.get_source(data).uri == snapshot.uri


def test_the_service_reads_the_scores_from_the_bundle(pair):
    for one in (pair.linear, pair.forest):
        metrics = Model(open_bundle(object_store.get(one["bundle"]))).evaluation.metrics
        logged = pair.client.get_run(one["run_id"]).data.metrics
        assert metrics.profile == "test"
        for place, scores in (("", metrics.cross_validation), ("holdout_", metrics.holdout)):
            for name in ("roc_auc", "brier", "recall"):
                assert scores[name].low <= scores[name].value == logged[place + name] <= scores[name].high
        assert metrics.cross_validation["roc_auc"].n + metrics.holdout["roc_auc"].n == 250


def test_the_smoke_test_is_recorded_in_the_evaluation(pair):
    run_id = pair.linear["run_id"]
    path = pair.client.download_artifacts(run_id, "evaluation.json")
    assert json.loads(Path(path).read_text())["smoke_test"] == {
        "records": export.REFERENCE_ROWS,
        "max_abs_diff": 0.0,
    }


def test_a_family_that_fails_the_smoke_test_is_refused_and_its_run_says_why(pair, monkeypatch):
    def refuse(bundle: bytes) -> None:
        raise smoke_test.SmokeTestError("the service refuses it", where="a bundle", expected="predictions", hint="look")

    monkeypatch.setattr(smoke_test, "run", refuse)
    refused = train(FOREST, pair.prepared, run="refused")
    assert (refused["outcome"], refused["cause"]) == ("refused", "not servable")
    assert refused["reason"] == "the service refuses it"
    assert refused["error"].startswith("the service refuses it\n  where:    a bundle\n")
    run = pair.client.get_run(refused["run_id"])
    assert refused["run_id"] != pair.forest["run_id"]
    assert (run.info.status, run.data.tags[runs.REFUSED]) == ("FAILED", refused["error"])


def test_the_figures_are_drawn_while_the_service_of_the_smoke_test_starts(pair, monkeypatch):
    drawing, passed = threading.Event(), smoke_test.SmokeTestResult("0" * 64, 32, 0.0)
    monkeypatch.setattr(smoke_test, "run", lambda bundle: passed if drawing.wait(60) else None)
    draw = candidates.figures
    monkeypatch.setattr(candidates, "figures", lambda *given: drawing.set() or draw(*given))
    assert train(LINEAR, pair.prepared)["outcome"] == "trained"


def test_where_the_figures_fail_the_smoke_test_has_ended_too(pair, monkeypatch):
    ended = []

    def run(bundle: bytes) -> smoke_test.SmokeTestResult:
        time.sleep(0.2)
        ended.append(True)
        return smoke_test.SmokeTestResult("0" * 64, 32, 0.0)

    def fail(*given):
        raise MemoryError

    monkeypatch.setattr(smoke_test, "run", run)
    monkeypatch.setattr(candidates, "figures", fail)
    with pytest.raises(HeartlineError, match="memory"):
        train(LINEAR, pair.prepared)
    assert ended == [True]


def test_a_missing_service_environment_stops_the_task(pair, monkeypatch):
    def refuse(bundle: bytes) -> None:
        raise smoke_test.ServiceUnavailableError("no environment", where="a path", expected="one", hint="make it")

    monkeypatch.setattr(smoke_test, "run", refuse)
    before = mlflow_counts(pair.client)
    with pytest.raises(smoke_test.ServiceUnavailableError):
        train(LINEAR, pair.prepared)
    assert mlflow_counts(pair.client) == before


def test_a_repeated_training_continues_its_run(pair):
    before = mlflow_counts(pair.client)
    assert train(LINEAR, pair.prepared, run="retry") == pair.linear
    assert mlflow_counts(pair.client) == before


def test_a_run_that_was_killed_before_its_end_is_completed(pair):
    run_id = pair.linear["run_id"]
    pair.client.update_run(run_id, status="RUNNING")
    before = mlflow_counts(pair.client)
    assert train(LINEAR, pair.prepared, run="retry") == pair.linear
    assert pair.client.get_run(run_id).info.status == "FINISHED"
    assert mlflow_counts(pair.client) == before

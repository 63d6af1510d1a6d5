"""The whole path without Airflow: each stage a plain call, against a real MLflow store."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from heartline import contract, dataset, export, registry, sources, stages
from heartline import store as stores
from heartline.errors import DataError, RegistryError

FAMILIES = ("logistic_regression", "random_forest")


def _prepare(source: str) -> dict:
    validated = stages.validate(stages.ingest(source))
    return stages.preprocess(validated, profile="quick", seed=0)


@pytest.fixture(scope="module")
def trained(module_store, mlflow_store) -> list[dict]:
    prepared = _prepare("sample:250")
    return [stages.train(family, prepared, run="test") for family in FAMILIES]


def test_what_passes_between_stages_is_small_and_plain(trained):
    assert len(json.dumps(trained)) < 2000


def test_a_run_says_what_it_rests_on(trained, mlflow_store):
    run = mlflow_store.get_run(trained[0]["run_id"])
    assert run.data.tags["origin"] == "sample"
    assert run.data.tags["family"] == "logistic_regression"
    assert run.data.tags["profile"] == run.data.params["profile"] == "quick"
    assert run.data.metrics["cv_roc_auc"] == pytest.approx(trained[0]["auc"])
    assert {one.path for one in mlflow_store.list_artifacts(run.info.run_id)} == {
        "data_docs.html",
        "evaluation.json",
        "validation.json",
    }
    assert mlflow_store.get_run(run.data.tags["validation_run"]).data.metrics["used"] == 250


def test_registration_points_staging_at_the_winner_and_leaves_production_alone(trained, mlflow_store):
    registered = stages.register(stages.compare(trained), promote="manual")

    assert set(registered["versions"]) == set(FAMILIES)
    assert registered["version"] == registered["versions"][registered["family"]]
    assert registry.aliased("staging").number == registered["version"]
    assert registry.aliased("production") is None
    version = mlflow_store.get_model_version(contract.MODEL_NAME, registered["version"])
    assert version.tags["verdict"] == registered["verdict"]
    assert version.tags["origin"] == "sample"


def test_a_version_holds_the_bundle_that_was_trained(trained, mlflow_store, tmp_path):
    registered = stages.register(stages.compare(trained), promote="manual")
    for one in trained:
        version = registered["versions"][one["family"]]
        folder = Path(
            mlflow.artifacts.download_artifacts(
                f"models:/{contract.MODEL_NAME}/{version}", dst_path=str(tmp_path / version)
            )
        )
        for name, data in export.unpack(stores.get(one["bundle"])).items():
            assert (folder / name).read_bytes() == data
        assert mlflow.sklearn.load_model(str(folder)).predict(export.legal_rows(5, seed=0)).shape == (5,)


def test_every_stage_repeated_leaves_one_run_and_one_version(trained, mlflow_store):
    first = stages.register(stages.compare(trained), promote="manual")
    prepared = _prepare("sample:250")
    again = [stages.train(family, prepared, run="retry") for family in FAMILIES]

    assert again == trained
    assert stages.register(stages.compare(again), promote="manual") == first
    experiment = mlflow_store.get_experiment_by_name(registry.EXPERIMENT).experiment_id
    key = mlflow_store.get_run(trained[0]["run_id"]).data.tags[registry.KEY]
    assert len(mlflow_store.search_runs([experiment], f"tags.`{registry.KEY}` = '{key}'")) == 1
    assert (
        len(mlflow_store.search_model_versions(f"name = '{contract.MODEL_NAME}' and tags.`{registry.KEY}` = '{key}'"))
        == 1
    )


def test_a_run_killed_before_its_end_is_continued_not_doubled(trained, mlflow_store):
    run_id = trained[0]["run_id"]
    mlflow_store.update_run(run_id, status="RUNNING")
    history = mlflow_store.get_metric_history(run_id, "cv_roc_auc")

    again = stages.train(FAMILIES[0], _prepare("sample:250"), run="retry")

    assert again["run_id"] == run_id
    assert mlflow_store.get_run(run_id).info.status == "FINISHED"
    assert len(mlflow_store.get_metric_history(run_id, "cv_roc_auc")) == len(history)


def test_production_is_moved_by_a_run_only_when_told_so_and_better(trained):
    compared = stages.compare(trained)
    assert not stages.register({**compared, "verdict": "no detectable difference"}, promote="if_better")["promoted"]
    assert not stages.register({**compared, "verdict": "better"}, promote="manual")["promoted"]
    assert registry.aliased("production") is None
    moved = stages.register({**compared, "verdict": "better"}, promote="if_better")
    assert moved["promoted"]
    assert registry.aliased("production").number == moved["version"]


def test_records_are_held_against_what_production_was_trained_on(trained, mlflow_store, tmp_path, cohort):
    compared = stages.compare(trained)
    stages.register({**compared, "verdict": "better"}, promote="if_better")
    older = cohort.assign(age=(cohort["age"] + 15).clip(upper=110))
    older.to_csv(tmp_path / "older.csv", index=False)
    ingested = stages.ingest(str(tmp_path / "older.csv"))

    sample_in_production = stages.validate(ingested, run="a file after the sample")
    with pytest.raises(DataError, match="1 of 66 expectations about the whole set are not met") as caught:
        stages.validate({**ingested, "origin": "sample"}, run="the sample after the sample")
    accepted = stages.validate({**ingested, "origin": "sample"}, max_drift=5, run="a change that is meant")

    assert "age: expected much the distribution of production's training data" in caught.value.where
    assert "where the change is meant, run with a larger max_drift" in caught.value.do
    assert accepted["snapshot"] == sample_in_production["snapshot"]
    version = registry.aliased("production").number
    assert json.loads(stores.get(sample_in_production["report"]))["notes"] == [
        f"drift was not looked at: version {version} in production was trained on the sample"
    ]


def test_training_data_that_is_gone_is_said_and_does_not_stop_a_run(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "another").as_uri())
    number = registry.aliased("production").number
    validated = stages.validate(stages.ingest("sample:250"), run="another store")
    assert json.loads(stores.get(validated["report"]))["notes"] == [
        f"drift was not looked at: the training data of version {number} is not in the store"
    ]


def test_families_from_different_snapshots_are_not_compared(trained, mlflow_store):
    other = stages.train(FAMILIES[1], _prepare("sample:260"), run="test")
    with pytest.raises(ValueError, match="different snapshots or folds"):
        stages.compare([trained[0], other])


def test_same_records_from_a_file_are_the_same_snapshot(module_store, tmp_path):
    frame = sources.read("sample:250").table.frame
    frame.sample(frac=1, random_state=1).to_csv(tmp_path / "shuffled.csv", index=False)
    from_file = stages.validate(stages.ingest(str(tmp_path / "shuffled.csv")))
    assert from_file["snapshot"] == _prepare("sample:250")["snapshot"]
    pd.testing.assert_frame_equal(dataset.read_snapshot(from_file["snapshot"]), dataset.canonical(frame))


def test_mlflow_away_is_said_in_our_words(trained, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        with pytest.raises(RegistryError, match="MLflow did not let us look up alias production") as caught:
            stages.compare(trained)
    finally:
        mlflow.set_tracking_uri(before)
    assert "127.0.0.1:9" in caught.value.where

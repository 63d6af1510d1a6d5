"""The whole path without Airflow: each stage a plain call, against a real MLflow store."""

import hashlib
import html
import json
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.errors import ComparisonError, DataError, NoCandidateError, RegistryError
from heartline.ingestion import sources
from heartline.packaging import export, smoke_test
from heartline.packaging.bundle import open_bundle, unpack
from heartline.pipeline.compare import compare
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import mlflow_registry, runs
from heartline.storage import object_store as stores
from heartline.storage import record_identity, snapshots
from serving.model.bundle import Model

FAMILIES = ("logistic_regression", "random_forest")


def _prepare(source: str) -> dict:
    validated = validate(ingest(source))
    return preprocess(validated, profile="quick", seed=0)


@pytest.fixture(scope="module")
def prepared(module_store, mlflow_store) -> dict:
    return _prepare("sample:250")


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """How long the training of each family took."""
    return {}


@pytest.fixture(scope="module")
def trained(prepared, seconds) -> list[dict]:
    done = []
    for family in FAMILIES:
        begun = time.monotonic()
        done.append(train(family, prepared, run="test"))
        seconds[family] = time.monotonic() - begun
    return done


def test_what_passes_between_stages_is_small_and_plain(trained, prepared):
    assert len(json.dumps([trained, prepared])) < 5000


def test_a_run_says_what_it_rests_on(trained, mlflow_store):
    run = mlflow_store.get_run(trained[0]["run_id"])
    assert run.data.tags["origin"] == "sample"
    assert run.data.tags["family"] == "logistic_regression"
    assert run.data.tags["profile"] == run.data.params["profile"] == "quick"
    assert run.data.metrics["fold_roc_auc"] == pytest.approx(trained[0]["auc"])
    for score in ("cv_roc_auc", "cv_brier", "holdout_recall"):
        low, value, high = (run.data.metrics[score + end] for end in ("_low", "", "_high"))
        assert low <= value <= high
    assert {one.path for one in mlflow_store.list_artifacts(run.info.run_id)} == {
        "data_docs.html",
        "evaluation.json",
        "pictures",
        "validation.json",
    }
    assert {one.path for one in mlflow_store.list_artifacts(run.info.run_id, "pictures")} == {
        f"pictures/{name}.svg"
        for name in (
            "calibration",
            "confusion_matrix",
            "importance",
            "odds_ratios",
            "precision_recall",
            "roc",
            "scores",
        )
    }
    assert run.data.params["numpy"] == np.__version__
    assert mlflow_store.get_run(run.data.tags["validation_run"]).data.metrics["used"] == 250


def test_mlflow_finds_the_dataset_of_a_run(trained, prepared, mlflow_store):
    run = mlflow_store.get_run(trained[0]["run_id"])
    (data,) = run.inputs.dataset_inputs
    digest = {tag.key: tag.value for tag in data.tags}[mlflow_registry.DATASET_SHA256]
    assert digest == run.data.tags["snapshot"] == stores.digest_of(prepared["snapshot"])
    assert digest.startswith(data.dataset.digest)
    assert json.loads(data.dataset.source)["source"] == prepared["source"]
    source = mlflow.data.get_source(data)
    assert source.uri == prepared["snapshot"]
    assert hashlib.sha256(Path(source.load()).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("store", ["s3://bucket/heartline", "gs://bucket/heartline"])
def test_mlflow_finds_a_dataset_in_a_store_elsewhere(mlflow_store, store):
    digest = hashlib.sha256(store.encode()).hexdigest()
    snapshot = runs.Dataset("heart-records", f"{store}/snapshots/{digest}.parquet", "a test", digest, rows=1)
    run_id = mlflow_registry.log_run(runs.Run(store, "a test", {}, {}, {}, {}, dataset=snapshot))
    (data,) = mlflow_store.get_run(run_id).inputs.dataset_inputs
    assert mlflow.data.get_source(data).uri == snapshot.uri


def test_registration_points_staging_at_the_winner_and_leaves_production_alone(trained, mlflow_store, prepared):
    registered = register(compare(trained, prepared), promote="manual")

    assert set(registered["versions"]) == set(FAMILIES)
    assert registered["version"] == registered["versions"][registered["family"]]
    assert mlflow_registry.aliased("staging").number == registered["version"]
    assert mlflow_registry.aliased("production") is None
    version = mlflow_store.get_model_version(contract.MODEL_NAME, registered["version"])
    assert version.tags["verdict"] == registered["verdict"]
    assert version.tags["origin"] == "sample"


def test_the_service_tells_how_good_the_model_is(trained, mlflow_store):
    for one in trained:
        files = open_bundle(stores.get(one["bundle"]))
        metrics = Model(files).evaluation.metrics
        logged = mlflow_store.get_run(one["run_id"]).data.metrics
        assert metrics.profile == "quick"
        for place, scores in (("cv", metrics.cross_validation), ("holdout", metrics.holdout)):
            for name in ("roc_auc", "brier", "recall"):
                found = (scores[name].low, scores[name].value, scores[name].high)
                assert found == tuple(logged[f"{place}_{name}{end}"] for end in ("_low", "", "_high"))
        assert metrics.cross_validation["roc_auc"].n + metrics.holdout["roc_auc"].n == 250


def test_a_comparison_is_a_run_with_its_page_and_a_card_for_each_model(trained, mlflow_store, prepared):
    compared = compare(trained, prepared, run="test")
    run = mlflow_store.get_run(compared["comparison_run"])
    assert run.data.tags["verdict"] == compared["verdict"]
    assert run.data.tags["reason"] == compared["reason"]
    assert run.data.metrics["delta_auc_low"] <= run.data.metrics["delta_auc"] <= run.data.metrics["delta_auc_high"]
    assert {one.path for one in mlflow_store.list_artifacts(run.info.run_id)} == {
        "comparison.html",
        "comparison.json",
        "model_card_logistic_regression.html",
        "model_card_random_forest.html",
    }
    page = Path(mlflow_store.download_artifacts(run.info.run_id, "comparison.html")).read_text()
    assert compared["reason"] in html.unescape(page)
    assert compare(trained, prepared, run="test") == compared, "a task that runs again finds its run"


def test_mlflow_says_at_a_glance_what_a_run_and_a_version_are(trained, seconds, prepared, mlflow_store):
    compared = compare(trained, prepared)
    for one, title in zip(trained, ("Logistic regression", "Random forest"), strict=True):
        run = mlflow_store.get_run(one["run_id"])
        assert run.info.run_name == f"{title} · quick"
        lasted = (run.info.end_time - run.info.start_time) / 1000
        assert lasted > 0.7 * seconds[one["family"]], "a run lasts as long as its work, not as long as its logging"
        scores = [f"{run.data.metrics[f'{place}_roc_auc']:.3f} (" for place in ("cv", "holdout")]
        (row,) = [line for line in run.data.tags["mlflow.note.content"].splitlines() if line.startswith("| ROC AUC")]
        assert [cell.strip()[: len(scores[0])] for cell in row.split("|")[2:4]] == scores
    run = mlflow_store.get_run(compared["comparison_run"])
    assert run.info.run_name == f"{compared['verdict']} · quick"
    assert run.data.tags["mlflow.note.content"] == compared["reason"]

    versions = [register(compared, promote="manual")["versions"] for _ in range(2)]
    assert versions[0] == versions[1]
    for one in trained:
        version = mlflow_store.get_model_version(contract.MODEL_NAME, versions[0][one["family"]])
        assert version.description.startswith(f"{one['auc']:.3f} ROC AUC: ")
        linked = mlflow_store.get_run(one["run_id"]).outputs.model_outputs
        assert [f"models:/{output.model_id}" for output in linked] == [version.source]


def test_a_family_that_cannot_be_served_is_not_registered_and_the_run_says_why(prepared, trained, monkeypatch):
    def refuse(bundle: bytes) -> None:
        raise smoke_test.SmokeTestError("the service refuses it", where="a bundle", expected="answers", hint="look")

    monkeypatch.setattr(smoke_test, "run", refuse)
    refused = train(FAMILIES[1], prepared, run="refused")
    assert "bundle" not in refused
    compared = compare([trained[0], refused], prepared, run="refused")
    assert compared["winner"] == FAMILIES[0]
    assert "random_forest cannot be served: the service refuses it" in compared["reasons"]
    assert set(register(compared, promote="manual")["versions"]) == {FAMILIES[0]}
    with pytest.raises(NoCandidateError, match="no family can be served") as caught:
        compare([refused], prepared)
    assert "the service refuses it" in caught.value.where


def test_a_version_holds_the_bundle_that_was_trained(trained, mlflow_store, tmp_path, prepared):
    registered = register(compare(trained, prepared), promote="manual")
    for one in trained:
        version = registered["versions"][one["family"]]
        folder = Path(
            mlflow.artifacts.download_artifacts(
                f"models:/{contract.MODEL_NAME}/{version}", dst_path=str(tmp_path / version)
            )
        )
        for name, data in unpack(stores.get(one["bundle"])).items():
            assert (folder / name).read_bytes() == data
        assert mlflow.sklearn.load_model(str(folder)).predict(export.legal_rows(5, seed=0)).shape == (5,)


def test_every_stage_repeated_leaves_one_run_and_one_version(trained, mlflow_store, prepared):
    first = register(compare(trained, prepared), promote="manual")
    again = [train(family, prepared, run="retry") for family in FAMILIES]

    assert again == trained
    assert register(compare(again, prepared), promote="manual") == first
    experiment = mlflow_store.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    key = mlflow_store.get_run(trained[0]["run_id"]).data.tags[mlflow_registry.KEY]
    assert len(mlflow_store.search_runs([experiment], f"tags.`{mlflow_registry.KEY}` = '{key}'")) == 1
    assert (
        len(
            mlflow_store.search_model_versions(
                f"name = '{contract.MODEL_NAME}' and tags.`{mlflow_registry.KEY}` = '{key}'"
            )
        )
        == 1
    )


def test_a_run_killed_before_its_end_is_continued_not_doubled(trained, mlflow_store):
    run_id = trained[0]["run_id"]
    mlflow_store.update_run(run_id, status="RUNNING")
    history = mlflow_store.get_metric_history(run_id, "cv_roc_auc")

    again = train(FAMILIES[0], _prepare("sample:250"), run="retry")

    assert again["run_id"] == run_id
    assert mlflow_store.get_run(run_id).info.status == "FINISHED"
    assert len(mlflow_store.get_metric_history(run_id, "cv_roc_auc")) == len(history)


def test_production_is_moved_by_a_run_only_when_told_so_and_better(trained, prepared):
    compared = compare(trained, prepared)
    assert not register({**compared, "verdict": "no detectable difference"}, promote="if_better")["promoted"]
    assert not register({**compared, "verdict": "better"}, promote="manual")["promoted"]
    assert mlflow_registry.aliased("production") is None
    moved = register({**compared, "verdict": "better"}, promote="if_better")
    assert moved["promoted"]
    assert mlflow_registry.aliased("production").number == moved["version"]


def test_production_that_somebody_moved_meanwhile_is_not_moved_by_the_run(trained, prepared):
    compared = {**compare(trained, prepared), "verdict": "better"}
    looked_at = mlflow_registry.aliased("production").number
    versions = register(compared, promote="manual")["versions"]
    (other,) = set(versions.values()) - {looked_at}
    mlflow_registry.point_alias("production", other)
    found = register(compared | {"winner": "logistic_regression"}, promote="if_better")
    assert not found["promoted"]
    assert found["not_promoted"] == (
        f"production was at version {looked_at} when it was looked at, and is at version {other} by now: "
        "somebody else moved it"
    )
    assert mlflow_registry.aliased("production").number == other
    mlflow_registry.point_alias("production", looked_at)


def test_productions_own_model_is_scored_beside_the_families(trained, mlflow_store, prepared):
    registered = register(compare(trained, prepared), promote="manual")
    mlflow_registry.point_alias("production", registered["version"])
    other = _prepare("sample:320")
    again = [train(FAMILIES[0], other, run="test")]
    compared = compare(again, other, run="another night")
    path = mlflow_store.download_artifacts(compared["comparison_run"], "comparison.json")
    champion = json.loads(Path(path).read_text())["production_model"]
    assert champion["version"] == registered["version"]
    assert 0.7 < champion["holdout"]["roc_auc"]["value"] <= 1
    assert champion["unseen"]["roc_auc"]["n"] >= champion["holdout"]["roc_auc"]["n"]


def test_records_are_held_against_what_production_was_trained_on(trained, mlflow_store, tmp_path, cohort, prepared):
    compared = compare(trained, prepared)
    register({**compared, "verdict": "better"}, promote="if_better")
    older = cohort.assign(age=(cohort["age"] + 15).clip(upper=110))
    older.to_csv(tmp_path / "older.csv", index=False)
    ingested = ingest(str(tmp_path / "older.csv"))

    sample_in_production = validate(ingested, run="a file after the sample")
    with pytest.raises(DataError, match="1 expectation about the whole set is not met, of 66 in all") as caught:
        validate({**ingested, "origin": "sample"}, run="the sample after the sample")
    accepted = validate({**ingested, "origin": "sample"}, max_drift=5, run="a change that is meant")

    assert "age: expected a distribution like that of production's snapshot" in caught.value.where
    assert "where the change is meant, run with a larger max_drift" in caught.value.hint
    assert accepted["snapshot"] == sample_in_production["snapshot"]
    version = mlflow_registry.aliased("production").number
    assert json.loads(stores.get(sample_in_production["report"]))["notes"] == [
        f"drift was not looked at: version {version} in production was trained on the sample"
    ]


def test_a_snapshot_that_is_gone_is_said_and_does_not_stop_a_run(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "another").as_uri())
    number = mlflow_registry.aliased("production").number
    validated = validate(ingest("sample:250"), run="another store")
    assert json.loads(stores.get(validated["report"]))["notes"] == [
        f"drift was not looked at: the snapshot of version {number} in production cannot be read from the store"
    ]


def test_a_snapshot_of_another_contract_is_said_to_be_one(module_store, mlflow_store, monkeypatch, cohort):
    older = stores.digest_of(
        snapshots.write_snapshot(record_identity.canonical(cohort).drop(columns=["slope", "thal"]))
    )
    version = mlflow_registry.Version("7", {"origin": "sample", "snapshot": older})
    monkeypatch.setattr(mlflow_registry, "aliased", lambda alias: version if alias == "production" else None)
    validated = validate(ingest("sample:250"), run="a new contract")
    assert json.loads(stores.get(validated["report"]))["notes"] == [
        "drift was not looked at: the snapshot of version 7 in production is of another contract and lacks slope, thal"
    ]


def test_families_from_different_snapshots_are_not_compared(trained, mlflow_store, prepared):
    other = train(FAMILIES[1], _prepare("sample:260"), run="test")
    with pytest.raises(ComparisonError, match="evaluated on a different basis: folds, snapshot"):
        compare([trained[0], other], prepared)


def test_same_records_from_a_file_are_the_same_snapshot(module_store, tmp_path):
    frame = sources.read("sample:250").table.frame
    frame.sample(frac=1, random_state=1).to_csv(tmp_path / "shuffled.csv", index=False)
    from_file = validate(ingest(str(tmp_path / "shuffled.csv")))
    assert from_file["snapshot"] == _prepare("sample:250")["snapshot"]
    pd.testing.assert_frame_equal(snapshots.read_snapshot(from_file["snapshot"]), record_identity.canonical(frame))


def test_an_alias_set_by_hand_on_a_foreign_version_stops_nothing(trained, mlflow_store, prepared):
    foreign = mlflow_store.create_model_version(contract.MODEL_NAME, source="s3://somewhere/else").version
    mlflow_registry.point_alias("production", str(foreign))

    validated = validate(ingest("sample:250"), run="a foreign champion")
    compared = compare(trained, prepared, run="a foreign champion")

    notes = json.loads(stores.get(validated["report"]))["notes"]
    assert notes == [
        f"drift was not looked at: the snapshot of version {foreign} in production cannot be read from the store"
    ]
    path = mlflow_store.download_artifacts(compared["comparison_run"], "comparison.json")
    champion = json.loads(Path(path).read_text())["production_model"]
    assert (champion["version"], champion["holdout"], champion["unseen"]) == (str(foreign), {}, {})
    assert champion["note"].startswith("its own model was not scored: not the URI of an object in the store")
    assert compared["incumbent"] == FAMILIES[0], "without a known family the simplest one has to be beaten"


def test_mlflow_away_is_said_in_our_words(trained, monkeypatch, prepared):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        with pytest.raises(RegistryError, match="MLflow did not let us look up alias production") as caught:
            compare(trained, prepared)
    finally:
        mlflow.set_tracking_uri(before)
    assert "127.0.0.1:9" in caught.value.where

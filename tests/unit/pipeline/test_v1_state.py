"""A registry and a store that commit 1f295f9 wrote: they are read, compared with, and not registered again.

The fixture is the state after one night of that commit on ``sample:250`` with the profile ``quick``: both families
registered, version 1 (logistic regression) in production, one external move and one rollback in the history. Of the
store it holds the snapshot and the bundle of version 1.
"""

import json
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.ingestion.sample import synthetic
from heartline.ledger import store
from heartline.packaging.bundle import unpack
from heartline.pipeline.compare import compare
from heartline.pipeline.handovers import Compared
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import mlflow_registry, runs
from heartline.registry.production import alias_history
from heartline.storage import object_store, record_identity, snapshots
from heartline.training import families
from tests.conftest import ROOT
from tests.unit.pipeline.support import LINEAR, SMALL, mlflow_counts, move_by_hand, prepare, production_model

FIXTURE = ROOT / "tests" / "fixtures" / "v1" / "pipeline"
MLFLOW = json.loads((FIXTURE / "mlflow.json").read_text())
VERSIONS = {one["version"]: one for one in MLFLOW["versions"]}
BUNDLE = VERSIONS["1"]["tags"]["bundle"]


@pytest.fixture
def v1(empty_mlflow, tmp_path, monkeypatch, quick_training) -> SimpleNamespace:
    """An MLflow and a store in the state of the fixture, and the ids of the runs by their ids in the fixture."""
    store = tmp_path / "store"
    shutil.copytree(FIXTURE / "store", store)
    monkeypatch.setenv("HEARTLINE_STORE", store.as_uri())
    ids = {}
    for one in MLFLOW["runs"]:
        experiment = empty_mlflow.get_experiment_by_name(one["experiment"]).experiment_id
        run = empty_mlflow.create_run(experiment, tags=one["tags"], run_name=one["name"])
        for name, value in one["params"].items():
            empty_mlflow.log_param(run.info.run_id, name, value)
        empty_mlflow.set_terminated(run.info.run_id, one["status"])
        ids[one["run_id"]] = run.info.run_id
    empty_mlflow.create_registered_model(contract.MODEL_NAME, tags=MLFLOW["model"]["tags"])
    files = tmp_path / "v1"
    files.mkdir()
    for name, data in unpack((store / "bundles" / f"{BUNDLE}.tar").read_bytes()).items():
        (files / name).write_bytes(data)
    (files / "MLmodel").write_text("flavors: {}")
    for number, one in sorted(VERSIONS.items()):
        source = files.as_uri() if number == "1" else "s3://v1/model"
        empty_mlflow.create_model_version(
            contract.MODEL_NAME, source, ids[one["run_id"]], one["tags"], description=one["description"]
        )
    for alias, version in MLFLOW["model"]["aliases"].items():
        empty_mlflow.set_registered_model_alias(contract.MODEL_NAME, alias, str(version))
    return SimpleNamespace(client=empty_mlflow, runs=ids)


def test_the_history_of_production_is_read(v1):
    moves = mlflow_registry.record_external_moves()
    assert [(one.before, one.after, one.how) for one in moves] == [
        ("", "1", alias_history.RUN),
        ("1", "2", alias_history.EXTERNAL),
        ("2", "1", alias_history.ROLLBACK),
    ]
    assert [one.by for one in moves] == ["run scheduled__2026-03-01T02:00:00+00:00", alias_history.UNKNOWN, "anna"]
    assert all(datetime(2026, 1, 1, tzinfo=UTC) < one.when for one in moves)
    assert len(store.entries()) == 3, "nothing is entered twice"
    assert mlflow_registry.record_external_moves() == moves
    assert len(v1.client.get_registered_model(contract.MODEL_NAME).tags) == 3, "and no tag is written"


def test_records_are_compared_with_the_snapshot_of_production(v1):
    validated = validate(ingest("sample:250"), run="the first night after the upgrade")
    assert not [note for note in json.loads(object_store.get(validated["report"]))["notes"] if "drift" in note]
    assert validated["expectations"] == 67, "53 of the contract and 14 of the snapshot's distributions"
    before = snapshots.read_snapshot(object_store.address(VERSIONS["1"]["tags"]["snapshot"], "snapshots", ".parquet"))
    pd.testing.assert_frame_equal(snapshots.read_snapshot(validated["snapshot"]), before, check_exact=True)


def test_records_from_text_are_on_the_side_of_the_split_where_they_were(v1):
    before = snapshots.read_snapshot(object_store.address(VERSIONS["1"]["tags"]["snapshot"], "snapshots", ".parquet"))
    prepared = preprocess(validate(ingest("sample:250"), run="after"), profile=SMALL.name, seed=0)
    in_holdout = splits_of_v1(before)
    for name, side in (("holdout", before[in_holdout]), ("training", before[~in_holdout])):
        found = snapshots.read_snapshot(prepared[name])
        pd.testing.assert_frame_equal(found, side.reset_index(drop=True), check_exact=True)


def splits_of_v1(frame: pd.DataFrame) -> np.ndarray:
    """Return which records versions 0.1 and 0.2 held out: they hashed the stored bits of each value."""
    states = np.zeros(len(frame), dtype="uint64")
    for name in contract.FEATURE_NAMES:
        values = frame[name].to_numpy("float64") + 0.0
        values[np.isnan(values)] = np.nan
        record_identity._mix(states, values.view("uint64"))
    return states < np.uint64(0.2 * 2**64)


@pytest.fixture
def noisy(v1, tmp_path) -> str:
    """A Parquet file with float32, whose snapshot of version 0.2 is that of production; the file's path."""
    frame = synthetic.generate(600, seed=4)
    stored = frame.assign(oldpeak=frame["oldpeak"].astype("float32"))
    stored.to_parquet(tmp_path / "float32.parquet", index=False)
    written = {name: stored[name].astype(kind) for name, kind in contract.DTYPES.items()}
    snapshot = object_store.digest_of(snapshots.write_snapshot(pd.DataFrame(written)))
    v1.client.set_model_version_tag(contract.MODEL_NAME, "1", "snapshot", snapshot)
    v1.client.set_model_version_tag(contract.MODEL_NAME, "1", "origin", "file")
    return str(tmp_path / "float32.parquet")


def test_a_snapshot_with_the_noise_of_float32_is_no_drift(noisy):
    validated = validate(ingest(noisy), max_drift=0.01, run="the first night after the upgrade")
    assert (validated["used"], validated["quarantined"]) == (600, 0)
    assert not [note for note in json.loads(object_store.get(validated["report"]))["notes"] if "drift" in note]


def test_records_that_changed_sides_are_not_used_to_score_the_version_before(noisy, v1):
    """A record of a float32 source may be held out now although version 1 was trained on it."""
    prepared = preprocess(validate(ingest(noisy), run="after"), profile=SMALL.name, seed=0)
    before = snapshots.read_snapshot(
        object_store.address(
            v1.client.get_model_version(contract.MODEL_NAME, "1").tags["snapshot"], "snapshots", ".parquet"
        )
    )
    trained_on = set(record_identity.feature_hashes(before[~splits_of_v1(before)]).tolist())
    held_out = record_identity.feature_hashes(snapshots.read_snapshot(prepared["holdout"])).tolist()
    assert trained_on & set(held_out), "else the guard below has nothing to guard"

    compared = compare([train(LINEAR, prepared)], prepared, run="after")
    scored = production_model(v1.client, compared["comparison_run"])
    assert (scored["holdout"], scored["unseen"]) == ({}, {})
    assert "it follows another data contract (1.1.0" in scored["note"]
    assert (compared["incumbent"], compared["production"]) == (LINEAR, "1")


def test_the_version_in_production_is_named_and_its_family_is_the_incumbent(v1, many):
    prepared = prepare(many.iloc[:150])
    compared = compare([train(LINEAR, prepared)], prepared, run="the first night after the upgrade")
    assert (compared["incumbent"], compared["production"]) == (LINEAR, "1")
    assert compared["held_back"] == (
        "version 1 in production was not compared: its recipe is not today's logistic_regression (max_iter 1000, "
        "today 100; solver none, today newton-cholesky; tol none, today 1e-08). Only a user can replace it"
    )
    scored = production_model(v1.client, compared["comparison_run"])
    assert (scored["version"], scored["origin"]) == ("1", "sample")
    assert scored["note"] == (
        f"its own model was not scored: it follows another data contract (1.1.0, today's is {contract.VERSION})"
    )


def test_a_recipe_that_changed_since_then_is_named(v1, many, monkeypatch):
    move_by_hand("2")
    prepared = prepare(many.iloc[:150])
    monkeypatch.setitem(families.PROFILES, SMALL.name, SMALL)
    trained = [train(name, prepared) for name in families.FAMILIES]
    compared = compare(trained, prepared, run="other trees")
    assert compared["held_back"] == (
        "version 2 in production was not compared: its recipe is not today's random_forest "
        "(n_estimators 100, today 20). Only a user can replace it"
    )


def test_a_bundle_that_is_registered_is_not_registered_again(v1):
    before = mlflow_counts(v1.client)
    run_id = v1.runs[VERSIONS["1"]["run_id"]]
    trained = {
        "outcome": "trained",
        "family": LINEAR,
        "bundle": object_store.address(BUNDLE, "bundles", ".tar"),
        "predictions": object_store.address("0" * 64, "predictions", ".parquet"),
        "run_id": run_id,
        "origin": "sample",
        "roc_auc": 0.91,
    }
    compared: Compared = {
        "trained": [trained],
        "winner": LINEAR,
        "incumbent": LINEAR,
        "verdict": "better",
        "reason": "a reason",
        "reasons": [],
        "held_back": "",
        "look": {
            "number": 1,
            "level": 0.015,
            "p_values": {},
            "new_records": None,
            "needed_records": None,
            "note": "look 1",
        },
        "cautions": {},
        "production": "1",
        "comparison_run": "0" * 32,
    }
    registered = register(compared, promotion="if_better", run="again")
    assert (registered["versions"], registered["promoted"]) == ({LINEAR: "1"}, True)
    assert mlflow_counts(v1.client) == before
    assert len(mlflow_registry.record_external_moves()) == 3, "production is at that version already"


def test_a_finished_run_is_found_by_its_key(v1):
    (finished,) = (one for one in MLFLOW["runs"] if one["run_id"] == VERSIONS["1"]["run_id"])
    run = runs.Run(finished["tags"]["heartline.key"], finished["name"], finished["tags"], {}, {}, {})
    assert mlflow_registry.log_run(run) == v1.runs[finished["run_id"]]


def test_the_refusal_of_a_run_is_removed_once_it_passes(v1):
    (failed,) = (one for one in MLFLOW["runs"] if one["status"] == "FAILED")
    assert failed["tags"][runs.REFUSED].startswith("the service refuses it")
    # another run with this key finished; without it, the refused one is continued
    key = "a key of its own"
    v1.client.set_tag(v1.runs[failed["run_id"]], mlflow_registry.KEY, key)
    run_id = mlflow_registry.log_run(runs.Run(key, failed["name"], {}, {}, {}, {}))
    assert run_id == v1.runs[failed["run_id"]]
    run = v1.client.get_run(run_id)
    assert (run.info.status, run.data.tags.get(runs.REFUSED)) == ("FINISHED", None)


def test_the_snapshot_of_the_fixture_is_what_its_name_says(v1):
    uri = object_store.address(VERSIONS["1"]["tags"]["snapshot"], "snapshots", ".parquet")
    assert len(snapshots.read_snapshot(uri)) == 250

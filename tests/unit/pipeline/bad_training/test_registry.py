"""What a run finds in the registry and the store that it did not put there: it is ignored, or it stops the run."""

import dataclasses
import html
import json
from pathlib import Path

import mlflow
import pytest

from heartline import contract
from heartline.errors import PermanentError
from heartline.packaging import export
from heartline.packaging.bundle import BundleError, open_bundle, pack
from heartline.pipeline.compare import compare
from heartline.pipeline.handovers import Compared, Prepared, Registered
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.registry import mlflow_registry
from heartline.storage import object_store as stores
from heartline.storage import snapshots
from heartline.training import families
from tests.unit.pipeline.support import (
    FOREST,
    LINEAR,
    SMALL,
    artifact,
    mlflow_counts,
    move_by_hand,
    prepare,
    production_model,
    refused,
    take,
)

# ---- versions of unknown origin in the registry


def test_a_version_that_heartline_did_not_train_is_not_replaced_by_a_run(pair):
    # given a version without tags in production
    foreign = str(_foreign_version(pair.client))
    move_by_hand(foreign)

    compared = compare([pair.linear], pair.prepared, run="foreign")
    registered = register({**compared, "verdict": "better"}, promotion="if_better", run="foreign")

    reason = (
        f"version {foreign} in production was not compared: its family (unknown) takes no part. "
        "Only a user can replace it"
    )
    assert registered["held_back"] == reason
    assert reason in compared["reasons"]
    assert mlflow_registry.aliased("production").number == foreign
    assert mlflow_registry.aliased("staging").number == registered["version"]
    # its origin is unknown and counts as real data, which a model of the sample does not replace
    assert mlflow_registry.move_production(registered["version"], by="anna") == (
        f"version {registered['version']} was trained on the synthetic sample, and version {foreign} in production was "
        "not (its origin: unknown)"
    )


def test_a_version_that_heartline_did_not_train_is_replaced_by_a_user_with_real_data(pair):
    foreign = str(_foreign_version(pair.client))
    move_by_hand(foreign)
    real = {**pair.prepared, "origin": "file"}

    compared = compare([train(LINEAR, real)], real, run="real data")
    registered = register({**compared, "verdict": "better"}, promotion="if_better", run="real data")

    assert not registered["promoted"]
    assert registered["held_back"].startswith(f"version {foreign} in production was not compared")
    assert mlflow_registry.aliased("production").number == foreign
    assert mlflow_registry.move_production(registered["version"], by="anna") == ""
    moves = [(one.before, one.after, one.by) for one in mlflow_registry.record_external_moves()]
    assert moves[-1] == (foreign, registered["version"], "anna")


def _foreign_version(client: mlflow.MlflowClient, **tags: str) -> str:
    """Return a version that something else registered."""
    if not client.search_registered_models(f"name = '{contract.MODEL_NAME}'"):
        client.create_registered_model(contract.MODEL_NAME)
    return str(client.create_model_version(contract.MODEL_NAME, source="s3://somewhere/else", tags=tags).version)


def _in_production(pair, family: str) -> str:
    """Register both families, put one of them into production and return its version."""
    versions = register(compare(pair.trained, pair.prepared, run="before"), promotion="manual")["versions"]
    move_by_hand(versions[family])
    return versions[family]


def _promote_challenger(trained, prepared: Prepared, run: str) -> tuple[Compared, Registered]:
    """Compare two families, pretend that the challenger is better on enough evidence, and register it."""
    compared = compare(trained, prepared, run=run)
    (winner,) = (one["family"] for one in compared["trained"] if one["family"] != compared["incumbent"])
    better = {**compared, "verdict": "better", "winner": winner, "cautions": {}}
    return compared, register(better, promotion="if_better", run=run)


def _expect_held_back(pair, compared: Compared, registered: Registered, number: str, why: str, caplog) -> None:
    reason = f"version {number} in production was not compared: {why}. Only a user can replace it"
    assert (registered["promoted"], registered["held_back"]) == (False, reason)
    assert f"production was not moved: {reason}" in caplog.messages
    page = artifact(pair.client, compared["comparison_run"], "comparison.html").read_text()
    assert reason in html.unescape(page)
    assert mlflow_registry.aliased("production").number == number


def test_production_is_kept_if_its_family_was_refused(pair, caplog):
    number = _in_production(pair, FOREST)
    compared = compare([pair.linear, refused(pair.forest)], pair.prepared, run="refused tonight")
    registered = register({**compared, "verdict": "better"}, promotion="if_better", run="refused tonight")
    assert compared["incumbent"] == LINEAR
    _expect_held_back(pair, compared, registered, number, "its family (random_forest) takes no part", caplog)


def test_production_is_kept_if_its_recipe_changed(pair, monkeypatch, caplog):
    number = _in_production(pair, FOREST)
    monkeypatch.setitem(families.PROFILES, "test", dataclasses.replace(SMALL, trees=25))
    trained = [pair.linear, train(FOREST, pair.prepared)]
    compared, registered = _promote_challenger(trained, pair.prepared, "other trees")
    assert compared["incumbent"] == FOREST
    why = "its recipe is not today's random_forest (n_estimators 20, today 25)"
    _expect_held_back(pair, compared, registered, number, why, caplog)


def test_production_is_kept_if_its_recipe_is_unknown(pair, caplog):
    number = _foreign_version(pair.client, family=FOREST)
    move_by_hand(number)
    compared, registered = _promote_challenger(pair.trained, pair.prepared, "unknown")
    why = "its recipe is not today's random_forest (its own is unknown)"
    _expect_held_back(pair, compared, registered, number, why, caplog)


def test_production_is_replaced_if_its_own_recipe_was_beaten(pair):
    _in_production(pair, FOREST)
    compared, registered = _promote_challenger(pair.trained, pair.prepared, "beaten")
    assert (compared["incumbent"], compared["held_back"]) == (FOREST, "")
    assert not [one for one in compared["reasons"] if "in production" in one]
    assert (registered["promoted"], registered["held_back"]) == (True, "")
    assert mlflow_registry.aliased("production").number == registered["version"] == registered["versions"][LINEAR]


def _scored(pair, run: str) -> dict[str, object]:
    """Compare the logistic regression, and return what is said about the model in production."""
    return production_model(pair.client, compare([pair.linear], pair.prepared, run=run)["comparison_run"])


def test_a_production_model_of_another_contract_or_with_a_damaged_bundle_is_not_scored(pair):
    # given a version whose bundle follows an older contract, with a column less in its snapshot
    files = open_bundle(stores.get(pair.linear["bundle"]))
    manifest = json.loads(files["manifest.json"])
    manifest["model"] |= {"contract": "0" * 64, "contract_version": "0.9.0"}
    bundle = stores.put(pack({**files, "manifest.json": export.to_json(manifest)}), "bundles", ".tar")
    snapshot = snapshots.write_snapshot(snapshots.read_snapshot(pair.prepared["snapshot"]).drop(columns="thal"))
    older = _foreign_version(
        pair.client, bundle=stores.digest_of(bundle), snapshot=stores.digest_of(snapshot), family=LINEAR
    )
    move_by_hand(older)
    # when and then
    found = _scored(pair, "an older contract")
    assert (found["holdout"], found["unseen"]) == ({}, {})
    assert found["note"] == (
        f"its own model was not scored: it follows another data contract (0.9.0, today's is {contract.VERSION})"
    )
    Path(bundle.removeprefix("file://")).write_bytes(b"something else")
    found = _scored(pair, "a damaged bundle")
    assert found["note"].startswith("its own model was not scored: the object ")


# ---- objects that were changed


def _tamper(uri: str) -> tuple[str, str]:
    """Change the last byte of an object and return its digest before and after."""
    path = Path(uri.removeprefix("file://"))
    data = path.read_bytes()
    changed = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes(changed)
    return stores.digest_of(uri), stores.digest_of(stores.put(changed, "elsewhere", ".bin"))


def test_a_changed_object_stops_the_task_that_reads_it(store, empty_mlflow, many, quick_training):
    prepared = prepare(take(many, negative=40, positive=40, negative_holdout=10, positive_holdout=10), seed=10)
    trained = train(LINEAR, prepared)
    compared = compare([trained], prepared, run="tampered")
    before = mlflow_counts(empty_mlflow)
    for uri, task in (
        (trained["bundle"], lambda: register(compared, promotion="manual")),
        (trained["predictions"], lambda: compare([trained], prepared, run="tampered again")),
        (prepared["folds"], lambda: train(LINEAR, prepared)),
        (prepared["training"], lambda: train(LINEAR, prepared)),
        (prepared["snapshot"], lambda: preprocess(prepared, profile="test", seed=0)),
    ):
        expected, found = _tamper(uri)
        with pytest.raises(stores.StoreError) as caught:
            task()
        assert isinstance(caught.value, PermanentError), "a retry would find the same bytes"
        assert caught.value.where.startswith(f"{uri}, set apart as ")
        assert caught.value.expected.startswith(f"sha256 {expected}, found {found} (")
        assert "clear the task " in caught.value.hint
    assert mlflow_counts(empty_mlflow) == before


def test_a_bundle_that_differs_from_its_manifest_stops_the_registration_of_all_families(pair):
    compared = compare(pair.trained, pair.prepared, run="two families")
    before = mlflow_counts(pair.client)
    for good in pair.trained:
        files = open_bundle(stores.get(good["bundle"]))
        manifest = json.loads(files["manifest.json"])
        manifest["files"]["model.onnx"]["sha256"] = "0" * 64
        for bad in (
            {**files, "model.onnx": files["model.onnx"] + b"\0"},
            {**files, "manifest.json": export.to_json(manifest)},
        ):
            uri = stores.put(pack(bad), "bundles", ".tar")
            changed = [{**one, "bundle": uri} if one is good else one for one in pair.trained]
            with pytest.raises(BundleError, match=r"^model\.onnx differs from its digest in manifest\.json\n"):
                register({**compared, "trained": changed}, promotion="manual")
    assert mlflow_counts(pair.client) == before
    assert mlflow_registry.aliased("staging") is None

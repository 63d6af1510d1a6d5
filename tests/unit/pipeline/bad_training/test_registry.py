"""What a run finds in the registry and the store that it did not put there: it stops nothing, or stops the run."""

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from heartline import contract
from heartline.packaging import export
from heartline.packaging.bundle import BundleError, open_bundle, pack
from heartline.pipeline.compare import compare
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.registry import mlflow_registry
from heartline.storage import object_store as stores
from heartline.storage import snapshots
from heartline.training import families
from tests.unit.pipeline.bad_training.support import FOREST, LINEAR, everything, prepare, taken

# ---- strangers in the registry


def test_a_foreign_version_in_production_survives_no_promotion_and_stops_nothing(pair, mlflow_store, unasked):
    prepared, (trained, _) = pair
    register(compare([trained], prepared, run="before"), promote="manual")
    foreign = str(mlflow_store.create_model_version(contract.MODEL_NAME, source="s3://somewhere/else").version)
    mlflow_registry.point_alias("production", foreign)

    compared = compare([trained], prepared, run="beside a stranger")
    registered = register({**compared, "verdict": "better"}, promote="if_better", run="beside a stranger")

    stranger = (
        f"version {foreign} in production was not compared, as its family (not known) takes no part: "
        "only a person moves production now"
    )
    assert registered["not_promoted"] == stranger
    assert stranger in compared["reasons"]
    assert mlflow_registry.aliased("production").number == foreign
    assert mlflow_registry.aliased("staging").number == registered["version"]
    # its origin is not known, so that it counts as real data, which the sample does not replace
    assert mlflow_registry.move_production(registered["version"], by="somebody") == (
        f"version {registered['version']} was trained on the synthetic sample, and version {foreign} in production was "
        "not (its origin: not known)"
    )
    # nor is it replaced by a model of real data, unless a person says so: nobody knows how good it is
    real = {**prepared, "origin": "file"}
    trained = train(LINEAR, real)
    compared = compare([trained], real, run="real data")
    registered = register({**compared, "verdict": "better"}, promote="if_better", run="real data")
    assert (registered["promoted"], registered["not_promoted"]) == (False, stranger)
    assert mlflow_registry.aliased("production").number == foreign
    assert mlflow_registry.move_production(registered["version"], by="somebody") == ""
    moves = [(one.before, one.after, one.by) for one in mlflow_registry.note_moves()]
    assert moves[-1] == (foreign, registered["version"], "somebody")


@pytest.fixture
def produced(pair) -> Iterator[Callable[[str], str]]:
    """Put a family of the pair into production and return its version; afterwards what was there is there again."""
    prepared, trained = pair
    before = mlflow_registry.aliased("production")

    def put(family: str) -> str:
        versions = register(compare(trained, prepared, run="before"), promote="manual")["versions"]
        mlflow_registry.point_alias("production", versions[family])
        return str(versions[family])

    yield put
    if before:
        mlflow_registry.point_alias("production", before.number)


def better(trained: list[dict[str, Any]], prepared: dict[str, Any], run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a comparison with a challenger as the winner, and what is registered where a run may move production."""
    compared = compare(trained, prepared, run=run)
    (winner,) = (one["family"] for one in compared["trained"] if one["family"] != compared["incumbent"])
    won = {**compared, "verdict": "better", "winner": winner}
    return compared, register(won, promote="if_better", run=run)


def test_production_that_was_not_compared_is_not_replaced(
    pair, mlflow_store, unasked, monkeypatch, caplog, cached, produced
):
    prepared, (linear, forest) = pair
    number = produced(FOREST)

    def expect_kept(compared: dict[str, Any], registered: dict[str, Any], why: str) -> None:
        said = f"version {number} in production was not compared, as {why}: only a person moves production now"
        assert (registered["promoted"], registered["not_promoted"]) == (False, said)
        assert f"production was not moved: {said}" in caplog.messages
        page = Path(mlflow_store.download_artifacts(compared["comparison_run"], "comparison.html")).read_text()
        assert said in html.unescape(page)
        assert mlflow_registry.aliased("production").number == number

    # given that its family is refused this time
    refused = {**forest, "refused": "the service does not answer"}
    compared = compare([linear, refused], prepared, run="refused tonight")
    registered = register({**compared, "verdict": "better"}, promote="if_better", run="refused tonight")
    assert compared["incumbent"] == LINEAR
    expect_kept(compared, registered, "its family (random_forest) takes no part")
    # given another recipe of the same name
    monkeypatch.setitem(families.PROFILES, "test", families.Profile("test", splits=4, repeats=2, trees=25))
    grown = train(FOREST, prepared)
    compared, registered = better([linear, grown], prepared, "other trees")
    assert compared["incumbent"] == FOREST
    expect_kept(compared, registered, "its recipe is not today's random_forest (n_estimators 20, today 25)")
    # given a version of that family of which nothing else is known
    number = str(mlflow_store.create_model_version("heart-disease", "s3://else", tags={"family": FOREST}).version)
    mlflow_registry.point_alias("production", number)
    expect_kept(
        *better([linear, grown], prepared, "unknown"), "its recipe is not today's random_forest (its own is not known)"
    )


def test_production_whose_recipe_was_beaten_is_replaced(pair, unasked, produced):
    prepared, trained = pair
    produced(FOREST)
    compared, registered = better(trained, prepared, "beaten")
    assert (compared["incumbent"], compared["held_back"]) == (FOREST, "")
    assert not [one for one in compared["reasons"] if "in production" in one]
    assert (registered["promoted"], registered["not_promoted"]) == (True, "")
    assert mlflow_registry.aliased("production").number == registered["version"] == registered["versions"][LINEAR]


def champion(client: mlflow.MlflowClient, compared: dict[str, Any]) -> dict[str, Any]:
    path = client.download_artifacts(compared["comparison_run"], "comparison.json")
    return json.loads(Path(path).read_text())["production_model"]


def test_a_champion_of_another_contract_or_with_a_damaged_bundle_is_not_scored(pair, mlflow_store, unasked):
    # given a version whose bundle follows an older contract, with a column less in its snapshot
    prepared, (trained, _) = pair
    files = open_bundle(stores.get(trained["bundle"]))
    manifest = json.loads(files["manifest.json"])
    manifest["model"] |= {"contract": "0" * 64, "contract_version": "0.9.0"}
    bundle = stores.put(pack({**files, "manifest.json": export.to_json(manifest)}), "bundles", ".tar")
    snapshot = snapshots.write_snapshot(snapshots.read_snapshot(prepared["snapshot"]).drop(columns="thal"))
    tags = {"bundle": stores.digest_of(bundle), "snapshot": stores.digest_of(snapshot), "family": LINEAR}
    older = mlflow_store.create_model_version(contract.MODEL_NAME, source="s3://older", tags=tags).version
    mlflow_registry.point_alias("production", str(older))
    # when and then
    found = champion(mlflow_store, compare([trained], prepared, run="an older contract"))
    assert (found["holdout"], found["unseen"]) == ({}, {})
    assert found["note"] == (
        f"its own model was not scored: it follows another data contract (0.9.0, today's is {contract.VERSION})"
    )
    Path(bundle.removeprefix("file://")).write_bytes(b"something else")
    found = champion(mlflow_store, compare([trained], prepared, run="a damaged bundle"))
    assert found["note"] == "its own model was not scored: the object does not match the digest in its name"


# ---- what was tampered with


def tampered(uri: str) -> tuple[str, str]:
    """Change the last byte of an object and return its digest before and after."""
    path = Path(uri.removeprefix("file://"))
    data = path.read_bytes()
    changed = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes(changed)
    return stores.digest_of(uri), stores.digest_of(stores.put(changed, "elsewhere", ".bin"))


def test_a_changed_object_stops_the_stage_that_reads_it_and_nothing_is_registered(store, mlflow_store, many, unasked):
    prepared = prepare(taken(many, healthy=40, sick=40, healthy_held=10, sick_held=10), seed=10)
    trained = train(LINEAR, prepared)
    compared = compare([trained], prepared, run="tampered")
    before = everything(mlflow_store)
    for uri, stage in (
        (trained["bundle"], lambda: register(compared, promote="manual")),
        (trained["answers"], lambda: compare([trained], prepared, run="tampered again")),
        (prepared["folds"], lambda: train(LINEAR, prepared)),
        (prepared["training"], lambda: train(LINEAR, prepared)),
        (prepared["snapshot"], lambda: preprocess(prepared, profile="test", seed=0)),
    ):
        expected, found = tampered(uri)
        with pytest.raises(stores.StoreError) as caught:
            stage()
        assert str(caught.value) == (
            "the object does not match the digest in its name\n"
            f"  where:    {uri}\n"
            f"  expected: sha256 {expected}, found {found}\n"
            "  hint:     the file was damaged or changed: delete it, and clear the task that wrote it"
        )
    assert everything(mlflow_store) == before


def test_a_bundle_that_is_not_as_its_manifest_says_keeps_every_family_out(pair, mlflow_store):
    prepared, trained = pair
    compared = compare(trained, prepared, run="two families")
    before, staging = everything(mlflow_store), mlflow_registry.aliased("staging")
    for good in trained:
        files = open_bundle(stores.get(good["bundle"]))
        manifest = json.loads(files["manifest.json"])
        manifest["files"]["model.onnx"]["sha256"] = "0" * 64
        for bad in (
            {**files, "model.onnx": files["model.onnx"] + b"\0"},
            {**files, "manifest.json": export.to_json(manifest)},
        ):
            uri = stores.put(pack(bad), "bundles", ".tar")
            changed = [{**one, "bundle": uri} if one is good else one for one in trained]
            with pytest.raises(BundleError, match=r"^model\.onnx differs from its digest in manifest\.json\n"):
                register({**compared, "trained": changed}, promote="manual")
    assert everything(mlflow_store) == before
    assert mlflow_registry.aliased("staging") == staging

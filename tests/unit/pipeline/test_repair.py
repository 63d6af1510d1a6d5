"""What was deleted or damaged in MLflow is repaired by training again on the same records."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import mlflow
import pytest

from heartline import contract
from heartline.packaging.bundle import unpack
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.registry import mlflow_registry, repair, runs, stored_files
from heartline.storage import object_store
from tests.unit.pipeline.support import FOREST, LINEAR, mlflow_counts


@pytest.fixture
def own_artifacts(pair, tmp_path):
    """Artifacts that only this test damages: MLflow's database is a copy, its artifacts are shared."""
    location = pair.client.get_experiment_by_name(runs.EXPERIMENT).artifact_location
    shared = Path(location.removeprefix("file://"))
    kept = tmp_path / "kept"
    shutil.copytree(shared, kept)
    yield shared
    shutil.rmtree(shared)
    shutil.copytree(kept, shared)


def _night(pair, run):
    trained = [train(family, pair.prepared, run=run) for family in (LINEAR, FOREST)]
    compared = {**compare(trained, pair.prepared, run=run), "winner": LINEAR}
    return register(compared, promotion="manual", run=run)


@pytest.fixture
def registered(pair, own_artifacts):
    return _night(pair, "the first night")


def _folder(client, version):
    return Path(client.get_model_version_download_uri(contract.MODEL_NAME, version).removeprefix("file://"))


def _expect_complete(pair, version, tmp_path):
    """Download a version as a user does, and compare it with what was trained."""
    folder = tmp_path / f"version-{version}"
    mlflow.artifacts.download_artifacts(f"models:/{contract.MODEL_NAME}/{version}", dst_path=str(folder))
    for name, data in unpack(object_store.get(pair.linear["bundle"])).items():
        assert (folder / name).read_bytes() == data
    recorded = json.loads(pair.client.get_model_version(contract.MODEL_NAME, version).tags[stored_files.FILES])
    stored = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "registered_model_meta"  # MLflow adds it to a download
    }
    assert recorded == stored
    assert mlflow.sklearn.load_model(str(folder)) is not None
    model = mlflow.pyfunc.load_model(str(folder))
    assert list(model.predict(model.input_example)) == ["probability"]
    assert mlflow_registry.move_production(version, by="anna") == ""


def all_files(folder):
    shutil.rmtree(folder)
    return "model.onnx"


def one_file(folder):
    (folder / "model.onnx").unlink()
    return "model.onnx"


def one_byte(folder):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return "model.onnx"


def truncated(folder):
    (folder / "evaluation.json").write_bytes((folder / "evaluation.json").read_bytes()[:100])
    return "evaluation.json"


def file_of_the_flavour(folder):
    (folder / "conda.yaml").write_text("")
    return "conda.yaml"


def flavours(folder):
    (folder / "MLmodel").unlink()
    return "MLmodel"


def loader_and_example(folder):
    shutil.rmtree(folder / "code")
    (folder / "input_example.json").write_text("{")
    return "code/heartline_onnx.py, input_example.json"


def manifest(folder):
    (folder / "manifest.json").write_text("{")
    return "manifest.json"


@pytest.mark.parametrize(
    "damage",
    [all_files, one_file, one_byte, truncated, file_of_the_flavour, flavours, loader_and_example, manifest],
)
def test_lost_files_of_a_version_are_uploaded_again(pair, registered, tmp_path, damage, caplog):
    version = registered["version"]
    name = damage(_folder(pair.client, version))
    assert "cannot be downloaded" in mlflow_registry.move_production(version, by="anna")
    before = mlflow_counts(pair.client)

    again = _night(pair, "the first night")

    assert again["version"] == version
    (sentence,) = again["repaired"]
    assert sentence.startswith(f"version {version} had lost files, which were uploaded again: ")
    assert name in sentence
    assert sentence in caplog.messages
    assert mlflow_counts(pair.client) == before
    _expect_complete(pair, version, tmp_path)
    assert _night(pair, "the first night")["repaired"] == [], "nothing is left to repair"


def test_a_version_of_an_earlier_release_is_repaired_without_recorded_digests(pair, registered, tmp_path):
    version = registered["version"]
    pair.client.delete_model_version_tag(contract.MODEL_NAME, version, stored_files.FILES)
    one_file(_folder(pair.client, version))
    assert mlflow_registry.move_production(version, by="anna").endswith("model.onnx is missing")
    assert _night(pair, "the first night")["version"] == version
    _expect_complete(pair, version, tmp_path)


def test_a_deleted_run_is_restored(pair, registered, tmp_path, caplog):
    run_id = pair.linear["run_id"]
    pair.client.delete_run(run_id)
    before = {**mlflow_counts(pair.client), "runs": mlflow_counts(pair.client)["runs"] + 1}
    caplog.set_level(logging.WARNING)
    again = _night(pair, "the first night")
    assert again["version"] == registered["version"]
    assert f"run {run_id} was deleted in MLflow and was restored" in caplog.messages
    assert pair.client.get_run(run_id).info.lifecycle_stage == "active"
    assert {**mlflow_counts(pair.client), "points": before["points"]} == before
    _expect_complete(pair, registered["version"], tmp_path)


def test_lost_files_of_a_run_are_uploaded_again(pair, registered, caplog):
    run_id = pair.linear["run_id"]
    folder = Path(pair.client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (folder / "validation.json").write_bytes(b"")
    (folder / "evaluation.json").unlink()
    _night(pair, "the first night")
    message = f"run {run_id} had lost files, which were uploaded again: evaluation.json, validation.json"
    assert message in caplog.messages
    assert json.loads((folder / "evaluation.json").read_bytes())["about"]["family"] == LINEAR


@pytest.mark.parametrize("deleted", ["logged model", "version"])
def test_what_cannot_be_restored_is_registered_anew_and_says_so(pair, registered, tmp_path, deleted):
    old = registered["version"]
    if deleted == "version":
        pair.client.delete_model_version(contract.MODEL_NAME, old)
    else:
        model_id = pair.client.get_model_version(contract.MODEL_NAME, old).source.removeprefix("models:/")
        pair.client.delete_logged_model(model_id)
    again = _night(pair, "the first night")
    assert int(again["version"]) > int(old)
    assert mlflow_registry.aliased("staging").number == again["version"]
    if deleted == "logged model":
        sentence = f"version {again['version']} holds the same model as version {old}: its logged model was deleted"
        assert again["repaired"] == [sentence]
        tags = pair.client.get_model_version(contract.MODEL_NAME, again["version"]).tags
        assert tags[repair.REPLACES] == f"version {old}: its logged model was deleted"
    _expect_complete(pair, again["version"], tmp_path)
    repeated = _night(pair, "the first night")
    assert (repeated["versions"], repeated["repaired"]) == (again["versions"], []), "and once only"

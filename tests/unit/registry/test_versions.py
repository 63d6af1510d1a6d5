"""What a decision reads of a version in MLflow, and which version a scoring run gets."""

import hashlib
import json

import pytest

from heartline import contract
from heartline.errors import ParameterError, RegistryError, RegistryRefusedError
from heartline.registry import versions
from heartline.registry.production import approvals
from tests.unit.registry.support import create_version, version_files

KEY = "k" * 64
DIGEST = hashlib.sha256(version_files("uci")["manifest.json"]).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("version")


@pytest.fixture(scope="module")
def number(mlflow_store, folder):
    mlflow_store.create_registered_model(contract.MODEL_NAME)
    return create_version(mlflow_store, folder, "uci")


def test_a_version_is_found_with_the_digest_of_its_manifest(number):
    found = versions.find(number)
    assert (found.number, found.digest, found.tags["origin"]) == (number, DIGEST, "uci")
    assert found.evaluation == {}, "the version has none"
    assert versions.find("99") is None
    assert versions.find("none") is None


@pytest.mark.parametrize("text", [b"no JSON", b"[1]"])
def test_an_evaluation_that_cannot_be_read_is_none(number, folder, text):
    (folder / versions.EVALUATION).write_bytes(text)
    assert versions.find(number).evaluation == {}
    (folder / versions.EVALUATION).write_bytes(b'{"out_of_fold": {}}')
    assert versions.find(number).evaluation == {"out_of_fold": {}}
    (folder / versions.EVALUATION).unlink()


def test_a_comparison_names_the_training_run_and_a_deleted_one_names_none(mlflow_store, tmp_path):
    experiment = mlflow_store.create_experiment("of this test", artifact_location=tmp_path.as_uri())
    run = mlflow_store.create_run(experiment, tags={"airflow_run": "manual__1"}).info.run_id
    assert versions.comparison(run) == ("manual__1", {})
    (tmp_path / "comparison.json").write_text('{"reasons": ["r"]}')
    mlflow_store.log_artifact(run, str(tmp_path / "comparison.json"))
    assert versions.comparison(run) == ("manual__1", {"reasons": ["r"]})
    assert versions.comparison("") == versions.comparison("0" * 32) == ("", {})


def test_what_is_said_of_a_candidate_and_its_approval_are_tags(number, mlflow_store):
    versions.describe_candidate(number, {"verdict": "better"})
    versions.approve(number, "signed")
    tags = mlflow_store.get_model_version(contract.MODEL_NAME, number).tags
    assert json.loads(tags[versions.CANDIDATE]) == {"verdict": "better"}
    assert tags[approvals.TAG] == "signed"
    with pytest.raises(RegistryError, match="99"):
        versions.approve("99", "signed")


def test_the_version_in_production_is_pinned_or_the_one_that_is_named(number, mlflow_store):
    with pytest.raises(RegistryRefusedError, match="no version is in production"):
        versions.fetch()
    with pytest.raises(ParameterError, match="there is no version 99"):
        versions.fetch("99")
    assert versions.fetch(number).files["model.onnx"] == version_files("uci")["model.onnx"]
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, "production", number)
    assert versions.fetch().version == number


def test_where_approvals_are_required_only_an_approved_version_scores(number, monkeypatch):
    monkeypatch.setenv(approvals.REQUIRED, "yes")
    monkeypatch.setenv(approvals.SECRET, KEY)
    versions.approve(number, "")
    with pytest.raises(RegistryRefusedError, match="may not score"):
        versions.fetch(number)
    signed = approvals.sign(DIGEST, by="ann", at="2026-11-30T02:00:00+00:00", reason="looks right to me", key=KEY)
    versions.approve(number, signed.as_text())
    assert versions.fetch(number).version == number


def test_a_version_without_its_files_is_refused(mlflow_store, tmp_path):
    number = create_version(mlflow_store, tmp_path / "lost", "uci")
    for path in (tmp_path / "lost").iterdir():
        path.unlink()
    with pytest.raises(RegistryRefusedError, match="are gone"):
        versions.fetch(number)

"""`export` against a fake MLflow and a real store."""

import json
import sys

import pandas as pd
import pytest

from heartline import contract
from heartline.storage import record_identity, snapshots, splits
from heartline.storage.object_store import StoreError
from stack.commands import cli
from stack.commands.export import TARGET, export
from stack.errors import Exit, UnhealthyError, UsageError
from stack.processes.lifecycle import Stack

FILES = ["X_test.csv", "X_train.csv", "y_test.csv", "y_train.csv"]


@pytest.fixture
def snapshot(settings, cohort, monkeypatch):
    """The URI of a snapshot in the local stack's own store."""
    with monkeypatch.context() as patch:
        patch.setenv("HEARTLINE_STORE", (settings.home / "store").as_uri())
        uri = snapshots.write_snapshot(record_identity.canonical(cohort))
    monkeypatch.delenv("HEARTLINE_STORE", raising=False)
    return uri


@pytest.fixture
def tags(snapshot):
    digest = snapshot.rpartition("/")[2].removesuffix(".parquet")
    return {"snapshot": digest, "origin": "sample", "contract_version": contract.VERSION}


@pytest.fixture
def mlflow(settings, answers, tags):
    """A fake MLflow with version 3 in production."""
    server = answers(settings.mlflow_port)
    version = {"version": "3", "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    server.answers |= {
        "GET /api/2.0/mlflow/registered-models/alias": (200, {"model_version": version}),
        "GET /api/2.0/mlflow/model-versions/get": (200, {"model_version": version}),
    }
    return server


def test_the_exported_rows_are_the_training_and_test_rows(settings, mlflow, snapshot, tags, tmp_path):
    said = export(Stack.of(settings), tmp_path / "new" / "export", None)

    halves = dict(zip(("train", "test"), splits.train_test_split(snapshots.read_snapshot(snapshot)), strict=True))
    assert sorted(path.name for path in (tmp_path / "new" / "export").iterdir()) == FILES
    for half, frame in halves.items():
        features = pd.read_csv(tmp_path / "new" / "export" / f"X_{half}.csv")
        labels = pd.read_csv(tmp_path / "new" / "export" / f"y_{half}.csv")
        expected = frame[list(contract.FEATURE_NAMES)]
        pd.testing.assert_frame_equal(features, expected, check_dtype=False)
        assert labels.columns.tolist() == [TARGET]
        assert labels[TARGET].tolist() == (frame["num"] > 0).astype(int).tolist()
        assert said[half] == {"rows": len(frame), TARGET: int((frame["num"] > 0).sum())}
    assert said | {"train": None, "test": None} == {
        "folder": str(tmp_path / "new" / "export"),
        "version": "3",
        "origin": "sample",
        "snapshot": tags["snapshot"],
        "contract": contract.VERSION,
        "train": None,
        "test": None,
    }


def test_whole_numbers_have_no_fraction_and_missing_values_are_empty(settings, mlflow, tmp_path):
    export(Stack.of(settings), tmp_path / "export", None)

    header, *lines = (tmp_path / "export" / "X_train.csv").read_text().splitlines()
    assert header == ",".join(contract.FEATURE_NAMES)
    assert not any(".0," in line or line.endswith(".0") for line in lines)
    cells = pd.DataFrame([line.split(",") for line in lines], columns=header.split(","))
    assert set(cells["ca"]) >= {"", "0", "1"}
    assert cells["oldpeak"].str.contains(".", regex=False).any()
    assert (tmp_path / "export" / "y_train.csv").read_text().splitlines()[0] == TARGET


def test_another_version_can_be_named(settings, mlflow, tmp_path):
    assert export(Stack.of(settings), tmp_path / "export", "3")["version"] == "3"
    assert [query for _, query, _ in mlflow.asked] == [
        "/api/2.0/mlflow/model-versions/get?name=heart-disease&version=3"
    ]


@pytest.mark.parametrize("what", ["folder", "file"])
def test_existing_files_are_not_overwritten(settings, mlflow, tmp_path, what):
    export(Stack.of(settings), tmp_path / "export", None)
    place = tmp_path / "export" if what == "folder" else tmp_path / "export" / "X_test.csv"
    before = (tmp_path / "export" / "X_test.csv").read_bytes()

    with pytest.raises(UsageError) as caught:
        export(Stack.of(settings), place, None)

    assert str(caught.value) == (
        f"the folder for the export {'is not empty' if what == 'folder' else 'is not a folder'}\n"
        f"  where:    {place}\n"
        "  expected: a new or an empty folder, so that no other export is overwritten\n"
        "  hint:     name another folder"
    )
    assert (tmp_path / "export" / "X_test.csv").read_bytes() == before


def test_an_interrupted_export_leaves_no_files(settings, mlflow, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stack.commands.export._target", full)
    with pytest.raises(OSError, match="No space left"):
        export(Stack.of(settings), tmp_path / "export", None)
    assert list((tmp_path / "export").iterdir()) == []


@pytest.mark.parametrize("version", ["17", "latest", ""])
def test_an_unknown_version_is_named(settings, mlflow, tmp_path, version):
    mlflow.answers["GET /api/2.0/mlflow/model-versions/get"] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    with pytest.raises(UsageError, match=f"the model heart-disease has no version '{version}'"):
        export(Stack.of(settings), tmp_path / "export", version)
    assert not (tmp_path / "export").exists()


def test_without_production_a_version_must_be_named(settings, mlflow, tmp_path):
    mlflow.answers["GET /api/2.0/mlflow/registered-models/alias"] = (400, {"error_code": "INVALID_PARAMETER_VALUE"})
    with pytest.raises(UsageError) as caught:
        export(Stack.of(settings), tmp_path / "export", None)
    assert caught.value.hint == "./heartline promote, or name a version with --version"


def test_a_version_of_another_contract_is_refused(settings, mlflow, tags, tmp_path):
    older = [{"key": key, "value": value} for key, value in (tags | {"contract_version": "1.0.0"}).items()]
    mlflow.answers["GET /api/2.0/mlflow/model-versions/get"] = (200, {"model_version": {"version": "2", "tags": older}})
    with pytest.raises(UsageError) as caught:
        export(Stack.of(settings), tmp_path / "export", "2")
    assert caught.value.what == "version 2 was trained under another contract: 1.0.0"
    assert not (tmp_path / "export").exists()


def test_a_missing_snapshot_is_named(settings, mlflow, tags, snapshot, tmp_path):
    (settings.home / "store" / "snapshots" / f"{tags['snapshot']}.parquet").unlink()
    with pytest.raises(StoreError) as caught:
        export(Stack.of(settings), tmp_path / "export", None)
    assert caught.value.where == snapshot
    assert not (tmp_path / "export").exists()


def test_the_store_of_the_setting_is_used(settings, mlflow, tmp_path, monkeypatch):
    (settings.home / "store").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "elsewhere").as_uri() + "/")
    assert export(Stack.of(settings), tmp_path / "export", None)["train"]["rows"] > 200


def test_export_without_a_stack_is_an_error(settings, snapshot, tmp_path):
    with pytest.raises(UnhealthyError, match="mlflow does not answer"):
        export(Stack.of(settings), tmp_path / "export", None)
    assert not (tmp_path / "export").exists()


def test_the_command_prints_json_and_its_errors_have_the_four_parts(settings, mlflow, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.Settings, "load", lambda: settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["heartline", "export", "--version", "3", "export"])

    assert cli.main() == Exit.OK
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / "export")
    assert cli.main() == Exit.USAGE
    said = capsys.readouterr().err
    assert said.startswith("heartline: the folder for the export is not empty\n  where:")
    assert "Traceback" not in said

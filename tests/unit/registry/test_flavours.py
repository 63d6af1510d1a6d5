"""What a user of MLflow gets from a version: signature, example, ``mlflow.pyfunc`` and ``mlflow models serve``."""

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from heartline import contract
from heartline.ingestion.sample import synthetic
from heartline.packaging import export
from heartline.packaging.bundle import unpack
from heartline.registry import flavours
from heartline.storage import record_identity, splits
from heartline.training import families
from serving.model.bundle import Model
from tests.conftest import ROOT

RECORD = json.loads((ROOT / "docs" / "examples" / "record.json").read_text())


@pytest.fixture(scope="module")
def bundle() -> dict[str, bytes]:
    records = splits.to_labelled(record_identity.canonical(synthetic.generate(300)))
    model = families.fit("logistic_regression", records, profile=families.profile("quick"), seed=0)
    about = {"family": "logistic_regression", "name": contract.MODEL_NAME, "origin": "sample", "snapshot": "0" * 64}
    return unpack(export.build_bundle(model, about=about, evaluation={}, seed=0))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("version") / "model"
    flavours.save(bundle, target, run_id="0" * 32, model_id=f"m-{'1' * 32}")
    for name, data in bundle.items():
        (target / name).write_bytes(data)
    return target


@pytest.fixture(scope="module")
def model(folder) -> mlflow.pyfunc.PyFuncModel:
    return mlflow.pyfunc.load_model(str(folder))


def _served(bundle, frame: pd.DataFrame) -> list[float]:
    """Return the service's probabilities."""
    served = Model(bundle)
    records = [
        {name: None if pd.isna(value) else value for name, value in one.items()} for one in frame.to_dict("records")
    ]
    return [float(one) for one in served.probabilities(served.contract.matrix(records))]


def test_the_signature_names_the_columns_and_what_may_be_missing(model):
    inputs = model.metadata.signature.inputs
    assert inputs.input_names() == list(contract.FEATURE_NAMES)
    assert inputs.optional_input_names() == [one.name for one in contract.FEATURES if one.optional]
    assert [(one.name, one.type.name) for one in model.metadata.signature.outputs] == [("probability", "double")]


def test_the_input_example_is_json_and_can_be_predicted(folder, model):
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    for name in ("input_example.json", "serving_input_example.json"):
        json.loads((folder / name).read_text(), parse_constant=no_constant)
    answer = model.predict(model.input_example)
    assert len(answer) == 2
    assert answer["probability"].between(0, 1).all()


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([RECORD]),
        pd.DataFrame([RECORD, {**RECORD, "ca": None, "thal": None}]),
        pd.DataFrame([RECORD]).drop(columns=["ca", "thal"]),
        pd.DataFrame([{**RECORD, "oldpeak": 2}]),
        pd.DataFrame([RECORD]).astype("float64"),
        pd.DataFrame([RECORD]).astype("float32"),
        pd.DataFrame([RECORD]).drop(columns="oldpeak").astype("Int64").assign(oldpeak=0.8, ca=pd.NA),
        pd.DataFrame([RECORD])[sorted(RECORD)],
        pd.DataFrame([RECORD, RECORD], index=["b", "a"]),
        pd.DataFrame(export.legal_rows(50, seed=3), columns=list(contract.FEATURE_NAMES)),
        pd.read_csv(ROOT / "docs" / "examples" / "synthetic.csv")[list(contract.FEATURE_NAMES)],
    ],
    ids=["whole", "missing", "absent", "whole oldpeak", "float64", "float32", "Int64", "order", "index", "rows", "csv"],
)
def test_it_predicts_what_the_service_answers_without_a_warning(bundle, folder, frame, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        answer = mlflow.pyfunc.load_model(str(folder)).predict(frame)
    assert caplog.messages == []
    assert (list(answer.columns), list(answer.index)) == (["probability"], list(frame.index))
    complete = frame.reindex(columns=list(contract.FEATURE_NAMES))
    assert answer["probability"].tolist() == pytest.approx(_served(bundle, complete), abs=1e-7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": 0}, "the column age has 1 values that the contract does not allow (rows 1 from 0); expected a whole"),
        ({"age": 54.5}, "expected a whole number from 1 to 120"),
        ({"age": None}, "the column age has 1 values"),
        (
            {"cp": 9},
            "the contract does not allow (rows 1 from 0); expected one of 1, 2, 3, 4",
        ),
        ({"thal": 4}, "expected one of 3, 6, 7, or no value"),
        ({"age": "54"}, "the column age has 1 values"),
        ({"sex": True}, "the column sex has 1 values"),
        ({"chol": float("inf")}, "the column chol has 1 values"),
    ],
)
def test_a_record_that_the_service_refuses_is_refused(model, change, said):
    with pytest.raises(ValueError) as caught:
        model.predict(pd.DataFrame([RECORD, {**RECORD, **change}], dtype=object))
    assert said in str(caught.value)


def test_a_missing_column_is_named(model):
    with pytest.raises(MlflowException, match=r"missing inputs \['age'\]"):
        model.predict(pd.DataFrame([RECORD]).drop(columns="age"))


def test_no_records_have_no_probabilities(model):
    assert model.predict(pd.DataFrame([RECORD]).iloc[:0]).shape == (0, 1)


def test_mlflow_models_serve_answers_as_the_service_does(bundle, model):
    bodies = {
        "dataframe_records": [RECORD, {**RECORD, "ca": None}],
        "dataframe_split": {"columns": list(RECORD), "data": [list(RECORD.values())]},
        "inputs": {name: [value] for name, value in RECORD.items()},
    }
    with TestClient(scoring_server.init(model)) as client:
        for form, body in bodies.items():
            answer = client.post("/invocations", json={form: body})
            assert answer.status_code == 200, answer.text
            found = [one["probability"] for one in answer.json()["predictions"]]
            expected = _served(bundle, pd.DataFrame([RECORD, {**RECORD, "ca": None}]))
            assert found == pytest.approx(expected[: len(found)], abs=1e-7)
        refused = client.post("/invocations", json={"dataframe_records": [{**RECORD, "cp": 9}]})
        assert refused.status_code == 400


def test_it_is_loaded_without_heartline_and_without_a_pickle(folder):
    program = (
        "import sys, mlflow, pandas\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(model.predict(model.input_example)['probability'].tolist())\n"
        "assert not {'heartline', 'skops', 'sklearn.pipeline'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    assert [path.name for path in folder.rglob("*.pkl")] == []


def test_a_model_that_differs_from_its_manifest_is_not_loaded(folder, tmp_path):
    copy = tmp_path / "model"
    subprocess.run(["cp", "-r", str(folder), str(copy)], check=True)
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"^model\.onnx differs from its digest"):
        mlflow.pyfunc.load_model(str(copy))


def test_its_files_are_those_that_mlflow_itself_writes(bundle, folder, tmp_path):
    mlflow.sklearn.save_model(
        export.from_skops(bundle["model.skops"]),
        tmp_path / "model",
        serialization_format="skops",
        skops_trusted_types=export.trusted_types(),
        signature=flavours.signature(),
        input_example=flavours.input_example(),
        conda_env=str(folder / "conda.yaml"),
    )
    for name in ("conda.yaml", "requirements.txt", "input_example.json", "serving_input_example.json"):
        assert (folder / name).read_text() == (tmp_path / "model" / name).read_text(), name
    ours, theirs = (mlflow.models.Model.load(str(one)) for one in (folder, tmp_path / "model"))
    assert ours.flavors["sklearn"] == theirs.flavors["sklearn"]
    assert ours.saved_input_example_info == theirs.saved_input_example_info
    assert ours.mlflow_version == theirs.mlflow_version
    environment = (folder / "python_env.yaml").read_text()
    assert environment.splitlines()[0] == (tmp_path / "model" / "python_env.yaml").read_text().splitlines()[0]
    assert environment.endswith("dependencies:\n- -r requirements.txt\n")


def test_the_model_is_neither_read_nor_written_again(bundle, tmp_path):
    damaged = {**bundle, "model.skops": b"not a model", "model.onnx": b"not a model"}
    flavours.save(damaged, tmp_path / "model", run_id="0" * 32, model_id=f"m-{'1' * 32}")
    assert not list((tmp_path / "model").glob("model.*"))


def test_scikit_learn_users_get_the_pipeline(folder):
    pipeline = mlflow.sklearn.load_model(str(folder))
    assert np.allclose(pipeline.predict_proba(export.legal_rows(3, seed=0)).sum(axis=1), 1)

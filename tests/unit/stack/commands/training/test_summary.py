"""The end of `train`: what a run did, in ten lines or as JSON."""

import json

import pytest

from stack.clients.mlflow import Registry
from stack.commands.training import summary

REGISTERED = {
    "name": "heart-disease",
    "version": "4",
    "family": "random_forest",
    "verdict": "better",
    "reason": "Random forest is better.",
    "versions": {"random_forest": "4", "logistic_regression": "5"},
    "promoted": False,
    "held_back": "",
}


def finding(column, count, layer="row"):
    return {"column": column, "count": count, "layer": layer, "expected": f"a good {column}"}


class FakeAirflow:
    url = "http://airflow"

    def __init__(self, returned):
        self.values = returned

    def returned(self, dag_id, run_id, task_id):
        return self.values.get(task_id)


@pytest.fixture
def mlflow(answers, monkeypatch):
    monkeypatch.setenv("HEARTLINE_PUBLIC_AIRFLOW_URL", "https://ml.example/airflow")
    monkeypatch.setenv("HEARTLINE_PUBLIC_MLFLOW_URL", "https://ml.example/mlflow")
    server = answers()
    server.answers |= {
        "GET /api/2.0/mlflow/runs/get": (200, {"run": {"info": {"experiment_id": "9"}}}),
        "GET /api/2.0/mlflow/registered-models/alias": (200, {"model_version": {"version": "3"}}),
    }
    return server


@pytest.fixture
def collected(tmp_path, mlflow):
    """Return the summary of a run with these findings and columns left out."""

    def collect(findings=(), extra=(), **registered):
        report = tmp_path / "report file.json"
        report.write_text(json.dumps({"findings": list(findings)}))
        airflow = FakeAirflow(
            {
                "ingest": {"extra_columns": list(extra)},
                "validate": {
                    "source": "/data/a.csv",
                    "rows": 303,
                    "used": 290,
                    "duplicates": 1,
                    "quarantined": 12 if findings else 0,
                    "quarantine_csv": "file:///store/q.csv",
                    "report": report.as_uri(),
                    "data_docs": "http://airflow/data-docs/x.html",
                },
                "compare": {"comparison_run": "abc"},
            }
        )
        return summary.collect(airflow, Registry(mlflow.url), "r", {**REGISTERED, **registered})

    return collect


def test_it_says_what_was_dropped_and_why(collected):
    found = collected(
        [finding("age", 2), finding("chol", 7), finding("sex", 1), finding("ca", 4), finding("thal", 99, "unusual")],
        ["ward", "id"],
    )
    text = "\n".join(summary.lines(found))
    assert "290 of 303 rows used, 1 duplicate, 12 in quarantine" in text
    assert (
        "7 × chol: expected a good chol; 4 × ca: expected a good ca; 2 × age: expected a good age; and 1 other reason;"
        in text
    )
    assert "file:///store/q.csv" in text
    assert "thal" not in text
    assert "columns ward, id" in text
    assert "\nverdict     Random forest is better.\n" in text
    assert "4 (random_forest), 5 (logistic_regression)" in text
    assert "version 3 stays in production" in text
    assert "http://airflow/data-docs/x.html" in text
    assert "https://ml.example/mlflow/#/experiments/9/runs/abc/artifacts/comparison.html" in text
    assert "https://ml.example/mlflow/#/models/heart-disease" in text
    assert found["links"]["run"] == "https://ml.example/airflow/dags/heart_training/runs/r"
    assert len(summary.lines(found)) == 10


def test_what_did_not_happen_takes_no_line(collected):
    text = "\n".join(summary.lines(collected()))
    assert "left out" not in text
    assert "repaired" not in text
    assert "and 0" not in text
    assert "\nquarantine " not in text


def test_a_repair_is_said(collected):
    sentence = "run abc was deleted in MLflow and was restored"
    assert f"repaired    {sentence}" in summary.lines(collected(repaired=[sentence]))


@pytest.mark.parametrize(
    ("registered", "production", "said"),
    [
        ({"promoted": True}, "4", "this run moved production to version 4"),
        ({}, "4", "version 4 is in production already"),
        ({}, None, "no version is in production yet"),
        (
            {"held_back": "another recipe"},
            "3",
            "version 3 stays in production; to replace it: ./heartline promote (another",
        ),
        ({"version": None, "family": None}, "3", "staging was not moved; version 3 stays in production"),
    ],
)
def test_production_is_named_by_its_version(collected, mlflow, registered, production, said):
    if production is None:
        missing = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
        mlflow.answers["GET /api/2.0/mlflow/registered-models/alias"] = missing
    else:
        mlflow.answers["GET /api/2.0/mlflow/registered-models/alias"] = (
            200,
            {"model_version": {"version": production}},
        )
    assert said in "\n".join(summary.lines(collected(**registered)))


def test_a_store_elsewhere_leaves_the_reasons_out(mlflow):
    airflow = FakeAirflow({"validate": {"rows": 5, "used": 5, "duplicates": 0, "quarantined": 0, "report": "s3://b/r"}})
    found = summary.collect(airflow, Registry(mlflow.url), "r", REGISTERED)
    assert found["quarantine_reasons"] == []
    assert "5 of 5 rows used" in "\n".join(summary.lines(found))

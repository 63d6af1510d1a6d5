"""`python -m stack.compose.train`, with a fake Airflow."""

import json
import sys

import pytest

from heartline.ingestion.mapping import catalog as mapping_catalog
from stack.compose import train
from stack.errors import Exit

DAG = "/api/v2/dags/heart_training"


@pytest.fixture
def airflow(answers, tmp_path, monkeypatch):
    (tmp_path / "passwords.json").write_text('{"admin": "secret"}')
    monkeypatch.setenv(train.PASSWORDS, str(tmp_path / "passwords.json"))
    monkeypatch.setenv("HEARTLINE_PUBLIC_AIRFLOW_URL", "https://ml.example/airflow")
    server = answers()
    monkeypatch.setattr(train, "URL", server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    server.answers |= {
        "POST /auth/token": (201, {"access_token": "t"}),
        f"GET {DAG}/details": (200, {"is_paused": False, "is_stale": False}),
        f"POST {DAG}/dagRuns": (200, {"dag_run_id": "r1"}),
        f"GET {DAG}/dagRuns/r1": (200, {"state": "success"}),
        f"GET {DAG}/dagRuns/r1/taskInstances": (200, {"task_instances": []}),
        f"GET {DAG}/dagRuns/r1/taskInstances/register/xcomEntries/return_value": (200, {"value": {"version": "3"}}),
        "GET /api/2.0/mlflow/registered-models/alias": (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}),
    }
    return server


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    code = Exit.OK
    try:
        train.main()
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_it_follows_the_run_and_prints_a_link(airflow, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "--source", "sample", "--set", "profile=quick")
    assert code == Exit.OK
    assert "https://ml.example/airflow/dags/heart_training/runs/r1" in err
    assert "staging is version 3" in out
    assert f"to promote it: {train.PROMOTE}" in out
    (conf,) = [body["conf"] for what, _, body in airflow.asked if what == f"POST {DAG}/dagRuns"]
    assert conf == {"source": "sample", "profile": "quick"}


def test_json_is_the_summary_that_the_local_command_prints(airflow, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "--json")
    found = json.loads(out)
    assert code == Exit.OK
    assert (found["run"], found["version"], found["production"]) == ("r1", "3", None)


@pytest.mark.parametrize("named", ["hospital", "file"])
def test_a_mapping_is_checked_and_handed_over(airflow, tmp_path, monkeypatch, capsys, named):
    (tmp_path / "a.csv").write_text("age")
    (tmp_path / "m.yaml").write_text(mapping_catalog.text_of("hospital"))
    given = str(tmp_path / "m.yaml") if named == "file" else named
    code, _, _ = call(monkeypatch, capsys, "--source", str(tmp_path / "a.csv"), "--mapping", given)
    assert code == Exit.OK
    (conf,) = [body["conf"] for what, _, body in airflow.asked if what == f"POST {DAG}/dagRuns"]
    assert conf["mapping"] == (mapping_catalog.text_of("hospital") if named == "file" else named)


def test_a_run_without_a_version_fails(airflow, monkeypatch, capsys):
    airflow.answers[f"GET {DAG}/dagRuns/r1/taskInstances/register/xcomEntries/return_value"] = (
        200,
        {"value": {"version": None, "reason": "No model is good enough."}},
    )
    code, _, err = call(monkeypatch, capsys)
    assert code == Exit.FAILED
    assert "No model is good enough." in err


@pytest.mark.parametrize(
    "arguments",
    [("--set", "sorce=x"), ("--sorce", "x"), ("--set", "seed=1.5"), ("--source", "postgres", "--mapping", "hospitl")],
)
def test_a_mistake_is_refused_before_anything_is_triggered(airflow, monkeypatch, capsys, arguments):
    code, _, err = call(monkeypatch, capsys, *arguments)
    assert code == Exit.USAGE
    assert err.startswith("heartline: ")
    assert "\n  hint:" in err
    assert airflow.asked == []

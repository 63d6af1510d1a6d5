import json
import re

import pytest

from stack import console
from stack.clients.airflow import Airflow
from stack.commands.training import train
from stack.errors import UsageError, WorkError
from stack.processes.lifecycle import Stack


def test_assignments_are_split_at_the_first_equals_sign():
    given = train.assignments(["query=SELECT 1 WHERE a=b", "seed=3"])
    assert given == {"query": "SELECT 1 WHERE a=b", "seed": 3}


@pytest.mark.parametrize("argument", ["=quick", ""])
def test_an_assignment_of_another_form_is_refused(argument):
    with pytest.raises(UsageError, match="is not an assignment"):
        train.assignments([argument])


def test_a_parameter_without_a_value_is_named():
    with pytest.raises(UsageError, match="'profile' has no value"):
        train.assignments(["profile"])


def test_a_source_among_them_is_checked(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        train.assignments([f"source={tmp_path / 'none.csv'}"])


def test_values_get_the_type_of_their_parameter():
    given = train.run_parameters(None, ["source=uci", "seed=7", "profile=quick", "max_drift=1e1"])
    assert given == {"source": "uci", "seed": 7, "profile": "quick", "max_drift": 10.0}


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ("sorce=uci", "no parameter 'sorce'"),
        ("seed=1000.0", "1000.0 is not a whole number"),
        ("seed=seven", "'seven' is not a whole number"),
        ("seed=", "'' is not a whole number"),
        ("max_drift=NaN", "NaN is not a finite number"),
        ("source=sample:50", "sample:50 has too few records"),
        ("source=postgres", "the source postgres needs a query"),
        ("query=SELECT 1", "this source takes no query"),
        ("encoding=", "'' is not a choice"),
        ("source= ", "it holds only spaces"),
    ],
)
def test_what_the_run_would_refuse_is_refused_before_anything_starts(argument, what):
    with pytest.raises(UsageError, match=re.escape(what)):
        train.run_parameters(None, [argument])


def test_the_source_of_the_nightly_runs_needs_no_query():
    assert train.run_parameters("postgres", [], usual_source="postgres") == {"source": "postgres"}


def test_a_source_is_given_once():
    with pytest.raises(UsageError, match="given twice"):
        train.run_parameters("uci", ["source=sample"])


@pytest.fixture
def airflow(settings, answers):
    """A fake Airflow on the stack's port, and a fake MLflow."""
    absent = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    answers(settings.mlflow_port).answers["GET /api/2.0/mlflow/registered-models/alias"] = absent
    server = answers(settings.airflow_port)
    server.answers["POST /auth/token"] = (201, {"access_token": "t"})
    dag = "/api/v2/dags/heart_training"
    run = f"{dag}/dagRuns/r%201"
    server.answers |= {
        f"GET {dag}/details": (200, {"is_paused": False}),
        f"POST {dag}/dagRuns": (200, {"dag_run_id": "r 1"}),
        f"GET {run}": (200, {"state": "success"}),
        f"GET {run}/taskInstances": (200, {"task_instances": []}),
        f"GET {run}/taskInstances/register/xcomEntries/return_value": (200, {"value": {"version": "3"}}),
        f"GET {dag}/dagRuns": (200, {"dag_runs": []}),
    }
    return server


def test_a_run_is_started_with_typed_parameters_and_its_result_returned(settings, airflow):
    result = train.train(Stack.of(settings), {"seed": 7, "profile": "quick"})
    assert result == {"outcome": "registered", "version": "3"}
    (body,) = [asked for what, _, asked in airflow.asked if what.endswith("heart_training/dagRuns")]
    assert body == {"logical_date": None, "conf": {"seed": 7, "profile": "quick"}}


def test_its_end_is_the_summary(settings, airflow, capsys):
    train.train(Stack.of(settings), {})
    assert "staging is version 3" in capsys.readouterr().out


def test_as_json_standard_output_is_json(settings, airflow, capsys):
    train.train(Stack.of(settings), {}, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == "3"
    assert found["run"] == "r 1"
    assert found["links"]["run"].endswith("/dags/heart_training/runs/r%201")


def test_a_run_whose_models_miss_the_minimum_requirements_is_a_failure_with_its_reason(settings, airflow):
    path = "GET /api/v2/dags/heart_training/dagRuns/r%201/taskInstances/register/xcomEntries/return_value"
    missed = {"version": None, "reason": "No model meets the minimum requirements.", "versions": {"a": "4", "b": "5"}}
    airflow.answers[path] = (200, {"value": missed})
    with pytest.raises(WorkError, match="good enough for `staging`: No model meets the minimum requirements") as caught:
        train.train(Stack.of(settings), {})
    assert "it registered the versions 4, 5" in caught.value.where


def test_a_run_that_registers_nothing_is_a_failure(settings, airflow):
    airflow.answers["GET /api/v2/dags/heart_training/dagRuns/r%201/taskInstances/register/xcomEntries/return_value"] = (
        404,
        {},
    )
    with pytest.raises(WorkError, match="registered no version"):
        train.train(Stack.of(settings), {})


RETURNED = "GET /api/v2/dags/heart_training/dagRuns/r%201/taskInstances/{}/xcomEntries/return_value"


def test_nothing_new_is_no_failure_and_names_what_is_registered(settings, airflow, capsys):
    airflow.answers[RETURNED.format("register")] = (404, {})
    earlier = {"version": "3", "versions": {"a": "3", "b": "4"}, "note": "nothing new: …", "assets": {}}
    found = {"family": "a", "prepared": {"ends": "nothing new: …", "registered": earlier}}
    airflow.answers[RETURNED.format("preprocess")] = (200, {"value": [found, {**found, "family": "b"}]})
    result = train.train(Stack.of(settings), {}, as_json=True)
    assert (result["outcome"], result["version"]) == ("nothing new", "3")
    assert "assets" not in json.loads(capsys.readouterr().out)
    train.train(Stack.of(settings), {})
    shown = capsys.readouterr().out
    assert "outcome     nothing new: " in shown
    assert "--set force=true" in shown
    assert "versions    3 (a), 4 (b)" in shown


def test_a_run_that_was_to_end_earlier_is_no_failure(settings, airflow, capsys):
    airflow.answers[RETURNED.format("register")] = (404, {})
    checked = {"ends": "the run was to end after validate", "note": "297 of 303 rows passed the checks"}
    airflow.answers[RETURNED.format("validate")] = (200, {"value": checked})
    result = train.train(Stack.of(settings), {"until": "validate"})
    assert (result["outcome"], result["until"], result["version"]) == ("ended", "validate", None)
    shown = capsys.readouterr().out
    assert "outcome     297 of 303 rows passed the checks; the run ended after validate, as asked" in shown
    assert "aliases" not in shown


def test_families_are_given_with_commas_and_a_flag_as_true_or_false():
    given = train.run_parameters(None, ["families=logistic_regression,random_forest", "force=true"])
    assert given == {"families": ["logistic_regression", "random_forest"], "force": True}
    with pytest.raises(UsageError, match="'svm' is not a choice"):
        train.run_parameters(None, ["families=svm"])


def test_a_paused_dag_is_not_waited_for(settings, airflow):
    airflow.answers["GET /api/v2/dags/heart_training/details"] = (200, {"params": {}, "is_paused": True})
    with pytest.raises(UsageError, match="is paused"):
        train.train(Stack.of(settings), {})


@pytest.mark.parametrize("details", [(404, {"detail": "not found"}), (200, {"is_stale": True, "params": {}})])
def test_a_dag_file_that_cannot_be_imported_is_shown(settings, airflow, details):
    """A stale DAG was imported before; Airflow answers 404 to its trigger."""
    airflow.answers["GET /api/v2/dags/heart_training/details"] = details
    problem = {
        "filename": "heart_training.py",
        "stack_trace": "Traceback\n  …\nSyntaxError: bad\n",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    airflow.answers["GET /api/v2/importErrors"] = (200, {"import_errors": [problem]})
    with pytest.raises(WorkError, match="cannot run the DAG heart_training") as caught:
        train.train(Stack.of(settings), {})
    assert caught.value.where == "the DAG file heart_training.py cannot be imported: SyntaxError: bad"


def test_a_refused_parameter_is_reported_without_its_schema(settings, airflow):
    detail = "Invalid input for param seed: -1 is less than the minimum of 0\n\nFailed validating …"
    airflow.answers["POST /api/v2/dags/heart_training/dagRuns"] = (400, {"detail": detail})
    with pytest.raises(UsageError) as caught:
        train.train(Stack.of(settings), {"seed": "-1"})
    assert caught.value.what.endswith("seed: -1 is less than the minimum of 0")


def test_an_active_run_is_followed(settings, airflow):
    assert train.join(Stack.of(settings)) is None
    airflow.answers["GET /api/v2/dags/heart_training/dagRuns"] = (200, {"dag_runs": [{"dag_run_id": "r 1"}]})
    assert train.join(Stack.of(settings)) == {"outcome": "registered", "version": "3"}


def test_the_token_is_renewed_when_it_has_expired(settings, airflow):
    path = "GET /api/v2/dags/heart_training/dagRuns/r%201"
    airflow.answers[path] = [(401, {}), (200, {"state": "running"})]
    assert Airflow(settings.airflow_url, "pw").run("heart_training", "r 1")["state"] == "running"
    assert [what for what, _, _ in airflow.asked] == ["POST /auth/token", path, "POST /auth/token", path]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(console.err, "quiet", True)

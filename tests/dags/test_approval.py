"""The DAG ``heart_approval``: its order, its two triggers, and how a refused answer is asked for again."""

import pytest

from tests.dags.airflow_process import DAGS, result

SCRIPT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import RetryAction
bag = DagBag(dag_folder=sys.argv[1])
dag = bag.dags["heart_approval"]
ask = dag.get_task("ask")
from heartline.approval.answers import AnswerRefusedError, ApprovalError
from heartline.errors import RegistryError
parts = dict(where="where", expected="expected", hint="hint")
def evaluated(kind, attempt):
    found = ask.retry_policy.evaluate(kind("what", **parts), attempt, ask.retries)
    return [found.action.value, found.retry_delay.total_seconds() if found.retry_delay else None]
print("RESULT" + json.dumps({
    "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "timetable": repr(dag.timetable.timetable),
    "assets": str(dag.timetable.asset_condition),
    "active": dag.max_active_runs, "catchup": dag.catchup,
    "version": dag.params.get_param("version").schema,
    "outlets": [one.name for one in dag.get_task("decide").outlets],
    "options": ask.options, "defaults": ask.defaults, "retries": ask.retries, "form": sorted(ask.params),
    "refused": evaluated(AnswerRefusedError, 500), "final": evaluated(ApprovalError, 1),
    "away": [evaluated(RegistryError, attempt) for attempt in (1, 3, 500)],
}))
"""


@pytest.fixture(scope="module")
def approval() -> dict:
    """What Airflow makes of the DAG."""
    return result(SCRIPT, DAGS, HEARTLINE_TIMEZONE="Europe/Berlin")[0]


def test_tasks_and_their_order(approval):
    assert approval["tasks"] == {
        "request": ["ask", "decide", "replaced"],
        "replaced": ["withdraw"],
        "withdraw": [],
        "ask": ["decide"],
        "decide": [],
    }
    assert approval["outlets"] == ["production"]


def test_a_candidate_starts_it_and_once_a_day_the_clock(approval):
    assert "candidate" in approval["assets"]
    assert "0 7 * * *" in approval["timetable"]
    assert "Europe/Berlin" in approval["timetable"]
    assert approval["catchup"] is False


def test_a_waiting_request_keeps_no_newer_one_from_starting(approval):
    assert approval["active"] > 1


def test_the_form_takes_the_number_of_a_version(approval):
    assert approval["version"]["type"] == ["string", "null"]
    assert approval["version"]["pattern"] == "^[1-9][0-9]*$"


def test_a_request_is_rejected_unless_it_is_approved(approval):
    assert (approval["options"], approval["defaults"]) == (["Approve", "Reject"], ["Reject"])
    assert approval["form"] == ["reason"]


def test_a_refused_answer_is_asked_for_again_at_once_and_often(approval):
    assert approval["refused"] == ["retry", 1.0]
    assert approval["retries"] >= 100


def test_what_waiting_cannot_change_fails_the_request(approval):
    assert approval["final"][0] == "fail"
    assert approval["away"] == [["retry", 15.0], ["retry", 60.0], ["retry", 300.0]]

"""What must hold of every DAG file: it parses, quickly, and holds declarations only."""

import ast

import pytest

from tests.conftest import ROOT
from tests.dags.airflow_process import DAGS, result

DAG_FILES = sorted((ROOT / "dags").rglob("*.py"))
HEAVY = {"great_expectations", "mlflow", "numpy", "onnxruntime", "pandas", "scipy", "sklearn", "skops"}

PROBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import RetryAction
before = set(sys.modules)

def first_run(timetable):
    # of a new stack that comes up a minute after the time of the nightly run
    import unittest.mock
    import pendulum
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction
    never_run = TimeRestriction(earliest=None, latest=None, catchup=False)
    minute_late = pendulum.datetime(2026, 6, 1, 23, 31)
    with unittest.mock.patch("airflow.timetables.trigger.utcnow", return_value=minute_late):
        found = coerce_to_core_timetable(timetable).next_dagrun_info(
            last_automated_data_interval=None, restriction=never_run
        )
    return found.run_after.in_timezone("UTC").isoformat() if found else ""

bag = DagBag(dag_folder=sys.argv[1])
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "imported": sorted({name.split(".")[0] for name in set(sys.modules) - before}),
    "dags": {
        dag.dag_id: {
            "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
            "retries": {task.task_id: task.retries for task in dag.tasks},
            "not_retried": {
                task.task_id: sorted(
                    rule.exception_path for rule in task.retry_policy.rules if rule.action == RetryAction.FAIL
                )
                for task in dag.tasks
            },
            "mapped": {
                task.task_id: [one.task_id for one, _ in task._get_specified_expand_input().iter_references()]
                for task in dag.tasks if hasattr(task, "_get_specified_expand_input")
            },
            "params": {name: dag.params.get_param(name).schema for name in dag.params},
            "doc": dag.doc_md, "tags": sorted(dag.tags), "catchup": dag.catchup, "max_active_runs": dag.max_active_runs,
            "start_date": str(dag.start_date or ""),
            "first_run": first_run(dag.timetable),
            "timetable": dag.timetable.summary if hasattr(dag.timetable, "summary") else str(dag.timetable),
        }
        for dag in bag.dags.values()
    },
}))
"""


@pytest.fixture(scope="session")
def parsed() -> dict:
    """What Airflow makes of dags/."""
    return result(PROBE, DAGS, HEARTLINE_SCHEDULE="30 1 * * *", HEARTLINE_TIMEZONE="Europe/Berlin")[0]


def test_no_import_errors(parsed):
    assert parsed["errors"] == {}
    assert set(parsed["dags"]) == {"heart_training", "heart_approval", "heart_scoring", "heart_monitoring"}


def test_parsing_imports_nothing_heavy(parsed):
    assert HEAVY.isdisjoint(parsed["imported"])


def test_tasks_and_their_order(parsed):
    assert parsed["dags"]["heart_training"]["tasks"] == {
        "ingest": ["validate"],
        "validate": ["preprocess"],
        "preprocess": ["compare", "train"],
        "train": ["compare"],
        "compare": ["register"],
        "register": [],
    }


def test_train_is_mapped_over_what_preprocess_returns_for_each_family(parsed):
    assert parsed["dags"]["heart_training"]["mapped"] == {"train": ["preprocess"]}


def test_scoring_is_mapped_over_what_plan_returns(parsed):
    dag = parsed["dags"]["heart_scoring"]
    assert dag["tasks"] == {"plan": ["finish", "score"], "score": ["finish"], "finish": []}
    assert dag["mapped"] == {"score": ["plan"]}
    assert set(dag["params"]) == {
        "source", "query", "mapping", "encoding", "keys", "version", "output", "format",
    }  # fmt: skip


def test_monitoring_reads_outcomes_beside_the_days_and_starts_a_training_by_event_or_by_its_net(parsed):
    dag = parsed["dags"]["heart_monitoring"]
    assert dag["tasks"] == {"outcomes": [], "days": ["alarms"], "alarms": ["net"], "net": ["retrain"], "retrain": []}
    assert dag["mapped"] == {"retrain": ["net"]}
    assert set(dag["params"]) == {"day", "outcomes", "query"}
    assert dag["max_active_runs"] == 1
    assert dag["catchup"] is False


def test_profiles_are_those_of_the_domain(parsed):
    from heartline.training.families import PROFILES

    assert parsed["dags"]["heart_training"]["params"]["profile"]["enum"] == [*PROFILES, None]


def test_encodings_are_those_of_the_domain(parsed):
    from heartline.ingestion import encodings

    assert parsed["dags"]["heart_training"]["params"]["encoding"]["enum"] == [*encodings.ENCODINGS, None]


def test_promotion_modes_are_those_of_the_domain(parsed):
    from heartline.comparison.verdict import PROMOTION_MODES

    assert parsed["dags"]["heart_training"]["params"]["promotion"]["enum"] == [*PROMOTION_MODES, None]


def test_every_param_is_described_and_bounded(parsed):
    for dag in parsed["dags"].values():
        for name, schema in dag["params"].items():
            assert schema["title"], name
            assert schema["description_md"], name
            kind = schema["type"][0]
            bounded = {"enum", "maxLength", "pattern", "items", "allOf"} & schema.keys() or kind == "boolean"
            assert bounded, name
            assert "Example: **" in schema["description_md"] or "such as **" in schema["description_md"], name


def test_a_wrong_default_source_is_left_to_the_run_to_refuse():
    assert result(PROBE, DAGS, HEARTLINE_SOURCE="smaple")[0]["errors"] == {}


def test_schedule_is_nightly_in_its_time_zone_without_catch_up(parsed):
    dag = parsed["dags"]["heart_training"]
    assert "30 1 * * *" in dag["timetable"]
    assert "heartline://harm" in dag["timetable"]
    assert dag["catchup"] is False
    # a start date in the past would make the scheduler run the last missed night as soon as the stack is up
    assert dag["start_date"] == ""
    # nor does the run of last night start in a new stack, however short ago it was due
    assert dag["first_run"] == "2026-06-02T23:30:00+00:00"
    assert dag["max_active_runs"] == 1


def test_every_dag_is_documented_tagged_and_retried(parsed):
    assert parsed["dags"]
    for dag in parsed["dags"].values():
        assert "When a task fails" in dag["doc"]
        assert "heartline" in dag["tags"]
        assert min(dag["retries"].values()) >= 1


def test_permanent_errors_are_not_retried(parsed):
    for dag in parsed["dags"].values():
        for kinds in dag["not_retried"].values():
            assert {"builtins.MemoryError", "heartline.errors.PermanentError"} <= set(kinds)
            assert {"builtins.TypeError", "builtins.ValueError"} <= set(kinds)


def test_the_retry_policy_tells_permanent_errors_from_others():
    # in another process: Airflow must not be imported into the tests'
    script = """
import json
from airflow.sdk import RetryAction
from orchestration.defaults import DEFAULT_ARGS
from heartline import errors
kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.HeartlineError)]
raised = {one: one("what", where="where", expected="expected", hint="hint") for one in kinds}
final = [
    kind.__name__ for kind, error in raised.items()
    if DEFAULT_ARGS["retry_policy"].evaluate(error, 1, 3).action == RetryAction.FAIL
]
print("RESULT" + json.dumps(sorted(final)))
"""
    assert result(script)[0] == [
        "ComparisonError",
        "DataError",
        "HandoverError",
        "LedgerRefusedError",
        "MonitoringRefusedError",
        "NoCandidateError",
        "OutOfMemoryError",
        "ParameterError",
        "PermanentError",
        "RegistryRefusedError",
        "SourceRefusedError",
        "TooLargeError",
    ]


def test_what_can_pass_is_tried_for_an_hour_and_the_log_says_so():
    script = """
import json, logging
from airflow.sdk import RetryAction
from orchestration.defaults import RETRIES, RETRY_POLICY
from heartline.errors import DataError, RegistryError

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("heartline.retries").addHandler(handler)
logging.getLogger("heartline.retries").setLevel(logging.INFO)
parts = dict(where="where", expected="expected", hint="hint")

def outcome(error, tries, last):
    del lines[:]
    found = RETRY_POLICY.evaluate(error, tries, last)
    return [found.action.value, found.retry_delay.total_seconds() if found.retry_delay else None, list(lines)]

away = RegistryError("away", **parts)
print("RESULT" + json.dumps({
    "away": [outcome(away, n, RETRIES) for n in range(1, RETRIES + 2)],
    "cleared": outcome(away, 6, 5 + RETRIES),
    "refused": outcome(DataError("no", **parts), 1, RETRIES),
    "defect": outcome(KeyError("x"), 1, RETRIES),
    "network": outcome(ConnectionError("x"), 1, RETRIES),
}))
"""
    found = result(script)[0]
    *tried, last = found["away"]
    delays = [delay for _, delay, _ in tried]
    assert delays[:6] == [15, 30, 60, 120, 240, 300]
    assert 3600 <= sum(delays) <= 2 * 3600
    assert {action for action, _, _ in tried} == {"retry"}
    assert tried[2][2] == ["Attempt 3 of 17 failed; tried again in 60 s, as this may pass by waiting"]
    assert last[0] == "fail"
    assert last[2] == ["Not tried again: attempt 17 of 17 failed, in about an hour"]
    assert found["cleared"][1:] == [15, ["Attempt 1 of 17 failed; tried again in 15 s, as this may pass by waiting"]]
    for name in ("refused", "defect"):
        action, _, said = found[name]
        assert action == "fail"
        assert said[0].startswith("Not tried again: ")
    assert found["network"][0] == "retry"


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_each_task_body_is_one_call_into_include(path):
    tree = ast.parse(path.read_text())
    tasks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("task" in ast.unparse(one) for one in node.decorator_list)
    ]
    assert tasks
    for task in tasks:
        *imported, call = task.body
        assert all(isinstance(one, ast.ImportFrom) for one in imported), f"{path.name}:{task.name} starts with imports"
        ours = [one.module for one in imported if one.module != "datetime"]
        assert len(ours) == 1, f"{path.name}:{task.name} imports one module"
        assert ours[0].startswith("heartline."), f"{path.name}:{task.name} imports from include/heartline"
        assert isinstance(call, ast.Return), f"{path.name}:{task.name} is one call"
        assert isinstance(call.value, ast.Call), f"{path.name}:{task.name} is one call"

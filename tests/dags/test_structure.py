"""The DAGs are what the snapshot says, documented, and cheap to parse."""

import json

import pytest

from tests.dags import structure
from tests.dags.test_integrity import HEAVY


@pytest.fixture(scope="module")
def found() -> dict:
    return structure.parsed()


def test_the_structure_is_the_one_of_the_snapshot(found):
    assert found["errors"] == {}
    assert found["dags"] == json.loads(structure.SNAPSHOT.read_text()), f"if it is intended: {structure.REFRESH}"


def test_parsing_imports_nothing_heavy_and_costs_less_than_one_heavy_import(found):
    assert {*HEAVY, "slack_sdk", "smtplib"}.isdisjoint(found["imported"])
    # under a second where the import of mlflow takes two or more: a ratio, as machines differ
    assert found["cpu"] < found["reference"]


def test_each_task_of_the_training_says_what_to_do_when_it_is_red_and_has_a_time_out(found):
    for name, task in found["dags"]["heart_training"]["tasks"].items():
        assert task["documented"], name
        assert task["time-out"], name
        assert task["retries"] == 16


def test_the_form_has_its_sections_in_their_order(found):
    sections = list(dict.fromkeys(found["dags"]["heart_training"]["params"].values()))
    assert sections == ["Data", "Checks", "Training", "Promotion"]


def test_the_results_of_all_tasks_that_run_once_are_the_runs(found):
    tasks = found["dags"]["heart_training"]["tasks"]
    assert {name for name, task in tasks.items() if task["result"]} == tasks.keys() - {"train"}


def test_only_the_nightly_run_has_a_deadline(found):
    assert {name: dag["deadlines"] for name, dag in found["dags"].items()} == {
        "heart_training": 1,
        "heart_approval": 0,
        "heart_scoring": 0,
        "heart_monitoring": 0,
    }

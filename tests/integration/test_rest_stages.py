"""The commands of dags/README.md that start single stages by REST, as they are printed there, and a run's note."""

import json
import re
import subprocess

import pytest
import requests

from stack.clients.airflow import Airflow
from tests.conftest import ROOT
from tests.running import Running

(BLOCK,) = re.findall(r"```sh rest\n(.*?)```", (ROOT / "dags" / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    stack = Running(tmp_path_factory.mktemp("stages") / "home")
    stack.call("up", "--source", "sample", "--set", "profile=quick")
    yield stack
    stack.call("down", "--purge")


def results(printed: str) -> list[dict]:
    """Return the JSON objects that the commands printed one after the other."""
    found, decoder = [], json.JSONDecoder()
    while printed.strip():
        value, end = decoder.raw_decode(printed.strip())
        found.append(value)
        printed = printed.strip()[end:]
    return found


@pytest.mark.stack
def test_the_stages_are_started_as_printed_and_answer_with_their_results(running):
    done = subprocess.run(
        ["bash", "-euc", BLOCK.replace("http://127.0.0.1:4200", running.url("AIRFLOW"))],
        cwd=ROOT,
        env={**running.environment, "PASSWORD": running.password()},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ingested, checked, split = results(done.stdout)
    assert ingested.keys() == {"ingest"}
    assert checked.keys() == {"ingest", "validate"}
    assert checked["validate"]["rows"] == 500
    assert [one["family"] for one in split["preprocess"]] == ["logistic_regression", "random_forest"]
    assert {"training", "holdout", "folds"} <= split["preprocess"][0]["prepared"].keys()
    client = Airflow(running.url("AIRFLOW"), running.password())
    notes = {
        one["dag_run_id"].split("-")[0]: (one["state"], one["note"])
        for one in client._get("dags/heart_training/dagRuns", limit=100)["dag_runs"]
    }
    assert notes["ingest"] == ("success", "Result: 500 rows were read from synthetic cohort of 500 records, seed 3")
    assert notes["checks"][1].startswith("Result: 500 of 500 rows passed the checks")
    assert "training records" in notes["split"][1]


@pytest.mark.stack
def test_without_a_token_nothing_is_started(running):
    answer = requests.post(f"{running.url('AIRFLOW')}/api/v2/dags/heart_training/dagRuns", json={}, timeout=30)
    assert answer.status_code == 401


@pytest.mark.stack
def test_a_second_run_on_the_same_records_finds_nothing_new(running):
    given = ("train", "--source", "sample", "--set", "profile=quick", "--json")
    # `up` has put the first version into production since it was compared: this run compares with it
    first = json.loads(running.call(*given).stdout)
    second = json.loads(running.call(*given).stdout)
    assert (first["outcome"], second["outcome"]) == ("registered", "nothing new")
    assert second["versions"] == first["versions"]
    client = Airflow(running.url("AIRFLOW"), running.password())
    run = client.run("heart_training", second["run"])
    assert run["note"].startswith("Result: nothing new: versions ")
    states = {one["task_id"]: one["state"] for one in client.tasks("heart_training", second["run"])}
    assert {name for name, state in states.items() if state == "skipped"} == {"train", "compare", "register"}

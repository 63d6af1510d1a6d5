"""Through the real Airflow: outcomes that contradict the predictions are harm, and that starts a training run."""

import json
from datetime import UTC, datetime

import pytest
import requests

from heartline.ingestion.sample import synthetic
from stack.clients.airflow import Airflow
from tests.running import Running
from tests.waiting import until

DAYS, RECORDS = 3, 20


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    stack = Running(tmp_path_factory.mktemp("harm") / "home")
    stack.call("up", "--source", "sample", "--set", "profile=quick")
    yield stack
    stack.call("down", "--purge")


@pytest.fixture(scope="module")
def wrong(running):
    """Predictions of the last days, each with an outcome that contradicts it."""
    frame = synthetic.generate(DAYS * RECORDS, 5).drop(columns="num")
    records = json.loads(frame.to_json(orient="records"))
    answer = requests.post(running.url("SERVICE", "/predict"), json=records, timeout=60)
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    now = datetime.now(UTC).isoformat()
    outcomes = [
        {"prediction_id": one["prediction_id"], "outcome": int(not one["has_heart_disease"]), "observed_at": now}
        for one in predictions
    ]
    sent = until(
        lambda: (one := requests.post(running.url("SERVICE", "/outcomes"), json=outcomes, timeout=60)).ok and one
    )
    assert {one["result"] for one in sent.json()["results"]} <= {"accepted", "repeated"}
    moved = "".join(
        f"UPDATE prediction SET logged = now() - interval '{1 + place % DAYS} days' WHERE prediction_id = '{name}';"
        f"UPDATE outcome SET received = now() - interval '{1 + place % DAYS} days' WHERE prediction_id = '{name}';"
        for place, name in enumerate(one["prediction_id"] for one in predictions)
    )
    running.call("db", "--database", "predictions", "--quiet", "-c", moved)


@pytest.mark.stack
def test_harm_starts_a_training_run_and_the_net_no_second_one(running, wrong):
    client = Airflow(running.url("AIRFLOW"), running.password())

    def ended(dag, run):
        return (one := client.run(dag, run))["state"] in ("success", "failed") and one

    def by_harm():
        runs = client._get("dags/heart_training/dagRuns", limit=100)["dag_runs"]
        return [one["dag_run_id"] for one in runs if one["run_type"] == "asset_triggered"]

    started = client.trigger("heart_monitoring", {})
    monitored = until(lambda: ended("heart_monitoring", started), seconds=600)
    assert monitored["state"] == "success"
    tasks = client._get(f"dags/heart_monitoring/dagRuns/{started}/taskInstances")["task_instances"]
    assert {one["task_id"]: one["state"] for one in tasks}["retrain"] == "skipped"

    (training,) = until(by_harm, seconds=600)
    assert until(lambda: ended("heart_training", training), seconds=600)["state"] == "success"
    until(lambda: "version 1 is worse than at its training" in (client.run("heart_monitoring", started)["note"] or ""))

    shown = running.call("monitor", check=False)
    assert shown.returncode == 1, shown.stderr
    assert "The model is worse" in shown.stdout
    assert "raised an alarm about version 1" in " ".join(running.call("history").stdout.split())

"""From records to a served prediction through the real processes: PostgreSQL, Airflow, MLflow, gunicorn."""

import contextlib
import getpass
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import mlflow
import psutil
import pytest
import requests

from heartline import contract
from tests.conftest import ROOT
from tests.running import Running
from tests.waiting import until

RECORD = json.loads((ROOT / "docs" / "examples" / "record.json").read_text())


@pytest.fixture(scope="module")
def airflow(running) -> requests.Session:
    session = requests.Session()
    login = {"username": "admin", "password": running.password()}
    token = session.post(running.url("AIRFLOW", "/auth/token"), json=login, timeout=120).json()["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    return session


@pytest.fixture(scope="module")
def registry(running) -> Iterator[mlflow.MlflowClient]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(running.url("MLFLOW"))
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def _runs(airflow: requests.Session, running: Running) -> list[dict]:
    url = running.url("AIRFLOW", "/api/v2/dags/heart_training/dagRuns")
    return airflow.get(url, params={"order_by": "run_after"}, timeout=120).json()["dag_runs"]


def _tasks(airflow: requests.Session, running: Running, run_id: str) -> list[dict]:
    url = running.url("AIRFLOW", f"/api/v2/dags/heart_training/dagRuns/{run_id}/taskInstances")
    return airflow.get(url, timeout=120).json()["task_instances"]


def _predict(running: Running, body: object = RECORD) -> dict:
    answer = requests.post(running.url("SERVICE", "/predict"), json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_up_prints_the_prediction_and_where_everything_is(running):
    assert '"has_heart_disease"' in running.first_up
    for name in ("AIRFLOW", "MLFLOW", "SERVICE"):
        assert running.url(name) in running.first_up
    assert "airflow_admin_password" in running.first_up


def test_a_prediction_names_the_version_and_its_origin(running, registry):
    answer = _predict(running)
    production = registry.get_model_version_by_alias("heart-disease", "production")
    run = registry.get_run(production.run_id)

    assert 0 <= answer["probability"] <= 1
    assert answer["has_heart_disease"] == (answer["probability"] >= 0.5)
    assert answer["model"]["version"] == str(production.version)
    assert answer["model"]["origin"] == production.tags["origin"] == run.data.tags["origin"]
    assert answer["model"]["origin"] == ("file" if os.environ.get("HEARTLINE_REAL_DATA") else "sample")


def test_the_service_answers_as_the_registered_model_does(running, registry):
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri="models:/heart-disease@production"))
    model = mlflow.sklearn.load_model(str(folder))
    reference = json.loads((folder / "reference.json").read_text())
    features = json.loads((folder / "contract.json").read_text())["x-features"]
    served = [one["probability"] for one in _predict(running, reference["records"])["predictions"]]
    rows = [[float("nan") if one[name] is None else one[name] for name in features] for one in reference["records"]]
    assert served == pytest.approx(model.predict_proba(rows)[:, 1].tolist(), abs=1e-5)


def test_cross_validated_auc_is_what_the_literature_says(running, registry, real_data):
    # the version that `up` moved: other tests of this stack may have moved production since
    version = registry.get_model_version("heart-disease", moves(running)[-1]["version"])
    assert 0.88 <= registry.get_run(version.run_id).data.metrics["roc_auc"] <= 0.94
    assert version.tags["verdict"] == "no detectable difference"
    assert version.tags["family"] == "logistic_regression"


def test_the_families_train_at_the_same_time(running, airflow):
    tasks = _tasks(airflow, running, _runs(airflow, running)[0]["dag_run_id"])
    # From when it was queued, not from when it began: on a machine that is slow to start a process, the quicker family
    # may have ended by then. What has to wait for another task, or for room beside it, is not queued before.
    spans = {
        one["rendered_map_index"]: (datetime.fromisoformat(one["queued_when"]), datetime.fromisoformat(one["end_date"]))
        for one in tasks
        if one["task_id"] == "train"
    }
    assert set(spans) == {"logistic_regression", "random_forest"}
    assert max(queued for queued, _ in spans.values()) < min(end for _, end in spans.values())


def test_each_family_is_a_version_with_its_bundle(running, registry):
    versions = registry.search_model_versions("name = 'heart-disease'")
    assert {one.tags["family"] for one in versions} >= {"logistic_regression", "random_forest"}
    for one in versions:
        listed = mlflow.artifacts.list_artifacts(artifact_uri=f"models:/heart-disease/{one.version}")
        found = {entry.path for entry in listed}
        assert found >= {"model.skops", "model.onnx", "contract.json", "manifest.json", "reference.json", "MLmodel"}


def test_a_second_up_trains_nothing(running, airflow):
    before = _runs(airflow, running)
    done = running.call("up")
    assert '"has_heart_disease"' in done.stdout
    assert _runs(airflow, running) == before


def test_the_trigger_form_refuses_what_the_schema_does_not_allow(running, airflow):
    url = running.url("AIRFLOW", "/api/v2/dags/heart_training/dagRuns")
    refused = {
        "source": ["", 5],
        "query": [5, "x" * 10_001],
        "encoding": ["latin1"],
        "max_quarantine": [-0.01, 1.01, "5%"],
        "max_drift": [0, 101],
        "profile": ["slow"],
        "promotion": ["always"],
        "seed": [-1, 0.5, 2**31],
    }
    for name, values in refused.items():
        for value in values:
            answer = airflow.post(url, json={"logical_date": None, "conf": {name: value}}, timeout=120)
            assert answer.status_code == 400, (name, value)
            assert name in answer.text


def test_airflows_navigation_leads_to_mlflow(running, airflow):
    plugins = airflow.get(running.url("AIRFLOW", "/api/v2/plugins"), timeout=120).json()["plugins"]
    (ours,) = [one for one in plugins if one["name"] == "heartline_links"]
    hrefs = [view["href"] for view in ours["external_views"]]
    assert f"http://127.0.0.1:{running.ports['MLFLOW']}/#/models/heart-disease" in hrefs


def test_bad_records_fail_the_run_with_one_clear_message_and_a_page(running, airflow, tmp_path, cohort):
    bad = cohort.copy()
    bad.loc[3:30, "cp"] = 9
    bad.to_csv(tmp_path / "bad.csv", index=False)
    (tmp_path / "bad.csv").chmod(0o644)
    version = _predict(running)["model"]["version"]

    done = running.call("train", "--source", str(tmp_path / "bad.csv"), "--set", "profile=quick", check=False)

    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "28 of 303 rows (9.2%) are in quarantine, at most 5.0% may be" in said
    assert "cp: expected one of the codes 1, 2, 3, 4; found 28 rows that do not meet this: 9 in rows 3, 4, " in said
    assert "Traceback" not in said
    (validate,) = [
        one
        for one in _tasks(airflow, running, _runs(airflow, running)[-1]["dag_run_id"])
        if one["task_id"] == "validate"
    ]
    assert validate["try_number"] == 1, "what is wrong with the records is not tried again"
    assert _predict(running)["model"]["version"] == version

    (page,) = set(re.findall(rf"http://127.0.0.1:{running.ports['AIRFLOW']}/data-docs/\S+\.html", said))
    assert requests.get(page, timeout=120).status_code in (401, 403), "the page shows values of patients"
    shown = airflow.get(page, timeout=120)
    assert shown.status_code == 200
    assert "28 of 303 rows" in shown.text
    index = airflow.get(page.rpartition("/")[0] + "/", timeout=120)
    assert page.rpartition("/")[2] in index.text


def test_the_kaggle_file_is_decoded_and_trains_a_model_that_agrees(running, airflow, registry, real_data):
    done = running.call(
        "train", "--source", str(real_data / "kaggle_heart_303.csv"), "--set", "profile=quick", "--json"
    )
    trained = json.loads(done.stdout)
    version = registry.get_model_version("heart-disease", trained["version"])
    run = registry.get_run(version.run_id)
    assert run.data.tags["encoding"] == "kaggle"
    assert run.data.metrics["roc_auc"] > 0.85
    checks = registry.get_run(run.data.tags["validation_run"]).data
    counts = [checks.metrics[name] for name in ("rows", "used", "duplicates", "quarantined")]
    assert counts == [303, 302, 1, 0]
    model = mlflow.sklearn.load_model(f"models:/heart-disease/{trained['version']}")
    features = json.loads((ROOT / "docs" / "examples" / "record.json").read_text())
    positive = {**features, "exang": 1, "oldpeak": 3.5, "ca": 3, "thalach": 100, "cp": 4, "thal": 7, "slope": 2}
    negative = {**features, "exang": 0, "oldpeak": 0, "ca": 0, "thalach": 185, "cp": 2, "thal": 3, "slope": 1}
    odds = model.predict_proba([[float(one[name]) for name in contract.FEATURE_NAMES] for one in (positive, negative)])[
        :, 1
    ]
    assert odds[0] > 0.9
    assert odds[1] < 0.2, "an inverted label would predict health"


def test_the_hungarian_file_is_refused_for_what_it_lacks(running, real_data):
    done = running.call("train", "--source", str(real_data / "processed.hungarian.data"), check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "199 of 294 rows (67.7%) are in quarantine, at most 5.0% may be" in said
    assert "ca: expected a value in at least 80% of the rows; found 1.0%" in said
    assert "thal: expected a value in at least 80% of the rows; found 9.5%" in said
    assert "slope: expected a value in every row; found 190 rows that do not meet this" in said


@pytest.mark.parametrize(("name", "content"), [("absent.csv", None), ("empty.csv", "")])
def test_a_source_that_is_missing_or_empty_is_said_at_once(running, airflow, tmp_path, name, content):
    before = _runs(airflow, running)
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    done = running.call("train", "--source", str(path), check=False)
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr
    assert _runs(airflow, running) == before


def _kill(running: Running, name: str) -> bool:
    """Kill a process with its children and return whether it ran."""
    pid = next(one["pid"] for one in running.status()["processes"] if one["name"] == name)
    if not pid:
        return False
    for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's processes end by themselves without their first
            process.send_signal(signal.SIGKILL)
    return True


def _state(airflow: requests.Session, url: str) -> str:
    """Return the state of a run; nothing while Airflow itself cannot say."""
    try:
        answer = airflow.get(url, timeout=120)
        return str(answer.json()["state"]) if answer.ok else ""
    except requests.RequestException:
        return ""


def _is_training(airflow: requests.Session, url: str) -> bool:
    """Return whether a family is trained, or about to be: that lasts for seconds on any machine."""
    try:
        tasks = airflow.get(f"{url}/taskInstances", timeout=120).json().get("task_instances", [])
    except requests.RequestException:
        return False
    return any(one["task_id"] == "train" and one["state"] in ("scheduled", "queued", "running") for one in tasks)


@pytest.mark.parametrize(("name", "kills", "records"), [("mlflow", 3, 150), ("postgres", 2, 160)])
def test_a_process_killed_during_a_run(running, airflow, registry, name, kills, records):
    """The run is tried again and completes, with one run and one version for each family."""
    url = running.url("AIRFLOW", "/api/v2/dags/heart_training/dagRuns")
    conf = {"source": f"sample:{records}", "profile": "quick"}
    run_id = airflow.post(url, json={"logical_date": None, "conf": conf}, timeout=120).json()["dag_run_id"]
    restarts = next(one["restarts"] for one in running.status()["processes"] if one["name"] == name)
    killed = 0
    deadline = time.monotonic() + 1500
    while (state := _state(airflow, f"{url}/{run_id}")) in ("", "queued", "running"):
        assert time.monotonic() < deadline, (running.home / "logs" / f"{name}.log").read_text()[-8000:]
        if killed < kills and _is_training(airflow, f"{url}/{run_id}"):
            killed += _kill(running, name)
        time.sleep(0.2)

    assert state == "success"
    assert killed > 0
    row = next(one for one in running.status()["processes"] if one["name"] == name)
    assert row["restarts"] >= restarts + killed
    versions = [
        one for one in registry.search_model_versions("name = 'heart-disease'") if one.tags["origin"] == "sample"
    ]
    recent = [one for one in versions if f"{records} records" in registry.get_run(one.run_id).data.tags["source"]]
    assert sorted(one.tags["family"] for one in recent) == ["logistic_regression", "random_forest"]
    snapshot = recent[0].tags["snapshot"]
    experiments = ["heart-disease", "heart-disease-data", "heart-disease-comparisons"]
    found = [
        registry.search_runs([registry.get_experiment_by_name(name).experiment_id], f"tags.snapshot = '{snapshot}'")
        for name in experiments
    ]
    assert [len(runs) for runs in found] == [2, 1, 1]
    assert sorted(one.data.tags["family"] for one in found[0]) == ["logistic_regression", "random_forest"]
    assert all(one.info.status == "FINISHED" for runs in found for one in runs)


def test_promote_moves_production_and_the_service_follows(running, registry):
    staged = str(registry.get_model_version_by_alias("heart-disease", "staging").version)
    running.call("promote", "--force")  # what was staged last is of the sample
    until(lambda: _predict(running)["model"]["version"] == staged)  # the last worker may switch a second later


def test_export_writes_the_division_that_production_was_trained_on(running, tmp_path):
    folder = tmp_path / "export"
    done = running.call("export", str(folder))
    about = json.loads(done.stdout[done.stdout.index("{") :])
    lines = {path.name: len(path.read_text().splitlines()) - 1 for path in folder.iterdir()}
    assert lines.keys() == {"X_train.csv", "X_test.csv", "y_train.csv", "y_test.csv"}
    assert lines["X_train.csv"] == lines["y_train.csv"]
    assert lines["X_test.csv"] == lines["y_test.csv"]
    assert about["snapshot"] == _predict(running)["model"]["snapshot"]
    assert running.call("export", str(folder), check=False).returncode == 2, "an export is not written over another"


def moves(running):
    """Return the moves in the ledger, the last one first."""
    return [one for one in json.loads(running.call("history", "--json").stdout) if one["kind"] == "moved"]


def test_production_is_promoted_rolled_back_and_its_history_kept(running, registry):
    before = str(registry.get_model_version_by_alias("heart-disease", "production").version)
    versions = {one.tags["family"]: one for one in registry.search_model_versions("name = 'heart-disease'")}
    first, second = (str(one.version) for one in versions.values())
    for version in (first, second):
        running.call("promote", version, "--force")

    running.call("rollback", "--force")
    assert _predict(running)["model"]["version"] == first

    registry.set_registered_model_alias("heart-disease", "production", second)
    last = moves(running)[:3]
    assert [(one["from"], one["to"], one["how"]) for one in last] == [
        (first, second, "moved outside (MLflow's UI or API)"),
        (second, first, "rollback"),
        (first, second, "promote"),
    ]
    assert [one["by"] for one in last] == ["unknown", getpass.getuser(), getpass.getuser()]
    said = " ".join(running.call("history").stdout.split())  # a long sentence has several lines
    assert "moved outside (MLflow's UI or API)" in said
    running.call("promote", before, "--force")


def test_the_sample_does_not_replace_real_data_unless_forced(running, registry):
    versions = registry.search_model_versions("name = 'heart-disease'")
    real, sample = (
        str(next(one.version for one in versions if one.tags["origin"] == origin)) for origin in ("file", "sample")
    )
    running.call("promote", real)
    done = running.call("promote", sample, check=False)
    assert done.returncode == 2
    assert f"version {sample} was trained on the synthetic sample" in done.stderr
    assert "--force" in done.stderr
    assert str(registry.get_model_version_by_alias("heart-disease", "production").version) == real

    running.call("promote", sample, "--force")
    until(lambda: _predict(running)["model"]["version"] == sample)
    assert moves(running)[0]["forced"] is True
    running.call("rollback")
    until(lambda: _predict(running)["model"]["version"] == real)


def _log(airflow: requests.Session, running: Running, task: dict) -> list[dict]:
    place = f"/api/v2/dags/heart_training/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
    answer = airflow.get(
        running.url("AIRFLOW", f"{place}/logs/{task['try_number']}"),
        params={"map_index": task["map_index"], "full_content": True},
        headers={"Accept": "application/json"},
        timeout=120,
    )
    return answer.json()["content"]


# What the last line of a green task says.
LAST_LINES = {
    "ingest": "rows from",
    "validate": "data-docs/",
    "preprocess": "held out",
    "train": "",
    "compare": "verdict:",
    "register": "staging is version",
}


def test_the_log_of_a_green_task_is_short_and_ends_with_what_matters(airflow, running):
    run = next(one for one in _runs(airflow, running) if one["state"] == "success")
    tasks = _tasks(airflow, running, run["dag_run_id"])
    assert {task["task_id"] for task in tasks} == set(LAST_LINES)
    for task in tasks:
        lines = _log(airflow, running, task)
        assert len(lines) < 30, (task["task_id"], len(lines))
        assert not [line for line in lines if line.get("level") in ("error", "critical")], task["task_id"]
        assert lines[-1]["logger"].startswith("heartline."), task["task_id"]
        assert LAST_LINES[task["task_id"]] in lines[-1]["event"]


def test_tasks_link_to_their_run_or_version_in_mlflow(airflow, running):
    run = next(one for one in _runs(airflow, running) if one["state"] == "success")
    found: dict[str, set[str]] = {}
    for task in _tasks(airflow, running, run["dag_run_id"]):
        place = f"/api/v2/dags/heart_training/dagRuns/{run['dag_run_id']}/taskInstances/{task['task_id']}/links"
        answer = airflow.get(running.url("AIRFLOW", place), params={"map_index": task["map_index"]}, timeout=120).json()
        found.setdefault(task["task_id"], set()).update(link for link in answer["extra_links"].values() if link)
    assert {task for task, links in found.items() if links} == {"validate", "train", "compare", "register"}
    assert len(found["train"]) == 2
    assert all(link.startswith(running.url("MLFLOW", "/#/runs/")) for link in found["validate"] | found["train"])
    (version,) = found["register"]
    assert version.startswith(running.url("MLFLOW", "/#/models/heart-disease/versions/"))


def test_the_page_of_all_versions_names_the_one_in_production_and_who_moved_it(airflow, running):
    answer = airflow.get(running.url("AIRFLOW", "/versions/"), timeout=120)
    assert answer.status_code == 200, answer.text
    assert "in production</span>" in answer.text
    assert "with the first ./heartline up" in answer.text


def test_a_run_with_a_misspelt_key_is_refused(airflow, running):
    url = running.url("AIRFLOW", "/api/v2/dags/heart_training/dagRuns")
    answer = airflow.post(url, json={"logical_date": None, "conf": {"sorce": "uci"}}, timeout=120)
    assert answer.status_code == 400
    assert "did you mean source?" in answer.json()["detail"]


def test_what_passes_the_edge_fails_the_first_task_once_and_its_log_ends_with_the_message(airflow, running):
    # as `docker compose exec airflow-scheduler airflow dags trigger --conf` does it, past the api-server's check
    run = f"misspelt-{int(time.time())}"
    settings = json.loads((running.home / "run" / "scheduler.json").read_text())
    command = [settings["command"][0], "-m", "airflow", "dags", "trigger", "heart_training", "--run-id", run]
    subprocess.run(
        [*command, "--conf", json.dumps({"sorce": "uci"})], env=settings["environment"], check=True, timeout=300
    )
    until(lambda: _state_of(airflow, running, run) in ("success", "failed"), pause=0.5, seconds=600)
    (task,) = [one for one in _tasks(airflow, running, run) if one["task_id"] == "ingest"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    *_, error, last = _log(airflow, running, task)
    (shown,) = error["error_detail"]
    assert shown["exc_value"].startswith("there is no parameter 'sorce'")
    assert shown["frames"] == []
    assert last["event"].startswith("Not tried again: ")


def _state_of(airflow: requests.Session, running: Running, run_id: str) -> str:
    url = running.url("AIRFLOW", f"/api/v2/dags/heart_training/dagRuns/{run_id}")
    return airflow.get(url, timeout=120).json()["state"]

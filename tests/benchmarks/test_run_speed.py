"""The page of the run's benchmark shows its figures and verdicts, and its programs run the tasks of the DAG."""

import ast

import pytest
import run_page
from checked import call, tables

from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "benchmarks" / "run_speed.py"
TASKS = ROOT / "tests" / "benchmarks" / "run_peers" / "tasks.py"
DAG = ROOT / "dags" / "heart_training.py"


def figures(wall=20.0, started=0.1, idle=0.03):
    tasks = [
        {"task": "ingest", "scheduler": 0.2, "started": started, "ran": 1.0},
        {"task": "train", "scheduler": 0.1, "started": started, "ran": 12.0},
    ]
    one = {
        "stack": {"wall": wall, "cpu": 30.0, "tasks": tasks},
        "plain": {"wall": 40.0, "cpu": 60.0},
        "prefect": {"wall": 50.0, "cpu": 60.0},
    }
    return {
        "machine": {"processor": "2 × P", "python": "3.11.7"},
        "source": "cleveland",
        "profile": "full",
        "idle": {"scheduler": idle, "mlflow": 0.01},
        "rounds": [one, one],
    }


def test_the_page_shows_ratios_of_the_same_round_and_verdicts():
    page = run_page.markdown(figures())
    runs, tasks, idle = tables(page)
    assert runs[-2][1:] == [
        "40.0 s (40.0 to 40.0)",
        "60.0 s (60.0 to 60.0)",
        "0.50 (0.50 to 0.50)",
        "0.50 (0.50 to 0.50)",
    ]
    assert tasks[-1] == ["train", "0.10, 0.10", "0.10, 0.10", "12.00, 12.00"]
    assert idle[-1] == ["**all**", "**4.0%**"]
    assert page.count(": met") == 3


@pytest.mark.parametrize("worse", [{"wall": 39.0}, {"started": 0.2}, {"idle": 0.08}])
def test_a_missed_aim_is_said(worse):
    assert run_page.markdown(figures(**worse)).count(": missed") == 1


def test_the_page_needs_all_peers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- measured: begin -->\n<!-- measured: end -->\n")
    done = call(SCRIPT, "--page", page, "--peers", "plain")
    assert done.returncode == 2
    assert "needs all peers" in done.stderr


def test_the_plain_process_runs_the_tasks_of_the_dag():
    def functions(path):
        return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}

    tasks = functions(TASKS) - {"given", "expect_registered"}
    assert tasks <= functions(DAG)
    assert {"ingest", "validate", "preprocess", "train", "compare", "register"} == tasks


@pytest.mark.slow
def test_the_plain_process_registers_all_families(store, tmp_path, monkeypatch):
    from pipeline_cost import mlflow_server

    with mlflow_server(tmp_path) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "include"))
        given = '{"source": "sample", "profile": "quick", "seed": 1, "run": "test"}'
        done = call(ROOT / "tests" / "benchmarks" / "run_peers" / "plain.py", given)
    assert done.returncode == 0, done.stdout + done.stderr

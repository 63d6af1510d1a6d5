"""The structure of every DAG as Airflow parses it; as a program it writes ``structure.json``."""

import json
from pathlib import Path
from typing import Any

from tests.dags.airflow_process import DAGS, WITH_PLUGINS, result

SNAPSHOT = Path(__file__).with_name("structure.json")
REFRESH = "PYTHONPATH=include .venv/bin/python -m tests.dags.structure"

PROBE = """
import json, resource, sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Asset
before, cpu = set(sys.modules), time.process_time()
bag = DagBag(dag_folder=sys.argv[1])
cpu = time.process_time() - cpu
imported = sorted({name.split(".")[0] for name in set(sys.modules) - before})
started = time.process_time()
import mlflow
reference = time.process_time() - started


def expanded(task):
    found = getattr(task, "_get_specified_expand_input", None)
    return sorted({one.task_id for one, _ in found().iter_references()}) if found else None


def described(task):
    return {
        "downstream": sorted(task.downstream_task_ids),
        "mapped over": expanded(task),
        "retries": task.retries,
        "time-out": task.execution_timeout and task.execution_timeout.total_seconds(),
        "outlets": [one.name for one in task.outlets if isinstance(one, Asset)],
        "documented": bool(task.doc_md),
        "result": bool(task.returns_dag_result),
        "trigger rule": str(task.trigger_rule),
    }


print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "imported": imported,
    "cpu": cpu,
    "reference": reference,
    "dags": {
        dag.dag_id: {
            "tasks": {task.task_id: described(task) for task in dag.tasks},
            "params": {name: dag.params.get_param(name).schema.get("section", "") for name in dag.params},
            "max_active_runs": dag.max_active_runs,
            "catchup": dag.catchup,
            "deadlines": len(dag.deadline or []) if isinstance(dag.deadline, list) else int(bool(dag.deadline)),
        }
        for dag in sorted(bag.dags.values(), key=lambda one: one.dag_id)
    },
}))
"""


def parsed() -> dict[str, Any]:
    """Return what Airflow makes of ``dags/`` without any setting of Heartline, and what that costs."""
    found: dict[str, Any] = result(PROBE, DAGS, **WITH_PLUGINS)[0]
    return found


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(parsed()["dags"], indent=1) + "\n")

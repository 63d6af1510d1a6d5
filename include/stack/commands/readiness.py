"""Waits until Airflow can run the DAGs, after a start."""

import time
from datetime import UTC, datetime

from heartline import addresses
from stack import console
from stack.clients.airflow import Airflow
from stack.clients.dag_health import DagHealth
from stack.commands.training.train import DAG_IMPORT_TIMEOUT, client
from stack.errors import UnhealthyError
from stack.processes.definitions import DAG_PROCESSOR
from stack.processes.lifecycle import Stack


def wait(stack: Stack, began: datetime) -> None:
    """Wait until Airflow has read the DAG files, and say which DAGs are paused.

    Args:
        stack: the running stack.
        began: when the start began. An import error from before does not count: the file may have been corrected since,
            and the dag-processor reads each file again within half a minute.

    Raises:
        UnhealthyError: Airflow cannot run a DAG, or starts no runs.
    """
    airflow = client(stack)
    process = stack.supervisor.processes()[DAG_PROCESSOR]
    read_since = datetime.fromtimestamp(process.started, UTC)
    deadline = time.monotonic() + DAG_IMPORT_TIMEOUT
    with console.err.status("waiting until Airflow has read the DAG files"):
        while True:
            found = airflow.dag_health()
            if not found.problems and found.parsed and found.parsed >= read_since:
                break
            if (found.failed and found.failed >= max(began, read_since)) or time.monotonic() > deadline:
                raise _unhealthy(airflow, found)
            time.sleep(0.3)
    for note in found.notes:
        console.say(f"  note: {note}; to start them, unpause it at {addresses.public(addresses.AIRFLOW)}/dags")


def _unhealthy(airflow: Airflow, found: DagHealth) -> UnhealthyError:
    return UnhealthyError(
        "the processes run, but Airflow cannot run the DAGs",
        where="\n            ".join(found.problems) or f"{airflow.url}: it has not read the DAG files",
        expected="every DAG imported, and its runs started in time",
        hint="correct the cause, then ./heartline up; see also ./heartline logs dag-processor",
    )

"""Following a run of a DAG: a table that lives in a terminal, a line per change elsewhere."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from stack import console
from stack.clients.airflow import Airflow
from stack.errors import UnhealthyError, WorkError

PAUSE = 0.3  # seconds between two looks
PATIENCE = 90.0  # seconds that the api-server may be away, while the supervisor starts it again
SHOWN_EVENTS = 12

_FINAL = {"success", "failed"}
_STYLES = {
    "success": "green",
    "running": "cyan",
    "failed": "bold red",
    "up_for_retry": "yellow",
    "upstream_failed": "red",
    "skipped": "dim",
}


def follow(airflow: Airflow, dag_id: str, run_id: str) -> None:
    """Show the tasks of a run until it has ended.

    Raises:
        WorkError: it failed; shows what the failed tasks said.
        UnhealthyError: Airflow is away for too long.
    """
    shown: dict[str, str] = {}
    with Live(console=console.err, auto_refresh=False, transient=False) as live:
        while True:
            state, tasks = _look(airflow, dag_id, run_id)
            if console.err.is_terminal:
                live.update(table(tasks), refresh=True)
            else:
                _lines(tasks, shown)
            if state in _FINAL:
                break
            time.sleep(PAUSE)
    if state == "failed":
        raise _failure(airflow, run_id, tasks)


def _look(airflow: Airflow, dag_id: str, run_id: str) -> tuple[str, list[dict[str, Any]]]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            state = str(airflow.run(dag_id, run_id)["state"])
            return state, sorted(airflow.tasks(dag_id, run_id), key=_order)
        except UnhealthyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _order(task: dict[str, Any]) -> tuple[str, int]:
    # Whatever has not begun comes last.
    return (task["start_date"] or "9999", task["map_index"])


def name(task: dict[str, Any]) -> str:
    """Return a task's name, with what a mapped one was mapped over."""
    mapped = task.get("rendered_map_index") or (task["map_index"] if task["map_index"] >= 0 else None)
    return f"{task['task_id']} [{mapped}]" if mapped is not None else str(task["task_id"])


def seconds(task: dict[str, Any], now: datetime) -> float | None:
    """Return how long a task has taken so far."""
    if not task["start_date"]:
        return None
    end = datetime.fromisoformat(task["end_date"]) if task["end_date"] else now
    return (end - datetime.fromisoformat(task["start_date"])).total_seconds()


def table(tasks: Iterable[dict[str, Any]]) -> Table:
    """Return the tasks with their states and durations."""
    grid = Table(box=None, padding=(0, 2), show_header=False)
    now = datetime.now(UTC)
    for task in tasks:
        spent = seconds(task, now)
        state = str(task["state"] or "waiting")
        tries = f"try {task['try_number']}" if task["try_number"] > 1 else ""
        style = _STYLES.get(state, "dim")
        grid.add_row(escape(name(task)), f"[{style}]{state}[/]", "" if spent is None else f"{spent:.1f} s", tries)
    return grid


def _lines(tasks: Iterable[dict[str, Any]], shown: dict[str, str]) -> None:
    now = datetime.now(UTC)
    for task in tasks:
        state = str(task["state"] or "waiting")
        key, seen = f"{task['task_id']}/{task['map_index']}", f"{state} {task['try_number']}"
        if shown.get(key) == seen:
            continue
        shown[key] = seen
        if state in {*_STYLES} - {"running"}:
            spent = seconds(task, now)
            console.say(f"  {name(task):<32}{state:<14}" + ("" if spent is None else f"{spent:6.1f} s"))


def _failure(airflow: Airflow, run_id: str, tasks: Iterable[dict[str, Any]]) -> WorkError:
    failed = [task for task in tasks if task["state"] == "failed"]
    told = [f"{name(task)}, try {task['try_number']}:{_indented(reason(airflow.log(task)))}" for task in failed]
    return WorkError(
        "the run failed in " + (", ".join(name(task) for task in failed) or "no task of its own"),
        where=f"run {run_id}" + "".join(f"\n            {line}" for line in told),
        expected="every task to succeed",
        hint="correct what the task says, then ./heartline train; the whole log is in Airflow, under the run",
    )


def reason(events: list[dict[str, Any]]) -> str:
    """Return why a task failed, by its log: the exception's own words, else the last things that it said."""
    for event in reversed(events):
        for detail in event.get("error_detail") or []:
            if detail.get("exc_value"):
                return f"{detail.get('exc_type', 'error')}: {detail['exc_value']}"
    return "\n".join(str(event.get("event", "")) for event in events[-SHOWN_EVENTS:]) or "its log is empty"


def _indented(text: str) -> str:
    return "".join(f"\n              {line}" for line in text.splitlines())

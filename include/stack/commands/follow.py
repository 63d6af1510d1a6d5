"""Follows a run of a DAG: a live table in a terminal, else a line for each change."""

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

POLL_INTERVAL = 0.3  # seconds
OUTAGE_LIMIT = 90.0  # seconds that the api-server may be unreachable while the supervisor restarts it
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
        WorkError: the run failed; shows the errors of the failed tasks.
        UnhealthyError: Airflow is unreachable for longer than ``OUTAGE_LIMIT``.
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
            time.sleep(POLL_INTERVAL)
    if state == "failed":
        raise _failure(airflow, run_id, tasks)


def _look(airflow: Airflow, dag_id: str, run_id: str) -> tuple[str, list[dict[str, Any]]]:
    deadline = time.monotonic() + OUTAGE_LIMIT
    while True:
        try:
            state = str(airflow.run(dag_id, run_id)["state"])
            return state, sorted(airflow.tasks(dag_id, run_id), key=_order)
        except UnhealthyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _order(task: dict[str, Any]) -> tuple[str, int]:
    # Tasks that have not started come last.
    return (task["start_date"] or "9999", task["map_index"])


def name(task: dict[str, Any]) -> str:
    """Return a task's name; that of a mapped task with its map index or label."""
    mapped = task.get("rendered_map_index") or (task["map_index"] if task["map_index"] >= 0 else None)
    return f"{task['task_id']} [{mapped}]" if mapped is not None else str(task["task_id"])


def seconds(task: dict[str, Any], now: datetime) -> float | None:
    """Return the seconds that a task has taken so far; None if it has not started."""
    if not task["start_date"]:
        return None
    end = datetime.fromisoformat(task["end_date"]) if task["end_date"] else now
    return (end - datetime.fromisoformat(task["start_date"])).total_seconds()


def table(tasks: Iterable[dict[str, Any]]) -> Table:
    """Return a table of the tasks with their states and durations."""
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
    errors = [f"{name(task)}, try {task['try_number']}:{_indented(reason(airflow.log(task)))}" for task in failed]
    return WorkError(
        "the run failed in " + (", ".join(name(task) for task in failed) or "none of its tasks"),
        where=f"run {run_id}" + "".join(f"\n            {line}" for line in errors),
        expected="every task to succeed",
        hint="fix the cause that the task names, then ./heartline train; Airflow shows the complete log of the run",
    )


def reason(events: list[dict[str, Any]]) -> str:
    """Return why a task failed: the exception in its log, else the last lines of the log."""
    for event in reversed(events):
        for detail in event.get("error_detail") or []:
            if detail.get("exc_value"):
                return f"{detail.get('exc_type', 'error')}: {detail['exc_value']}"
    return "\n".join(str(event.get("event", "")) for event in events[-SHOWN_EVENTS:]) or "its log is empty"


def _indented(text: str) -> str:
    return "".join(f"\n              {line}" for line in text.splitlines())

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
from stack.commands.training.patience import Patience
from stack.errors import WorkError

POLL_INTERVAL = 0.3  # seconds
QUIET = 30.0  # seconds without a change, after which the scheduler's health is looked at
RETRIES_LOGGER = "heartline.retries"  # of the line that says whether and when a failed task is tried again
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


def follow(airflow: Airflow, dag_id: str, run_id: str, patience: Patience | None = None) -> None:
    """Show the tasks of a run until it has ended.

    Args:
        airflow: a client of the api-server.
        dag_id: the DAG.
        run_id: its run.
        patience: how to wait while Airflow is away.

    Raises:
        WorkError: the run failed; shows the errors of the failed tasks.
        UnhealthyError: Airflow is away for too long, or the stack was stopped.
    """
    patience = patience or Patience()
    shown: dict[str, str] = {}
    waits = _Waits(airflow, dag_id, run_id)
    with Live(console=console.err, auto_refresh=False, transient=False) as live:
        while True:
            state, tasks = patience(lambda: _look(airflow, dag_id, run_id))
            patience(lambda: waits.say(state, tasks))  # noqa: B023 - called at once
            if console.err.is_terminal:
                live.update(table(tasks), refresh=True)
            else:
                _lines(tasks, shown)
            if state in _FINAL:
                break
            time.sleep(POLL_INTERVAL)
    if state == "failed":
        raise patience(lambda: _failure(airflow, run_id, tasks))


def _look(airflow: Airflow, dag_id: str, run_id: str) -> tuple[str, list[dict[str, Any]]]:
    state = str(airflow.run(dag_id, run_id)["state"])
    return state, sorted(airflow.tasks(dag_id, run_id), key=_order)


class _Waits:
    """Says once what a run waits for: another run, a retry, the scheduler."""

    def __init__(self, airflow: Airflow, dag_id: str, run_id: str) -> None:
        self._airflow, self._dag_id, self._run_id = airflow, dag_id, run_id
        self._said: set[str] = set()
        self._last: object = None
        self._changed = time.monotonic()

    def say(self, state: str, tasks: Iterable[dict[str, Any]]) -> None:
        """Say what is new, given the state of the run and its tasks."""
        tasks = list(tasks)
        if state == "queued":
            self._another_run()
        for task in tasks:
            if task["state"] == "up_for_retry":
                self._retry(task)
        seen = (state, [(task["task_id"], task["map_index"], task["state"], task["try_number"]) for task in tasks])
        if seen != self._last:
            self._last, self._changed = seen, time.monotonic()
        elif state not in _FINAL and time.monotonic() - self._changed > QUIET:
            self._changed = time.monotonic()
            if not self._airflow.scheduler_healthy():
                self._once("waiting: the scheduler does not run; ./heartline status and ./heartline logs scheduler")

    def _another_run(self) -> None:
        before = self._airflow.active_runs(self._dag_id)
        if before and before[0] != self._run_id and self._run_id in before:
            self._once(f"waiting for run {before[0]}, which has not ended: one run at a time")

    def _retry(self, task: dict[str, Any]) -> None:
        key = f"{task['task_id']}/{task['map_index']}/{task['try_number']}"
        if key in self._said:
            return
        self._said.add(key)
        events = self._airflow.log(task)
        if said := retries(events):
            console.say(f"  {name(task)}: {reason(events).splitlines()[0]}\n    {said}")

    def _once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            console.say(line)


def retries(events: Iterable[dict[str, Any]]) -> str:
    """Return what the log of a failed task says about another attempt, "" for nothing."""
    return next((str(one["event"]) for one in events if one.get("logger") == RETRIES_LOGGER), "")


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
                after = retries(events)
                return f"{detail.get('exc_type', 'error')}: {detail['exc_value']}" + (f"\n{after}" if after else "")
    return "\n".join(str(event.get("event", "")) for event in events[-SHOWN_EVENTS:]) or "its log is empty"


def _indented(text: str) -> str:
    return "".join(f"\n              {line}" for line in text.splitlines())

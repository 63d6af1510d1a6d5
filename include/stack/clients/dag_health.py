"""Tells whether Airflow can run the DAGs. Needs only the standard library: the health checks of docker compose use it.

That Airflow's processes are alive does not mean that a run can start: a DAG file may not be importable, a DAG may be
missing, or the scheduler may start nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from heartline import dag_ids

Get = Callable[[str], dict[str, Any] | None]  # the JSON response to GET /api/v2/PATH; None for 404

DAGS: tuple[str, ...] = tuple(value for name, value in vars(dag_ids).items() if name.isupper())

# How late a run may start, and how old the last reading of a DAG file may be. Airflow needs seconds for both.
LATE = timedelta(minutes=10)


@dataclass(frozen=True)
class DagHealth:
    """The state of the DAGs.

    Attributes:
        unusable: what keeps DAGs from being run at all, a sentence each.
        stuck: what shows that the scheduler starts no runs, a sentence each.
        paused: the DAGs that a user has paused.
        failed: when Airflow last failed to import a DAG file, if any cannot be imported.
        parsed: when the least recently read DAG was read; None if a DAG is missing.
    """

    unusable: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    failed: datetime | None = None
    parsed: datetime | None = None

    @property
    def problems(self) -> list[str]:
        """All problems; a paused DAG is none."""
        return self.unusable + self.stuck

    @property
    def notes(self) -> list[str]:
        """What a user should know although it is no problem."""
        return [f"the DAG {dag} is paused: its scheduled runs do not start" for dag in self.paused]


def check(get: Get, now: datetime | None = None) -> DagHealth:
    """Ask Airflow about import errors, the DAGs and their runs.

    Args:
        get: returns the response of Airflow's REST API.
        now: the present time.
    """
    now = now or datetime.now(UTC)
    errors = (get("importErrors?limit=20") or {}).get("import_errors", [])
    unusable = [f"the DAG file {_file(error)} cannot be imported: {_last_line(error)}" for error in errors]
    stuck, paused, times = [], [], []
    for dag_id in DAGS:
        dag = get(f"dags/{dag_id}/details")
        if dag is None or dag.get("is_stale"):
            if not errors:
                unusable.append(f"Airflow finds no file of the DAG {dag_id}")
            continue
        times.append(_time(dag.get("last_parsed_time")) or now)
        if dag.get("is_paused"):
            paused.append(dag_id)
        else:
            stuck += _late_runs(get, dag_id, dag, now)
    if times and min(times) < now - LATE:
        stuck.append(f"the dag-processor has not read the DAG files since {_text(min(times))}")
    return DagHealth(
        unusable=unusable,
        stuck=stuck,
        paused=paused,
        failed=max(filter(None, (_time(error.get("timestamp")) for error in errors)), default=None),
        parsed=min(times) if len(times) == len(DAGS) else None,
    )


def _late_runs(get: Get, dag_id: str, dag: dict[str, Any], now: datetime) -> list[str]:
    answer = get(f"dags/{dag_id}/dagRuns?state=queued&state=running&order_by=run_after&limit=50") or {}
    runs = answer.get("dag_runs", [])
    if any(run["state"] == "running" for run in runs):
        return []  # the others wait for it
    due, queued = _time(dag.get("next_dagrun_run_after")), [_time(run.get("queued_at")) for run in runs]
    oldest = min(filter(None, queued), default=None)
    if oldest and oldest < now - LATE:
        return [f"the scheduler does not start the run of {dag_id} that is queued since {_text(oldest)}"]
    if not runs and due and due < now - LATE:
        return [f"the scheduler has not created the run of {dag_id} that was due at {_text(due)}"]
    return []


def _file(error: dict[str, Any]) -> str:
    return str(error.get("filename") or "of unknown name")


def _last_line(error: dict[str, Any]) -> str:
    return (str(error.get("stack_trace") or "").strip().splitlines() or ["no reason given"])[-1]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _text(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

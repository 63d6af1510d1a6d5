"""Whether each part of the stack works, and waiting until it does."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]

from stack.clients.http import get
from stack.errors import UnhealthyError
from stack.processes.databases import Server
from stack.processes.definitions import AIRFLOW, DAG_PROCESSOR, MLFLOW, POSTGRES, SCHEDULER, SERVICE
from stack.processes.supervisor import RUNNING, Process, Supervisor
from stack.settings import Settings

# Seconds from its start until a part must be healthy, on a slow and busy machine.
LIMITS = {POSTGRES: 60, MLFLOW: 240, AIRFLOW: 240, SCHEDULER: 300, DAG_PROCESSOR: 240, SERVICE: 60}
MOST_EXITS = 3  # within one wait; a database may need a second try after a kill, because of its own leftovers
SHOWN_LINES = 15
PAUSE = 0.2  # seconds between two looks


@dataclass(frozen=True)
class Health:
    """One answer to "does it work?".

    Attributes:
        ok: whether it does.
        note: if not, what is missing.
        version: what runs, if it says so.
    """

    ok: bool
    note: str = ""
    version: str | None = None


Probe = Callable[[float], Health]  # takes the time from which on a part's own report counts


def probes(settings: Settings, server: Server) -> dict[str, Probe]:
    """Return the function that looks at each part, by name."""
    return {
        POSTGRES: lambda _: _postgres(server),
        MLFLOW: lambda _: _page(f"{settings.mlflow_url}/health", f"{settings.mlflow_url}/version"),
        AIRFLOW: lambda _: _airflow(settings.airflow_url),
        SCHEDULER: partial(_heartbeat, settings.airflow_url, "scheduler"),
        DAG_PROCESSOR: partial(_heartbeat, settings.airflow_url, "dag_processor"),
        SERVICE: lambda _: _page(f"{settings.service_url}/healthz"),
    }


def _postgres(server: Server) -> Health:
    try:
        return Health(True, version=server.version())
    except psycopg2.Error as error:
        return Health(False, str(error).strip().splitlines()[-1])


def _page(url: str, version_url: str | None = None) -> Health:
    answer = get(url)
    if answer is None or answer.status_code != 200:
        return Health(False, f"{url} " + ("does not answer" if answer is None else f"answers {answer.status_code}"))
    version = get(version_url) if version_url else None
    return Health(True, version=version.text.strip() if version is not None and version.ok else None)


def _airflow(url: str) -> Health:
    answer = get(f"{url}/api/v2/version")
    if answer is None or answer.status_code != 200:
        return Health(False, f"{url} " + ("does not answer" if answer is None else f"answers {answer.status_code}"))
    return Health(True, version=answer.json()["version"])


def _heartbeat(url: str, kind: str, since: float) -> Health:
    answer = get(f"{url}/api/v2/monitor/health")
    if answer is None or answer.status_code != 200:
        return Health(False, "the api-server, which would know, does not answer")
    report = answer.json().get(kind) or {}
    beat = report.get(f"latest_{kind}_heartbeat")
    if report.get("status") != "healthy" or not beat or datetime.fromisoformat(beat).timestamp() < since:
        return Health(False, "has not reported to the database yet" if not beat else f"last heartbeat {beat[:19]}")
    return Health(True)


def wait(
    supervisor: Supervisor,
    probe_of: Mapping[str, Probe],
    names: Iterable[str],
    done: Callable[[str, float], None],
    earlier_exits: int = 0,
) -> None:
    """Wait until all the named parts are healthy.

    Args:
        supervisor: who keeps them.
        probe_of: how to look at each.
        names: the parts.
        done: called with a part's name and the seconds it took, once it is healthy.
        earlier_exits: how many of the supervisor's ``exits()`` are of the time before.

    Raises:
        UnhealthyError: one gave up, ended again and again, or took too long; shows the end of its log.
    """
    begun = time.monotonic()
    waiting = list(names)
    while waiting:
        processes = supervisor.processes()
        exits = [ended.name for ended in supervisor.exits()[earlier_exits:]]
        for name in list(waiting):
            process, spent = processes[name], time.monotonic() - begun
            if process.state == "FATAL" or exits.count(name) >= MOST_EXITS:
                raise _unhealthy(supervisor, name, "does not start: it ends again and again")
            health = probe_of[name](_since(processes, name)) if process.pid else Health(False, process.state.lower())
            if health.ok and process.state in (RUNNING, "STARTING"):
                waiting.remove(name)
                done(name, spent)
            elif spent > LIMITS[name]:
                raise _unhealthy(supervisor, name, f"is not healthy after {LIMITS[name]} s: {health.note}")
        if waiting:
            time.sleep(PAUSE)


def _unhealthy(supervisor: Supervisor, name: str, what: str) -> UnhealthyError:
    return UnhealthyError(
        f"{name} {what}",
        where=log_end(supervisor.settings.logs / f"{name}.log"),
        expected=f"a healthy {name} within {LIMITS[name]} s",
        hint="correct what the log says, then ./heartline up again",
    )


def log_end(log: Path) -> str:
    """Return a log's path and its last lines, as an error's ``where``."""
    return f"{log}, which ends with:" + "".join(f"\n            {line}" for line in last_lines(log, SHOWN_LINES))


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a text file; none if there is no such file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 400 * count))
        return file.read().decode(errors="replace").splitlines()[-count:]


def healthy(processes: Mapping[str, Process], name: str, probe: Probe) -> Health:
    """Look once at a part that the supervisor keeps."""
    state = processes[name].state
    if state not in (RUNNING, "STARTING"):
        return Health(False, f"{state.lower()} (so the supervisor)")
    return probe(_since(processes, name))


def _since(processes: Mapping[str, Process], name: str) -> float:
    """Return from when on a part's report to the database counts, in seconds since 1970.

    One from before its start is its predecessor's. One from before the database's start says nothing about a part
    that has yet to notice that its connections are gone, and may end of it a second later.
    """
    starts = [processes[one].started for one in (name, POSTGRES) if one in processes]
    return max(starts) + 1  # the supervisor tells whole seconds

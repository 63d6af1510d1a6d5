"""Health checks of the processes, and waiting until they are healthy."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]

from stack.clients.http import get
from stack.errors import UnhealthyError
from stack.processes.databases import REFUSED_LOGIN, Server
from stack.processes.definitions import AIRFLOW, DAG_PROCESSOR, MLFLOW, POSTGRES, SCHEDULER, SERVICE
from stack.processes.supervisor import RUNNING, ProcessState, Supervisor
from stack.settings import Settings

# Seconds from its start until a process must be healthy. Generous, for slow and busy machines.
START_TIMEOUTS = {POSTGRES: 60, MLFLOW: 240, AIRFLOW: 240, SCHEDULER: 300, DAG_PROCESSOR: 240, SERVICE: 60}
MAX_EXITS = 3  # within one wait; after a kill, a database may exit once because of its own orphans
SHOWN_LOG_LINES = 15
POLL_INTERVAL = 0.2  # seconds
TASK_API = "/execution/health/ping"


@dataclass(frozen=True)
class Health:
    """The result of one health check.

    Attributes:
        ok: whether the process is healthy.
        note: what is wrong, if it is not.
        version: the version of its program, if it reports one.
    """

    ok: bool
    note: str = ""
    version: str | None = None


Probe = Callable[[float], Health]  # takes the earliest time, in seconds since 1970, of a heartbeat that counts


def probes(settings: Settings, server: Server) -> dict[str, Probe]:
    """Return the health check of each process, by name."""
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


def answers(server: Server, _: float) -> Health:
    """Check that PostgreSQL answers, whether it accepts the password or not."""
    found = _postgres(server)
    return Health(found.ok or REFUSED_LOGIN in found.note, found.note, found.version)


def _page(url: str, version_url: str | None = None) -> Health:
    answer = get(url)
    if answer is None or answer.status_code != 200:
        return Health(False, f"{url} " + ("does not answer" if answer is None else f"answers {answer.status_code}"))
    version = get(version_url) if version_url else None
    return Health(True, version=version.text.strip() if version is not None and version.ok else None)


def _airflow(url: str) -> Health:
    # Airflow builds the API that tasks use at its first request, for some seconds, which the first task would wait.
    tasks = _page(f"{url}{TASK_API}")
    if not tasks.ok:
        return tasks
    answer = get(f"{url}/api/v2/version")
    if answer is None or answer.status_code != 200:
        return Health(False, f"{url} " + ("does not answer" if answer is None else f"answers {answer.status_code}"))
    return Health(True, version=answer.json()["version"])


def _heartbeat(url: str, kind: str, since: float) -> Health:
    answer = get(f"{url}/api/v2/monitor/health")
    if answer is None or answer.status_code != 200:
        return Health(False, "the api-server, which reports the heartbeat, does not answer")
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
    """Wait until all the named processes are healthy.

    Args:
        supervisor: the supervisor that runs them.
        probe_of: the health check of each.
        names: the processes to wait for.
        done: called with the name of a process and the seconds that it took, once it is healthy.
        earlier_exits: how many of the supervisor's ``exits()`` happened before.

    Raises:
        UnhealthyError: a process exits repeatedly or takes too long; shows the end of its log.
    """
    started = time.monotonic()
    waiting = list(names)
    while waiting:
        processes = supervisor.processes()
        exits = [ended.name for ended in supervisor.exits()[earlier_exits:]]
        for name in list(waiting):
            process, spent = processes[name], time.monotonic() - started
            if process.state == "FATAL" or exits.count(name) >= MAX_EXITS:
                raise _unhealthy(supervisor, name, "does not start: it exits repeatedly")
            health = probe_of[name](_since(processes, name)) if process.pid else Health(False, process.state.lower())
            if health.ok and process.state in (RUNNING, "STARTING"):
                waiting.remove(name)
                done(name, spent)
            elif spent > START_TIMEOUTS[name]:
                raise _unhealthy(supervisor, name, f"is not healthy after {START_TIMEOUTS[name]} s: {health.note}")
        if waiting:
            time.sleep(POLL_INTERVAL)


def _unhealthy(supervisor: Supervisor, name: str, what: str) -> UnhealthyError:
    return UnhealthyError(
        f"{name} {what}",
        where=log_end(supervisor.settings.logs / f"{name}.log"),
        expected=f"a healthy {name} within {START_TIMEOUTS[name]} s",
        hint="fix the cause that the log names, then ./heartline up again",
    )


def log_end(log: Path) -> str:
    """Return a log's path and its last lines, as an error's ``where``."""
    return f"{log}, which ends with:" + "".join(f"\n            {line}" for line in last_lines(log, SHOWN_LOG_LINES))


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a text file; none if there is no such file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 400 * count))
        return file.read().decode(errors="replace").splitlines()[-count:]


def healthy(processes: Mapping[str, ProcessState], name: str, probe: Probe) -> Health:
    """Run the health check of a process that the supervisor runs, once."""
    state = processes[name].state
    if state not in (RUNNING, "STARTING"):
        return Health(False, f"{state.lower()} (the supervisor reports)")
    return probe(_since(processes, name))


def _since(processes: Mapping[str, ProcessState], name: str) -> float:
    """Return the earliest time of a heartbeat that counts, in seconds since 1970.

    A heartbeat from before the start of the process is its predecessor's. One from before the start of the database
    does not count either: the process may not have noticed yet that its connections are gone, and exit a second later.
    """
    starts = [processes[one].started for one in (name, POSTGRES) if one in processes]
    return max(starts) + 1  # the supervisor reports whole seconds

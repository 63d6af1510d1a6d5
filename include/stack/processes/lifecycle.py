"""Starts and stops all processes of the stack."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import psutil

from heartline.ledger import retention
from heartline.ledger.store import Store
from heartline.registry.production import approvals
from stack import console
from stack.clients.mlflow import Registry
from stack.locks import exclusive
from stack.processes import cluster_location, health, orphans, ports
from stack.processes.databases import Server, create_missing, prune_ledger
from stack.processes.definitions import (
    AIRFLOW,
    DAG_PROCESSOR,
    MLFLOW,
    POSTGRES,
    SCHEDULER,
    SERVICE,
    ProcessDefinition,
    alias_lock_url,
    define_processes,
    ledger_url,
    monitoring_url,
    passwords_file,
)
from stack.processes.env_markers import DIGEST_VARIABLE, read_marker, started_with
from stack.processes.migrations import Migrations, Schema
from stack.processes.postgres import Cluster, remove_shared_folder
from stack.processes.supervisor import RUNNING, Supervisor, socket_path
from stack.secrets.credentials import Credentials, logins, write_private
from stack.settings import MARKER_FILE, Settings

LOCK = "lock"


@dataclass(frozen=True)
class Stack:
    """The settings, secrets and supervisor of one stack: what `up`, `down` and `status` work on."""

    settings: Settings
    credentials: Credentials
    supervisor: Supervisor

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the stack of these settings; starts and writes nothing."""
        credentials = Credentials(settings.home)
        return cls(settings, credentials, Supervisor(settings, credentials))

    @property
    def server(self) -> Server:
        """The PostgreSQL server."""
        return Server.of(self.settings, self.credentials)

    @property
    def ledger_url(self) -> str:
        """The URL of the ledger's database, for commands."""
        return ledger_url(self.server, self.credentials)

    @property
    def ledger(self) -> Store:
        """The ledger, for commands."""
        return Store(self.ledger_url)

    @property
    def monitoring_url(self) -> str:
        """The URL of the database in which the monitoring keeps its reports."""
        return monitoring_url(self.server, self.credentials)

    @property
    def registry(self) -> Registry:
        """The registered model, with the lock that all movers of its aliases hold, and the ledger of its moves."""
        return Registry(
            self.settings.mlflow_url,
            alias_lock_url(self.server, self.credentials),
            f"{self.settings.service_url}/readyz",
            self.ledger,
            approval_secret=self._approval_secret(),
        )

    def _approval_secret(self) -> str | None:
        """Return the secret that moves are verified with, if this shell or the running scheduler requires approvals."""
        if approvals.required(os.environ) or approvals.required(started_with(self.settings.home, SCHEDULER)):
            return self.credentials["approval_secret"]
        return None

    @property
    def login_file(self) -> Path:
        """The file with the password of Airflow's user."""
        return self.credentials.folder / "airflow_admin_password"

    @property
    def approver_file(self) -> Path:
        """The file with the password of Airflow's second user, who may answer requests for approval."""
        return self.credentials.folder / "airflow_approver_password"

    def definitions(self) -> list[ProcessDefinition]:
        """Return the definitions of the processes, in their start order."""
        return define_processes(self.settings, self.credentials)

    def probes(self) -> dict[str, health.Probe]:
        """Return the health check of each process."""
        return health.probes(self.settings, self.server)

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Keep other commands from starting or stopping this stack meanwhile.

        Raises:
            InUseError: another command holds the lock.
        """
        self.settings.make_home()
        with exclusive(self.settings.home / LOCK, command):
            yield


def start(stack: Stack) -> None:
    """Start what does not run, restart what is out of date, and wait until every process is healthy.

    Raises:
        InUseError: a port is taken; nothing was started.
        UnhealthyError: a process does not become healthy; what was started is stopped.
        MachineError: the operating system refused something; what was started is stopped.
    """
    cluster = None if stack.settings.postgres_url else Cluster.claim(stack.settings)
    if stack.supervisor.alive():
        _stop_if_moved(stack, cluster)
    else:
        _end_orphans(stack)
    wanted = stack.definitions()
    ports.check(stack.settings.home, wanted)
    _prepare_files(stack, wanted)
    before = _reconcile(stack, wanted)
    try:
        _start_in_order(stack, wanted, before)
    except BaseException:
        with console.err.status("stopping what was started"):
            _undo(stack, before)
        raise


def _stop_if_moved(stack: Stack, cluster: Cluster | None) -> None:
    """Stop a running stack whose state folder was moved, or whose database's files get another owner."""
    before = orphans.home_of(stack.supervisor.pid())
    moved = before not in (None, stack.settings.home)
    if moved or (cluster and cluster.must_stop()):
        console.say("  the state folder was moved: restarting everything" if moved else "  restarting everything")
        stop(stack)
        if before and moved:
            orphans.end(orphans.of_stack(before))


def _end_orphans(stack: Stack) -> None:
    ended = orphans.end(orphans.of_stack(stack.settings.home))
    if ended:
        console.say(f"  ended orphans of an earlier supervisor: {', '.join(map(str, ended))}")


def _prepare_files(stack: Stack, wanted: list[ProcessDefinition]) -> None:
    settings = stack.settings
    if not settings.postgres_url:
        Cluster.of(settings).prepare(stack.credentials)
    for folder in ("airflow", "artifacts", "store", "cache"):
        (settings.home / folder).mkdir(mode=0o700, exist_ok=True)
    write_private(passwords_file(settings), json.dumps(logins(stack.credentials)))
    for definition in wanted:
        definition.write(settings)


def _reconcile(stack: Stack, wanted: list[ProcessDefinition]) -> set[str]:
    """Make sure that the supervisor runs, stop outdated processes, and return the names of those that continue."""
    supervisor = stack.supervisor
    if supervisor.alive():
        if not supervisor.outdated(wanted):
            processes = supervisor.processes()
            outdated = [
                definition.name for definition in wanted if _outdated(definition, processes[definition.name].pid)
            ]
            if outdated:
                console.say(f"  settings or packages have changed: restarting {', '.join(outdated)}")
                supervisor.stop_processes(outdated)
            return {name for name, process in processes.items() if process.state == RUNNING} - set(outdated)
        console.say("  the supervisor's configuration has changed: restarting everything")
        stop(stack)
    supervisor.start(wanted)
    return set()


def _outdated(definition: ProcessDefinition, pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        digest = read_marker(psutil.Process(pid).environ(), DIGEST_VARIABLE)
    except psutil.Error:
        return False  # it has just ended: the supervisor restarts it with the present start file
    return digest is not None and digest != definition.digest()  # without one it has yet to read its start file


def _start_in_order(stack: Stack, wanted: list[ProcessDefinition], running: set[str]) -> None:
    """Start the processes in the order of their dependencies; the two schemas are upgraded in parallel."""
    supervisor, probes = stack.supervisor, stack.probes()
    by_name, earlier = {definition.name: definition for definition in wanted}, len(supervisor.exits())

    def report(name: str, seconds: float) -> None:
        console.done(f"{name} runs" if name in running else f"{name} started", seconds)

    supervisor.start_process(SERVICE)
    if POSTGRES in by_name:
        _start_postgres(stack, report, earlier)
    migrations = Migrations(stack.settings, stack.server, stack.credentials)
    created = create_missing(stack.server, stack.credentials, own=POSTGRES in by_name)
    removed = prune_ledger(stack.server, retention.days(os.environ.get(retention.VARIABLE)), by="heartline up")
    if removed:
        console.say(f"  {removed} entries of the ledger were removed: {retention.VARIABLE}")
    _upgrade_schemas(stack, by_name, migrations, created)
    for name in (MLFLOW, AIRFLOW, SCHEDULER, DAG_PROCESSOR):
        supervisor.start_process(name)
    with console.err.status("waiting until every process is healthy"):
        health.wait(supervisor, probes, [name for name in by_name if name != POSTGRES], report, earlier)


def _start_postgres(stack: Stack, report: Callable[[str, float], None], earlier: int) -> None:
    """Start the embedded PostgreSQL. If it does not accept the password in the state folder, set that one."""
    supervisor, probe = stack.supervisor, {POSTGRES: partial(health.answers, stack.server)}
    supervisor.start_process(POSTGRES)
    with console.err.status("postgres"):
        health.wait(supervisor, probe, [POSTGRES], report, earlier)
    if stack.server.accepts_password():
        return
    console.say(f"  the database has another password than {stack.credentials.folder}: setting this one")
    supervisor.stop_processes([POSTGRES])
    Cluster.of(stack.settings).set_password(stack.credentials["postgres_password"])
    supervisor.start_process(POSTGRES)
    health.wait(supervisor, stack.probes(), [POSTGRES], report, earlier)


def _upgrade_schemas(
    stack: Stack, by_name: dict[str, ProcessDefinition], migrations: Migrations, created: set[str]
) -> None:
    """Bring both schemas up to date, in parallel. Who uses a schema that is changed is stopped before."""
    states = {AIRFLOW: migrations.state(AIRFLOW), MLFLOW: migrations.state(MLFLOW)}
    _warn_of_lost_databases(states, created)
    users = {AIRFLOW: {AIRFLOW, SCHEDULER, DAG_PROCESSOR}, MLFLOW: {MLFLOW}}
    for name, state in states.items():
        if state != Schema.CURRENT:
            stack.supervisor.stop_processes(users[name])
    with ThreadPoolExecutor() as pool:
        airflow = pool.submit(migrations.airflow, by_name[AIRFLOW], states[AIRFLOW])
        migrations.mlflow(by_name[MLFLOW], states[MLFLOW])
        stack.supervisor.start_process(MLFLOW)
        airflow.result()


_LOST = {
    "airflow": "its runs, their logs' index and its own settings (connections, variables) are gone",
    "mlflow": "its runs, registered versions and `production` are gone",
    "heartline": "the tables that you loaded into it and the ledger are gone",
    "predictions": "the log of predictions is gone",
}


def _warn_of_lost_databases(states: Mapping[str, Schema], created: set[str]) -> None:
    """Say loudly which databases are made anew while others still have their content."""
    kept = {name for name, state in states.items() if state != Schema.ABSENT}
    lost = [name for name in _LOST if states.get(name) == Schema.ABSENT or name in created]
    if kept and lost:
        lines = [f"the database {name} is empty or missing and is made anew: {_LOST[name]}" for name in lost]
        console.warn("\n".join([*lines, f"unchanged: {', '.join(sorted({*_LOST} - {*lost}))}"]))


def _undo(stack: Stack, before: set[str]) -> None:
    if before and stack.supervisor.alive():
        stack.supervisor.stop_processes(set(stack.supervisor.processes()) - before)
    else:
        stop(stack)


def stop(stack: Stack) -> list[str]:
    """End every process of the stack, and no other.

    Returns:
        The names of the processes that ran.
    """
    supervisor, ran = stack.supervisor, []
    if supervisor.alive():
        ran = [name for name, process in supervisor.processes().items() if process.pid]
        supervisor.stop_processes(set(supervisor.processes()) - {POSTGRES})
        supervisor.stop_processes({POSTGRES})  # last: the others write to it until they end
        supervisor.shut_down()
    rest = orphans.end(orphans.of_stack(stack.settings.home))
    socket_path(stack.settings.home).unlink(missing_ok=True)
    return ran or [f"process {pid}" for pid in rest]


def purged(stack: Stack) -> list[Path]:
    """Return what ``purge`` deletes: the state folder, and root's database, which lies elsewhere."""
    home = stack.settings.home
    if not (home / MARKER_FILE).exists():
        return []
    cluster = cluster_location.existing(home) if os.geteuid() == 0 else None
    return [*sorted(home.iterdir()), *([cluster] if cluster else [])]


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(Path(folder, name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def purge(stack: Stack) -> None:
    """Delete the state of a stopped stack; leaves a folder alone that is not Heartline's own.

    Raises:
        OSError: something cannot be deleted.
    """
    home = stack.settings.home
    if not (home / MARKER_FILE).exists():
        return
    remove_shared_folder(home)
    shutil.rmtree(home)

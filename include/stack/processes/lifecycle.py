"""Starts and stops all processes of the stack."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from stack import console
from stack.clients.mlflow import Registry
from stack.locks import exclusive
from stack.processes import health, orphans, ports
from stack.processes.databases import Server, create_missing
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
    passwords_file,
)
from stack.processes.env_markers import DIGEST_VARIABLE, read_marker
from stack.processes.migrations import Migrations
from stack.processes.postgres import Cluster, remove_shared_folder
from stack.processes.supervisor import RUNNING, Supervisor, socket_path
from stack.secrets.credentials import Credentials, write_private
from stack.settings import MARKER_FILE, USER, Settings

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
    def registry(self) -> Registry:
        """The registered model, with the lock that all movers of its aliases hold."""
        return Registry(
            self.settings.mlflow_url,
            alias_lock_url(self.server, self.credentials),
            f"{self.settings.service_url}/readyz",
        )

    @property
    def login_file(self) -> Path:
        """The file with the password of Airflow's user."""
        return self.credentials.folder / "airflow_admin_password"

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
    wanted = stack.definitions()
    if not stack.supervisor.alive():
        _end_orphans(stack)
    ports.check(stack.settings.home, wanted)
    _prepare_files(stack, wanted)
    before = _reconcile(stack, wanted)
    try:
        _start_in_order(stack, wanted, before)
    except BaseException:
        with console.err.status("stopping what was started"):
            _undo(stack, before)
        raise


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
    write_private(passwords_file(settings), json.dumps({USER: stack.credentials["airflow_admin_password"]}))
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
        supervisor.start_process(POSTGRES)
        with console.err.status("postgres"):
            health.wait(supervisor, probes, [POSTGRES], report, earlier)
    if set(by_name) - running:
        create_missing(stack.server, stack.credentials)
        migrations = Migrations(stack.settings, stack.server)
        with ThreadPoolExecutor() as pool:
            airflow = pool.submit(migrations.airflow, by_name[AIRFLOW])
            migrations.mlflow(by_name[MLFLOW])
            supervisor.start_process(MLFLOW)
            airflow.result()
        migrations.record()
        for name in (AIRFLOW, SCHEDULER, DAG_PROCESSOR):
            supervisor.start_process(name)
    with console.err.status("waiting until every process is healthy"):
        health.wait(supervisor, probes, [name for name in by_name if name != POSTGRES], report, earlier)


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

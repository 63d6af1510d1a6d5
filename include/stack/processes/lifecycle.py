"""Starting and stopping the whole stack."""

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
from stack.locks import exclusive
from stack.processes import health, orphans, ports
from stack.processes.databases import Server, provide
from stack.processes.definitions import (
    AIRFLOW,
    DAG_PROCESSOR,
    MLFLOW,
    POSTGRES,
    SCHEDULER,
    SERVICE,
    Part,
    parts,
    passwords_file,
)
from stack.processes.env_markers import DIGEST_VARIABLE
from stack.processes.migrations import Migrations
from stack.processes.postgres import Cluster, remove_shared_folder
from stack.processes.supervisor import RUNNING, Supervisor, socket_path
from stack.secrets.credentials import Credentials, write_private
from stack.settings import MARK, USER, Settings

LOCK = "lock"


@dataclass(frozen=True)
class Stack:
    """Everything that starting, stopping and looking need."""

    settings: Settings
    credentials: Credentials
    supervisor: Supervisor

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the stack of these settings; nothing is started or written."""
        credentials = Credentials(settings.home)
        return cls(settings, credentials, Supervisor(settings, credentials))

    @property
    def server(self) -> Server:
        """The PostgreSQL server."""
        return Server.of(self.settings, self.credentials)

    @property
    def login_file(self) -> Path:
        """The file with the password of Airflow's user."""
        return self.credentials.folder / "airflow_admin_password"

    def parts(self) -> list[Part]:
        """Return the parts, in the order in which they are started."""
        return parts(self.settings, self.credentials)

    def probes(self) -> dict[str, health.Probe]:
        """Return how to look at each part."""
        return health.probes(self.settings, self.server)

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Let no other command start or stop this stack meanwhile.

        Raises:
            InUseError: another one is at it.
        """
        self.settings.make_home()
        with exclusive(self.settings.home / LOCK, command):
            yield


def start(stack: Stack) -> None:
    """Start what does not run, restart what is out of date, and wait until all of it is healthy.

    Raises:
        InUseError: a port is taken; nothing was started.
        UnhealthyError: a part does not become healthy; what was started is stopped.
        MachineError: the machine refused something; what was started is stopped.
    """
    wanted = stack.parts()
    if not stack.supervisor.alive():
        _end_leftovers(stack)
    ports.check(stack.settings.home, wanted)
    _prepare_files(stack, wanted)
    before = _reconcile(stack, wanted)
    try:
        _start_in_order(stack, wanted, before)
    except BaseException:
        with console.err.status("stopping what was started"):
            _undo(stack, before)
        raise


def _end_leftovers(stack: Stack) -> None:
    ended = orphans.end(orphans.marked(stack.settings.home))
    if ended:
        console.say(f"  ended what an earlier supervisor left running: {', '.join(map(str, ended))}")


def _prepare_files(stack: Stack, wanted: list[Part]) -> None:
    settings = stack.settings
    if not settings.postgres_url:
        Cluster.of(settings).prepare(stack.credentials)
    for folder in ("airflow", "artifacts", "store", "cache"):
        (settings.home / folder).mkdir(mode=0o700, exist_ok=True)
    write_private(passwords_file(settings), json.dumps({USER: stack.credentials["airflow_admin_password"]}))
    for part in wanted:
        part.write(settings)


def _reconcile(stack: Stack, wanted: list[Part]) -> set[str]:
    """Make the supervisor keep the wanted parts, stop the outdated ones, and return the names of those that run."""
    supervisor = stack.supervisor
    if supervisor.alive():
        processes = supervisor.processes()
        if set(processes) == {part.name for part in wanted}:
            outdated = [part.name for part in wanted if _outdated(part, processes[part.name].pid)]
            if outdated:
                console.say(f"  settings or packages have changed: restarting {', '.join(outdated)}")
                supervisor.stop_parts(outdated)
            return {name for name, process in processes.items() if process.state == RUNNING} - set(outdated)
        console.say("  the set of parts has changed: restarting everything")
        stop(stack)
    supervisor.start(wanted)
    return set()


def _outdated(part: Part, pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        digest = psutil.Process(pid).environ().get(DIGEST_VARIABLE)
    except psutil.Error:
        return False  # it has just ended: the supervisor starts it again with what is written now
    return digest is not None and digest != part.digest()  # without one it has yet to read what is written now


def _start_in_order(stack: Stack, wanted: list[Part], running: set[str]) -> None:
    """Start what needs nothing first; the two schemas are brought up to date at the same time."""
    supervisor, looks = stack.supervisor, stack.probes()
    by_name, earlier = {part.name: part for part in wanted}, len(supervisor.exits())

    def report(name: str, seconds: float) -> None:
        console.done(f"{name} runs" if name in running else f"{name} started", seconds)

    supervisor.start_part(SERVICE)
    if POSTGRES in by_name:
        supervisor.start_part(POSTGRES)
        with console.err.status("postgres"):
            health.wait(supervisor, looks, [POSTGRES], report, earlier)
    if set(by_name) - running:
        provide(stack.server, stack.credentials)
        migrations = Migrations(stack.settings, stack.server)
        with ThreadPoolExecutor() as pool:
            airflow = pool.submit(migrations.airflow, by_name[AIRFLOW])
            migrations.mlflow(by_name[MLFLOW])
            supervisor.start_part(MLFLOW)
            airflow.result()
        migrations.record()
        for name in (AIRFLOW, SCHEDULER, DAG_PROCESSOR):
            supervisor.start_part(name)
    with console.err.status("waiting until every part is healthy"):
        health.wait(supervisor, looks, [name for name in by_name if name != POSTGRES], report, earlier)


def _undo(stack: Stack, before: set[str]) -> None:
    if before and stack.supervisor.alive():
        stack.supervisor.stop_parts(set(stack.supervisor.processes()) - before)
    else:
        stop(stack)


def stop(stack: Stack) -> list[str]:
    """End every process of the stack, and no other.

    Returns:
        The names of the parts that ran.
    """
    supervisor, ran = stack.supervisor, []
    if supervisor.alive():
        ran = [name for name, process in supervisor.processes().items() if process.pid]
        supervisor.stop_parts(set(supervisor.processes()) - {POSTGRES})
        supervisor.stop_parts({POSTGRES})  # last: the others write to it until their end
        supervisor.shut_down()
    rest = orphans.end(orphans.marked(stack.settings.home))
    socket_path(stack.settings.home).unlink(missing_ok=True)
    return ran or [f"process {pid}" for pid in rest]


def purge(stack: Stack) -> None:
    """Delete the state of a stopped stack; a folder that is not Heartline's own is left alone.

    Raises:
        OSError: something cannot be deleted.
    """
    home = stack.settings.home
    if not (home / MARK).exists():
        return
    remove_shared_folder(home)
    shutil.rmtree(home)

"""Finds and ends the processes of a stack by the markers in their environment, also when no supervisor keeps them."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from stack.processes.env_markers import PROCESS_VARIABLE, STACK_VARIABLE, read_marker

TERMINATION_TIMEOUT = 8.0  # seconds between TERM and KILL


def of_stack(home: Path) -> list[psutil.Process]:
    """Return every process that the stack with state folder ``home`` started, except the calling one."""
    return [process for process, _ in _scan(home) if process.pid != os.getpid()]


def of_process(home: Path, name: str) -> list[psutil.Process]:
    """Return every process that was started as, or by, process ``name`` of that stack."""
    return [process for process, found in _scan(home) if found == name]


def home_of(pid: int) -> Path | None:
    """Return the state folder that a process of a stack was started with; None if it cannot be read."""
    try:
        home = psutil.Process(pid).environ().get(STACK_VARIABLE)
    except (psutil.Error, OSError):
        return None
    return Path(home) if home else None


def oldest_by_name(home: Path) -> dict[str, int]:
    """Return the process id of the oldest running process for each process name of the stack."""
    oldest: dict[str, tuple[float, int]] = {}
    for process, name in _scan(home):
        try:
            entry = (process.create_time(), process.pid)
        except psutil.Error:
            continue
        if name and entry < oldest.get(name, (float("inf"), 0)):
            oldest[name] = entry
    return {name: pid for name, (_, pid) in oldest.items()}


def end(processes: Iterable[psutil.Process], timeout: float = TERMINATION_TIMEOUT) -> list[int]:
    """Send TERM to each process, wait, and kill those that still run.

    Args:
        processes: the processes to end. psutil checks that a process id was not reused meanwhile.
        timeout: seconds to wait for all of them together.

    Returns:
        The process ids of those that were there.
    """
    signalled = []
    for process in processes:
        try:
            # INT is PostgreSQL's fast shutdown; TERM is the same for all others.
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
            signalled.append(process)
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(signalled, timeout=timeout)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=timeout)
    return [process.pid for process in signalled]


def _scan(home: Path) -> Iterable[tuple[psutil.Process, str | None]]:
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or belongs to another user
        if environment.get(STACK_VARIABLE) == str(home):
            yield process, read_marker(environment, PROCESS_VARIABLE)

"""Processes of this stack that nobody keeps any more, told from all others by a mark in their environment."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from stack.processes.env_markers import PART_VARIABLE, STACK_VARIABLE

PATIENCE = 8.0  # seconds that a process gets to end by itself


def marked(home: Path) -> list[psutil.Process]:
    """Return every process that was started by the stack whose state folder is ``home``, but not this one."""
    return [process for process, part in _scan(home) if process.pid != os.getpid()]


def of_part(home: Path, name: str) -> list[psutil.Process]:
    """Return every process that was started as, or by, part ``name`` of that stack."""
    return [process for process, part in _scan(home) if part == name]


def _scan(home: Path) -> Iterable[tuple[psutil.Process, str | None]]:
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or belongs to somebody else
        if environment.get(STACK_VARIABLE) == str(home):
            yield process, environment.get(PART_VARIABLE)


def end(processes: Iterable[psutil.Process], patience: float = PATIENCE) -> list[int]:
    """Ask each process to end, wait, and kill those that have not.

    Args:
        processes: what to end; psutil makes sure that a number was not given to another process meanwhile.
        patience: seconds to wait for all of them together.

    Returns:
        The numbers of those that were there.
    """
    asked = []
    for process in processes:
        try:
            # What INT means to PostgreSQL, a quick and orderly end, TERM means to all others.
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
            asked.append(process)
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(asked, timeout=patience)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=patience)
    return [process.pid for process in asked]


def by_part(home: Path) -> dict[str, int]:
    """Return, for each part that has processes, the number of its oldest one."""
    found: dict[str, tuple[float, int]] = {}
    for process, part in _scan(home):
        try:
            entry = (process.create_time(), process.pid)
        except psutil.Error:
            continue
        if part and entry < found.get(part, (float("inf"), 0)):
            found[part] = entry
    return {part: pid for part, (_, pid) in found.items()}

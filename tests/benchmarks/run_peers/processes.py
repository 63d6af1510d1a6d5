"""Processes of a measurement: their CPU time, a free port, and their end."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from stack.processes.env_markers import PROCESS_VARIABLE

STOP_SECONDS = 20


def stack_cpu(home: Path) -> dict[str, float]:
    """Return the CPU seconds of each process of a stack so far, with those of its children that have ended."""
    supervisor = psutil.Process(int((home / "run" / "supervisord.pid").read_text()))
    found = {"supervisord": _own(supervisor)}
    for child in supervisor.children():
        name = child.environ().get(PROCESS_VARIABLE, child.name())
        found[name] = found.get(name, 0.0) + tree_cpu(child)
    return found


def tree_cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of all below it."""
    spent = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            times = one.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent


def difference(before: dict[str, float], after: dict[str, float], names: Iterable[str] | None = None) -> float:
    """Return the CPU seconds between two readings, of all processes or of the named ones."""
    return sum(after[name] - before.get(name, 0.0) for name in after if names is None or name in names)


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def stopped(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

"""What to do while packages are being installed, and how to stop a stack without them. Standard library only."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

LOCK = "setup.lock"
STOP_TIMEOUT = 40.0  # seconds until the supervisor has stopped its processes, and until the rest has ended
_STACK_VARIABLE = "HEARTLINE_STACK"  # of stack.processes.env_markers, which is not importable without packages
_POLL_INTERVAL = 0.2  # seconds


def holder(folder: Path) -> str | None:
    """Return who is installing packages into this clone, as written in the lock; None if nobody is.

    Args:
        folder: the folder of the lock.
    """
    try:
        with (folder / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another heartline command"
    except FileNotFoundError:
        pass
    return None


def wait(folder: Path) -> None:
    """Wait while another command installs packages. Says who does, and shows the elapsed seconds in a terminal."""
    who = holder(folder)
    if not who:
        return
    print(f"{who}, is installing packages; waiting until it has finished (Ctrl-C stops waiting) …", file=sys.stderr)
    started, terminal = time.monotonic(), sys.stderr.isatty()
    while holder(folder):
        time.sleep(_POLL_INTERVAL)
        if terminal:
            print(f"\r\x1b[K  {time.monotonic() - started:.0f} s", end="", file=sys.stderr, flush=True)
    print("\r\x1b[K" if terminal else "", end="", file=sys.stderr, flush=True)


def stop_stack(home: Path) -> list[int]:
    """End all processes of the stack with the state folder ``home``, and return their process ids.

    The supervisor comes first: it stops its processes and would otherwise start them again.
    """
    found = dict(_processes(home))
    supervisors = [pid for pid, command in found.items() if "supervisor.supervisord" in command]
    _signal(supervisors, signal.SIGTERM)
    _wait(supervisors)
    rest = dict(_processes(home))
    for pid, command in rest.items():
        # INT is PostgreSQL's fast shutdown
        _signal([pid], signal.SIGINT if "bin/postgres" in command else signal.SIGTERM)
    _wait(rest)
    _signal([pid for pid, _ in _processes(home)], signal.SIGKILL)
    return sorted({*found, *rest})


def _processes(home: Path) -> Iterator[tuple[int, str]]:
    """Yield the process id and command line of each process that has the marker of this stack in its environment."""
    marker = f"{_STACK_VARIABLE}={home}"
    if Path("/proc/self/environ").exists():
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if marker.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    yield (
                        int(entry.name),
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
                    )
            except OSError:
                continue  # it ended meanwhile, or belongs to another user
        return
    # e: with the environment; ww: not cut
    listed = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        pid, _, rest = line.strip().partition(" ")
        if f" {marker} " in f"{rest} " and int(pid) != os.getpid():
            yield int(pid), rest


def _signal(pids: list[int], which: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            continue


def _wait(pids: Iterable[int]) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if _runs(pid)}
        time.sleep(_POLL_INTERVAL)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        # A zombie has ended; its parent has not asked for its exit code yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()

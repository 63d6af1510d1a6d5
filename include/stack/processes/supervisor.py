"""The supervisor: its configuration, its start, and what to ask of it."""

import os
import re
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from stack.errors import MachineError
from stack.processes.definitions import Part, base_environment
from stack.processes.env_markers import PART_VARIABLE, STACK_VARIABLE, SUPERVISOR
from stack.secrets.credentials import Credentials, write_private
from stack.settings import Settings

CONFIGURATION = "supervisord.conf"
USERNAME = "heartline"
PYTHON_VARIABLE = "HEARTLINE_PYTHON"
PATIENCE = 15.0  # seconds until a new supervisor must answer
LONGEST_SOCKET_PATH = 90  # the system's limit is 107 or 103 bytes, and a process number is appended while it is made

RUNNING = "RUNNING"
AT_WORK = {"STARTING", RUNNING, "BACKOFF", "STOPPING"}

_EXITED = re.compile(r"^(\S+ \S+?),\d+ \w+ exited: ([\w-]+) \((.*?);")
_BEGUN = re.compile(r"^\S+ \S+ \w+ supervisord started with pid")


@dataclass(frozen=True)
class Process:
    """What the supervisor says about one part.

    Attributes:
        name: the part.
        state: the supervisor's name of its state, such as RUNNING or FATAL.
        pid: its process, or None.
        started: when it was started, in seconds since 1970; 0 if never.
    """

    name: str
    state: str
    pid: int | None
    started: float


@dataclass(frozen=True)
class Exit:
    """One time that a part ended without being asked to."""

    name: str
    when: datetime
    how: str


def socket_path(home: Path) -> Path:
    """Return where the supervisor listens: in the state folder, or in the temporary one where that path is too long."""
    path = home / "run" / "supervisor.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"heartline-{os.getuid()}-{digest}.sock"


def configuration(settings: Settings, credentials: Credentials, parts: Iterable[Part]) -> str:
    """Return the text of the supervisor's configuration.

    The supervisor runs in the state folder and all paths are relative to it: no character in the names of folders has
    to be quoted, which its format could not do for all. A part is started by `stack.processes.exec_process`.
    """
    path = socket_path(settings.home)
    inside = path.is_relative_to(settings.home)
    sections = {
        "unix_http_server": {
            "file": str(path.relative_to(settings.home) if inside else path),
            "chmod": "0700",
            "username": USERNAME,
            "password": credentials["supervisor_password"],
        },
        "supervisord": {
            "logfile": "logs/supervisord.log",
            "logfile_maxbytes": "5MB",
            "logfile_backups": "2",
            "pidfile": "run/supervisord.pid",
            "childlogdir": "logs",
            "umask": "077",
        },
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
        },
    } | {f"program:{part.name}": _program(part) for part in parts}
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())
        for name, options in sections.items()
    )


def _program(part: Part) -> dict[str, str]:
    return {
        "command": f"""/bin/sh -c 'exec "${PYTHON_VARIABLE}" -m stack.processes.exec_process {part.name}'""",
        "autostart": "false",  # in the order of need, by `up`
        "autorestart": "true",
        "startretries": "6",
        "stopsignal": part.stop_signal,
        "stopasgroup": "false" if part.stop_signal == "INT" else "true",
        "killasgroup": "true",
        "stopwaitsecs": "6",
        "redirect_stderr": "true",
        "stdout_logfile": f"logs/{part.name}.log",
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "3",
    }


class Supervisor:
    """The supervisor of one state folder."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self.settings = settings
        self.credentials = credentials
        self.configuration_file = settings.home / CONFIGURATION

    def _ask(self) -> Any:
        transport = SupervisorTransport(
            USERNAME, self.credentials["supervisor_password"], f"unix://{socket_path(self.settings.home)}"
        )
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def alive(self) -> bool:
        """Tell whether it answers."""
        if not self.configuration_file.exists():
            return False
        try:
            return bool(self._ask().getState()["statename"] == RUNNING)
        except (OSError, xmlrpc.client.Error):
            return False

    def pid(self) -> int:
        """Return its process number."""
        return int(self._ask().getPID())

    def version(self) -> str:
        """Return its version."""
        return str(self._ask().getSupervisorVersion())

    def start(self, parts: Iterable[Part]) -> None:
        """Start it, with no part running yet.

        Raises:
            MachineError: it does not answer in time.
        """
        write_private(self.configuration_file, configuration(self.settings, self.credentials, parts))
        environment = base_environment() | {
            STACK_VARIABLE: str(self.settings.home),
            PART_VARIABLE: SUPERVISOR,
            PYTHON_VARIABLE: sys.executable,
            "PYTHONPATH": str(self.settings.root / "include"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", CONFIGURATION],
            cwd=self.settings.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        deadline = time.monotonic() + PATIENCE
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.alive():
                return
            time.sleep(0.02)
        raise MachineError(
            "the supervisor does not start",
            where=(done.stderr or done.stdout).strip() or str(self.settings.logs / "supervisord.log"),
            expected="an answer on " + str(socket_path(self.settings.home)),
            hint="look at the log, then ./heartline up again",
        )

    def processes(self) -> dict[str, Process]:
        """Return what it says about each part, by name."""
        return {
            info["name"]: Process(info["name"], info["statename"], info["pid"] or None, float(info["start"]))
            for info in self._ask().getAllProcessInfo()
        }

    def start_part(self, name: str) -> None:
        """Start a part, if it does not run, without waiting for it."""
        if self.processes()[name].state not in AT_WORK:
            self._ask().startProcess(name, False)

    def stop_parts(self, names: Iterable[str], patience: float = 30.0) -> None:
        """Stop parts, all at the same time, and wait for their end."""
        names = set(names)
        for name, process in self.processes().items():
            if name in names and process.state in AT_WORK and process.state != "STOPPING":
                self._ask().stopProcess(name, False)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not any(process.state in AT_WORK for name, process in self.processes().items() if name in names):
                return
            time.sleep(0.05)

    def shut_down(self) -> None:
        """End it, and wait for its end."""
        process = psutil.Process(self.pid())
        self._ask().shutdown()
        psutil.wait_procs([process], timeout=PATIENCE)

    def exits(self) -> list[Exit]:
        """Return each unasked end of a part since this supervisor began, oldest first, as its log tells."""
        found: list[Exit] = []
        path = self.settings.logs / "supervisord.log"
        if not path.exists():
            return found
        for line in path.read_text(errors="replace").splitlines():
            if _BEGUN.match(line):
                found.clear()
            elif match := _EXITED.match(line):
                found.append(Exit(match[2], datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S"), match[3]))
        return found

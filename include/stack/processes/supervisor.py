"""supervisord: writes its configuration, starts it, and calls its XML-RPC interface."""

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
from stack.processes.definitions import ProcessDefinition
from stack.processes.env_markers import PROCESS_VARIABLE, STACK_VARIABLE, SUPERVISOR
from stack.processes.environment import base_environment, loader_paths
from stack.secrets.credentials import Credentials, write_private
from stack.settings import Settings

CONFIGURATION = "supervisord.conf"
USERNAME = "heartline"
PYTHON_VARIABLE = "HEARTLINE_PYTHON"
SUPERVISOR_TIMEOUT = 15.0  # seconds until a new supervisor must answer, and until it must have ended
STOP_TIMEOUT = 30.0  # seconds until stopped processes must have ended
MAX_SOCKET_PATH = (
    90  # the system's limit is 107 or 103 bytes, and supervisord appends its process id while it creates it
)

RUNNING = "RUNNING"
ACTIVE_STATES = {"STARTING", RUNNING, "BACKOFF", "STOPPING"}

_EXITED = re.compile(r"^(\S+ \S+?),\d+ \w+ exited: ([\w-]+) \((.*?);")
_STARTED = re.compile(r"^\S+ \S+ \w+ supervisord started with pid")


@dataclass(frozen=True)
class ProcessState:
    """What the supervisor reports about one process.

    Attributes:
        name: its name in the stack, such as mlflow.
        state: the supervisor's name of its state, such as RUNNING or FATAL.
        pid: its process id, or None.
        started: when it was started, in seconds since 1970; 0 if never.
    """

    name: str
    state: str
    pid: int | None
    started: float


@dataclass(frozen=True)
class UnexpectedExit:
    """One time that a process ended without being stopped by the supervisor."""

    name: str
    when: datetime
    how: str


def socket_path(home: Path) -> Path:
    """Return the supervisor's socket: in the state folder, or in the temporary one if that path is too long."""
    path = home / "run" / "supervisor.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"heartline-{os.getuid()}-{digest}.sock"


def configuration(settings: Settings, credentials: Credentials, definitions: Iterable[ProcessDefinition]) -> str:
    """Return the text of the supervisor's configuration.

    The supervisor runs in the state folder and all paths are relative to it, because its format cannot quote every
    character that a folder's name may have. Each process is started by ``stack.processes.exec_process``.
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
    } | {f"program:{definition.name}": _program(definition) for definition in definitions}
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())
        for name, options in sections.items()
    )


def _program(definition: ProcessDefinition) -> dict[str, str]:
    return {
        "command": f"""/bin/sh -c 'exec "${PYTHON_VARIABLE}" -m stack.processes.exec_process {definition.name}'""",
        "autostart": "false",  # `up` starts them in the order of their dependencies
        "autorestart": "true",
        "startretries": "6",
        "stopsignal": definition.stop_signal,
        "stopasgroup": "false" if definition.stop_signal == "INT" else "true",
        "killasgroup": "true",
        "stopwaitsecs": str(definition.stop_seconds),
        "redirect_stderr": "true",
        "stdout_logfile": f"logs/{definition.name}.log",
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "3",
    }


class Supervisor:
    """The supervisor of one state folder."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self.settings = settings
        self.credentials = credentials
        self.configuration_file = settings.home / CONFIGURATION

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the supervisor's XML-RPC interface.

        Raises:
            OSError: it does not answer.
            xmlrpc.client.Error: it refuses the call.
        """
        transport = SupervisorTransport(
            USERNAME, self.credentials["supervisor_password"], f"unix://{socket_path(self.settings.home)}"
        )
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def outdated(self, definitions: Iterable[ProcessDefinition]) -> bool:
        """Tell whether the configuration that the supervisor was started with differs from the present one.

        This is the case after a process was added or removed, and after an update of the code that starts processes.
        """
        return self.configuration_file.read_text() != configuration(self.settings, self.credentials, definitions)

    def alive(self) -> bool:
        """Tell whether the supervisor answers."""
        if not self.configuration_file.exists():
            return False
        try:
            return bool(self._call("getState")["statename"] == RUNNING)
        except (OSError, xmlrpc.client.Error):
            return False

    def pid(self) -> int:
        """Return the supervisor's process id."""
        return int(self._call("getPID"))

    def version(self) -> str:
        """Return supervisord's version."""
        return str(self._call("getSupervisorVersion"))

    def start(self, definitions: Iterable[ProcessDefinition]) -> None:
        """Start the supervisor. It starts no process by itself.

        Raises:
            MachineError: it does not answer within ``SUPERVISOR_TIMEOUT``.
        """
        write_private(self.configuration_file, configuration(self.settings, self.credentials, definitions))
        environment = (
            base_environment()
            | loader_paths()
            | {
                STACK_VARIABLE: str(self.settings.home),
                PROCESS_VARIABLE: SUPERVISOR,
                PYTHON_VARIABLE: sys.executable,
                "PYTHONPATH": str(self.settings.root / "include"),
            }
        )
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", CONFIGURATION],
            cwd=self.settings.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        deadline = time.monotonic() + SUPERVISOR_TIMEOUT
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

    def processes(self) -> dict[str, ProcessState]:
        """Return the state of each process, by name."""
        return {
            info["name"]: ProcessState(info["name"], info["statename"], info["pid"] or None, float(info["start"]))
            for info in self._call("getAllProcessInfo")
        }

    def start_process(self, name: str) -> None:
        """Start a process that does not run, without waiting for it."""
        if self.processes()[name].state not in ACTIVE_STATES:
            self._call("startProcess", name, False)

    def stop_processes(self, names: Iterable[str], timeout: float = STOP_TIMEOUT) -> None:
        """Stop processes in parallel, and wait until they have ended."""
        names = set(names)
        for name, process in self.processes().items():
            if name in names and process.state in ACTIVE_STATES and process.state != "STOPPING":
                self._call("stopProcess", name, False)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not any(process.state in ACTIVE_STATES for name, process in self.processes().items() if name in names):
                return
            time.sleep(0.05)

    def shut_down(self) -> None:
        """End the supervisor, and wait until it has ended."""
        process = psutil.Process(self.pid())
        self._call("shutdown")
        psutil.wait_procs([process], timeout=SUPERVISOR_TIMEOUT)

    def exits(self) -> list[UnexpectedExit]:
        """Return each unexpected exit of a process since this supervisor started, oldest first, from its log."""
        found: list[UnexpectedExit] = []
        path = self.settings.logs / "supervisord.log"
        if not path.exists():
            return found
        for line in path.read_text(errors="replace").splitlines():
            if _STARTED.match(line):
                found.clear()
            elif match := _EXITED.match(line):
                found.append(UnexpectedExit(match[2], datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S"), match[3]))
        return found

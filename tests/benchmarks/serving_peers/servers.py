"""The measured servers, each in a session of its own, and the CPU and memory of all processes of a session.

Linux only: the clocks of other processes, and ``smaps_rollup``.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from serving_peers.client import connected

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OURS = ROOT / "serving" / "gunicorn.conf.py"
THEIRS = HERE / "gunicorn.conf.py"
START_TIMEOUT_SECONDS, STOP_TIMEOUT_SECONDS = 120.0, 15.0
# a server is idle after SETTLED_SECONDS at least, if it used less than IDLE_CPU seconds in IDLE_SECONDS, twice
SETTLED_SECONDS, IDLE_SECONDS, IDLE_CPU = 0.8, 0.1, 0.001
TICKS = os.sysconf("SC_CLK_TCK")
TITLES = {"ours": "Heartline", "mlflow": "`mlflow models serve`", "plain": "Flask + pandas", "echo": "Flask echo"}


@dataclass(frozen=True)
class Kind:
    """A server and the model that it serves.

    Attributes:
        name: a key of ``TITLES``.
        family: a key of ``models.FAMILIES``; the echo has none of its own, and serves for each.
        folder: where ``models.store`` has put everything.
        extra: variables of the environment.
        headers: of each request.
        later: whether it still works on a request after it has answered, as the prediction log does.
    """

    name: str
    family: str
    folder: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    later: bool = False

    @property
    def path(self) -> str:
        """What is posted to."""
        return "/invocations" if self.name == "mlflow" else "/predict"

    def body(self, records: Sequence[Mapping[str, Any]]) -> bytes:
        """Return a request with these records, as a client of this server sends it."""
        if self.name == "mlflow":
            return json.dumps({"dataframe_records": records}).encode()
        return json.dumps(records[0] if len(records) == 1 else records).encode()

    def probabilities(self, answer: Any) -> list[float]:
        """Return the probabilities in an answer."""
        if self.name == "mlflow":
            return [row[1] for row in answer["predictions"]]
        if isinstance(answer, list):
            return [one["probability"] for one in answer]
        return [one["probability"] for one in answer.get("predictions", [answer])]

    def command(self, port: int, workers: int) -> tuple[list[str], dict[str, str]]:
        """Return the command line, and what its environment has besides."""
        model = self.folder / self.family
        listen = {"HEARTLINE_SERVICE_PORT": str(port), "HEARTLINE_SERVICE_WORKERS": str(workers)}
        if self.name == "ours":
            ours = {"HEARTLINE_BUNDLE": str(model / "bundle"), "HEARTLINE_CACHE": str(model / "cache")}
            return [_python(), "-m", "gunicorn", "-c", str(OURS)], {**listen, **ours}
        if self.name == "mlflow":
            listening = ["-h", "127.0.0.1", "-p", str(port), "-w", str(workers)]
            return [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model / "mlflow"), "--env-manager",
                    "local", *listening], {}  # fmt: skip
        python = sys.executable if self.name == "plain" else _python()
        peer = {"PEER": f"{self.name}:create()", "PLAIN_MODEL": str(model / "plain.joblib")}
        return [python, "-m", "gunicorn", "-c", str(THEIRS)], {**listen, **peer}


class Server:
    """A running server.

    Args:
        kind: what it is.
        port: that it listens on.
        process: the first of its session.
    """

    def __init__(self, kind: Kind, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.kind = kind
        self.port = port
        self.process = process

    def processes(self) -> list[int]:
        """Return its processes."""
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [number for number in numbers if _session(number) == self.process.pid]

    def cpu(self) -> dict[int, float]:
        """Return the seconds of CPU that each of its processes has taken, in user mode and in the kernel."""
        return {pid: time.clock_gettime((~pid << 3) | 2) for pid in self.processes()}  # clock_getcpuclockid(3)

    def settle(self) -> None:
        """Wait until the work that follows the responses is done, if there is such work."""
        if not self.kind.later:
            return
        started, idle, before = time.monotonic(), 0, sum(self.cpu().values())
        while idle < 2 or time.monotonic() - started < SETTLED_SECONDS:
            time.sleep(IDLE_SECONDS)
            now = sum(self.cpu().values())
            idle = idle + 1 if now - before < IDLE_CPU else 0
            before = now

    def cpu_since_start(self) -> float:
        """Return the seconds of CPU of all its processes so far, those that have ended included."""
        ended = 0
        for pid in self.processes():
            cutime, cstime = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
            ended += int(cutime) + int(cstime)
        return sum(self.cpu().values()) + ended / TICKS

    def memory(self) -> tuple[int, int]:
        """Return the bytes of all its processes (PSS: shared pages in equal parts), and those that they share with none
        (USS)."""
        pss = uss = 0
        for pid in self.processes():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
            pss += sizes["Pss"]
            uss += sizes["Private_Clean"] + sizes["Private_Dirty"]
        return pss, uss

    def client(self, bodies: Sequence[bytes], connections: int) -> Any:
        """Return a client for a ``with`` block."""
        return connected(self.port, self.kind.path, bodies, connections, dict(self.kind.headers))


@contextmanager
def running(kind: Kind, first: bytes, workers: int = 1) -> Iterator[tuple[Server, float]]:
    """Start a server; yield it with the CPU seconds that it took until it answered ``first``; stop it.

    Raises:
        RuntimeError: the server ended, or did not answer.
    """
    port = free_port()
    command, variables = kind.command(port, workers)
    log = kind.folder / f"{kind.name}-{kind.family}-{port}.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINE_")}
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"  # mlflow starts uvicorn by its name
    environment = {**kept, "OMP_NUM_THREADS": "1", "PATH": path, **variables, **kind.extra}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    server = Server(kind, port, process)
    try:
        _wait(server, first, log)
        cpu = server.cpu_since_start()
        while len(server.processes()) <= workers and process.poll() is None:  # the first worker answers before the last
            time.sleep(0.02)
        yield server, cpu
    finally:
        _end(process)


def _wait(server: Server, first: bytes, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            with server.client([first], 1) as client:
                client.ask(1)
                return
        except (RuntimeError, OSError) as error:
            refused = isinstance(error.__cause__, OSError | HTTPException)
            if not refused or server.process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{server.kind.name} does not answer: {error.__cause__ or error}\n{said}") from error
        time.sleep(0.02)


def _end(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _python() -> str:
    """Return the interpreter with the service's own lock, where there is one."""
    found = os.environ.get("HEARTLINE_SERVING_PYTHON") or ROOT / ".venv-serving" / "bin" / "python"
    return str(found) if Path(found).is_file() else sys.executable

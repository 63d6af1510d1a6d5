"""The service under gunicorn, for tests: a process with a port, environment variables and a log."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.waiting import until

ROOT = Path(__file__).parents[2]
RESPONSE_TIMEOUT_SECONDS = STOP_TIMEOUT_SECONDS = 60.0  # shorter than what delays the service in some tests

WORKERS = ("heartline", "gthread")  # the values of HEARTLINE_WORKER

# statements for ``before``: the time-outs of the registry client, shortened for tests
SHORT_TIMEOUTS = """
from serving.model import registry_client
registry_client.CONNECT_TIMEOUT_SECONDS = registry_client.READ_TIMEOUT_SECONDS = 0.3
registry_client.RESPONSE_TIMEOUT_SECONDS = 0.6
"""
RUN = """
import sys
from gunicorn.app.wsgiapp import run
sys.argv = ["gunicorn", "-c", "{configuration}"]
run()
"""


class Gunicorn:
    """The service on a free port.

    Args:
        folder: the working folder, also of the log.
        before: Python statements that run before gunicorn.
        variables: environment variables.
    """

    def __init__(self, folder: Path, before: str = "", **variables: object) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = int(server.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self._log = folder / f"log-{self.port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINE_")}
        settings = {
            "HEARTLINE_SERVICE_PORT": self.port,
            "HEARTLINE_SERVICE_WORKERS": 2,
            "HEARTLINE_CACHE": folder / "cache",
            "PYTHONPATH": ROOT,
            **variables,
        }
        run = RUN.format(configuration=ROOT / "serving" / "gunicorn.conf.py")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", before + run],
                cwd=folder,
                env=kept | {name: str(value) for name, value in settings.items()},
                stderr=log,
            )

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of the response."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=RESPONSE_TIMEOUT_SECONDS) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def read(self, path: str) -> str:
        """Return the text at ``path``."""
        with urllib.request.urlopen(self.url + path, timeout=RESPONSE_TIMEOUT_SECONDS) as response:
            return str(response.read().decode())

    def log(self) -> str:
        """Return the log."""
        return self._log.read_text(errors="replace")

    def logged_by(self, pid: int) -> list[str]:
        """Return the lines that the worker ``pid`` logged."""
        return [line for line in self.log().splitlines() if f"[{pid}]" in line]

    def workers(self) -> list[int]:
        """Return the process ids of all workers that were started, in order."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log())]

    def wait_until(self, what: Callable[[], bool]) -> None:
        """Wait until ``what`` is true; fail with the log if it does not become true or the service ends."""
        until(lambda: what() or self.process.poll() is not None, said=lambda: self.log()[-5000:])
        assert self.process.poll() is None, f"the service has ended:\n{self.log()[-5000:]}"

    def wait_until_it_answers(self, path: str = "/readyz", status: int = 200) -> None:
        """Wait until ``path`` is answered with ``status``."""

        def answers() -> bool:
            try:
                return self.ask(path)[0] == status
            except OSError:
                return False

        self.wait_until(answers)

    def stop(self) -> None:
        """Stop it with SIGTERM and check that its log has no traceback; may be called more than once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        assert "Traceback" not in self.log(), self.log()[-5000:]

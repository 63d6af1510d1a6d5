"""The life of the service under gunicorn: start, new versions, a killed worker, a signal, bad settings."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.serving.fakes import RECORD, FakeRegistry, make_bundle
from tests.serving.gunicorns import WORKERS
from tests.waiting import until

ROOT = Path(__file__).parents[2]
WORKER_CLASSES = {"heartline": "serving.worker.gunicorn_worker.Worker", "gthread": "gthread"}
TIMEOUT_SECONDS = 60

Run = Callable[..., "subprocess.Popen[bytes]"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment(tmp_path: Path, **variables: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINE_")}
    return kept | {"HEARTLINE_CACHE": str(tmp_path / "cache")} | {k: str(v) for k, v in variables.items()}


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Run]:
    """Start gunicorn in a folder outside the project; processes that still run after the test are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def run(**variables: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "serving" / "gunicorn.conf.py")]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path, **variables), stderr=log)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def ask(url: str, body: Any = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        return json.load(response)


def wait_until_ready(url: str, log: Path) -> None:
    until(lambda: ask(f"{url}/readyz"), passing=OSError, said=log.read_text)


def healthcheck(port: int) -> int:
    return subprocess.run(
        [sys.executable, "-m", "serving.healthcheck"],
        cwd=ROOT,
        env=os.environ | {"HEARTLINE_SERVICE_PORT": str(port)},
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    ).returncode


@pytest.mark.parametrize("worker", WORKERS)
def test_it_starts_predicts_replaces_a_killed_worker_and_stops(
    gunicorn: Run, registry: FakeRegistry, tmp_path: Path, worker: str
) -> None:
    registry.register(make_bundle())
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    settings = {"HEARTLINE_SERVICE_PORT": port, "HEARTLINE_MLFLOW_URL": registry.url, "HEARTLINE_POLL_SECONDS": 0.2}

    # when it starts
    process = gunicorn(**settings, HEARTLINE_SERVICE_WORKERS=2, HEARTLINE_WORKER=worker)
    wait_until_ready(url, log)
    assert f"Using worker: {WORKER_CLASSES[worker]}\n" in log.read_text()

    # then it predicts, and its health check agrees
    assert {ask(f"{url}/predict", RECORD)["model"]["version"] for _ in range(20)} == {"1"}
    assert healthcheck(port) == 0

    # when the alias moves, then every worker follows
    registry.register(make_bundle(1.0))
    until(lambda: log.read_text().count("serving heart-disease version 2") == 2, said=log.read_text)
    assert {ask(f"{url}/predict", RECORD)["model"]["version"] for _ in range(20)} == {"2"}

    # when the registry becomes unreachable and a worker is killed, then its successor serves the same version
    registry.stop()
    os.kill(int(re.findall(r"Booting worker with pid: (\d+)", log.read_text())[0]), signal.SIGKILL)
    until(lambda: "serving heart-disease version 2 from the cache" in log.read_text(), said=log.read_text)
    assert {ask(f"{url}/predict", RECORD)["model"]["version"] for _ in range(20)} == {"2"}

    # when it is stopped while a client keeps its connection open, then it stops soon and closes its port
    with closing(HTTPConnection("127.0.0.1", port)) as idle:
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=TIMEOUT_SECONDS) == 0
    assert healthcheck(port) == 1
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HEARTLINE_SERVICE_PORT", "eighty"), ("HEARTLINE_CACHE", "/dev/null/cache"), ("HEARTLINE_WORKER", "sync")],
)
def test_an_invalid_setting_stops_it_with_one_message_of_four_parts(
    gunicorn: Run, tmp_path: Path, variable: str, value: str
) -> None:
    process = gunicorn(**{variable: value})

    assert process.wait(timeout=TIMEOUT_SECONDS) == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 4
    assert lines[1] == f"  where:    {variable}"

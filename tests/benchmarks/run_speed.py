"""Measures a training run in the stack beside the same tasks in one plain process, and as a Prefect flow.

    HEARTLINE_REAL_DATA=… .venv/bin/python tests/benchmarks/run_speed.py --page docs/run-speed.md

It starts a stack of its own, warms it up with a short run, and measures what it takes while idle. Then, round after
round, each of the three runs in turn, in another order each time. They read the same records, each with a seed of its
own, so that nothing has been computed before. They share the stack's PostgreSQL, MLflow and store.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "include")]

from marked_part import MarkedPart  # noqa: E402 - the folders above are not on the path of a script
from pipeline_cost import machine  # noqa: E402
from run_page import PEERS, STACK, markdown  # noqa: E402
from run_peers import prefect_server  # noqa: E402
from run_peers.processes import difference, stack_cpu, tree_cpu  # noqa: E402

from tests.running import PORT_NAMES, Running  # noqa: E402

PART = MarkedPart("measured")
DAG = "dags/heart_training"
SERVERS = ("postgres", "mlflow")  # that all three use
ROUNDS, IDLE_SECONDS, SETTLE_SECONDS = 5, 120, 30
POLL_SECONDS = 1.0
RUN_SECONDS = 1800


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="number of rounds; in each, all run once")
    parser.add_argument("--profile", default="full", help="of training")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds to measure the idle stack; 0: none")
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS, help="what to run beside the stack")
    parser.add_argument("--source", help="of the records; default: the Cleveland file, else the UCI archive")
    parser.add_argument("--home", type=Path, help="the state folder of a running stack, instead of a stack of its own")
    parser.add_argument("--prefect", type=Path, help="a folder for Prefect's environment; is kept")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    parser.add_argument("--page", type=Path, help="a page whose measured part is replaced")
    chosen = parser.parse_args(arguments)
    PART.expect(parser, chosen.page)
    if chosen.page and set(chosen.peers) != set(PEERS):
        parser.error("the page needs all peers")
    found = measure(chosen)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    if chosen.page:
        PART.write(chosen.page, markdown(found))
    print(markdown(found))


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Start what is needed, run the rounds, and return the figures."""
    source = chosen.source or cleveland()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        home = chosen.home.resolve() if chosen.home else stack.enter_context(own_stack(folder / "home"))
        airflow = Airflow(home)
        runners: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {STACK: airflow.run}
        if "plain" in chosen.peers:
            runners["plain"] = Program(home, [sys.executable, _peer("plain.py")], {}).run
        if "prefect" in chosen.peers:
            progress("install Prefect")
            python = prefect_server.install(chosen.prefect or folder / "prefect")
            variables = stack.enter_context(prefect_server.serving(python, folder / "prefect-home"))
            runners["prefect"] = Program(home, [str(python), _peer("prefect_flow.py")], variables).run
        progress("warm up")
        for runner in runners.values():
            runner(parameters(source, "quick"))
        idle = idle_cpu(home, chosen.idle)
        rounds = []
        for number in range(chosen.rounds):
            order = [*runners][number % len(runners) :] + [*runners][: number % len(runners)]
            progress(f"round {number + 1} of {chosen.rounds}: {', '.join(order)}")
            rounds.append({one: runners[one](parameters(source, chosen.profile)) for one in order})
    return {
        "machine": {"processor": machine()["processor"], "python": platform.python_version()}
        | {one: version(one) for one in ("apache-airflow", "mlflow", "scikit-learn")},
        "source": Path(source).name if Path(source).is_file() else source,
        "profile": chosen.profile,
        "idle": idle,
        "rounds": rounds,
    }


def cleveland() -> str:
    """Return the source: the Cleveland file in HEARTLINE_REAL_DATA, else the UCI archive."""
    file = Path(os.environ.get("HEARTLINE_REAL_DATA", ""), "processed.cleveland.data")
    return str(file) if os.environ.get("HEARTLINE_REAL_DATA") and file.is_file() else "uci"


def parameters(source: str, profile: str) -> dict[str, Any]:
    """Return the parameters of a run with a seed that no other run had."""
    seed = random.SystemRandom().randrange(1, 2**31)
    return {"source": source, "profile": profile, "seed": seed}


class OwnStack(Running):
    """A stack that may read the folder of the real data."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its shell."""
        return {**super().environment, "HEARTLINE_DATA": os.environ.get("HEARTLINE_REAL_DATA", "")}


@contextmanager
def own_stack(home: Path) -> Iterator[Path]:
    """Run a stack with its own state folder and ports."""
    running = OwnStack(home)
    progress("start the stack")
    try:
        running.call("up", "--source", "sample", "--set", "profile=quick")
        yield home
    finally:
        running.call("down", "--purge", check=False)


class Airflow:
    """The DAG ``heart_training`` of a running stack.

    Args:
        home: the state folder of the stack.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        ports = dict.fromkeys(PORT_NAMES, 0)
        running = Running(home, ports=ports)
        self._url = _settings(home, "airflow")["AIRFLOW__API__BASE_URL"]
        self._http = requests.Session()
        self._http.trust_env = False
        login = {"username": "admin", "password": running.password()}
        answer = self._http.post(f"{self._url}/auth/token", json=login, timeout=60)
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        known = self._get(f"{DAG}/details")["params"]
        self._more = {"force": True} if "force" in known else {}  # a run that finds nothing new would end at once

    def run(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Trigger a run, and return its wall seconds, its CPU seconds, and the times of its tasks.

        Raises:
            RuntimeError: it failed, or takes too long.
        """
        before, triggered = stack_cpu(self.home), time.time()
        body = {"logical_date": None, "conf": {**wanted, **self._more, "promotion": "manual"}}
        answer = self._http.post(f"{self._url}/api/v2/{DAG}/dagRuns", json=body, timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        path = f"{DAG}/dagRuns/{answer.json()['dag_run_id']}"
        while (run := self._get(path))["state"] in ("queued", "running"):
            if time.time() - triggered > RUN_SECONDS:
                raise RuntimeError(f"{path} takes too long")
            time.sleep(POLL_SECONDS)
        if run["state"] != "success":
            raise RuntimeError(f"{path}: {run['state']}")
        return {
            "wall": _time(run["end_date"]) - triggered,
            "cpu": difference(before, stack_cpu(self.home)),
            "tasks": self._tasks(path, triggered),
        }

    def _tasks(self, path: str, triggered: float) -> list[dict[str, Any]]:
        """Return for each task how long it waited for the scheduler and for a worker, and how long it ran."""
        done = [one for one in self._get(f"{path}/taskInstances")["task_instances"] if one["state"] == "success"]
        tasks, before = [], triggered
        for one in sorted(done, key=lambda task: (task["queued_when"], task["map_index"])):
            queued, started, ended = (_time(one[key]) for key in ("queued_when", "start_date", "end_date"))
            ends = [_time(other["end_date"]) for other in done]
            before = max([end for end in ends if end <= queued], default=triggered)
            name = one.get("rendered_map_index") or one["task_id"]
            tasks.append(
                {"task": name, "scheduler": queued - before, "started": started - queued, "ran": ended - started}
            )
        return tasks

    def _get(self, path: str) -> Any:
        answer = self._http.get(f"{self._url}/api/v2/{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()


class Program:
    """The same tasks in a process of their own, with the settings of the stack's tasks.

    Args:
        home: the state folder of the stack.
        command: the program.
        variables: further environment variables.
    """

    def __init__(self, home: Path, command: Sequence[str], variables: dict[str, str]) -> None:
        self.home = home
        self._command = command
        tasks = _settings(home, "scheduler")
        ours = {name: value for name, value in tasks.items() if not name.startswith("AIRFLOW")}
        self._environment = {**ours, **variables, "PYTHONPATH": str(ROOT / "include")}
        self._environment.pop("PYTHONSAFEPATH", None)  # the program finds its neighbour

    def run(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Run it, and return its wall seconds, and its CPU seconds with those of the servers that it uses.

        Raises:
            RuntimeError: it failed.
        """
        given = {**wanted, "run": f"benchmark {wanted['seed']}"}
        before, own, started = stack_cpu(self.home), tree_cpu(psutil.Process()), time.perf_counter()
        done = subprocess.run(
            [*self._command, json.dumps(given)],
            env=self._environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        wall = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{' '.join(self._command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        spent = tree_cpu(psutil.Process()) - own
        return {"wall": wall, "cpu": spent + difference(before, stack_cpu(self.home), SERVERS)}


def idle_cpu(home: Path, seconds: float) -> dict[str, float]:
    """Return the share of one core that each process of the idle stack takes."""
    if not seconds:
        return {}
    progress("measure the idle stack")
    time.sleep(min(SETTLE_SECONDS, seconds))
    before, started = stack_cpu(home), time.monotonic()
    time.sleep(seconds)
    after, passed = stack_cpu(home), time.monotonic() - started
    return {name: (after[name] - before.get(name, 0.0)) / passed for name in after}


def _settings(home: Path, process: str) -> dict[str, str]:
    """Return the environment of a process of the stack."""
    found: dict[str, str] = json.loads((home / "run" / f"{process}.json").read_text())["environment"]
    return found


def _peer(name: str) -> str:
    return str(Path(__file__).parent / "run_peers" / name)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def progress(what: str) -> None:
    """Print progress to stderr."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

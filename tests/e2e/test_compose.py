"""docker-compose.yaml on a real engine, with the commands of the documentation: start, train, predict, stop."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from stack.secrets.env_file import read_env
from stack.settings import DAG, MODEL, PORTS, USER
from tests.running import free_ports
from tests.waiting import until

pytestmark = pytest.mark.compose

ROOT = Path(__file__).parents[2]
CLONE = ["docker-compose.yaml", "Dockerfile", ".dockerignore", "requirements.txt", "heartline", "dags", "include"]
CLONE += ["plugins", "serving"]
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "docs" / "compose.md"]
COMMANDS = {name: script for page in PAGES for name, script in BLOCK.findall(page.read_text())}
AIRFLOW, MLFLOW, SERVICE = "HEARTLINE_AIRFLOW_PORT", "HEARTLINE_MLFLOW_PORT", "HEARTLINE_SERVICE_PORT"
LONG_RUNNING = {
    "postgres",
    "mlflow",
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "serving",
}


def engine_answers() -> bool:
    """Tell whether there are a Docker engine and compose v2."""
    if shutil.which("docker") is None:
        return False
    asked = [["docker", "version"], ["docker", "compose", "version"]]
    return all(subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in asked)


@dataclass(frozen=True)
class Server:
    """A clone with its own compose project."""

    folder: Path
    project: str
    ports: dict[str, int]

    @classmethod
    def prepare(cls, folder: Path) -> Server:
        for name in CLONE:
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        published = (AIRFLOW, MLFLOW, SERVICE)
        return cls(folder, f"heartline-test-{os.getpid()}", dict(zip(published, free_ports(3), strict=True)))

    def sh(self, script: str, *, expect: int = 0) -> str:
        """Run a shell script in the clone, with these ports instead of the default ones, and return its output."""
        for name, port in self.ports.items():
            script = script.replace(f"127.0.0.1:{PORTS[name]}", f"127.0.0.1:{port}")
        ours = ("HEARTLINE_", "COMPOSE_", "AIRFLOW_", "MLFLOW_", "POSTGRES_")  # a variable of the shell overrides .env
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment |= {name: str(port) for name, port in self.ports.items()}
        environment["COMPOSE_PROJECT_NAME"] = self.project
        done = subprocess.run(
            ["sh", "-ec", script], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expect, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout if expect == 0 else done.stderr

    def documented(self, block: str) -> str:
        return self.sh(COMMANDS[block])

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}/{path}"

    def containers(self) -> dict[str, dict[str, Any]]:
        listed = self.sh("docker compose ps --all --format json").splitlines()
        return {one["Service"]: one for one in map(json.loads, listed)}

    def signed_in(self) -> requests.Session:
        """Return a session of Airflow's user."""
        user = {"username": USER, "password": read_env(self.folder / ".env")["AIRFLOW_ADMIN_PASSWORD"]}
        token = requests.post(self.url(AIRFLOW, "auth/token"), json=user, timeout=30).json()["access_token"]
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
        return session

    def airflow(self, path: str, **query: str) -> dict[str, Any]:
        """Return the response of Airflow's REST API about the training DAG."""
        found = self.signed_in().get(self.url(AIRFLOW, f"api/v2/dags/{DAG}/{path}"), params=query, timeout=30)
        found.raise_for_status()
        return dict(found.json())

    def trigger(self, dag: str) -> dict[str, Any]:
        """Trigger a run, and return it when it has ended."""
        session = self.signed_in()
        runs = self.url(AIRFLOW, f"api/v2/dags/{dag}/dagRuns")
        started = session.post(runs, json={"logical_date": None}, timeout=30)
        started.raise_for_status()
        run = f"{runs}/{started.json()['dag_run_id']}"
        found = until(
            lambda: (one := session.get(run, timeout=30).json())["state"] in ("success", "failed") and one, seconds=600
        )
        return dict(found)

    def runs(self) -> list[str]:
        """Return the states of the runs, the newest first."""
        return [run["state"] for run in self.airflow("dagRuns", order_by="-run_after")["dag_runs"]]

    def tasks(self) -> set[tuple[str, str]]:
        """Return the tasks of all runs, each with its state."""
        return {(one["task_id"], one["state"]) for one in self.airflow("dagRuns/~/taskInstances")["task_instances"]}

    def families(self) -> dict[str, str]:
        """Return the registered versions and their families."""
        found = requests.get(
            self.url(MLFLOW, "api/2.0/mlflow/model-versions/search"),
            params={"filter": f"name = '{MODEL}'"},
            timeout=30,
        )
        found.raise_for_status()
        return {
            one["version"]: next(tag["value"] for tag in one["tags"] if tag["key"] == "family")
            for one in found.json().get("model_versions", [])
        }

    def staged(self) -> str:
        found = requests.get(
            self.url(MLFLOW, "api/2.0/mlflow/registered-models/alias"),
            params={"name": MODEL, "alias": "staging"},
            timeout=30,
        )
        found.raise_for_status()
        return str(found.json()["model_version"]["version"])

    def ready(self) -> bool:
        # each worker of the service polls the registry: send enough requests to reach all of them
        return all(requests.get(self.url(SERVICE, "readyz"), timeout=30).ok for _ in range(20))

    def remaining(self) -> str:
        label = f"--filter label=com.docker.compose.project={self.project} --quiet"
        return self.sh(f"docker ps --all {label}; docker volume ls {label}; docker network ls {label}")


@pytest.fixture(scope="module")
def engine(need: Callable[[object, str], None]) -> None:
    need(engine_answers(), "a Docker engine with compose v2 (DOCKER_HOST)")


@pytest.fixture(scope="module")
def server(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server.prepare(tmp_path_factory.mktemp("clone"))
    try:
        server.documented("start")
        yield server
    finally:
        server.sh("[ ! -e .env ] || docker compose down --volumes --timeout 5")
        assert server.remaining() == ""


@pytest.fixture(scope="module")
def trained(server: Server) -> Server:
    """Return the server after a training run during which MLflow was restarted."""
    assert COMMANDS["train"] in COMMANDS["compose"]
    with ThreadPoolExecutor() as pool:
        followed = pool.submit(server.documented, "compose")
        until(lambda: ("train", "running") in server.tasks(), passing=requests.RequestException, pause=0.5)
        server.sh("docker compose restart --timeout 0 mlflow")
        assert "staging is version" in followed.result()
    until(
        lambda: not {"queued", "running"} & set(server.runs()),
        passing=requests.RequestException,
        seconds=1200,
        pause=1,
    )
    assert server.runs() == ["success"], server.sh("docker compose logs --no-color --tail 60 airflow-scheduler")
    return server


@pytest.fixture(scope="module")
def approved(trained: Server) -> Server:
    trained.documented("promote")
    until(trained.ready, passing=requests.RequestException)
    return trained


def test_without_secrets_nothing_starts(engine: None, tmp_path: Path) -> None:
    server = Server.prepare(tmp_path)
    printed = server.sh("docker compose up --wait", expect=15)
    assert "missing a value: run ./heartline init first" in printed
    assert server.remaining() == ""


def test_everything_is_healthy(server: Server) -> None:
    containers = server.containers()
    assert {name for name, one in containers.items() if one["Health"] == "healthy"} == LONG_RUNNING
    assert (containers["init"]["State"], containers["init"]["ExitCode"]) == ("exited", 0)
    assert server.documented("look")


def test_ports_are_published_on_loopback_only(server: Server) -> None:
    published = {
        (port["URL"], port["PublishedPort"])
        for one in server.containers().values()
        for port in one["Publishers"] or []
        if port["PublishedPort"]
    }
    assert published == {("127.0.0.1", port) for port in server.ports.values()}


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_nothing_runs_as_root(name: str, server: Server) -> None:
    status = dict(
        line.split(":\t", 1) for line in server.sh(f"docker compose exec -T {name} cat /proc/1/status").splitlines()
    )
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == 0


def test_mlflow_answers_to_its_own_names_only(server: Server) -> None:
    url, port = server.url(MLFLOW, "api/2.0/mlflow/registered-models/search"), server.ports[MLFLOW]
    for host, status in {f"localhost:{port}": 200, "mlflow:5000": 200, f"evil.example:{port}": 403}.items():
        assert requests.get(url, headers={"Host": host}, timeout=30).status_code == status, host


def test_a_misspelt_parameter_is_refused_before_a_run_starts(server: Server) -> None:
    before = server.runs()
    said = server.sh("docker compose exec -T airflow-scheduler python -m stack.compose.train --set sorce=x", expect=2)
    assert "sorce" in said
    assert "source" in said
    assert server.runs() == before


def test_a_dag_that_cannot_be_imported_makes_its_container_unhealthy(server: Server) -> None:
    check = "python -IS include/stack/compose/healthcheck.py"
    url = "http://airflow-api-server:4200/api/v2/monitor/health"
    container = "docker compose exec -T airflow-dag-processor"
    as_root = container.replace("-T", "-T --user root")  # the image's user cannot write its code
    broken = "/opt/heartline/dags/broken.py"
    server.sh(f"{as_root} sh -c 'echo \"import airflow.dag_of_no_module\" > {broken} && chmod a+r {broken}'")
    try:
        until(lambda: "broken.py" in server.sh(f"{container} sh -c '{check} {url} dag_processor 2>&1 || true'"))
    finally:
        server.sh(f"{as_root} rm {broken}")
    until(lambda: server.sh(f"{container} sh -c '{check} {url} dag_processor 2>&1 || true'") == "")


def test_a_mistyped_schedule_is_refused(server: Server) -> None:
    said = server.sh("HEARTLINE_SCHEDULE='0 2 * *' docker compose run --rm -T init 2>&1 || true")
    assert "setting HEARTLINE_SCHEDULE" in said


def test_airflow_requires_a_login(server: Server) -> None:
    assert requests.get(server.url(AIRFLOW, f"api/v2/dags/{DAG}"), timeout=30).status_code == 401


def test_a_training_run_survives_a_restart_of_mlflow_and_registers_each_family_once(trained: Server) -> None:
    families = trained.families()
    assert sorted(families.values()) == ["logistic_regression", "random_forest"]
    assert trained.staged() in families


def test_a_prediction_names_the_approved_version(approved: Server) -> None:
    answer = json.loads(approved.documented("predict"))
    assert 0 < answer["probability"] < 1
    assert answer["has_heart_disease"] is (answer["probability"] >= 0.5)
    served = {key: answer["model"][key] for key in ("name", "version", "alias", "origin")}
    assert served == {"name": MODEL, "version": approved.staged(), "alias": "production", "origin": "sample"}


def test_the_history_names_the_user_who_approved(approved: Server) -> None:
    said = " ".join(approved.documented("history").split())
    user = approved.sh("id -un").strip()
    assert f"{user} moved production from no version to version {approved.staged()} (promote)" in said
    assert "registered version 1" in said


def test_the_monitoring_reports_a_day_and_its_outcome(approved: Server) -> None:
    # given a prediction that was logged yesterday, and its outcome
    prediction = json.loads(approved.documented("predict"))["prediction_id"]
    outcome = {"prediction_id": prediction, "outcome": 1, "observed_at": datetime.now(UTC).isoformat()}
    sent = until(
        lambda: (answer := requests.post(approved.url(SERVICE, "outcomes"), json=outcome, timeout=30)).ok and answer
    )
    assert sent.json()["results"][0]["result"] == "accepted"
    psql = "docker compose exec -T postgres psql --username=postgres --quiet --command"
    yesterday = "now() - interval '1 day'"
    approved.sh(
        f'{psql} "UPDATE prediction SET logged = {yesterday}; UPDATE outcome SET received = {yesterday}" predictions'
    )
    # when
    run = approved.trigger("heart_monitoring")
    # then
    assert run["state"] == "success", approved.sh("docker compose logs --no-color --tail 60 airflow-scheduler")
    said = approved.sh("docker compose exec -T airflow-scheduler python -m stack.compose.monitor")
    assert f"too few outcomes (1) to say whether version {approved.staged()} is worse" in " ".join(said.split())


def test_down_and_up_keep_everything(approved: Server) -> None:
    # given
    families, before = approved.families(), json.loads(approved.documented("predict"))
    # when
    approved.documented("stop")
    assert approved.containers() == {}
    approved.documented("start")
    # then
    assert approved.families() == families
    assert approved.runs() == ["success"]
    until(approved.ready, passing=requests.RequestException)
    after = json.loads(approved.documented("predict"))
    assert (after["probability"], after["model"]) == (before["probability"], before["model"])

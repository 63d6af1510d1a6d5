"""What MLflow's errors say to users, and which are retried."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from heartline.errors import PermanentError, RegistryError, RegistryRefusedError
from heartline.registry import mlflow_registry, runs
from tests.running import free_ports


@pytest.fixture
def server(monkeypatch) -> Iterator[dict[str, object]]:
    """An MLflow server that gives one answer to everything."""
    answer: dict[str, object] = {"status": 200, "body": "{}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(int(str(answer["status"])))
            self.end_headers()
            self.wfile.write(str(answer["body"]).encode())

        do_POST = do_GET  # noqa: N815 - the name that the library calls

        def log_message(self, *arguments: object) -> None: ...

    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        mlflow.set_tracking_uri(f"http://127.0.0.1:{http.server_port}")
        yield answer
        http.shutdown()
    mlflow.set_tracking_uri(before)


def _fails() -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        mlflow_registry.stage("1")
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "retried"),
    [
        (400, "INVALID_PARAMETER_VALUE", False),
        (401, "UNAUTHENTICATED", False),
        (403, "PERMISSION_DENIED", False),
        (404, "RESOURCE_DOES_NOT_EXIST", False),
        (429, "REQUEST_LIMIT_EXCEEDED", True),
        (500, "INTERNAL_ERROR", True),
        (503, "TEMPORARILY_UNAVAILABLE", True),
    ],
)
@pytest.mark.parametrize("form", ["JSON", "text"])
def test_by_status(server, status, code, retried, form):
    server |= {"status": status, "body": json.dumps({"error_code": code, "message": "x"}) if form == "JSON" else "<p>"}
    error = _fails()
    assert isinstance(error, PermanentError) is not retried
    assert ("Airflow retries the task" in error.hint) is retried
    assert "a server that answers" not in error.expected
    assert "MLflow server that answers" not in error.expected, "it answers"


RACE = '(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "dataset_pk"'


def test_a_row_that_another_request_inserts_is_retried(server):
    server |= {"status": 400, "body": json.dumps({"error_code": "BAD_REQUEST", "message": RACE})}
    error = _fails()
    assert not isinstance(error, PermanentError)
    assert "Airflow retries the task" in error.hint


@pytest.mark.parametrize(("message", "logged"), [(RACE, True), ("another", False)])
def test_families_that_log_the_same_data_at_the_same_time_both_succeed(mlflow_store, monkeypatch, message, logged):
    real, calls = mlflow.MlflowClient.log_inputs, []

    def refusing(client, *arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise MlflowException(message, error_code=BAD_REQUEST)
        real(client, *arguments)

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", refusing)
    run = runs.Run(message, "a run", {}, {}, {}, {}, dataset=runs.Dataset("records", "file:///r", "uci", "d" * 64, 3))
    if not logged:
        with pytest.raises(RegistryError):
            mlflow_registry.log_run(run)
        return
    (found,) = mlflow_store.get_run(mlflow_registry.log_run(run)).inputs.dataset_inputs
    assert found.dataset.name == "records"
    assert len(calls) == 2


def test_a_server_that_does_not_answer_is_retried(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"http://127.0.0.1:{free_ports(1)[0]}")
    try:
        error = _fails()
    finally:
        mlflow.set_tracking_uri(before)
    assert not isinstance(error, PermanentError)
    assert error.expected == "an MLflow server that answers"
    assert "Airflow retries the task" in error.hint


def test_a_deleted_experiment_is_not_retried_and_the_command_restores_it(tmp_path, monkeypatch):
    before = mlflow.get_tracking_uri()
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(address)
    try:
        client = mlflow.MlflowClient()
        experiment = client.create_experiment(runs.EXPERIMENT, artifact_location=(tmp_path / "artifacts").as_uri())
        client.delete_experiment(experiment)
        run = runs.Run("key", "a run", {}, {}, {}, {})
        with pytest.raises(RegistryRefusedError) as caught:
            mlflow_registry.log_run(run)
        assert "the experiment heart-disease was deleted" in caught.value.what
        assert "UI" not in str(caught.value)
        command = f"experiments restore --experiment-id {experiment}"
        assert caught.value.hint.count(command) == 2
        client.restore_experiment(experiment)
        assert mlflow_registry.log_run(run)
        found = client.get_experiment(experiment)
        assert found.tags["mlflow.note.content"].startswith("One run for each model family")
        assert found.tags["mlflow.experimentKind"] == "custom_model_development"
    finally:
        mlflow.set_tracking_uri(before)

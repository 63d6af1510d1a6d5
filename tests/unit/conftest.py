"""Fixtures of the domain's unit tests: a store and an MLflow of their own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from heartline.registry import runs
from tests.memory_ledger import use_in_memory


@pytest.fixture(scope="module", autouse=True)
def ledger_in_memory() -> Iterator[None]:
    """Each MLflow of a test has a ledger of its own in memory, unless the environment names a database."""
    with pytest.MonkeyPatch.context() as patch:
        use_in_memory(patch, mlflow.get_tracking_uri)
        yield


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables and no rows of ours. MLflow's migrations take seconds, a copy does not."""
    path = tmp_path_factory.mktemp("mlflow-template") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture(scope="module")
def mlflow_store(
    tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path
) -> Iterator[mlflow.MlflowClient]:
    """A real MLflow tracking store and registry in SQLite, one for each module."""
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(empty_mlflow_database, folder / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = mlflow.MlflowClient()
    for experiment in (runs.EXPERIMENT, runs.DATA_EXPERIMENT, runs.COMPARISON_EXPERIMENT):
        client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    yield client
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def module_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty store, configured for a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTLINE_STORE", tmp_path_factory.mktemp("store").as_uri())
        yield

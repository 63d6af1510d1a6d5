"""What unit tests of the domain share: a store and an MLflow of their own."""

from collections.abc import Iterator

import mlflow
import pytest

from heartline.registry import runs


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    """A real MLflow tracking store and registry in SQLite, one for each module: its migrations take seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
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

"""A small profile, and a pair of trained families with an MLflow of its own for each test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from heartline.ingestion.sample import synthetic
from heartline.pipeline.handovers import Prepared, Refused, Trained
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import runs
from heartline.training import families
from tests.unit.pipeline.support import FOREST, LINEAR, SMALL, skip_service_and_figures

SOURCE = "sample:250"


@dataclass(frozen=True)
class TrainedPair:
    """Both families trained on the same records, before they are compared; an MLflow that only this test writes to."""

    prepared: Prepared
    linear: Trained
    forest: Trained
    client: mlflow.MlflowClient

    @property
    def trained(self) -> list[Trained | Refused]:
        return [self.linear, self.forest]


@pytest.fixture(scope="module", autouse=True)
def small_profile() -> Iterator[None]:
    """The profile ``test``, of few folds and trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.PROFILES, SMALL.name, SMALL)
        yield


@pytest.fixture(autouse=True, scope="module")
def readable_files() -> Iterator[None]:
    """Tasks may read files in any folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTLINE_SOURCE_FOLDERS", "/")
        yield


@pytest.fixture(scope="session")
def many() -> pd.DataFrame:
    """Five thousand records, from which a test takes as many of each kind as it needs."""
    return synthetic.generate(5000)


@pytest.fixture
def quick_training(monkeypatch) -> None:
    """Train without the service and without figures."""
    skip_service_and_figures(monkeypatch)


@contextmanager
def _tracking(database: Path) -> Iterator[mlflow.MlflowClient]:
    """Use a database as MLflow's."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    try:
        yield mlflow.MlflowClient()
    finally:
        mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """An MLflow database with empty experiments, to copy: its migrations take seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    with _tracking(folder / "mlflow.db") as client:
        for experiment in (runs.EXPERIMENT, runs.DATA_EXPERIMENT, runs.COMPARISON_EXPERIMENT):
            client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def mlflow_store(empty_database, tmp_path_factory) -> Iterator[mlflow.MlflowClient]:
    """An empty MLflow for a module."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    shutil.copy(empty_database, database)
    with _tracking(database) as client:
        yield client


@pytest.fixture
def empty_mlflow(empty_database, tmp_path) -> Iterator[mlflow.MlflowClient]:
    """An empty MLflow for a test."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    with _tracking(tmp_path / "mlflow.db") as client:
        yield client


@dataclass(frozen=True)
class _Training:
    """What the tests copy: a store and an MLflow database after both families were trained."""

    folder: Path
    prepared: Prepared
    linear: Trained
    forest: Trained


@pytest.fixture(scope="session")
def _training(empty_database, tmp_path_factory) -> _Training:
    folder = tmp_path_factory.mktemp("training")
    shutil.copy(empty_database, folder / "mlflow.db")
    with _tracking(folder / "mlflow.db"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTLINE_STORE", (folder / "store").as_uri())
        patch.setitem(families.PROFILES, SMALL.name, SMALL)
        skip_service_and_figures(patch)
        validated = validate(ingest(SOURCE), run="training")
        prepared = preprocess(validated, profile=SMALL.name, seed=0)
        linear, forest = (train(family, prepared, run="training") for family in (LINEAR, FOREST))
    return _Training(folder, prepared, linear, forest)


@pytest.fixture
def pair(_training, quick_training, monkeypatch, tmp_path) -> Iterator[TrainedPair]:
    """Both families, trained; the store is shared and only added to, MLflow is a copy for this test."""
    monkeypatch.setenv("HEARTLINE_STORE", (_training.folder / "store").as_uri())
    shutil.copy(_training.folder / "mlflow.db", tmp_path / "mlflow.db")
    with _tracking(tmp_path / "mlflow.db") as client:
        yield TrainedPair(_training.prepared, _training.linear, _training.forest, client)

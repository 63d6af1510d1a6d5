"""From records to versions without Airflow: the tasks as plain calls, with the service's smoke test and the figures."""

from collections.abc import Iterator
from types import SimpleNamespace

import mlflow
import pytest

from heartline import contract
from heartline.packaging import smoke_test
from heartline.pipeline.compare import compare
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import mlflow_registry, runs

FAMILIES = ("logistic_regression", "random_forest")


@pytest.fixture(scope="module")
def night(tmp_path_factory, need, ledger_server) -> Iterator[SimpleNamespace]:
    """One run of all tasks."""
    need((smoke_test.ROOT / ".venv-serving").exists(), "the service's environment")
    folder = tmp_path_factory.mktemp("night")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = mlflow.MlflowClient()
    for experiment in (runs.EXPERIMENT, runs.DATA_EXPERIMENT, runs.COMPARISON_EXPERIMENT):
        client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTLINE_STORE", (folder / "store").as_uri())
        patch.setenv("HEARTLINE_LEDGER_URL", ledger_server.ledger_url)
        prepared = preprocess(validate(ingest("sample:250"), run="night"), profile="quick", seed=0)
        trained = [train(family, prepared, run="night") for family in FAMILIES]
        compared = compare(trained, prepared, run="night")
        registered = register(compared, promotion="manual", run="night")
        yield SimpleNamespace(
            client=client, prepared=prepared, trained=trained, compared=compared, registered=registered
        )
    mlflow.set_tracking_uri(before)


def test_both_families_pass_the_smoke_test_and_are_registered(night):
    assert [one["outcome"] for one in night.trained] == ["trained", "trained"]
    assert set(night.registered["versions"]) == set(FAMILIES)
    assert mlflow_registry.aliased("staging").number == night.registered["version"]
    assert mlflow_registry.aliased("production") is None


def test_the_run_of_a_family_holds_its_figures(night):
    linear, forest = (
        {one.path for one in night.client.list_artifacts(trained["run_id"], "pictures")} for trained in night.trained
    )
    both = ("calibration", "confusion_matrix", "importance", "precision_recall", "roc", "scores")
    assert forest == {f"pictures/{name}.svg" for name in both}
    assert linear == forest | {"pictures/odds_ratios.svg"}


def test_a_night_that_is_repeated_leaves_one_run_and_one_version(night):
    again = [train(family, night.prepared, run="retry") for family in FAMILIES]
    assert again == night.trained
    compared = compare(again, night.prepared, run="night")
    assert register(compared, promotion="manual", run="night") == night.registered
    experiment = night.client.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    assert len(night.client.search_runs([experiment])) == len(FAMILIES)
    assert len(night.client.search_model_versions(f"name = '{contract.MODEL_NAME}'")) == len(FAMILIES)

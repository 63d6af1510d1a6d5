"""The task ``register``: versions and aliases. Versions that it did not register are in ``bad_training``."""

import mlflow
import pytest

from heartline import contract
from heartline.packaging import export
from heartline.packaging.bundle import unpack
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.registry import mlflow_registry
from heartline.storage import object_store
from tests.unit.pipeline.support import FOREST, LINEAR, mlflow_counts, move_by_hand, refused

OF_THE_RUN = (
    "heartline.candidate",
    "heartline.completed",
    "heartline.fingerprint",
)  # tags of the winner that name the run


@pytest.fixture
def better(pair):
    """A comparison of the pair, pretending that the logistic regression is better."""
    return {**compare(pair.trained, pair.prepared, run="test"), "verdict": "better", "winner": LINEAR}


def test_staging_points_at_the_winner_and_production_at_nothing(pair, better):
    registered = register(better, promotion="manual")
    assert set(registered["versions"]) == {LINEAR, FOREST}
    assert registered["version"] == registered["versions"][LINEAR]
    assert (registered["family"], registered["origin"]) == (LINEAR, "sample")
    assert registered["roc_auc"] == pair.linear["roc_auc"]
    assert mlflow_registry.aliased("staging").number == registered["version"]
    assert mlflow_registry.aliased("production") is None


def test_a_version_says_what_it_is(pair, better):
    registered = register(better, promotion="manual")
    for one in pair.trained:
        version = pair.client.get_model_version(contract.MODEL_NAME, registered["versions"][one["family"]])
        assert version.description.startswith(f"ROC AUC {one['roc_auc']:.3f} (")
        assert version.tags["verdict"] == "better"
        assert version.tags["comparison_run"] == better["comparison_run"]
        assert (version.tags["family"], version.tags["origin"]) == (one["family"], "sample")
        linked = pair.client.get_run(one["run_id"]).outputs.model_outputs
        assert [f"models:/{output.model_id}" for output in linked] == [version.source]


def test_a_version_holds_the_bundle_that_was_trained(pair, better, tmp_path):
    registered = register(better, promotion="manual")
    for one in pair.trained:
        address = f"models:/{contract.MODEL_NAME}/{registered['versions'][one['family']]}"
        folder = tmp_path / one["family"]
        mlflow.artifacts.download_artifacts(address, dst_path=str(folder))
        for name, data in unpack(object_store.get(one["bundle"])).items():
            assert (folder / name).read_bytes() == data
        assert mlflow.sklearn.load_model(str(folder)).predict(export.legal_rows(5, seed=0)).shape == (5,)


def test_a_new_version_gets_its_tags_with_its_creation_and_only_changed_ones_later(pair, better, monkeypatch):
    later, set_tag = [], mlflow.MlflowClient.set_model_version_tag

    def recording(self, name, version, key, value, *more):
        if key not in OF_THE_RUN:
            later.append(key)
        return set_tag(self, name, version, key, value, *more)

    monkeypatch.setattr(mlflow.MlflowClient, "set_model_version_tag", recording)
    registered = register(better, promotion="manual")
    assert later == []
    register({**better, "reason": "another"}, promotion="manual")
    assert later == ["reason", "reason"]
    tags = pair.client.get_model_version(contract.MODEL_NAME, registered["version"]).tags
    assert tags["reason"] == "another"


def test_a_refused_family_is_not_registered(pair):
    compared = compare([pair.linear, refused(pair.forest)], pair.prepared)
    assert set(register(compared, promotion="manual")["versions"]) == {LINEAR}


def test_without_a_winner_no_alias_is_moved(pair, better):
    registered = register({**better, "winner": None, "verdict": "vetoed"}, promotion="if_better")
    assert set(registered["versions"]) == {LINEAR, FOREST}
    assert (registered["version"], registered["origin"], registered["roc_auc"]) == (None, None, None)
    assert mlflow_registry.aliased("staging") is None


def test_a_repeated_registration_adds_nothing(pair, better):
    first = register(better, promotion="if_better", run="r")
    before = mlflow_counts(pair.client)
    assert register(better, promotion="if_better", run="r") == first
    assert mlflow_counts(pair.client) == before
    assert len(mlflow_registry.record_external_moves()) == 1


@pytest.mark.parametrize(
    ("verdict", "promotion", "moved"),
    [
        ("no detectable difference", "if_better", False),
        ("better", "manual", False),
        ("better", "if_better", True),
    ],
)
def test_a_run_moves_production_only_if_it_may_and_the_verdict_is_better(better, verdict, promotion, moved):
    registered = register({**better, "verdict": verdict}, promotion=promotion)
    assert (registered["promoted"], registered["held_back"]) == (moved, "")
    production = mlflow_registry.aliased("production")
    assert (production.number if production else None) == (registered["version"] if moved else None)


def test_a_run_does_not_move_production_if_it_changed_since_the_comparison(pair, better):
    versions = register(better, promotion="manual")["versions"]
    move_by_hand(versions[FOREST])
    registered = register(better, promotion="if_better")
    assert not registered["promoted"]
    assert registered["held_back"] == (
        f"production changed since the decision: it was at no version and is at version {versions[FOREST]} now"
    )
    assert mlflow_registry.aliased("production").number == versions[FOREST]

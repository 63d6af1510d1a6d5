"""Runs that may move ``production``, where its alias is gone although something was in production."""

import pytest

from heartline import contract
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.registry import mlflow_registry
from tests.unit.pipeline.support import FOREST, LINEAR, move_by_hand


@pytest.fixture
def in_production(pair):
    """The forest in production, moved there by a user."""
    versions = register(compare(pair.trained, pair.prepared, run="before"), promotion="manual")["versions"]
    assert mlflow_registry.move_production(versions[FOREST], by="anna") == ""
    return versions[FOREST]


def removed(client, version):
    client.delete_registered_model_alias(contract.MODEL_NAME, "production")


def with_its_version(client, version):
    client.delete_model_version(contract.MODEL_NAME, version)


def with_its_model(client, version):
    client.delete_registered_model(contract.MODEL_NAME)


def renamed(client, version):
    client.rename_registered_model(contract.MODEL_NAME, "another name")


@pytest.mark.parametrize("lost", [removed, with_its_version, with_its_model, renamed])
def test_a_run_does_not_take_a_lost_production_for_a_first_model(pair, in_production, lost):
    lost(pair.client, in_production)
    compared = compare(pair.trained, pair.prepared, run="tonight")
    reason = (
        f"the alias production is missing in MLflow, and version {in_production} was in production before. "
        "Only a user can replace it"
    )
    assert compared["held_back"] == reason
    assert reason in compared["reasons"]
    registered = register({**compared, "verdict": "better", "winner": LINEAR}, promotion="if_better", run="tonight")
    assert (registered["promoted"], registered["held_back"]) == (False, reason)
    assert mlflow_registry.aliased("production") is None
    assert mlflow_registry.aliased("staging").number == registered["version"]


def test_a_run_on_the_sample_does_not_profit_from_a_move_by_hand(pair):
    # given a real model in production, and a model of the sample to which somebody moved the alias by hand
    versions = register(compare(pair.trained, pair.prepared, run="before"), promotion="manual")["versions"]
    pair.client.set_model_version_tag(contract.MODEL_NAME, versions[FOREST], "origin", "file")
    move_by_hand(versions[FOREST])
    mlflow_registry.record_external_moves()
    pair.client.set_model_version_tag(contract.MODEL_NAME, versions[FOREST], "origin", "sample")
    sample = pair.client.create_model_version(contract.MODEL_NAME, "s3://sample", tags={"origin": "sample"}).version
    move_by_hand(sample)
    # then
    refused = mlflow_registry.move_production(versions[LINEAR], by="run r")
    assert refused.endswith(
        f"and version {versions[FOREST]}, which was in production before, was not (its origin: file)"
    )

"""The task ``compare``: the verdict and its evidence. Versions that it cannot read are in ``bad_training``."""

import html

import mlflow
import pytest

from heartline.errors import ComparisonError, NoCandidateError, RegistryError
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.registry import runs
from tests.unit.pipeline.support import FOREST, LINEAR, artifact, move_by_hand, prepare, production_model, refused, take


def test_a_comparison_is_a_run_with_a_page_and_a_card_for_each_model(pair):
    compared = compare(pair.trained, pair.prepared, run="test")
    run = pair.client.get_run(compared["comparison_run"])
    assert run.info.run_name == f"{compared['verdict']} · test"
    assert run.data.tags["verdict"] == compared["verdict"]
    assert run.data.tags["reason"] == run.data.tags["mlflow.note.content"] == compared["reason"]
    assert run.data.metrics["delta_auc_low"] <= run.data.metrics["delta_auc"] <= run.data.metrics["delta_auc_high"]
    assert {one.path for one in pair.client.list_artifacts(run.info.run_id)} == {
        "comparison.html",
        "comparison.json",
        "model_card_logistic_regression.html",
        "model_card_random_forest.html",
    }
    page = artifact(pair.client, run.info.run_id, "comparison.html").read_text()
    assert compared["reason"] in html.unescape(page)


def test_a_repeated_comparison_returns_its_run(pair):
    first = compare(pair.trained, pair.prepared, run="test")
    assert compare(pair.trained, pair.prepared, run="test") == first
    experiment = pair.client.get_experiment_by_name(runs.COMPARISON_EXPERIMENT).experiment_id
    assert len(pair.client.search_runs([experiment])) == 1


def test_without_production_the_simplest_family_is_the_incumbent(pair):
    compared = compare(pair.trained, pair.prepared)
    assert (compared["incumbent"], compared["production"], compared["held_back"]) == (LINEAR, "", "")


def test_the_family_in_production_is_the_incumbent(pair):
    versions = register(compare(pair.trained, pair.prepared), promotion="manual")["versions"]
    move_by_hand(versions[FOREST])
    compared = compare(pair.trained, pair.prepared, run="with production")
    assert (compared["incumbent"], compared["production"]) == (FOREST, versions[FOREST])


def test_a_refused_family_is_left_out_and_the_reasons_say_why(pair):
    compared = compare([pair.linear, refused(pair.forest)], pair.prepared)
    assert compared["winner"] in (LINEAR, None)
    assert "random_forest cannot be served: the service does not answer" in compared["reasons"]
    assert [one["outcome"] for one in compared["trained"]] == ["trained", "refused"]


def test_a_comparison_without_a_servable_family_stops_the_run(pair):
    with pytest.raises(NoCandidateError) as caught:
        compare([refused(pair.forest)], pair.prepared)
    assert caught.value.what == "no family can be served"
    assert caught.value.where == "\n    - random_forest: the service does not answer"
    assert "clear the task train" in caught.value.hint


def test_the_model_in_production_is_scored_beside_the_families(pair, many):
    registered = register(compare(pair.trained, pair.prepared), promotion="manual")
    version = registered["versions"][LINEAR]
    move_by_hand(version)
    other = prepare(take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15))

    compared = compare([train(LINEAR, other)], other, run="another night")

    scored = production_model(pair.client, compared["comparison_run"])
    assert (scored["version"], scored["origin"]) == (version, "sample")
    assert 0.7 < scored["holdout"]["roc_auc"]["value"] <= 1
    assert scored["unseen"]["roc_auc"]["n"] >= scored["holdout"]["roc_auc"]["n"]


def test_families_from_different_snapshots_are_not_compared(pair, many):
    other = prepare(take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15))
    with pytest.raises(ComparisonError, match="folds, snapshot"):
        compare([pair.linear, train(FOREST, other)], pair.prepared)


def test_an_unreachable_mlflow_is_a_registry_error(pair, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        with pytest.raises(RegistryError) as caught:
            compare(pair.trained, pair.prepared)
    finally:
        mlflow.set_tracking_uri(before)
    assert caught.value.what.startswith("MLflow could not look up alias production")
    assert "127.0.0.1:9" in caught.value.where
    assert caught.value.expected == "an MLflow server that answers"
    assert "./heartline status" in caught.value.hint

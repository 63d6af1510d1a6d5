"""A score has one name and one number, wherever it is shown: MLflow, the pages, the hand-overs and the service."""

import html
import json
import re
from collections.abc import Mapping

import pytest

from heartline import contract
from heartline.evaluation import metrics
from heartline.packaging.bundle import open_bundle
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.storage import object_store
from serving.model.bundle import Model
from serving.pages import form
from tests.unit.pipeline.support import artifact


@pytest.fixture
def registered(pair):
    compared = compare(pair.trained, pair.prepared, run="one number")
    return compared, register({**compared, "verdict": "better", "winner": "random_forest"}, promotion="manual")


def _words(page: str) -> str:
    return " ".join(
        html.unescape(re.sub(r"<style.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)).split()
    )


def _estimates(stored: Mapping, place: str) -> dict[str, float]:
    return {name: one["value"] for name, one in stored[place].items() if name in metrics.LOGGED}


def _logged(found: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name: found[f"{prefix}{name}"] for name in metrics.LOGGED}


def test_every_score_is_the_same_in_mlflow_in_the_bundle_and_in_the_service(pair, registered):
    for one in pair.trained:
        version = pair.client.get_model_version(contract.MODEL_NAME, registered[1]["versions"][one["family"]])
        run, logged_model = (
            pair.client.get_run(one["run_id"]),
            pair.client.get_logged_model(version.source.removeprefix("models:/")),
        )
        stored = json.loads(artifact(pair.client, one["run_id"], "evaluation.json").read_text())
        bundle = open_bundle(object_store.get(one["bundle"]))
        served = Model(bundle).evaluation.metrics
        for prefix, place, shown in (("", "out_of_fold", "cross_validation"), ("holdout_", "holdout", "holdout")):
            expected = _estimates(stored, place)
            assert _logged(run.data.metrics, prefix) == expected
            assert _logged({metric.key: metric.value for metric in logged_model.metrics}, prefix) == expected
            assert _estimates(json.loads(bundle["evaluation.json"]), place) == expected
            assert {name: getattr(served, shown)[name].value for name in expected} == expected


def test_the_roc_auc_is_the_same_in_every_place(pair, registered):
    compared, result = registered
    evidence = json.loads(artifact(pair.client, compared["comparison_run"], "comparison.json").read_text())
    page = _words(artifact(pair.client, compared["comparison_run"], "comparison.html").read_text())
    (paired,) = evidence["comparisons"]
    for one in pair.trained:
        run = pair.client.get_run(one["run_id"])
        version = pair.client.get_model_version(contract.MODEL_NAME, result["versions"][one["family"]])
        stored = json.loads(artifact(pair.client, one["run_id"], "evaluation.json").read_text())
        score = stored["out_of_fold"]["roc_auc"]
        assert stored["fold_roc_auc"]["mean"] != score["value"], "else this test could not tell them apart"
        text = f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
        card = artifact(pair.client, compared["comparison_run"], f"model_card_{one['family']}.html").read_text()
        # numbers
        found = {
            "metric of the run": run.data.metrics["roc_auc"],
            "tag of the version": float(version.tags["roc_auc"]),
            "XCom of train": one["roc_auc"],
            "paired test": paired["aucs"][0 if paired["challenger"] == one["family"] else 1],
        }
        assert found == dict.fromkeys(found, pytest.approx(score["value"], abs=1e-12))
        # words
        assert version.description.startswith(f"ROC AUC {text}, cross-validated: ")
        assert f"ROC AUC {text}" in version.tags["scores"] == run.data.tags["scores"]
        assert f"| ROC AUC | {text} |" in run.data.tags["mlflow.note.content"]
        for shown in (page, _words(card)):
            assert text.translate({ord("("): None, ord(")"): None}) in shown
        assert form.roc_auc(Model(open_bundle(object_store.get(one["bundle"]))).evaluation).startswith(text[:5])
    assert result["roc_auc"] == pair.forest["roc_auc"]


def test_calibration_in_the_large_is_the_same_in_every_place(pair, registered):
    compared, _ = registered
    page = _words(artifact(pair.client, compared["comparison_run"], "comparison.html").read_text())
    for one in pair.trained:
        stored = json.loads(artifact(pair.client, one["run_id"], "evaluation.json").read_text())
        bundle = open_bundle(object_store.get(one["bundle"]))
        served = Model(bundle).evaluation.metrics
        card = artifact(pair.client, compared["comparison_run"], f"model_card_{one['family']}.html").read_text()
        for place, shown in (("out_of_fold", served.cross_validation), ("holdout", served.holdout)):
            score = stored[place]["calibration_in_the_large"]
            assert shown["calibration_in_the_large"].value == score["value"]
            text = f"{score['value']:.3f} {score['low']:.3f} to {score['high']:.3f}"
            assert text in page
            assert text in _words(card)
            assert "calibration_intercept" not in stored[place]
        assert "Calibration in the large" in page
        assert "Calibration in the large" in _words(card)
        assert "ntercept" not in page + card


def test_the_mean_over_the_folds_has_no_other_scores_name(pair, registered):
    for one in pair.trained:
        run = pair.client.get_run(one["run_id"])
        version = pair.client.get_model_version(contract.MODEL_NAME, registered[1]["versions"][one["family"]])
        assert not [name for name in {*run.data.metrics, *version.tags} if name.startswith(("cv_", "fold_"))]
        assert len(run.data.metrics) == 2 * len(metrics.LOGGED)
        assert not [name for name in run.data.metrics if name.endswith(("_low", "_high"))]


def test_a_version_and_its_run_link_the_comparison(pair, registered):
    compared, result = registered
    experiment = pair.client.get_experiment_by_name("heart-disease-comparisons").experiment_id
    page = (
        f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{compared['comparison_run']}/artifacts/comparison.html"
    )
    for one in pair.trained:
        run = pair.client.get_run(one["run_id"])
        version = pair.client.get_model_version(contract.MODEL_NAME, result["versions"][one["family"]])
        for text in (version.description, run.data.tags["mlflow.note.content"]):
            assert text.endswith(f"({page})")
            assert text.count("http") == 1
        assert version.tags["comparison"] == run.data.tags["comparison"] == page


def test_another_comparison_replaces_the_link_and_keeps_a_users_description(pair, registered):
    _, result = registered
    linear, forest = (result["versions"][one["family"]] for one in pair.trained)
    pair.client.update_model_version(contract.MODEL_NAME, forest, "the one that Anna examined")
    again = compare(pair.trained, pair.prepared, run="another run")
    register(again, promotion="manual")
    found = {one: pair.client.get_model_version(contract.MODEL_NAME, one) for one in (linear, forest)}
    assert found[linear].description.endswith(f"/runs/{again['comparison_run']}/artifacts/comparison.html)")
    assert found[linear].description.count("http") == 1
    assert found[forest].description == "the one that Anna examined"
    assert found[forest].tags["comparison"].count(again["comparison_run"]) == 1
    note = pair.client.get_run(pair.linear["run_id"]).data.tags["mlflow.note.content"]
    assert note.count("http") == 1


def test_a_version_of_an_earlier_release_gets_the_score_under_its_name(pair, registered):
    compared, result = registered
    number = result["versions"][pair.linear["family"]]
    pair.client.delete_model_version_tag(contract.MODEL_NAME, number, "roc_auc")
    pair.client.set_model_version_tag(contract.MODEL_NAME, number, "cv_roc_auc", "0.8930")
    pair.client.update_model_version(contract.MODEL_NAME, number, "0.893 ROC AUC: logistic regression, profile full")
    register(compared, promotion="manual")
    version = pair.client.get_model_version(contract.MODEL_NAME, number)
    assert "cv_roc_auc" not in version.tags
    assert float(version.tags["roc_auc"]) == pair.linear["roc_auc"]
    assert "0.893 ROC AUC" not in version.description

"""Cross-validation on the shared folds, and all numbers about a family."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from heartline import contract
from heartline.errors import HeartlineError
from heartline.evaluation import cross_validation, metrics
from heartline.storage import record_identity, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families

PROFILE = families.Profile("test", splits=4, repeats=2, trees=20)


@pytest.fixture(scope="module")
def records(cohort) -> LabelledDataset:
    return splits.to_labelled(record_identity.canonical(cohort))


@pytest.fixture(scope="module")
def plan(records) -> np.ndarray:
    return splits.plan_folds(records, splits=4, repeats=2, seed=0)


@pytest.fixture(scope="module")
def validated(records, plan) -> cross_validation.CrossValidation:
    return cross_validation.cross_validate("logistic_regression", records, plan, profile=PROFILE, seed=0)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_cross_validation_predicts_each_record_once_per_repeat(records, plan, family):
    cv = cross_validation.cross_validate(family, records, plan, profile=PROFILE, seed=0)
    again = cross_validation.cross_validate(family, records, plan, profile=PROFILE, seed=0)

    assert cv.probabilities.shape == (2, len(records))
    assert ((cv.probabilities >= 0) & (cv.probabilities <= 1)).all()
    assert (cv.averaged == cv.probabilities.mean(axis=0)).all()
    assert cv.fold_aucs.shape == (8,)
    assert cv.fold_aucs.mean() > 0.8
    assert cv.importance.shape == (8, 13)
    assert cv.unconverged == 0
    assert len(cv.chosen) == 8
    assert all(one in families.family(family).grid for one in cv.chosen)
    for name in ("probabilities", "fold_aucs", "importance"):
        assert (getattr(cv, name) == getattr(again, name)).all()


def test_choice_and_predictions_of_a_fold_do_not_depend_on_its_test_labels(records, plan):
    test = plan[0] == 1
    turned = replace(records, labels=np.where(test, 1 - records.labels, records.labels))
    one, other = (
        cross_validation.cross_validate("logistic_regression", which, plan[:1], profile=PROFILE, seed=0)
        for which in (records, turned)
    )
    assert (one.probabilities[0, test] == other.probabilities[0, test]).all()
    assert one.chosen[1] == other.chosen[1]
    assert one.fold_aucs[1] == pytest.approx(1 - other.fold_aucs[1])


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_fold_without_a_class_has_no_score_and_an_empty_one_is_skipped(records, plan, family, caplog):
    """Folds follow from hashes, so that chance decides what a small fold holds."""
    uneven = plan.copy()
    uneven[0, (plan[0] == 0) & (records.labels == 1)] = 3
    uneven[1, plan[1] == 1] = 2

    cv = cross_validation.cross_validate(family, records, uneven, profile=PROFILE, seed=0)
    found = cross_validation.evaluate(cv, records, records, cv.averaged, seed=0)

    assert np.flatnonzero(np.isnan(cv.fold_aucs)).tolist() == [0, 5]
    assert np.isfinite(cv.probabilities).all()
    assert cv.importance.shape == (6, 13)
    assert np.isfinite(cv.importance).all()
    assert len(cv.chosen) == 7
    assert found.fold_auc_mean == pytest.approx(np.delete(cv.fold_aucs, [0, 5]).mean())
    assert found.fold_auc_sd == pytest.approx(np.delete(cv.fold_aucs, [0, 5]).std(ddof=1))
    assert "fast equivalent" not in caplog.text


def test_an_unused_feature_has_no_importance(records, validated):
    mean = dict(zip(contract.FEATURE_NAMES, validated.importance.mean(axis=0), strict=True))
    assert max(mean, key=mean.__getitem__) in ("ca", "thal", "cp")
    constant = records.features.copy()
    constant[:, contract.FEATURE_NAMES.index("chol")] = 200
    flat = replace(records, features=constant)
    plan = splits.plan_folds(flat, splits=4, repeats=1, seed=0)
    cv = cross_validation.cross_validate("logistic_regression", flat, plan, profile=PROFILE, seed=0)
    assert cv.importance[:, contract.FEATURE_NAMES.index("chol")] == pytest.approx(0, abs=1e-12)


def test_folds_that_do_not_converge_are_counted_and_named(records, plan, monkeypatch, caplog):
    recipe = families.family("logistic_regression")
    hasty = replace(recipe, parameters=lambda *given: {**recipe.parameters(*given), "max_iter": 1})
    monkeypatch.setitem(families.FAMILIES, "logistic_regression", hasty)
    with caplog.at_level(logging.WARNING):
        cv = cross_validation.cross_validate("logistic_regression", records, plan, profile=PROFILE, seed=0)
    assert cv.unconverged == 8
    assert caplog.messages == ["Logistic regression did not converge in 8 of 8 folds"]


def test_imputation_is_learned_from_the_training_records(records):
    features = records.features.copy()
    features[:, 11:] = np.nan
    model = families.fit("logistic_regression", records, profile=families.PROFILES["quick"], seed=0)
    assert np.isfinite(families.probability(model, features)).all()


def test_unknown_names_are_refused(records):
    with pytest.raises(HeartlineError, match="unknown family 'svm'") as caught:
        families.fit("svm", records, profile=families.PROFILES["quick"], seed=0)
    assert caught.value.expected == "one of logistic_regression, random_forest"
    with pytest.raises(HeartlineError, match="unknown profile 'slow'"):
        families.profile("slow")


def test_all_numbers_about_a_family(records, validated):
    holdout = LabelledDataset(records.features[:60], records.labels[:60], records.groups[:60])
    predictions = np.linspace(0, 1, 60)
    found = cross_validation.evaluate(validated, records, holdout, predictions, seed=4)

    assert found.out_of_fold == metrics.evaluate(records.labels, validated.averaged, records.groups, seed=4)
    assert found.holdout == metrics.evaluate(holdout.labels, predictions, holdout.groups, seed=4)
    logged = found.metrics()
    for name in ("roc_auc", "accuracy", "precision", "recall", "specificity", "f1", "log_loss", "brier", "rmse"):
        assert logged[name] == found.out_of_fold[name].value
        assert logged[f"holdout_{name}"] == found.holdout[name].value
    assert len(logged) == 24, "MLflow's table of runs shows no metric where there are many"
    stored = found.as_dict()
    assert stored["fold_roc_auc"] == {"mean": validated.fold_aucs.mean(), "sd": validated.fold_aucs.std(ddof=1)}
    assert set(stored["out_of_fold"]) == set(metrics.TITLES)
    assert sum(found.chosen.values()) == 8
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["subgroups"][0]["name"] == "female"


def test_an_undefined_score_is_not_logged(records, validated):
    negatives = LabelledDataset(records.features[:5], np.zeros(5, dtype="int64"), np.arange(5))
    found = cross_validation.evaluate(validated, records, negatives, np.full(5, 0.2), seed=0)
    logged = found.metrics()
    assert "holdout_roc_auc" not in logged
    assert logged["holdout_specificity"] == 1
    assert all(np.isfinite(value) for value in logged.values())
    assert found.as_dict()["holdout"]["roc_auc"]["note"] == "no record has the disease"


@pytest.mark.parametrize(("family", "expected"), [("logistic_regression", 0.91), ("random_forest", 0.90)])
def test_on_all_of_cleveland_the_families_have_the_scores_of_the_literature(cleveland, family, expected):
    records, profile = splits.to_labelled(record_identity.canonical(cleveland)), families.PROFILES["full"]
    plan = splits.plan_folds(records, splits=profile.splits, repeats=4, seed=0)
    cv = cross_validation.cross_validate(family, records, plan, profile=profile, seed=0)
    assert cv.fold_aucs.mean() == pytest.approx(expected, abs=0.01)


def test_each_fold_searches_on_inner_folds_of_its_own(records, plan, monkeypatch):
    """A record's inner fold follows from its hash: with one seed, all searches would make the same choice by chance."""
    seeds, fit = [], families.fit

    def noted(*arguments, **named):
        seeds.append((named["fast"], named["search_seed"], named["seed"]))
        return fit(*arguments, **named)

    monkeypatch.setattr(families, "fit", noted)
    cross_validation.cross_validate("logistic_regression", records, plan, profile=PROFILE, seed=3)
    searched = [search for fast, search, _ in seeds if fast]
    assert len(set(searched)) == len(searched) == plan.size // len(records) * (plan.max() + 1)
    assert {seed for *_, seed in seeds} == {3}
    assert searched[0] == cross_validation.search_seed(3, 0, 0)

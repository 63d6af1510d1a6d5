"""Training, evaluation, comparison and promotion: what they compute."""

import numpy as np
import pytest

from heartline import comparison, dataset, evaluation, promotion, training
from heartline.comparison import Difference
from heartline.errors import HeartlineError


@pytest.fixture(scope="module")
def records(cohort):
    return dataset.labelled(dataset.canonical(cohort))


@pytest.mark.parametrize("family", training.FAMILIES)
def test_cross_validation_answers_each_record_once_per_repeat(records, family):
    profile = training.Profile("test", splits=4, repeats=2, trees=20)
    plan = dataset.plan_folds(records, splits=4, repeats=2, seed=0)
    cv = evaluation.cross_validate(family, records, plan, profile=profile, seed=0)
    again = evaluation.cross_validate(family, records, plan, profile=profile, seed=0)

    assert cv.probabilities.shape == (2, len(records))
    assert ((cv.probabilities >= 0) & (cv.probabilities <= 1)).all()
    assert cv.fold_aucs.shape == (8,)
    assert cv.fold_aucs.mean() > 0.8
    assert (cv.probabilities == again.probabilities).all()


def test_imputation_is_learned_from_the_training_records(records):
    features = records.features.copy()
    features[:, 11:] = np.nan
    model = training.fit("logistic_regression", records, profile=training.PROFILES["quick"], seed=0)
    assert np.isfinite(training.probability(model, features)).all()


def test_unknown_names_are_refused_with_the_known_ones(records):
    with pytest.raises(HeartlineError, match="unknown family 'svm'") as caught:
        training.fit("svm", records, profile=training.PROFILES["quick"], seed=0)
    assert "random_forest" in caught.value.expected
    with pytest.raises(HeartlineError, match="unknown profile"):
        training.profile("slow")


def test_scores_of_a_perfect_and_of_an_inverted_answer():
    labels = np.array([0, 0, 1, 1])
    right = evaluation.scores(labels, np.array([0.1, 0.2, 0.8, 0.9]))
    wrong = evaluation.scores(labels, np.array([0.9, 0.8, 0.2, 0.1]))
    assert (right["roc_auc"], right["accuracy"], right["recall"], right["specificity"]) == (1, 1, 1, 1)
    assert (wrong["roc_auc"], wrong["accuracy"], wrong["recall"], wrong["specificity"]) == (0, 0, 0, 0)


def test_corrected_interval_is_wider_than_the_naive_one_by_the_published_factor():
    random = np.random.default_rng(0)
    base = random.normal(0.9, 0.05, 100)
    scores = base + random.normal(0.01, 0.03, 100)
    found = comparison.paired_difference(("rf", scores), ("lr", base), splits=10)

    naive = (scores - base).std(ddof=1) / 10
    factor = np.sqrt((1 / 100 + 1 / 9) / (1 / 100))
    assert found.delta == pytest.approx((scores - base).mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.984 * naive * factor, rel=1e-3)


def test_equal_scores_are_no_difference():
    same = comparison.paired_difference(("rf", np.full(10, 0.9)), ("lr", np.full(10, 0.9)), splits=5)
    assert (same.delta, same.p_value, promotion.judge(same)) == (0, 1, promotion.NO_DIFFERENCE)


def test_scores_from_different_folds_are_not_compared():
    with pytest.raises(ValueError, match="different folds"):
        comparison.paired_difference(("rf", np.ones(10)), ("lr", np.ones(20)), splits=5)


def _difference(challenger: str, low: float, high: float) -> Difference:
    return Difference(challenger, "lr", (low + high) / 2, low, high, 0.5)


@pytest.mark.parametrize(
    ("differences", "winner", "verdict"),
    [
        ([_difference("rf", -0.02, 0.03)], "lr", promotion.NO_DIFFERENCE),
        ([_difference("rf", 0.01, 0.03)], "rf", promotion.BETTER),
        ([_difference("rf", -0.03, -0.01)], "lr", promotion.WORSE),
        ([_difference("rf", 0.01, 0.03), _difference("knn", 0.02, 0.05)], "knn", promotion.BETTER),
        ([_difference("rf", -0.03, -0.01), _difference("knn", -0.02, 0.05)], "lr", promotion.NO_DIFFERENCE),
        ([], "lr", promotion.NO_DIFFERENCE),
    ],
)
def test_only_a_better_challenger_replaces_the_incumbent(differences, winner, verdict):
    decided = promotion.decide("lr", differences)
    assert (decided.winner, decided.verdict) == (winner, verdict)


def test_incumbent_is_productions_family_or_the_simplest():
    families = {"random_forest": 2, "logistic_regression": 1}
    assert promotion.choose_incumbent(families, "random_forest") == "random_forest"
    assert promotion.choose_incumbent(families, None) == "logistic_regression"
    assert promotion.choose_incumbent(families, "retired_family") == "logistic_regression"

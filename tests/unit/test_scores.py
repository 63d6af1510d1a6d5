"""ROC AUC and Brier score: equal to scikit-learn's functions and to their definitions."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from heartline import scores


def draw(n: int, seed: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.append([0, 1], random.random(n - 2) < 0.46).astype("int64")
    return labels, np.clip(0.3 * labels + 0.7 * random.random(n), 0, 1).round(digits)


@pytest.mark.parametrize("digits", [12, 1], ids=["no ties", "ties"])
@pytest.mark.parametrize("n", [2, 3, 30, 500])
def test_scores_are_scikit_learns(n, digits):
    labels, probabilities = draw(n, n, digits)
    assert scores.roc_auc(labels, probabilities) == pytest.approx(roc_auc_score(labels, probabilities), abs=1e-14)
    assert scores.brier(labels, probabilities) == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-14)


def test_the_roc_auc_is_the_share_of_ordered_pairs():
    labels, probabilities = draw(40, 0, 1)
    gaps = probabilities[labels == 1][:, None] - probabilities[labels == 0]
    assert scores.roc_auc(labels, probabilities) == ((gaps > 0) + 0.5 * (gaps == 0)).sum() / gaps.size


def test_several_sets_of_scores_give_the_values_of_each():
    labels, _ = draw(50, 0, 12)
    many = np.random.default_rng(1).random((7, 50)).round(1)
    assert scores.roc_aucs(labels, many).tolist() == [scores.roc_auc(labels, one) for one in many]


@pytest.mark.parametrize("label", [0, 1])
def test_without_one_of_the_classes_the_roc_auc_is_undefined(label):
    assert np.isnan(scores.roc_auc(np.full(5, label), np.linspace(0, 1, 5)))


def test_a_score_of_nan_is_refused():
    with pytest.raises(ValueError, match="scores with NaN"):
        scores.roc_auc(np.array([0, 1, 1]), np.array([0.1, np.nan, 0.3]))


def test_counts_may_be_weighted_and_may_have_empty_levels():
    positives, negatives = np.array([[2.0, 0, 1, 0]]), np.array([[0.0, 0, 1, 3]])
    assert scores.roc_auc_from_counts(positives, negatives).tolist() == [(2 * 4 + 1 * 3.5) / 12]

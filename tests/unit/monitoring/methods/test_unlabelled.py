"""The estimate without outcomes: by hand, against simulated outcomes, and what it cannot see."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from heartline.monitoring.methods import unlabelled


def test_two_predictions_by_hand():
    found = unlabelled.estimate(np.array([0, 1, 0, 0, 1, 0]))  # probabilities 0.2 and 0.8
    assert found["brier"] == pytest.approx(0.16)
    # positives: 0.8 and 0.2; negatives: 0.2 and 0.8; in order 0.8 · 0.8, half of the ties 2 · 0.16 / 2
    assert found["auc"] == pytest.approx(0.8 * 0.8 + 0.16)
    assert found["predictions"] == 2


def test_calibrated_probabilities_give_the_scores_of_their_outcomes():
    random = np.random.default_rng(0)
    cells = random.binomial(100, random.beta(0.6, 0.7, 40_000))
    found = unlabelled.estimate(np.bincount(cells, minlength=101))
    labels = random.random(40_000) < cells / 100
    assert found["brier"] == pytest.approx(((labels - cells / 100) ** 2).mean(), abs=0.005)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, cells), abs=0.01)


def test_where_nothing_can_be_estimated():
    assert unlabelled.estimate(np.zeros(101, dtype=np.int64)) == {}
    certain = np.zeros(101, dtype=np.int64)
    certain[0] = 5
    assert unlabelled.estimate(certain) == {"brier": 0.0, "predictions": 5.0}

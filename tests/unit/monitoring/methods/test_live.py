"""Live figures against scikit-learn, scipy and formulas; subgroups; corrections."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from heartline import contract
from heartline.evaluation.intervals import Z, wilson
from heartline.monitoring.methods import live
from tests import monitoring_example as example


def _live(labels, scores, features=None, replaced=None, before=None):
    n = len(labels)
    given = np.full((n, len(contract.FEATURES)), np.nan) if features is None else features
    return live.add(before or live.start(), given, scores, labels, np.full(n, -1) if replaced is None else replaced)


@pytest.fixture(scope="module")
def records():
    features, scores, labels = example.drawn(600, 5)
    return features, scores.round(3), labels


def test_the_figures_are_those_of_scikit_learn(records):
    features, scores, labels = records
    found = live.figures(_live(labels, scores, features))[0]
    assert (found.group, found.count, found.positive) == ("all", 600, labels.sum())
    assert found.brier.value == pytest.approx(brier_score_loss(labels, scores))
    assert found.auc.value == pytest.approx(roc_auc_score(labels, scores))
    clipped = np.clip(scores, 1e-3, 1 - 1e-3)
    odds = np.log(clipped / (1 - clipped))[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(odds, labels)
    assert found.slope.value == pytest.approx(fitted.coef_[0, 0], abs=1e-4)


def test_the_intercept_makes_the_mean_right(records):
    _, scores, labels = records
    found = live.figures(_live(labels, scores))[0].intercept
    clipped = np.clip(scores, 1e-3, 1 - 1e-3)
    odds = np.log(clipped / (1 - clipped))
    wanted = optimize.brentq(lambda shift: (1 / (1 + np.exp(-odds - shift))).sum() - labels.sum(), -5, 5)
    assert found.value == pytest.approx(wanted, abs=1e-7)
    spread = 1 / (1 + np.exp(-odds - wanted))
    assert found.high - found.low == pytest.approx(2 * Z / (spread * (1 - spread)).sum() ** 0.5)


def test_intervals_cover():
    random = np.random.default_rng(1)
    truth = random.beta(0.6, 0.7, 100_000)
    brier = (truth * (1 - truth)).mean()
    covered = np.zeros(3)
    for _ in range(200):
        scores = truth[random.integers(0, len(truth), 250)]
        labels = (random.random(250) < scores).astype(np.int64)
        found = live.figures(_live(labels, scores))[0]
        for at, (one, value) in enumerate(((found.brier, brier), (found.slope, 1.0), (found.intercept, 0.0))):
            covered[at] += one.low <= value <= one.high
    assert (covered / 200 > 0.9).all()


def test_the_auc_interval_is_newcombes_equation():
    low, high = live.auc_interval(0.8, 30, 50)
    for end in (low, high):
        among = (80 / 2 - 1) * ((1 - end) / (2 - end) + end / (1 + end))
        assert (0.8 - end) ** 2 == pytest.approx(Z**2 * end * (1 - end) * (1 + among) / 1500)
    assert live.auc_interval(1.0, 12, 12)[1] == 1.0
    assert 0.7 < live.auc_interval(1.0, 12, 12)[0] < 1
    assert live.auc_interval(0.0, 12, 12)[0] == 0.0


def test_groups_are_by_sex_and_age():
    features = np.full((4, len(contract.FEATURES)), np.nan)
    features[:, example.SEX], features[:, example.AGE] = [0, 1, 1, 0], [44, 45, 70, np.nan]
    found = {
        one.group: one.count for one in live.figures(_live(np.zeros(4, dtype=np.int64), np.full(4, 0.3), features))
    }
    assert found == {
        "all": 4, "sex: female": 2, "sex: male": 2, "age: under 45": 1, "age: 45 to 54": 1, "age: 65 and over": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("n", "positive", "has"), [(19, 10, ()), (25, 9, ("brier",)), (25, 10, ("brier", "auc"))])
def test_few_outcomes_have_no_figures(n, positive, has):
    labels = (np.arange(n) < positive).astype(np.int64)
    found = live.figures(_live(labels, np.linspace(0.1, 0.9, n)))[0]
    assert {name for name in ("brier", "auc") if getattr(found, name)} == set(has)


def test_separated_classes_have_no_slope():
    labels = (np.arange(40) < 20).astype(np.int64)
    found = live.figures(_live(labels, np.where(labels, 0.9, 0.1)))[0]
    assert found.slope is None
    assert found.auc.value == 1.0


def test_a_correction_moves_its_record(records):
    features, scores, labels = records
    wrong = np.where(np.arange(600) < 50, 1 - labels, labels)
    before = _live(wrong, scores, features)
    after = _live(labels[:50], scores[:50], features[:50], wrong[:50], before)
    wanted = _live(labels, scores, features)
    assert after.counts == wanted.counts
    assert np.allclose(after.losses, wanted.losses)


def test_calibration_bins_have_wilson_intervals():
    bins = live.calibration(_live(np.array([0, 1, 1, 1]), np.array([0.12, 0.14, 0.13, 1.0])))
    assert [one.count for one in bins] == [3, 1]
    assert bins[0].predicted == pytest.approx(0.13)
    assert (bins[0].observed.value, bins[0].observed.low, bins[0].observed.high) == (2 / 3, *wilson(2 / 3, 3))
    assert bins[1].predicted == 1.0
    assert live.calibration(live.start()) == []

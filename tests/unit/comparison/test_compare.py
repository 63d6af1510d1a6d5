"""Paired comparisons, compared with plain definitions and with scikit-learn."""

import dataclasses
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from heartline.comparison import paired_tests
from heartline.comparison.compare import OutOfFoldPredictions, compare, not_worse, paired_difference
from heartline.comparison.paired_tests import Interval
from heartline.errors import ComparisonError
from heartline.evaluation import bootstrap

PUBLISHED = {  # by ties: interval in ROC AUC, p-value, interval in Brier score
    False: (
        Interval(0.0249597423510467, 0.0016103059581320522, 0.05203301127214166),
        0.029925187032418952,
        (-0.011832762866869358, -0.024327436116631795, -0.0014111629228418703),
    ),
    True: (
        Interval(0.021084943639291476, -0.0023651368760063685, 0.04795692431561993),
        0.07481296758104738,
        (-0.00995, -0.02235, 0.00195),
    ),
}


def draw(n=200, *, gain=0.0, seed=0, ties=False):
    """Labels, and the probabilities of two models that see the same patients through different noise."""
    random = np.random.default_rng(seed)
    labels = (np.arange(n) < 0.46 * n).astype(np.int64)
    common = 0.9 * random.normal(size=n)
    scores = [common + 0.4 * random.normal(size=n) + (1.9 + extra) * labels for extra in (gain, 0.0)]
    found = [1 / (1 + np.exp(1 - score)) for score in scores]
    return labels, *(np.round(one, 1) if ties else one for one in found)


def predictions(name="lr", *, probabilities=None, labels=None, n=200, **other):
    known, challenger, incumbent = draw(n)
    labels = known if labels is None else labels
    given = {
        "probabilities": (incumbent if name == "lr" else challenger) if probabilities is None else probabilities,
        "labels": labels,
        "groups": np.arange(n),
        "fold_aucs": np.full(10, 0.9),
        "basis": {"snapshot": "5a", "folds": "f0", "contract": "c1"},
        **other,
    }
    return OutOfFoldPredictions(name, **given)


def pairwise(labels, scores):
    """Whether each pair of a positive and a negative record is in the right order: (positives, negatives)."""
    gap = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return (gap > 0) + 0.5 * (gap == 0)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_what_its_definition_over_all_pairs_gives(ties):
    labels, challenger, incumbent = draw(gain=0.4, ties=ties)
    found = paired_tests.delong(labels, challenger, incumbent)

    placed = [pairwise(labels, one) for one in (challenger, incumbent)]
    covariance = np.cov([one.mean(axis=1) for one in placed]) / 92 + np.cov([one.mean(axis=0) for one in placed]) / 108
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    delta = placed[0].mean() - placed[1].mean()
    assert found.auc.value == pytest.approx(delta, abs=1e-12)
    assert found.standard_error == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert found.auc.high == pytest.approx(delta + 1.959964 * np.sqrt(variance), abs=1e-7)
    assert 0 < found.p_value < 1


def test_bootstrap_agrees_with_delong():
    for seed in range(5):
        labels, challenger, incumbent = draw(400, gain=0.3, seed=seed)
        resampled = paired_tests.bootstrap(labels, challenger, incumbent, np.arange(400), draws=2000, seed=seed)
        exact = paired_tests.delong(labels, challenger, incumbent)
        assert resampled.auc.value == pytest.approx(exact.auc.value, abs=1e-12)
        width = exact.auc.high - exact.auc.low
        assert resampled.auc.low == pytest.approx(exact.auc.low, abs=0.08 * width)
        assert resampled.auc.high == pytest.approx(exact.auc.high, abs=0.08 * width)


@pytest.mark.parametrize("ties", [False, True])
def test_a_draw_scores_the_records_drawn_as_often_as_they_are(ties):
    labels, challenger, _ = draw(60, ties=ties)
    groups = np.concatenate([np.arange(50), np.arange(10)])  # ten pairs of records, one positive and one negative
    weights = np.concatenate(list(bootstrap.stratified_draws(labels, groups, seed=0, count=50)))
    found = bootstrap.Ranked.of(labels, challenger).roc_auc(weights)

    negative, positive = bootstrap.strata(labels, groups)
    assert (weights[:, positive].sum(axis=1) == len(positive)).all()
    assert (weights[:, negative].sum(axis=1) == len(negative)).all()
    assert (weights[:, :10] == weights[:, 50:]).all()
    for drawn, auc in zip(weights, found, strict=True):
        assert auc == pytest.approx(roc_auc_score(labels, challenger, sample_weight=drawn), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_paired_bootstrap_draws_the_numbers_it_always_drew(ties):
    """Published verdicts can be reproduced: these numbers were computed by the first release."""
    found = paired_tests.bootstrap(*draw(gain=0.2, ties=ties), np.arange(200) // 2, draws=400, seed=7)
    assert (found.auc, found.p_value) == PUBLISHED[ties][:2]
    assert dataclasses.astuple(found.brier) == pytest.approx(PUBLISHED[ties][2], abs=1e-15)


def test_the_brier_interval_is_about_the_difference_of_mean_squares():
    labels, challenger, incumbent = draw()
    found = paired_tests.bootstrap(labels, challenger, incumbent, np.arange(200), draws=2000, seed=0).brier
    losses = (challenger - labels) ** 2 - (incumbent - labels) ** 2
    half = 1.96 * np.sqrt(sum(losses[labels == c].var(ddof=1) * (labels == c).sum() for c in (0, 1))) / 200
    assert found.value == pytest.approx(losses.mean(), abs=1e-12)
    assert found.low == pytest.approx(losses.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(losses.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("seed", range(20))
def test_interval_and_p_value_agree(seed):
    labels, challenger, incumbent = draw(100, gain=0.4, seed=seed)
    found = paired_tests.bootstrap(labels, challenger, incumbent, np.arange(100), draws=400, seed=seed)
    assert (found.p_value <= 0.05) == (found.auc.low > 0 or found.auc.high < 0)


def test_equal_seeds_give_equal_numbers_for_any_block_size(monkeypatch):
    labels, challenger, incumbent = draw()

    def run(seed=1):
        return paired_tests.bootstrap(labels, challenger, incumbent, np.arange(200), draws=500, seed=seed)

    first = run()
    monkeypatch.setattr(bootstrap, "_STRATIFIED_BLOCK_CELLS", 1000)
    assert run() == first
    assert run(seed=2) != first


def test_identical_records_widen_the_interval():
    """Repeating each record adds no evidence."""
    labels, challenger, incumbent = draw()
    once = paired_tests.bootstrap(labels, challenger, incumbent, np.arange(200), draws=1000, seed=0)
    twice = [np.tile(one, 2) for one in (labels, challenger, incumbent)]
    labels_and_groups = paired_tests.bootstrap(*twice, np.tile(np.arange(200), 2), draws=1000, seed=0)
    assert labels_and_groups.auc.low == pytest.approx(once.auc.low, abs=1e-12)
    assert labels_and_groups.auc.high == pytest.approx(once.auc.high, abs=1e-12)


def test_the_bootstrap_takes_a_fraction_of_scikit_learns_time():
    labels, challenger, incumbent = draw(300)
    start = time.process_time()
    paired_tests.bootstrap(labels, challenger, incumbent, np.arange(300), draws=2000, seed=0)
    ours, start = time.process_time() - start, time.process_time()
    for _ in range(50):
        for scores in (challenger, incumbent):
            roc_auc_score(labels, scores, sample_weight=np.ones(300))
    theirs = 2000 / 50 * (time.process_time() - start)
    assert ours < theirs / 50  # about a five-hundredth


def test_too_few_draws_are_refused():
    labels, challenger, incumbent = draw()
    with pytest.raises(ValueError, match="38 draws are too few for a 95 % interval: at least 39"):
        paired_tests.bootstrap(labels, challenger, incumbent, np.arange(200), draws=38, seed=0)


def test_a_comparison_has_the_numbers_of_every_test():
    one, other = predictions("rf", fold_aucs=np.linspace(0.9, 0.95, 10)), predictions("lr")
    found = compare(one, other, splits=5, seed=3, draws=100)
    resampled = paired_tests.bootstrap(
        one.labels, one.probabilities, other.probabilities, one.groups, draws=100, seed=3
    )

    assert (found.challenger, found.incumbent, found.rows, found.draws, found.seed) == ("rf", "lr", 200, 100, 3)
    assert found.auc.value == pytest.approx(found.aucs[0] - found.aucs[1])
    assert found.aucs[1] == pytest.approx(roc_auc_score(other.labels, other.probabilities))
    assert found.brier.value == pytest.approx(found.briers[0] - found.briers[1])
    assert (found.auc, found.brier, found.p_value) == (resampled.auc, resampled.brier, resampled.p_value)
    assert found.delong == paired_tests.delong(one.labels, one.probabilities, other.probabilities)
    assert found.folds == paired_difference(("rf", one.fold_aucs), ("lr", other.fold_aucs), splits=5)
    assert dataclasses.asdict(found)["auc"]["low"] == found.auc.low


def test_a_fold_without_a_class_is_left_out_of_the_difference_within_folds():
    aucs = np.linspace(0.9, 0.95, 10)
    aucs[3] = np.nan
    one, other = predictions("rf", fold_aucs=aucs), predictions("lr", fold_aucs=np.where(np.isnan(aucs), np.nan, 0.9))
    found = compare(one, other, splits=5, seed=3, draws=100).folds
    left = np.isfinite(aucs)
    assert found == paired_difference(("rf", aucs[left]), ("lr", np.full(9, 0.9)), splits=5)
    assert found.delta == pytest.approx(np.nanmean(aucs) - 0.9)


def test_a_model_compared_with_itself_shows_no_difference():
    found = compare(predictions("lr"), replace(predictions("lr"), name="again"), splits=5, seed=0, draws=100)
    assert found.auc == found.brier == found.delong.auc == Interval(0, 0, 0)
    assert found.p_value == found.delong.p_value == found.folds.p_value == 1


@pytest.mark.parametrize(
    ("difference", "expected"),
    [(Interval(-0.02, -0.03, -0.01), True), (Interval(0.0, -0.009, 0.009), True), (Interval(0.0, -0.01, 0.01), False)],
)
def test_a_score_is_not_worse_when_its_interval_ends_below_the_margin(difference, expected):
    assert not_worse(difference, 0.01) is expected


@pytest.mark.parametrize("what", ["snapshot", "folds", "contract"])
def test_predictions_on_a_different_basis_are_refused(what):
    other = predictions("rf", basis={**predictions().basis, what: "99"})
    with pytest.raises(ComparisonError) as caught:
        compare(other, predictions("lr"), splits=5, seed=0)
    assert caught.value.what == f"rf and lr were evaluated on a different basis: {what}"
    assert caught.value.where == f"{what} 99 and {predictions().basis[what]}"
    assert caught.value.expected == "the same snapshot, folds and contract"


def test_a_part_of_the_basis_that_one_side_lacks_is_a_difference():
    with pytest.raises(ComparisonError) as caught:
        compare(predictions("rf", basis={"snapshot": "5a", "folds": "f0"}), predictions("lr"), splits=5, seed=0)
    assert caught.value.where == "contract unknown and c1"


@pytest.mark.parametrize(
    ("other", "what", "where"),
    [
        (
            {"labels": 1 - draw()[0]},
            "rf and lr have predictions for different records",
            "labels: 200 and 200, 200 of them different",
        ),
        (
            {"groups": np.arange(200) // 2},
            "rf and lr have predictions for different records",
            "groups: 200 and 200, 199 of them different",
        ),
        ({"n": 100}, "rf and lr have predictions for different records", "labels: 100 and 200"),
        (
            {"fold_aucs": np.ones(20)},
            "rf and lr were evaluated on different folds",
            "20 and 10 ROC AUCs of folds, 20 and 10 of them defined",
        ),
        (
            {"fold_aucs": np.r_[np.nan, np.ones(9)]},
            "rf and lr were evaluated on different folds",
            "10 and 10 ROC AUCs of folds, 9 and 10 of them defined",
        ),
        (
            {"fold_aucs": np.r_[0.9, np.full(9, np.nan)]},
            "the predictions of rf cannot be compared",
            "1 of 10 folds with records of both classes",
        ),
        ({"fold_aucs": np.ones(9)}, "the predictions of rf cannot be compared", "9 ROC AUCs of folds"),
        ({"probabilities": np.full(200, 1.5)}, "the predictions of rf cannot be compared", "200 records"),
        ({"probabilities": np.full(200, np.nan)}, "the predictions of rf cannot be compared", "200 records"),
        (
            {"probabilities": np.ones((2, 200))},
            "the predictions of rf cannot be compared",
            "shapes (2, 200), (200,), (200,)",
        ),
        ({"labels": draw()[0] * 4}, "the predictions of rf cannot be compared", "its labels"),
        (
            {"labels": (np.arange(200) == 0).astype(int)},
            "the predictions of rf cannot be compared",
            "199 distinct records without disease and 1 with",
        ),
        (
            {"groups": np.where(np.arange(200) < 92, np.arange(200), 92)},
            "the predictions of rf cannot be compared",
            "1 distinct records without disease and 92 with",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_refused(other, what, where):
    with pytest.raises(ComparisonError) as caught:
        compare(predictions("rf", **other), predictions("lr"), splits=5, seed=0)
    assert (caught.value.what, caught.value.where) == (what, where)


def test_corrected_interval_is_wider_than_the_naive_one_by_the_published_factor():
    random = np.random.default_rng(0)
    base = random.normal(0.9, 0.05, 100)
    scores = base + random.normal(0.01, 0.03, 100)
    found = paired_difference(("rf", scores), ("lr", base), splits=10)

    naive = (scores - base).std(ddof=1) / 10
    factor = np.sqrt((1 / 100 + 1 / 9) / (1 / 100))
    assert found.delta == pytest.approx((scores - base).mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.984 * naive * factor, rel=1e-3)


def test_scores_from_different_folds_are_not_compared():
    with pytest.raises(ValueError, match="different folds"):
        paired_difference(("rf", np.ones(10)), ("lr", np.ones(20)), splits=5)


def test_the_bootstraps_standard_error_is_the_spread_of_its_draws_and_near_delongs():
    labels, challenger, incumbent = draw(gain=0.4)
    found = paired_tests.bootstrap(labels, challenger, incumbent, np.arange(len(labels)), draws=2000, seed=0)
    assert found.standard_error == pytest.approx(
        paired_tests.delong(labels, challenger, incumbent).standard_error, rel=0.1
    )
    one = compare(predictions("rf"), predictions(), splits=10, seed=0)
    assert one.standard_error > 0

"""Paired tests of two models' predictions for the same patients: differences in ROC AUC and Brier score.

Pure functions on arrays. docs/evidence.md says which test decides, and why.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from heartline import scores
from heartline.arrays import Floats, Ints
from heartline.evaluation import cells
from heartline.evaluation.bootstrap import Ranked, numbered, strata, stratified_draws
from heartline.evaluation.intervals import ALPHA, Z, rank_interval

MIN_DRAWS = math.ceil(2 / ALPHA) - 1  # with fewer, less than one draw lies beyond each end of the interval


@dataclass(frozen=True)
class Interval:
    """A difference, challenger minus incumbent, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """The result of the paired bootstrap for one challenger.

    Attributes:
        auc: difference in ROC AUC.
        brier: difference in Brier score; below 0 the challenger is better.
        p_value: two-sided, of the hypothesis that the ROC AUCs do not differ; at most 0.05 exactly where the interval
            of ``auc`` excludes 0.
        standard_error: of the difference in ROC AUC: the standard deviation of the draws.
    """

    auc: Interval
    brier: Interval
    p_value: float
    standard_error: float


@dataclass(frozen=True)
class DeLong:
    """The result of DeLong's test for one challenger.

    Attributes:
        auc: difference in ROC AUC.
        standard_error: of that difference.
        p_value: two-sided, of the hypothesis of no difference.
    """

    auc: Interval
    standard_error: float
    p_value: float


def delong(labels: Ints, challenger: Floats, incumbent: Floats) -> DeLong:
    """Compare two ROC AUCs of the same records by DeLong's test.

    DeLong, DeLong, Clarke-Pearson (1988), "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44. The placements come from midranks, as in Sun and Xu (2014), "Fast
    implementation of DeLong's algorithm", IEEE Signal Processing Letters 21: n log n instead of all pairs. The test
    assumes independent records: it ignores that records may have equal features.

    Args:
        labels: (n,) 0 or 1, at least two of each.
        challenger: (n,) probabilities.
        incumbent: (n,) probabilities.
    """
    positive, negative = _placement_differences(labels, challenger, incumbent)
    delta = float(positive.mean())
    error = math.sqrt(float(positive.var(ddof=1)) / len(positive) + float(negative.var(ddof=1)) / len(negative))
    if error == 0.0:
        return DeLong(Interval(delta, delta, delta), 0.0, 1.0 if delta == 0.0 else 0.0)
    half = Z * error
    return DeLong(Interval(delta, delta - half, delta + half), error, 2 * float(stats.norm.sf(abs(delta) / error)))


def _placement_differences(labels: Ints, challenger: Floats, incumbent: Floats) -> tuple[Floats, Floats]:
    """Return the differences of the placements of the positive records, and of the negative ones."""
    one, other = _placements(labels, challenger), _placements(labels, incumbent)
    return one[0] - other[0], one[1] - other[1]


def _placements(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return for each positive record the share of negatives below it, for each negative that of positives above it."""
    positive = labels == 1
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = stats.rankdata(probabilities)
    below = (ranks[positive] - stats.rankdata(probabilities[positive])) / n
    above = 1 - (ranks[~positive] - stats.rankdata(probabilities[~positive])) / m
    return below, above


def bootstrap(labels: Ints, challenger: Floats, incumbent: Floats, groups: Ints, *, draws: int, seed: int) -> Bootstrap:
    """Compare two models by a stratified paired bootstrap.

    Each draw takes as many records with and without disease as there are, with replacement, and scores both models on
    them (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 8 and 13). Records with equal
    features are drawn together, as one; they count as positive when one of them is, as in the fold plan. Intervals are
    percentiles by rank, so that interval and p-value agree.

    Up to ``cells.ROWS`` records, a draw is a vector of weights, so each model's probabilities are sorted once. AUCs are
    computed from counts, so they are the same on every machine. With more records, draws are sums of influence values
    (``_draws_of_cells``), whose cost does not grow with the records.

    Args:
        labels: (n,) 0 or 1.
        challenger: (n,) probabilities.
        incumbent: (n,) probabilities.
        groups: (n,) records with equal features share a number.
        draws: at least ``MIN_DRAWS``.
        seed: equal seeds draw equal records up to ``cells.ROWS`` records, so several challengers are compared on the
            same draws.

    Raises:
        ValueError: too few draws.
    """
    if draws < MIN_DRAWS:
        raise ValueError(f"{draws} draws are too few for a 95 % interval: at least {MIN_DRAWS}")
    resample = _draws_of_cells if len(labels) > cells.ROWS else _draws_of_records
    delta_auc, delta_brier = resample(labels, challenger, incumbent, groups, draws, seed)
    beyond = min(int((delta_auc <= 0).sum()), int((delta_auc >= 0).sum()))
    losses = scores.squared_errors(labels, challenger) - scores.squared_errors(labels, incumbent)
    return Bootstrap(
        Interval(scores.roc_auc(labels, challenger) - scores.roc_auc(labels, incumbent), *rank_interval(delta_auc)),
        Interval(float(losses.mean()), *rank_interval(delta_brier)),
        min(1.0, 2 * (beyond + 1) / (draws + 1)),
        float(delta_auc.std(ddof=1)),
    )


def _draws_of_records(
    labels: Ints, challenger: Floats, incumbent: Floats, groups: Ints, draws: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the differences in ROC AUC and in Brier score of each draw: (draws,) each."""
    one, other = (Ranked.of(labels, probabilities) for probabilities in (challenger, incumbent))
    losses = scores.squared_errors(labels, challenger) - scores.squared_errors(labels, incumbent)
    auc, brier = [], []
    for weights in stratified_draws(labels, groups, seed=seed, count=draws):
        auc.append(one.roc_auc(weights) - other.roc_auc(weights))
        brier.append((weights * losses).sum(axis=1) / weights.sum(axis=1))
    return np.concatenate(auc), np.concatenate(brier)


def _draws_of_cells(
    labels: Ints, challenger: Floats, incumbent: Floats, groups: Ints, draws: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the same differences of many records, by the influence of each group on them.

    The influence of a record on the difference in ROC AUC is the difference of its placements, as in DeLong's test; on
    the difference in Brier score it is the difference of its squared errors. A draw changes a difference by the sum of
    the influences of the groups that it takes (Efron and Tibshirani 1993, chapter 22.6, the infinitesimal jackknife).
    What this leaves out is of the order of 1 / n. Groups of nearly equal influence are drawn as one cell, so the pairs
    of predictions stay together and the cost of a draw does not grow with the records.
    """
    numbers, size = numbered(groups)
    of_strata = strata(labels, groups)
    auc = np.empty(len(labels))
    for members, placed in zip(
        (labels == 1, labels == 0), _placement_differences(labels, challenger, incumbent), strict=True
    ):
        auc[members] = (placed - placed.mean()) / len(placed)
    losses = scores.squared_errors(labels, challenger) - scores.squared_errors(labels, incumbent)
    brier = (losses - losses.mean()) / len(losses)
    delta = scores.roc_auc(labels, challenger) - scores.roc_auc(labels, incumbent)
    of_auc, of_brier = (
        cells.sums(np.asarray(np.bincount(numbers, influence, size), "float64"), of_strata, seed=seed, count=draws)
        for influence in (auc, brier)
    )
    return delta + of_auc, losses.mean() + of_brier

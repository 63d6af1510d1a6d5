"""Paired tests of two models' predictions for the same patients: differences in ROC AUC and Brier score.

Pure functions on arrays. docs/evidence.md says which test decides, and why.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from heartline import scores
from heartline.arrays import Floats, Ints
from heartline.evaluation.bootstrap import Ranked, stratified_draws
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
    of_challenger, of_incumbent = _placements(labels, challenger), _placements(labels, incumbent)
    positive, negative = of_challenger[0] - of_incumbent[0], of_challenger[1] - of_incumbent[1]
    delta = float(positive.mean())
    error = math.sqrt(float(positive.var(ddof=1)) / len(positive) + float(negative.var(ddof=1)) / len(negative))
    if error == 0.0:
        return DeLong(Interval(delta, delta, delta), 0.0, 1.0 if delta == 0.0 else 0.0)
    half = Z * error
    return DeLong(Interval(delta, delta - half, delta + half), error, 2 * float(stats.norm.sf(abs(delta) / error)))


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

    A draw is a vector of weights, so each model's probabilities are sorted once. Time grows with draws · n: 2000 draws
    take hundredths of a second at 300 records, seconds at 100,000. Memory is bounded by the bootstrap's block size.
    AUCs are computed from counts, so they are the same on every machine.

    Args:
        labels: (n,) 0 or 1.
        challenger: (n,) probabilities.
        incumbent: (n,) probabilities.
        groups: (n,) records with equal features share a number.
        draws: at least ``MIN_DRAWS``.
        seed: equal seeds draw equal records, so several challengers are compared on the same draws.

    Raises:
        ValueError: too few draws.
    """
    if draws < MIN_DRAWS:
        raise ValueError(f"{draws} draws are too few for a 95 % interval: at least {MIN_DRAWS}")
    one, other = (Ranked.of(labels, probabilities) for probabilities in (challenger, incumbent))
    losses = scores.squared_errors(labels, challenger) - scores.squared_errors(labels, incumbent)
    auc, brier = [], []
    for weights in stratified_draws(labels, groups, seed=seed, count=draws):
        auc.append(one.roc_auc(weights) - other.roc_auc(weights))
        brier.append((weights * losses).sum(axis=1) / weights.sum(axis=1))
    delta_auc, delta_brier = np.concatenate(auc), np.concatenate(brier)
    beyond = min(int((delta_auc <= 0).sum()), int((delta_auc >= 0).sum()))
    return Bootstrap(
        Interval(scores.roc_auc(labels, challenger) - scores.roc_auc(labels, incumbent), *rank_interval(delta_auc)),
        Interval(float(losses.mean()), *rank_interval(delta_brier)),
        min(1.0, 2 * (beyond + 1) / (draws + 1)),
        float(delta_auc.std(ddof=1)),
    )

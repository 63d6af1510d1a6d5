"""Two models' answers for the same patients: how much their ROC AUC and Brier score differ, and how sure that is.

Pure functions on arrays. Which one decides, and why, is said in docs/evidence.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from heartline.arrays import Floats, Ints

ALPHA = 0.05
CONFIDENCE = 1 - ALPHA
MIN_DRAWS = math.ceil(2 / ALPHA) - 1  # fewer have no 2.5 % of them beyond the interval's ends

_CELLS = 1 << 16  # weights that are held at a time: they fit into the processor's cache, and memory is bounded


@dataclass(frozen=True)
class Interval:
    """A difference, challenger minus incumbent, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """What the paired bootstrap says about one challenger.

    Attributes:
        auc: difference in ROC AUC.
        brier: difference in Brier score; below 0 the challenger's probabilities are the better ones.
        p_value: of no difference in ROC AUC, two-sided; at most 0.05 exactly where ``auc`` lies on one side of 0.
    """

    auc: Interval
    brier: Interval
    p_value: float


@dataclass(frozen=True)
class DeLong:
    """What DeLong's test says about one challenger.

    Attributes:
        auc: difference in ROC AUC.
        standard_error: of that difference.
        p_value: of no difference, two-sided.
    """

    auc: Interval
    standard_error: float
    p_value: float


def auc(labels: Ints, scores: Floats) -> float:
    """Return the ROC AUC of (n,) scores: the share of pairs of one sick and one healthy that are in order, ties half.

    It is Mann and Whitney's U over the number of pairs, from ranks: n log n, and no matrix of pairs.
    """
    sick = labels == 1
    m, n = int(sick.sum()), int((~sick).sum())
    return float((stats.rankdata(scores)[sick].sum() - m * (m + 1) / 2) / (m * n))


def delong(labels: Ints, challenger: Floats, incumbent: Floats) -> DeLong:
    """Compare two ROC AUCs of the same records by DeLong's test.

    DeLong, DeLong, Clarke-Pearson (1988), "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44. The placements come from midranks, as in Sun and Xu (2014), "Fast
    implementation of DeLong's algorithm", IEEE Signal Processing Letters 21: n log n instead of all pairs. It takes
    records for independent, so it does not know of records with equal features.

    Args:
        labels: (n,) 0 or 1, at least two of each.
        challenger: (n,) probabilities.
        incumbent: (n,) probabilities.
    """
    of_challenger, of_incumbent = _placements(labels, challenger), _placements(labels, incumbent)
    sick, healthy = of_challenger[0] - of_incumbent[0], of_challenger[1] - of_incumbent[1]
    delta = float(sick.mean())
    error = math.sqrt(float(sick.var(ddof=1)) / len(sick) + float(healthy.var(ddof=1)) / len(healthy))
    if error == 0.0:
        return DeLong(Interval(delta, delta, delta), 0.0, 1.0 if delta == 0.0 else 0.0)
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * error
    return DeLong(Interval(delta, delta - half, delta + half), error, 2 * float(stats.norm.sf(abs(delta) / error)))


def _placements(labels: Ints, scores: Floats) -> tuple[Floats, Floats]:
    """Return, for each sick one, the share of healthy ones below it; for each healthy one, of sick ones above it."""
    sick = labels == 1
    m, n = int(sick.sum()), int((~sick).sum())
    ranks = stats.rankdata(scores)
    below = (ranks[sick] - stats.rankdata(scores[sick])) / n
    above = 1 - (ranks[~sick] - stats.rankdata(scores[~sick])) / m
    return below, above


def bootstrap(labels: Ints, challenger: Floats, incumbent: Floats, groups: Ints, *, draws: int, seed: int) -> Bootstrap:
    """Compare two models by a stratified paired bootstrap.

    Each draw takes as many records with and without disease as there are, with replacement, and scores both models on
    them (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 8 and 13). Records with equal
    features are drawn together, as one; they count as sick when one of them is, as in the fold plan. Intervals are
    percentiles by rank (Davison and Hinkley 1997, "Bootstrap Methods and their Application", 5.3.1), which makes
    interval and p-value say the same.

    A draw is a vector of weights, so nothing is sorted twice: with the records in the order of a model's probabilities
    its AUC is one cumulative sum. Time grows with draws · n: 2000 draws take hundredths of a second at 300 records,
    seconds at 100,000; beyond the answers themselves a few arrays of n or ``_CELLS`` numbers are held. AUCs are counted
    in whole numbers, so they are the same everywhere.

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
    numbers = np.unique(groups, return_inverse=True)[1]
    curves = [_Curve.of(labels, scores, numbers) for scores in (challenger, incumbent)]
    size = np.bincount(numbers).astype("float64")
    loss = np.bincount(numbers, (challenger - labels) ** 2 - (incumbent - labels) ** 2)
    delta_auc, delta_brier = np.empty(draws), np.empty(draws)
    at = 0
    for weights in _draws(labels, numbers, draws, seed):
        block = slice(at, at := at + weights.shape[1])
        delta_auc[block] = curves[0].auc(weights) - curves[1].auc(weights)
        delta_brier[block] = (weights * loss[:, None]).sum(axis=0) / (weights * size[:, None]).sum(axis=0)
    beyond = min(int((delta_auc <= 0).sum()), int((delta_auc >= 0).sum()))
    return Bootstrap(
        _percentiles(auc(labels, challenger) - auc(labels, incumbent), delta_auc),
        _percentiles(float(loss.sum() / size.sum()), delta_brier),
        min(1.0, 2 * (beyond + 1) / (draws + 1)),
    )


def strata(labels: Ints, numbers: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the groups without and those with a sick record, of (n,) group numbers from 0 on."""
    sick = np.bincount(numbers, labels) > 0
    return np.flatnonzero(~sick), np.flatnonzero(sick)


def _draws(labels: Ints, numbers: NDArray[np.intp], draws: int, seed: int) -> Iterator[Floats]:
    """Yield blocks (groups, draws of the block) of how often each group is drawn."""
    parts = strata(labels, numbers)
    # a stream for each stratum: what is drawn does not depend on the size of the blocks
    streams = [np.random.default_rng([seed % 2**64, stratum]) for stratum in range(len(parts))]
    groups = sum(map(len, parts))
    columns = max(1, _CELLS // groups)
    for start in range(0, draws, columns):
        block = min(columns, draws - start)
        cells = []
        for members, random in zip(parts, streams, strict=True):
            drawn = members[random.integers(len(members), size=(block, len(members)))]
            cells.append((drawn * block + np.arange(block)[:, None]).ravel())
        yield np.bincount(np.concatenate(cells), minlength=groups * block).reshape(groups, block).astype("float64")


@dataclass(frozen=True, eq=False)
class _Curve:
    """A model's order of the records, by which the AUC of any weights is one cumulative sum.

    Attributes:
        sick: (m,) group of each sick record.
        healthy: (n,) group of each healthy record, in ascending order of its probability.
        below: (m,) how many healthy records have a lower probability than the sick one.
        not_above: (m,) how many have a lower one or the same.
    """

    sick: NDArray[np.intp]
    healthy: NDArray[np.intp]
    below: NDArray[np.intp]
    not_above: NDArray[np.intp]

    @classmethod
    def of(cls, labels: Ints, scores: Floats, numbers: NDArray[np.intp]) -> "_Curve":
        sick, healthy = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        sick, healthy = (one[np.argsort(scores[one], kind="stable")] for one in (sick, healthy))
        below, not_above = (np.searchsorted(scores[healthy], scores[sick], side) for side in ("left", "right"))
        return cls(numbers[sick], numbers[healthy], below, not_above)

    def auc(self, weights: Floats) -> Floats:
        """Return the AUC of each column of weights (groups, draws)."""
        sick = weights[self.sick]
        healthy = np.zeros((len(self.healthy) + 1, weights.shape[1]))
        np.cumsum(weights[self.healthy], axis=0, out=healthy[1:])
        twice = np.einsum("ij,ij->j", sick, healthy[self.below] + healthy[self.not_above])
        found: Floats = twice / (2 * sick.sum(axis=0) * healthy[-1])
        return found


def _percentiles(value: float, drawn: Floats) -> Interval:
    ordered = np.sort(drawn)
    rank = math.floor((len(drawn) + 1) * ALPHA / 2)
    return Interval(value, float(ordered[rank - 1]), float(ordered[-rank]))

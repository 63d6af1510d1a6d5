"""The bootstrap: draws groups of identical records, many draws at a time, and computes weighted scores per draw."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartline import scores
from heartline.arrays import Floats, Ints, Positions

DRAWS = 1000
LOGIT_CLIP = 1e-3  # a forest of 300 that predicts 0 means less than 1/300; one such record must not decide a slope

_BLOCK_CELLS = 2_000_000  # draws times records held at a time: 16 MB
_STRATIFIED_BLOCK_CELLS = 1 << 16  # the same for stratified draws: a block fits into the processor's cache
_NEWTON_STEPS = 25


def draws(groups: Ints, *, seed: int, count: int = DRAWS) -> Iterator[Floats]:
    """Yield how often each record is drawn, (draws of a block, n) at a time.

    Whole groups are drawn, as many as there are, so identical records stay together. Draws are not stratified by
    label: the prevalence is itself an estimate, and precision and calibration depend on it.

    Args:
        groups: (n,) records with the same number are drawn together.
        seed: the same seed gives the same draws.
        count: number of draws.
    """
    numbers, size = numbered(groups)
    block = max(1, _BLOCK_CELLS // len(groups))
    for weights in _draw([(np.arange(size), np.random.default_rng(seed))], count, block):
        yield weights[:, numbers]


def stratified_draws(labels: Ints, groups: Ints, *, seed: int, count: int) -> Iterator[Floats]:
    """Yield how often each record is drawn, (draws of a block, n) at a time, stratified by label.

    Each draw takes as many groups with and without a positive record as there are.

    Args:
        labels: (n,) 0 or 1.
        groups: (n,) records with the same number are drawn together.
        seed: the same seed gives the same draws.
        count: number of draws.
    """
    numbers, size = numbered(groups)
    # One random stream per stratum, so that the draws do not depend on the block size.
    streams = [
        (members, np.random.default_rng([seed % 2**64, stratum]))
        for stratum, members in enumerate(strata(labels, groups))
    ]
    for weights in _draw(streams, count, max(1, _STRATIFIED_BLOCK_CELLS // size)):
        yield weights[:, numbers]


def strata(labels: Ints, groups: Ints) -> tuple[Positions, Positions]:
    """Return the groups without and the groups with a positive record, groups numbered in ascending order from 0."""
    positive = np.bincount(numbered(groups)[0], labels) > 0
    return np.flatnonzero(~positive), np.flatnonzero(positive)


def over_draws(groups: Ints, score: Callable[[Floats], Floats], *, seed: int, count: int = DRAWS) -> Floats:
    """Return ``score`` of the weights of all draws: (draws, …)."""
    return np.concatenate([score(weights) for weights in draws(groups, seed=seed, count=count)])


def numbered(groups: Ints) -> tuple[Positions, int]:
    """Return the groups as (n,) numbers from 0 without gaps, in their order, and how many groups there are."""
    if groups.min() >= 0 and groups.max() <= 4 * len(groups):  # small numbers: no sorting, which is slow for millions
        used = np.bincount(groups) > 0
        return (np.cumsum(used) - 1)[groups], int(used.sum())
    numbers = np.unique(groups, return_inverse=True)[1]
    return numbers, int(numbers.max()) + 1


def _draw(
    streams: Sequence[tuple[Positions, np.random.Generator]], count: int, block_size: int
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each group is drawn from its stratum with replacement: (draws of a block, groups)."""
    size = sum(len(members) for members, _ in streams)
    for start in range(0, count, block_size):
        block = min(block_size, count - start)
        offsets = size * np.arange(block)[:, None]
        cells = [
            (members[random.integers(len(members), size=(block, len(members)))] + offsets).ravel()
            for members, random in streams
        ]
        weights = np.bincount(np.concatenate(cells), minlength=block * size)
        yield weights.reshape(block, size).astype("float64")


@dataclass(frozen=True, eq=False)
class Ranked:
    """Labels and probabilities in descending order of probability, ready to be weighted many times.

    Attributes:
        order: (n,) positions that sort the records by probability, highest first.
        starts: (levels,) where each distinct probability starts in that order.
        positive: (n,) labels in that order.
        probabilities: (n,) in that order.
    """

    order: Positions
    starts: Positions
    positive: Floats
    probabilities: Floats

    @classmethod
    def of(cls, labels: Ints, probabilities: Floats) -> "Ranked":
        """Return (n,) labels and (n,) probabilities in order."""
        order = np.argsort(-probabilities, kind="stable")
        ordered = probabilities[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        return cls(order, starts, labels[order].astype("float64"), ordered)

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return positive and negative records at each distinct probability, highest first: twice (draws, levels)."""
        ordered = weights[:, self.order]
        positives = ordered * self.positive
        negatives = ordered - positives
        if len(self.starts) == len(self.order):  # no ties: each record is a level
            return positives, negatives
        return np.add.reduceat(positives, self.starts, axis=1), np.add.reduceat(negatives, self.starts, axis=1)

    def roc_auc(self, weights: Floats) -> Floats:
        """Return the ROC AUC of each draw: (draws,)."""
        return scores.roc_auc_from_counts(*self.counts(weights))


def average_precision(positives: Floats, negatives: Floats) -> Floats:
    """Return (draws,) areas under the precision-recall curve, as a sum of steps without interpolation."""
    found = np.cumsum(positives, axis=1)
    precision = found / np.maximum(found + np.cumsum(negatives, axis=1), 1)
    return _divide((positives * precision).sum(axis=1), found[:, -1])


def calibration_slopes(weights: Floats, labels: Ints, probabilities: Floats) -> Floats:
    """Return the slope of a logistic regression of the labels on the logit of the probabilities, for each draw.

    1 is best; a slope below 1 means probabilities too extreme (Cox 1958, "Two further applications of a model for
    binary regression", Biometrika 45). The intercept of this regression is not returned: it is the intercept at the
    fitted slope, and says nothing about whether risks are too high or too low on the whole. Newton's method, all draws
    at once.

    Args:
        weights: (draws, n).
        labels: (n,).
        probabilities: (n,), clipped to ``LOGIT_CLIP`` from 0 and 1.

    Returns:
        (draws,); NaN where the classes do not overlap, so that there is no maximum.
    """
    clipped = np.clip(probabilities, LOGIT_CLIP, 1 - LOGIT_CLIP)
    logits = np.log(clipped / (1 - clipped))
    slope, intercept = np.ones(len(weights)), np.zeros(len(weights))
    step = np.full((2, len(weights)), np.inf)
    for _ in range(_NEWTON_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(slope[:, None] * logits + intercept[:, None], -30, 30)))
        gap = weights * (labels - expected)
        spread = weights * expected * (1 - expected)
        a, b, c = spread.sum(axis=1), (spread * logits).sum(axis=1), (spread * logits**2).sum(axis=1)
        determinant = a * c - b * b
        u, v = gap.sum(axis=1), (gap * logits).sum(axis=1)
        # A larger step may leave the region in which Newton's method converges.
        step = np.clip([_divide(a * v - b * u, determinant), _divide(c * u - b * v, determinant)], -2, 2)
        slope, intercept = slope + step[0], intercept + step[1]
        if not (np.abs(step) > 1e-9).any():
            break
    diverged = ~(np.abs(step).max(axis=0) < 1e-6)
    return np.where(diverged, np.nan, slope)


def _divide(above: Floats, below: Floats) -> Floats:
    quotient: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return quotient

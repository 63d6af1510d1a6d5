"""Bootstrap over groups of identical records, many draws at a time: weights in, one value of a score per draw out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartline.arrays import Floats, Ints

DRAWS = 1000
MAX_CELLS = 30_000_000  # draws times records: beyond it fewer are drawn, as the ends of an interval need hundreds only
MIN_DRAWS = 200
LOGIT_CLIP = 1e-3  # a forest of 300 that says 0 means less than 1/300; one such record must not decide a slope

_BLOCK_CELLS = 2_000_000  # draws times records held at a time: 16 MB
_STEPS = 25


def draws(groups: Ints, *, seed: int, count: int = DRAWS) -> Iterator[Floats]:
    """Yield how often each record is drawn, (some draws, n) at a time, ``count`` draws in all.

    Whole groups are drawn, as many as there are, so records that are the same patient stay together. The draw is not
    stratified by label: the share of the sick is itself an estimate, and precision or calibration depend on it.

    Args:
        groups: (n,) numbers from 0; equal ones stay together.
        seed: the same seed gives the same draws.
        count: at most this many; fewer where ``count`` times n is beyond ``MAX_CELLS``.
    """
    random = np.random.default_rng(seed)
    numbers = np.unique(groups, return_inverse=True)[1]
    size = int(numbers.max()) + 1
    left = min(count, max(MIN_DRAWS, MAX_CELLS // len(groups)))
    while left > 0:
        block = min(left, max(1, _BLOCK_CELLS // len(groups)))
        picked = random.integers(0, size, (block, size)) + size * np.arange(block)[:, None]
        weights = np.bincount(picked.ravel(), minlength=block * size).reshape(block, size)
        yield weights[:, numbers].astype("float64")
        left -= block


@dataclass(frozen=True, eq=False)
class Ranked:
    """Labels and probabilities in order of probability, ready to be weighted many times.

    Attributes:
        order: (n,) positions that sort the records by probability, highest first.
        begins: (levels,) where each distinct probability begins in that order.
        sick: (n,) labels in that order.
        probabilities: (n,) in that order.
    """

    order: NDArray[np.intp]
    begins: NDArray[np.intp]
    sick: Floats
    probabilities: Floats

    @classmethod
    def of(cls, labels: Ints, probabilities: Floats) -> "Ranked":
        """Return (n,) labels and (n,) probabilities in order."""
        order = np.argsort(-probabilities, kind="stable")
        ordered = probabilities[order]
        begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        return cls(order, begins, labels[order].astype("float64"), ordered)

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the sick and the healthy of each distinct probability, highest first: twice (draws, levels)."""
        ordered = weights[:, self.order]
        sick = np.add.reduceat(ordered * self.sick, self.begins, axis=1)
        return sick, np.add.reduceat(ordered, self.begins, axis=1) - sick


def roc_auc(sick: Floats, healthy: Floats) -> Floats:
    """Return (draws,) areas under the ROC curve: the share of pairs in the right order, ties counted half."""
    below = healthy.sum(axis=1, keepdims=True) - np.cumsum(healthy, axis=1)
    right = (sick * (below + healthy / 2)).sum(axis=1)
    return _divide(right, sick.sum(axis=1) * healthy.sum(axis=1))


def average_precision(sick: Floats, healthy: Floats) -> Floats:
    """Return (draws,) areas under the precision-recall curve, as a sum of steps without interpolation."""
    found = np.cumsum(sick, axis=1)
    precision = found / np.maximum(found + np.cumsum(healthy, axis=1), 1)
    return _divide((sick * precision).sum(axis=1), found[:, -1])


def recalibration(weights: Floats, labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return the slope and the intercept of a logistic regression of the labels on the logit of the probabilities.

    A slope of 1 with an intercept of 0 is perfect calibration; a slope below 1 means probabilities too extreme (Cox
    1958, "Two further applications of a model for binary regression", Biometrika 45). Newton's method, all draws at
    once.

    Args:
        weights: (draws, n).
        labels: (n,).
        probabilities: (n,), taken no nearer to 0 and 1 than ``LOGIT_CLIP``.

    Returns:
        slopes (draws,) and intercepts (draws,); NaN where the classes do not overlap, so that there is no maximum.
    """
    clipped = np.clip(probabilities, LOGIT_CLIP, 1 - LOGIT_CLIP)
    logits = np.log(clipped / (1 - clipped))
    slope, intercept = np.ones(len(weights)), np.zeros(len(weights))
    step = np.full((2, len(weights)), np.inf)
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(slope[:, None] * logits + intercept[:, None], -30, 30)))
        gap = weights * (labels - expected)
        spread = weights * expected * (1 - expected)
        a, b, c = spread.sum(axis=1), (spread * logits).sum(axis=1), (spread * logits**2).sum(axis=1)
        determinant = a * c - b * b
        u, v = gap.sum(axis=1), (gap * logits).sum(axis=1)
        # half a step at most: a full one may leave the region in which Newton's method converges
        step = np.clip([_divide(a * v - b * u, determinant), _divide(c * u - b * v, determinant)], -2, 2)
        slope, intercept = slope + step[0], intercept + step[1]
        if not (np.abs(step) > 1e-9).any():
            break
    lost = ~(np.abs(step).max(axis=0) < 1e-6)
    return np.where(lost, np.nan, slope), np.where(lost, np.nan, intercept)


def spread_of(values: Floats, confidence: float) -> tuple[float, float] | None:
    """Return the ends of the percentile interval, or None where more than 5 % of the draws have no value."""
    usable = values[np.isfinite(values)]
    if len(usable) < 0.95 * len(values):
        return None
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def over_draws(groups: Ints, score: Callable[[Floats], Floats], *, seed: int, count: int = DRAWS) -> Floats:
    """Return what ``score`` makes of the weights of all draws: its blocks (draws, …) one after the other."""
    return np.concatenate([score(weights) for weights in draws(groups, seed=seed, count=count)])


def _divide(above: Floats, below: Floats) -> Floats:
    quotient: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return quotient

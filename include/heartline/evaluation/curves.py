"""Points of the curves that the figures show: ROC with its band, precision-recall, calibration in bins."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from heartline.arrays import Floats, Ints
from heartline.evaluation import cells, intervals
from heartline.evaluation.bootstrap import Ranked

BINS = 10
BAND_DRAWS = 500
GRID = 101
MAX_POINTS = 5000  # of a curve: more than a figure can show


@dataclass(frozen=True, eq=False)
class Roc:
    """A ROC curve with a pointwise 95 % band.

    Attributes:
        false_positives: (k,) false positive rates.
        true_positives: (k,) true positive rates.
        grid: (GRID,) false positive rates at which the band is given.
        low: (GRID,) lower edge of the band.
        high: (GRID,) upper edge of the band.
    """

    false_positives: Floats
    true_positives: Floats
    grid: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Calibration:
    """Observed against predicted risk, in bins of equal width.

    Attributes:
        edges: (BINS + 1,) of the bins.
        counts: (BINS,) records in each.
        predicted: (bins with records,) mean probability.
        observed: (bins with records,) share of positives.
        low: (bins with records,) lower end of the observed share's interval.
        high: (bins with records,) upper end of the observed share's interval.
    """

    edges: Floats
    counts: Ints
    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats


def roc(labels: Ints, probabilities: Floats, groups: Ints, *, seed: int) -> Roc:
    """Return the ROC curve. At each point its band covers the middle 95 % of the curves of the bootstrap samples.

    Args:
        labels: (n,) of both classes.
        probabilities: (n,).
        groups: (n,) records with the same number are drawn together.
        seed: of the bootstrap.
    """
    false_positives, true_positives = roc_points(labels, probabilities)
    sample = cells.sample(labels, probabilities, groups)
    ranked = Ranked.of(sample.labels, sample.probabilities)
    grid = np.linspace(0, 1, GRID)
    # A curve has one point per level. A thousand points are more than a figure can show.
    kept = np.unique(np.linspace(0, len(ranked.starts) - 1, 1000).astype(int))

    def curves(weights: Floats) -> Floats:
        positives, negatives = (np.cumsum(one, axis=1) for one in ranked.counts(weights))
        both = (positives[:, -1] > 0) & (negatives[:, -1] > 0)
        x, y = (np.pad(one[both][:, kept] / one[both][:, -1:], ((0, 0), (1, 0))) for one in (negatives, positives))
        return np.array([np.interp(grid, *one) for one in zip(x, y, strict=True)])

    drawn = sample.over_draws(curves, seed=seed, count=BAND_DRAWS)
    low, high = np.quantile(drawn, intervals.QUANTILES, axis=0)
    return Roc(false_positives, true_positives, grid, low, high)


def roc_points(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return (k,) false positive rates and (k,) true positive rates, at most ``MAX_POINTS`` points of the curve."""
    false_positives, true_positives, _ = roc_curve(labels, probabilities)
    return _thinned(false_positives, true_positives)


def precision_recall(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return (k,) recalls from 0 to 1 and (k,) precisions, at most ``MAX_POINTS`` points of the curve."""
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    return _thinned(recall[::-1], precision[::-1])


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return points of a curve at equal distances along it, with both ends; all of them if they are few."""
    if len(x) <= MAX_POINTS:
        return x, y
    along = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    kept = np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS - 1))
    kept = np.unique(np.append(kept, len(x) - 1))
    return x[kept], y[kept]


def calibration(labels: Ints, probabilities: Floats) -> Calibration:
    """Return observed against predicted risk in ``BINS`` bins, with Wilson intervals."""
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.clip(np.digitize(probabilities, edges) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    predicted, observed = (
        np.bincount(bins, weights=one, minlength=BINS)[filled] / counts[filled] for one in (probabilities, labels)
    )
    ends = [intervals.wilson(float(value), int(n)) for value, n in zip(observed, counts[filled], strict=True)]
    low, high = np.array(ends).T
    return Calibration(edges, counts, predicted, observed, low, high)

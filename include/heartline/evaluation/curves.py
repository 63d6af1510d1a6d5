"""The points of the pictures: ROC with its band, precision-recall, calibration in bins. Plain arrays, nothing drawn."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from heartline.arrays import Floats, Ints
from heartline.evaluation import bootstrap, metrics
from heartline.evaluation.bootstrap import Ranked

BINS = 10
BAND_DRAWS = 500
GRID = 101


@dataclass(frozen=True, eq=False)
class Roc:
    """A ROC curve with a pointwise 95 % band.

    Attributes:
        false_positives: (k,) shares of the healthy that are called sick.
        true_positives: (k,) shares of the sick that are called sick.
        grid: (GRID,) shares of the healthy at which the band is given.
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
        observed: (bins with records,) share of the sick.
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
    """Return the ROC curve; its band holds the middle 95 % of the curves of bootstrap samples at each point.

    Args:
        labels: (n,) of both classes.
        probabilities: (n,).
        groups: (n,) records with the same number are drawn together.
        seed: of the bootstrap.
    """
    false_positives, true_positives, _ = roc_curve(labels, probabilities)
    ranked = Ranked.of(labels, probabilities)
    grid = np.linspace(0, 1, GRID)
    # a curve is drawn from one point for each level; at most a thousand are more than a picture shows
    kept = np.unique(np.linspace(0, len(ranked.begins) - 1, 1000).astype(int))

    def curves(weights: Floats) -> Floats:
        sick, healthy = (np.cumsum(one, axis=1) for one in ranked.counts(weights))
        both = (sick[:, -1] > 0) & (healthy[:, -1] > 0)
        x, y = (np.pad(one[both][:, kept] / one[both][:, -1:], ((0, 0), (1, 0))) for one in (healthy, sick))
        return np.array([np.interp(grid, *one) for one in zip(x, y, strict=True)])

    low, high = np.quantile(bootstrap.over_draws(groups, curves, seed=seed, count=BAND_DRAWS), _ends(), axis=0)
    return Roc(false_positives, true_positives, grid, low, high)


def precision_recall(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """Return (k,) recalls from 0 to 1 and (k,) precisions."""
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    return recall[::-1], precision[::-1]


def calibration(labels: Ints, probabilities: Floats) -> Calibration:
    """Return observed against predicted risk in ``BINS`` bins, with Wilson intervals."""
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.clip(np.digitize(probabilities, edges) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    predicted, observed = (
        np.bincount(bins, weights=one, minlength=BINS)[filled] / counts[filled] for one in (probabilities, labels)
    )
    ends = [metrics.wilson(float(value), int(n)) for value, n in zip(observed, counts[filled], strict=True)]
    low, high = np.array(ends).T
    return Calibration(edges, counts, predicted, observed, low, high)


def _ends() -> tuple[float, float]:
    return (1 - metrics.CONFIDENCE) / 2, (1 + metrics.CONFIDENCE) / 2

"""ROC AUC and Brier score, in one place for ingestion, training, evaluation and comparison.

They are computed from arrays because scikit-learn's functions take 2 ms a call: a training run needs hundreds of
thousands of values. The tests compare them with scikit-learn's.
"""

import numpy as np
from numpy.typing import NDArray

from heartline.arrays import Floats, Ints


def roc_auc(labels: Ints, scores: Floats) -> float:
    """Return the ROC AUC of one set of scores; NaN where a class is missing.

    Args:
        labels: (n,) 0 or 1.
        scores: (n,) higher for records that are more likely positive.

    Raises:
        ValueError: a score is NaN.
    """
    return float(roc_aucs(labels, scores[None])[0])


def roc_aucs(labels: Ints, scores: Floats) -> Floats:
    """Return the ROC AUC of each of several sets of scores for the same records: (k,), NaN where a class is missing.

    Args:
        labels: (n,) 0 or 1.
        scores: (k, n).

    Raises:
        ValueError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("the ROC AUC of scores with NaN is undefined")
    k, n = scores.shape
    order = np.argsort(-scores, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    levels = np.zeros((k, n), dtype=np.int64)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=levels[:, 1:])
    cells = 2 * (levels + n * np.arange(k)[:, None]) + labels[order]
    counts = np.bincount(cells.ravel(), minlength=2 * k * n).reshape(k, n, 2).astype("float64")
    return roc_auc_from_counts(counts[:, :, 1], counts[:, :, 0])


def roc_auc_from_counts(positives: Floats, negatives: Floats) -> Floats:
    """Return the share of pairs of a positive and a negative record in the right order; ties count half.

    Counts are whole numbers, so the sums are exact and the result is the same on every machine (Hanley and McNeil
    1982, "The meaning and use of the area under a receiver operating characteristic curve", Radiology 143).

    Args:
        positives: (k, levels) positive records at each distinct score, highest score first.
        negatives: (k, levels) negative records, likewise.

    Returns:
        (k,); NaN where a class is missing.
    """
    below = negatives.sum(axis=1, keepdims=True) - np.cumsum(negatives, axis=1)
    ordered = (positives * (below + negatives / 2)).sum(axis=1)
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    areas: Floats = np.divide(ordered, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return areas


def squared_errors(labels: Ints | NDArray[np.bool_], probabilities: Floats) -> Floats:
    """Return the squared error of each of (n,) probabilities: (n,)."""
    errors: Floats = (probabilities - labels) ** 2
    return errors


def brier(labels: Ints, probabilities: Floats) -> float:
    """Return the Brier score: the mean squared error of (n,) probabilities."""
    return float(np.mean(squared_errors(labels, probabilities)))

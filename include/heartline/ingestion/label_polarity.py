"""Whether the label points the way it should: from an inverted one a model learns to predict health.

Published cohorts agree on how a few columns go with disease; their signs stand in the contract. Each is held against
the label by its ROC AUC (Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heartline import contract, scores

Floats = NDArray[np.float64]

MIN_VALUES = 10  # of each class, below which a column's AUC says nothing
MIN_COLUMNS = 3  # below which the columns together say nothing


def aucs(frame: pd.DataFrame) -> dict[str, float]:
    """Return how each column with a risk sign goes with disease: above 0.5 is the way that the contract says.

    Args:
        frame: (n, 14) numeric; a label above 0 is taken as disease.

    Returns:
        by column; one with fewer than ten values in a class is left out.
    """
    label = frame[contract.LABEL.name].to_numpy()
    sick, unknown = label > 0, np.flatnonzero(np.isnan(label))
    found = {}
    for column in contract.RISKS:
        auc = _auc(frame[column.name].to_numpy(), sick, unknown)
        if auc is not None:
            found[column.name] = auc if column.risk > 0 else 1 - auc
    return found


def contradictions(found: dict[str, float]) -> list[str]:
    """Return the columns of ``aucs`` that point the other way."""
    return [name for name, auc in found.items() if auc < 0.5]


def _auc(values: Floats, sick: NDArray[np.bool_], unknown: NDArray[np.intp]) -> float | None:
    # By counts of distinct values, of which there are few: ranking ten million rows would sort them.
    codes, distinct = pd.factorize(values)
    codes += 1  # from -1, which stands for a missing value, on
    codes[unknown] = 0  # a row without a label counts as little as one without a value
    codes *= 2
    codes += sick
    counts = np.bincount(codes, minlength=2 * len(distinct) + 2).reshape(-1, 2)[1:]
    negatives, positives = counts[np.argsort(distinct)[::-1]].T.astype("float64")
    if min(negatives.sum(), positives.sum()) < MIN_VALUES:
        return None
    return float(scores.roc_auc_from_counts(positives[None], negatives[None])[0])

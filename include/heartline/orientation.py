"""Whether the label points the way it should: from an inverted one a model learns to predict health.

Published cohorts agree on how a few columns go with disease; their signs stand in the contract. Each is held against
the label by its ROC AUC (Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heartline import contract

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
    found = {}
    for column in contract.RISKS:
        auc = _auc(frame[column.name].to_numpy(), label)
        if auc is not None:
            found[column.name] = auc if column.risk > 0 else 1 - auc
    return found


def contradictions(found: dict[str, float]) -> list[str]:
    """Return the columns of ``aucs`` that point the other way."""
    return [name for name, auc in found.items() if auc < 0.5]


def _auc(values: Floats, label: Floats) -> float | None:
    # By counts of distinct values, of which there are few: ranking ten million rows would sort them.
    codes, distinct = pd.factorize(values)  # a missing value has the code -1
    known = (codes >= 0) & ~np.isnan(label)
    if not known.all():
        codes, label = codes[known], label[known]
    counts = np.bincount(2 * codes + (label > 0), minlength=2 * len(distinct)).reshape(-1, 2)
    healthy, sick = counts[np.argsort(distinct)].T.astype("float64")
    if min(healthy.sum(), sick.sum()) < MIN_VALUES:
        return None
    below = np.cumsum(healthy) - healthy / 2  # ties count half
    return float((sick * below).sum() / (healthy.sum() * sick.sum()))

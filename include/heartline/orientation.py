"""Whether the label points the way it should: from an inverted one a model learns to predict health.

Published cohorts agree on how a few columns go with disease; their signs stand in the contract. Each is held against
the label by its ROC AUC (Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747).
"""

import numpy as np
import pandas as pd

from heartline import contract

MIN_VALUES = 10  # of each class, below which a column's AUC says nothing
MIN_COLUMNS = 3  # below which the columns together say nothing


def aucs(frame: pd.DataFrame) -> dict[str, float]:
    """Return how each column with a risk sign goes with disease: above 0.5 is the way that the contract says.

    Args:
        frame: (n, 14) numeric; a label above 0 is taken as disease.

    Returns:
        by column; one with fewer than ten values in a class is left out.
    """
    label = frame[contract.LABEL.name]
    found = {}
    for column in contract.RISKS:
        known = frame[column.name].notna() & label.notna()
        auc = _auc(frame.loc[known, column.name] * column.risk, label[known] > 0)
        if auc is not None:
            found[column.name] = auc
    return found


def contradictions(found: dict[str, float]) -> list[str]:
    """Return the columns of ``aucs`` that point the other way."""
    return [name for name, auc in found.items() if auc < 0.5]


def _auc(values: pd.Series, disease: pd.Series) -> float | None:
    # By counts of distinct values, of which there are few: ranking ten million rows would sort them.
    counts = {label: values[disease == label].value_counts(sort=False) for label in (False, True)}
    table = pd.DataFrame(counts).fillna(0.0).sort_index()
    healthy, sick = table[False].to_numpy("float64"), table[True].to_numpy("float64")
    if min(healthy.sum(), sick.sum()) < MIN_VALUES:
        return None
    below = np.cumsum(healthy) - healthy / 2  # ties count half
    return float((sick * below).sum() / (healthy.sum() * sick.sum()))

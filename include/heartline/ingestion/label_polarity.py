"""Label polarity: whether a higher label means disease. A model trained on an inverted label predicts the opposite.

Published cohorts agree on how a few columns go with disease; the contract has their signs. Each of these columns is
compared with the label by its ROC AUC (Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heartline import contract, scores
from heartline.arrays import Floats

MIN_VALUES = 10  # of each class, for the AUC of a column to count
MIN_COLUMNS = 3  # with an AUC, for a conclusion about the label


def aucs(frame: pd.DataFrame) -> dict[str, float]:
    """Return the ROC AUC of each column with a risk sign, oriented so that above 0.5 agrees with the contract.

    Args:
        frame: (n, 14) numeric; a label above 0 is positive.

    Returns:
        the AUC by column, without the columns that have fewer than ten values in a class.
    """
    label = frame[contract.LABEL.name].to_numpy()
    positive, unknown = label > 0, np.flatnonzero(np.isnan(label))
    found = {}
    for column in contract.RISKS:
        auc = _auc(frame[column.name].to_numpy(), positive, unknown)
        if auc is not None:
            found[column.name] = auc if column.risk > 0 else 1 - auc
    return found


def contradictions(found: dict[str, float]) -> list[str]:
    """Return the columns of ``aucs`` that contradict the label."""
    return [name for name, auc in found.items() if auc < 0.5]


def _auc(values: Floats, positive: NDArray[np.bool_], unknown: NDArray[np.intp]) -> float | None:
    # Counts of distinct values, of which there are few, avoid sorting ten million rows.
    codes, distinct = pd.factorize(values)
    codes += 1  # missing values are -1
    codes[unknown] = 0  # a row without a label is ignored, as one without a value
    codes *= 2
    codes += positive
    counts = np.bincount(codes, minlength=2 * len(distinct) + 2).reshape(-1, 2)[1:]
    negatives, positives = counts[np.argsort(distinct)[::-1]].T.astype("float64")
    if min(negatives.sum(), positives.sum()) < MIN_VALUES:
        return None
    return float(scores.roc_auc_from_counts(positives[None], negatives[None])[0])

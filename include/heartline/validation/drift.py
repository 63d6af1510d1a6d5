"""The distribution of each column in production's snapshot, the reference for the drift of new records.

The reference is the complete snapshot with its hold-out, because the new records are not split yet either.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from heartline import contract
from heartline.contract import Column
from heartline.validation import suite

BINS = 10
_PRIOR = 0.5  # added to each count (Jeffreys prior), so that a value not seen in the reference is rare, not impossible

Partition = Mapping[str, list[float]]


def reference(frame: pd.DataFrame) -> dict[str, Partition]:
    """Return the distribution of each column as a partition object of Great Expectations.

    Codes are counted by value, measurements in bins between the deciles of the frame, the label as with and without
    disease.

    Args:
        frame: (n, 14) canonical records.
    """
    found = {column.name: _of(column, frame[column.name].dropna()) for column in contract.FEATURES}
    found[suite.DISEASE] = _categories((frame[contract.LABEL.name] > 0).astype("float64"), [0.0, 1.0])
    return found


def _of(column: Column, values: pd.Series) -> Partition:
    if column.codes:
        return _categories(values, [float(code) for code in column.codes])
    inner = np.unique(np.quantile(values.to_numpy("float64"), np.linspace(0, 1, BINS + 1)[1:-1]))
    inner = inner[(inner > column.minimum) & (inner < column.maximum)]
    edges = np.array([column.minimum, *inner, column.maximum], dtype="float64")
    counts, _ = np.histogram(values.to_numpy("float64"), edges)
    return {"bins": edges.tolist(), "weights": _weights(counts)}


def _categories(values: pd.Series, codes: list[float]) -> Partition:
    counts = values.astype("float64").value_counts().reindex(codes, fill_value=0)
    return {"values": codes, "weights": _weights(counts.to_numpy())}


def _weights(counts: np.ndarray) -> list[float]:
    smoothed = counts + _PRIOR
    return [float(one) for one in smoothed / smoothed.sum()]

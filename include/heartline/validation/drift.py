"""The distribution of each column in production's snapshot, the reference for the drift of new records.

The reference is the complete snapshot with its hold-out, because the new records are not split yet either. Drift is
judged at two levels: the stop level (``contract.MAX_DRIFT``), which only gross changes reach, and the chance level of a
column, which depends on the number of records and gives a warning.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from heartline import contract
from heartline.arrays import Ints
from heartline.contract import Column
from heartline.validation import suite

BINS = 10
FALSE_ALARM_RATE = 0.01  # share of the runs without a change in which at least one column is above its chance level
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
    found[suite.DISEASE] = _categories(_values(frame, suite.DISEASE), [0.0, 1.0])
    return found


@dataclass(frozen=True)
class Divergence:
    """How far a column is from its reference.

    Attributes:
        column: of the contract.
        value: Kullback-Leibler divergence of the records from the reference, in nats.
        chance: the chance level.
        records: the number of records with a value.
        referenced: the same for the reference.
    """

    column: str
    value: float
    chance: float
    records: int
    referenced: int


def divergences(frame: pd.DataFrame, reference: Mapping[str, Partition]) -> list[Divergence]:
    """Return the divergence of each column that has a value in both, in the contract's order.

    Args:
        frame: (n, 14) canonical records.
        reference: as ``reference`` returns it, or some columns of it.
    """
    found = []
    for name, partition in reference.items():
        counts, before = _counts(_values(frame, name), partition), np.array(partition["counts"])
        n, m = int(counts.sum()), int(before.sum())
        if n and m:
            column = contract.LABEL.name if name == suite.DISEASE else name
            level = chance_level(n, m, cells=len(counts), columns=len(reference))
            found.append(Divergence(column, _divergence(counts, partition), level, n, m))
    return found


def chance_level(records: int, referenced: int, *, cells: int, columns: int) -> float:
    """Return the divergence that records of the same population exceed too rarely to be chance, in nats.

    The divergence times 2·n·m / (n + m) nearly follows a chi-squared distribution with ``cells`` - 1 degrees of
    freedom. So does the population stability index, which is about twice the divergence, times n·m / (n + m) (Yurdakul
    and Naranjo 2020, "Statistical properties of the population stability index", Journal of Risk Model Validation 14).
    Records that are in both sets make the divergence smaller, and warnings rarer.

    Args:
        records: n new records.
        referenced: m records of the reference.
        cells: number of the column's codes or bins.
        columns: number of columns over which ``FALSE_ALARM_RATE`` is divided (Bonferroni).
    """
    quantile = special.chdtri(cells - 1, FALSE_ALARM_RATE / columns)
    return float(quantile) * (1 / records + 1 / referenced) / 2


def _divergence(counts: Ints, partition: Partition) -> float:
    seen, expected = counts / counts.sum(), np.array(partition["weights"])
    some = seen > 0
    return float((seen[some] * np.log(seen[some] / expected[some])).sum())


def _values(frame: pd.DataFrame, name: str) -> pd.Series:
    if name == suite.DISEASE:
        return (frame[contract.LABEL.name].dropna() > 0).astype("float64")
    return frame[name].dropna()


def _counts(values: pd.Series, partition: Partition) -> Ints:
    if "bins" in partition:
        return np.asarray(np.histogram(values.to_numpy("float64"), partition["bins"])[0], dtype=np.int64)
    return _by_code(values, partition["values"])


def _of(column: Column, values: pd.Series) -> Partition:
    if column.codes:
        return _categories(values, [float(code) for code in column.codes])
    inner = np.unique(np.quantile(values.to_numpy("float64"), np.linspace(0, 1, BINS + 1)[1:-1]))
    inner = inner[(inner > column.minimum) & (inner < column.maximum)]
    edges = np.array([column.minimum, *inner, column.maximum], dtype="float64")
    bins = edges.tolist()
    return {"bins": bins, **_weights(_counts(values, {"bins": bins}))}


def _categories(values: pd.Series, codes: list[float]) -> Partition:
    return {"values": codes, **_weights(_by_code(values, codes))}


def _by_code(values: pd.Series, codes: list[float]) -> Ints:
    counts = values.astype("float64").value_counts().reindex(codes, fill_value=0)
    return np.asarray(counts, dtype=np.int64)


def _weights(counts: Ints) -> Partition:
    smoothed = counts.astype("float64") + _PRIOR
    return {
        "weights": [float(one) for one in smoothed / smoothed.sum()],
        "counts": [float(one) for one in counts],
    }

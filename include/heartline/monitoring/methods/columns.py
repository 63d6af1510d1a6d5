"""The columns that the monitoring counts: the features of the contract, the probability, the number of missing fields.

A value is counted in a cell, at the resolution that the contract gives its column. Only counts by cell are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heartline import contract
from heartline.arrays import Floats, Ints

Cells = NDArray[np.int16]  # positions of values; -1 for a missing one

PROBABILITY = "probability"
MISSING_FIELDS = "missing fields"
SCORES = 1001  # cells of a probability: 0, 0.001, … 1
_BARS = 8  # of a measurement, with about equal shares of the reference


@dataclass(frozen=True)
class Counted:
    """A column and its cells.

    Attributes:
        name: of the contract, or ``PROBABILITY`` or ``MISSING_FIELDS``.
        title: for display.
        low: value of the first cell.
        scale: cells for each unit.
        size: number of cells.
        codes: values of the cells of a code, with their labels; empty for a measurement.
    """

    name: str
    title: str
    low: float
    scale: float
    size: int
    codes: tuple[tuple[int, str], ...] = ()

    def cells(self, values: Floats) -> Cells:
        """Return the cell of each of (n,) values, -1 for a missing one; values out of range are in the nearest cell."""
        known = np.isfinite(values)
        found = np.full(len(values), -1, dtype=np.int16)
        if self.codes:
            between = [(low + high) / 2 for (low, _), (high, _) in zip(self.codes, self.codes[1:], strict=False)]
            found[known] = np.searchsorted(between, values[known], side="right")
        else:
            places = np.floor((values[known] - self.low) * self.scale + 0.5 + 1e-6)
            found[known] = np.clip(places, 0, self.size - 1)
        return found

    def value(self, cell: int) -> float:
        """Return the value of a cell."""
        return float(self.codes[cell][0]) if self.codes else self.low + cell / self.scale


def _of(column: contract.Column) -> Counted:
    if column.codes:
        codes = tuple((code, label) for code, label in sorted(column.codes.items()))
        return Counted(column.name, column.title, column.minimum, 1.0, len(codes), codes)
    scale = 10.0**column.decimals
    size = round((column.maximum - column.minimum) * scale) + 1
    return Counted(column.name, column.title, column.minimum, scale, size)


FEATURES: tuple[Counted, ...] = tuple(_of(column) for column in contract.FEATURES)
COUNTED: tuple[Counted, ...] = (
    *FEATURES,
    Counted(PROBABILITY, "Probability of disease", 0.0, SCORES - 1.0, SCORES),
    Counted(MISSING_FIELDS, "Missing fields", 0.0, 1.0, len(FEATURES) + 1),
)
NAMES: tuple[str, ...] = tuple(column.name for column in COUNTED)


def all_cells(features: Floats, probabilities: Floats) -> Cells:
    """Return the cells of records: (n, columns), -1 for a missing value.

    Args:
        features: (n, features), NaN for a missing value.
        probabilities: (n,).
    """
    found = np.empty((len(features), len(COUNTED)), dtype=np.int16, order="F")
    for place, column in enumerate(FEATURES):
        found[:, place] = column.cells(features[:, place])
    found[:, -2] = COUNTED[-2].cells(probabilities)
    found[:, -1] = np.isnan(features).sum(axis=1)
    return found


def counts(cells: Cells) -> list[Ints]:
    """Return how often each cell of each column occurs, of (n, columns) cells; missing values are not counted."""
    return [np.bincount(some[some >= 0], minlength=column.size) for column, some in zip(COUNTED, cells.T, strict=True)]


@dataclass(frozen=True)
class Bars:
    """How the cells of a column are grouped for a picture.

    Attributes:
        labels: of the bars.
        of: (cells,) the bar of each cell.
    """

    labels: Sequence[str]
    of: Ints

    def heights(self, counts: Ints) -> Ints:
        """Return (bars,) counts of (cells,) counts."""
        return np.bincount(self.of, weights=counts, minlength=len(self.labels)).astype(np.int64)


def bars(column: Counted, reference: Ints) -> Bars:
    """Return the bars of a column: one for each code, or about equal shares of the reference's (cells,) counts."""
    if column.codes:
        return Bars([label for _, label in column.codes], np.arange(column.size))
    if column.name == MISSING_FIELDS:
        return Bars(["0", "1", "2", "3 or more"], np.minimum(np.arange(column.size), 3))
    if column.name == PROBABILITY:
        return Bars([f"{10 * place} to {10 * place + 10} %" for place in range(10)], _tenths())
    below = np.cumsum(reference)
    wanted = below[-1] * np.arange(1, _BARS) / _BARS
    cuts = np.unique(np.searchsorted(below, wanted)) if below[-1] else np.zeros(0, dtype=np.int64)
    cuts = cuts[cuts < column.size - 1]  # the last cell of each bar but the last one
    of = np.searchsorted(cuts, np.arange(column.size))
    ends = [column.value(int(cut)) for cut in cuts]
    starts = [column.value(int(cut) + 1) for cut in cuts]
    labels = [f"up to {ends[0]:g}"] if ends else ["all"]
    labels += [
        f"{low:g} to {high:g}" if low < high else f"{low:g}" for low, high in zip(starts, ends[1:], strict=False)
    ]
    return Bars([*labels, *([f"from {starts[-1]:g}"] if ends else [])], of)


def _tenths() -> Ints:
    return np.minimum(np.arange(SCORES) // 100, 9)

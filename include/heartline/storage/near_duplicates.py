"""Near duplicates: records without a patient key that look like two visits of one patient.

Two records are near duplicates if they have the same codes, if each measurement differs by its tolerance at most, and
if at least nine of their 13 features have equal values. Chance makes such pairs too, the more the larger the set, so
the number that chance makes is estimated, and records are grouped only where it explains few of the pairs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from heartline import contract
from heartline.arrays import Floats, Hashes, Ints, Positions

MIN_EQUAL = 9  # of the 13 features
MAX_ROWS = 20_000  # above, pairs by chance are more frequent than patients with a second record
MIN_PAIRS = 10  # fewer are not grouped: their excess over chance is uncertain
MAX_CHANCE = 0.2  # largest expected share of pairs by chance among those that are grouped
# Codes and measurements depend on each other in ways that the label does not explain: in synthetic cohorts of 303 to
# 20,000 records, chance makes 1.5 to 1.9 times the estimated number of pairs.
UNDERESTIMATE = 2.0

_SAMPLE = 2_000  # records from which the number of chance pairs is estimated
_CODES = [name for name in contract.FEATURE_NAMES if name not in contract.TOLERANCES]
_MEASUREMENTS = list(contract.TOLERANCES)
_TOLERANCES = np.array(list(contract.TOLERANCES.values()))
_SLACK = 1e-9  # of a tolerance: 1.3 - 0.8 is more than 0.5 in binary

Pairs = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """The near duplicates of a set of records.

    Attributes:
        pairs: (k, 2) positions of the records of each pair; without pairs of equal records.
        by_chance: the number of pairs that chance makes, as estimated.
        skipped: whether the set is too large to be searched.
    """

    pairs: Pairs = field(default_factory=lambda: np.empty((0, 2), dtype=np.intp))
    by_chance: float = 0.0
    skipped: bool = False

    @property
    def certain(self) -> bool:
        """Whether chance explains so few of the pairs that their records are grouped."""
        return len(self.pairs) >= MIN_PAIRS and self.by_chance <= MAX_CHANCE * len(self.pairs)

    @property
    def beyond_chance(self) -> bool:
        """Whether there are more pairs than chance makes, with three standard deviations of a Poisson distribution."""
        most = UNDERESTIMATE * self.by_chance
        return len(self.pairs) > most + 3 * math.sqrt(max(1.0, most))


def find(frame: pd.DataFrame) -> NearDuplicates:
    """Return the near duplicates among records.

    A missing value equals no value; a code that only one of two records lacks differs. The result is the same for
    equal records in canonical order.

    Chance pairs are estimated as if codes and measurements were independent within records with and within records
    without disease: for each combination of labels, the share of pairs with equal codes times that of pairs with near
    measurements. Measurements are compared in the first ``_SAMPLE`` records, which are a random sample, as the
    canonical order is that of the hashes.

    Args:
        frame: (n, ≥14) canonical records.
    """
    if len(frame) > MAX_ROWS:
        return NearDuplicates(skipped=True)
    if len(frame) < 2:
        return NearDuplicates()
    codes, cell = _cells(frame)
    values = frame[_MEASUREMENTS].to_numpy("float64")
    found = [np.empty((0, 2), dtype=np.intp)]
    for rows in np.split(np.argsort(cell, kind="stable"), np.flatnonzero(np.diff(np.sort(cell))) + 1):
        known = int(codes[cell[rows[0]]])
        for one, others, equal in _near(values[rows]):
            good = (equal + known >= MIN_EQUAL) & (equal < len(_MEASUREMENTS))
            found.append(np.column_stack([np.full(int(good.sum()), rows[one]), rows[others[good]]]))
    pairs = np.sort(np.concatenate(found), axis=1)
    return NearDuplicates(pairs[np.lexsort(pairs.T[::-1])], _by_chance(frame, codes, cell, values))


def grouped(keys: Hashes, pairs: Pairs) -> Hashes:
    """Return the key (n,) of each record's group, if the records of each pair and those of equal keys are together.

    It is the smallest key of the group: a record in no pair keeps its own.

    Args:
        keys: (n,) of the records.
        pairs: (k, 2) positions.
    """
    distinct, number = np.unique(keys, return_inverse=True)
    edges = number[pairs]
    shape = (len(distinct), len(distinct))
    graph = sparse.coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=shape)
    _, component = sparse.csgraph.connected_components(graph, directed=False)
    smallest = np.full(int(component.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, component, distinct)
    found: Hashes = smallest[component][number]
    return found


def _cells(frame: pd.DataFrame) -> tuple[Ints, Ints]:
    """Return how many codes are known in each combination that occurs, and the combination (n,) of each record."""
    values = frame[_CODES].to_numpy("float64")
    missing = np.isnan(values)
    distinct, cell = np.unique(np.where(missing, -1, values), axis=0, return_inverse=True)
    return (distinct >= 0).sum(axis=1), cell.ravel().astype(np.int64)


def _near(values: Floats) -> Iterator[tuple[int, Positions, Ints]]:
    """Yield each record's position, the later ones with near measurements, and how many of them are equal.

    Args:
        values: (m, 5) measurements; records are compared with those of nearly the same age, which is the first.
    """
    order = np.argsort(values[:, 0], kind="stable")
    ordered = values[order]
    ends = np.searchsorted(ordered[:, 0], ordered[:, 0] + _TOLERANCES[0] + _SLACK, side="right")
    for at, end in enumerate(ends):
        apart = np.abs(ordered[at + 1 : end] - ordered[at])
        near = (apart <= _TOLERANCES + _SLACK).all(axis=1)
        if near.any():
            yield int(order[at]), order[at + 1 : end][near], (apart[near] == 0).sum(axis=1)


def _by_chance(frame: pd.DataFrame, codes: Ints, cell: Ints, values: Floats) -> float:
    """Return the number of near duplicates if codes and measurements were independent within a label."""
    label = np.asarray(frame[contract.LABEL.name] > 0, dtype=np.int64)
    in_cell = np.stack([np.bincount(cell[label == one], minlength=len(codes)) for one in (0, 1)])
    sample = slice(0, _SAMPLE)
    of_sample = label[sample]
    near = np.zeros((3, len(_MEASUREMENTS) + 1))  # by the labels of a pair (none, one or both with disease) and equals
    for one, others, equal in _near(values[sample]):
        np.add.at(near, (of_sample[one] + of_sample[others], equal), 1)
    found, of_pairs = 0.0, _pairs(np.bincount(of_sample, minlength=2)[:, None])
    for labels, (same, compared) in enumerate(zip(_pairs(in_cell), of_pairs, strict=True)):
        for known in range(len(_CODES) + 1):
            enough = near[labels, max(0, MIN_EQUAL - known) : len(_MEASUREMENTS)].sum()
            found += float(same[codes == known].sum()) * enough / max(1.0, float(compared.sum()))
    return found


def _pairs(counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Return how many pairs (k,) of none, one and two records with disease there are, for (2, k) counts by label."""
    without, with_disease = counts
    return without * (without - 1) // 2, without * with_disease, with_disease * (with_disease - 1) // 2

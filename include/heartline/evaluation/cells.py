"""The bootstrap of many records: it draws how many records of each cell there are, not which ones.

Records of one cell are alike for a score: equal labels, and probabilities of one level. How often the bootstrap draws
a cell's records has a multinomial distribution, so one draw costs as much as there are cells, whatever the number of
records. docs/growth.md compares its intervals with those of the bootstrap of records.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from heartline import contract
from heartline.arrays import Floats, Ints, Positions
from heartline.evaluation import bootstrap
from heartline.storage import splits

ROWS = splits.MANY  # with more records than this, cells are drawn
LEVELS = 4096

_BLOCK_CELLS = 1 << 19  # draws times cells held at a time: 4 MB


def levels(values: Floats, *, threshold: float = np.inf, most: int = LEVELS) -> Positions:
    """Return the level of each of (n,) values: numbers from 0 in ascending order of the values, without gaps.

    Levels hold about equally many values. Equal values have one level, and no level has values on both sides of
    ``threshold``.

    Args:
        values: (n,) without NaN.
        threshold: values from this one on have other levels than smaller ones.
        most: at most this many levels, and one more for the threshold.
    """
    ordered = np.sort(values)
    distinct = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    # The first value of each level. Edges are values, so that equal values are not torn apart.
    firsts = distinct if len(distinct) <= most else ordered[np.arange(most) * len(ordered) // most]
    edges = np.unique(np.append(firsts, threshold))
    found = np.searchsorted(edges, values, side="right")
    used = np.bincount(found, minlength=len(edges) + 1) > 0
    numbers: Positions = (np.cumsum(used) - 1)[found]
    return numbers


@dataclass(frozen=True, eq=False)
class Records:
    """Records that are drawn themselves.

    Attributes:
        labels: (n,).
        probabilities: (n,).
        groups: (n,) records with the same number are drawn together.
    """

    labels: Ints
    probabilities: Floats
    groups: Ints

    def over_draws(self, score: Callable[[Floats], Floats], *, seed: int, count: int) -> Floats:
        """Return ``score`` of the weights of all draws: (draws, …)."""
        return bootstrap.over_draws(self.groups, score, seed=seed, count=count)


def sample(labels: Ints, probabilities: Floats, groups: Ints) -> "Records | Cells":
    """Return (n,) records as the bootstrap draws them: with more than ``ROWS`` records, in cells."""
    return Cells.of(labels, probabilities, groups) if len(labels) > ROWS else Records(labels, probabilities, groups)


@dataclass(frozen=True, eq=False)
class Cells:
    """Records in cells, ready to be drawn.

    Attributes:
        labels: (k,) the label of each cell.
        probabilities: (k,) the mean probability of each cell's level; equal for both labels of a level.
        counts: (k,) records in each cell.
    """

    labels: Ints
    probabilities: Floats
    counts: Ints
    _singles: Ints
    _rest: "_Groups"

    @classmethod
    def of(cls, labels: Ints, probabilities: Floats, groups: Ints) -> "Cells":
        """Return (n,) records in cells.

        Args:
            labels: (n,) 0 or 1.
            probabilities: (n,) 0 to 1.
            groups: (n,) records with the same number are drawn together.
        """
        level = levels(probabilities, threshold=contract.THRESHOLD)
        sizes = np.bincount(level)
        means = np.bincount(level, probabilities) / sizes
        both = 2 * level + labels
        counts = np.bincount(both, minlength=2 * len(sizes))
        filled = np.flatnonzero(counts)
        number = np.cumsum(counts > 0) - 1
        cell = number[both]
        numbers = bootstrap.numbered(groups)[0]
        alone = np.bincount(numbers)[numbers] == 1
        singles = np.bincount(cell[alone], minlength=len(filled))
        rest = _Groups(np.unique(numbers[~alone], return_inverse=True)[1], cell[~alone], len(filled))
        return cls(filled % 2, means[filled // 2], counts[filled], singles, rest)

    def draws(self, *, seed: int, count: int) -> Iterator[Floats]:
        """Yield how many records of each cell are drawn, (draws of a block, k) at a time.

        As many groups are drawn as there are, with replacement. Groups of one record are drawn by their cell, larger
        groups one by one.

        Args:
            seed: the same seed gives the same draws.
            count: number of draws.
        """
        # One random stream for each kind, so that the draws do not depend on the block size.
        kinds, cells, larger = (np.random.default_rng([seed % 2**64, kind]) for kind in range(3))
        single = int(self._singles.sum())
        total = single + self._rest.size
        block = max(1, _BLOCK_CELLS // len(self.labels))
        for start in range(0, count, block):
            size = min(block, count - start)
            of_rest = kinds.binomial(total, self._rest.size / total, size)
            drawn = np.zeros((size, len(self.labels)))
            if single:
                drawn += cells.multinomial(total - of_rest, self._singles / single)
            if self._rest.size:
                drawn += [self._rest.draw(larger, int(one)) for one in of_rest]
            yield drawn

    def over_draws(self, score: Callable[[Floats], Floats], *, seed: int, count: int) -> Floats:
        """Return ``score`` of the weights of all draws: (draws, …)."""
        return np.concatenate([score(weights) for weights in self.draws(seed=seed, count=count)])


@dataclass(frozen=True, eq=False)
class _Groups:
    """The groups of more than one record.

    Attributes:
        numbers: (m,) group of each of their records, from 0 without gaps.
        cells: (m,) cell of each.
        count: number of cells.
    """

    numbers: Positions
    cells: Positions
    count: int

    @property
    def size(self) -> int:
        """Number of groups."""
        return int(self.numbers.max()) + 1 if len(self.numbers) else 0

    def draw(self, random: np.random.Generator, times: int) -> Floats:
        """Return how many records of each cell ``times`` groups hold that are drawn with replacement: (count,)."""
        weights = np.bincount(random.integers(self.size, size=times), minlength=self.size)
        return np.asarray(np.bincount(self.cells, weights[self.numbers], self.count), dtype="float64")


def sums(values: Floats, strata: tuple[Positions, ...], *, seed: int, count: int) -> Floats:
    """Return the sum of the values that each bootstrap draw takes: (count,).

    Each draw takes as many values of each stratum as there are, with replacement. Values of one level are replaced by
    their mean.

    Args:
        values: (g,) of the units that are drawn.
        strata: the positions of the units of each stratum.
        seed: the same seed gives the same draws.
        count: number of draws.
    """
    found = np.zeros(count)
    for number, members in enumerate(strata):
        if not len(members):
            continue
        mine = values[members]
        level = levels(mine)
        sizes = np.bincount(level)
        means = np.bincount(level, mine) / sizes
        random = np.random.default_rng([seed % 2**64, number])
        block = max(1, _BLOCK_CELLS // len(sizes))
        for start in range(0, count, block):
            size = min(block, count - start)
            drawn = random.multinomial(len(mine), sizes / len(mine), size)
            found[start : start + size] += (drawn * means).sum(axis=1)
    return found

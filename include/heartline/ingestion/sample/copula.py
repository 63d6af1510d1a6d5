"""A Gaussian copula between discrete margins.

Each column of a record is a step function of a normal latent variable. Two columns are linked by the correlation of
their latent variables, which is solved so that a statistic of the columns (a rank correlation, a conditional share, a
difference of means, Cramér's V) has a given value. All of these statistics are sums over Mehler's expansion of the
bivariate normal density in Hermite polynomials (Lancaster 1957, https://doi.org/10.1093/biomet/44.1-2.289), so
no integration and no simulation is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from heartline.arrays import Floats

_NORMAL = NormalDist()
_ORDERS = np.arange(1, 61)  # with |r| <= 0.95 the terms after the 60th change at most the third decimal
_LIMIT = 0.95


@dataclass(frozen=True, eq=False)
class Margin:
    """The distribution of one column.

    Attributes:
        values: shape [k], the possible values, in the order of the latent variable.
        shares: shape [k], their probabilities, positive, with sum 1.
    """

    values: Floats
    shares: Floats

    @cached_property
    def cuts(self) -> Floats:
        """Return the k - 1 thresholds of the latent variable between neighbouring values."""
        return np.array([_NORMAL.inv_cdf(share) for share in np.cumsum(self.shares)[:-1]])

    @cached_property
    def basis(self) -> Floats:
        """Return, shape [60, k - 1], the Hermite coefficients of a unit step at each cut."""
        polynomials: list[Floats] = [np.ones_like(self.cuts), self.cuts]
        for order in _ORDERS[:-1]:
            last = self.cuts * polynomials[-1] - np.sqrt(order) * polynomials[-2]
            polynomials.append(last / np.sqrt(order + 1))
        density = np.array([_NORMAL.pdf(cut) for cut in self.cuts])
        steps: Floats = np.array(polynomials[:-1]) * density / np.sqrt(_ORDERS)[:, None]
        return steps

    def at(self, latent: Floats) -> Floats:
        """Return the values, shape [n], for latent values, shape [n]."""
        return self.values[np.searchsorted(self.cuts, latent)]

    def ranks(self) -> Floats:
        """Return the mean rank of each value, between 0 and 1, as Spearman's correlation uses it."""
        return np.cumsum(self.shares) - self.shares / 2


def match_correlation(a: Margin, of_a: Floats, b: Margin, of_b: Floats, target: float) -> float:
    """Return the latent correlation that gives two columns the correlation ``target``.

    Args:
        a: the first column's margin.
        of_a: the score of each of its values: ranks for Spearman's correlation, the values themselves for Pearson's,
            0 and 1 for the phi coefficient. It must be monotonic in the latent variable.
        b: the second column's margin.
        of_b: likewise.
        target: the correlation of these scores.
    """
    products = _expand(a, of_a) * _expand(b, of_b)
    return _bisect(lambda r: float((products * r**_ORDERS).sum()), target, -_LIMIT)


def match_cramers_v(groups: Sequence[tuple[float, Margin, Margin]], target: float) -> float:
    """Return the latent correlation, at least 0, that gives two columns the Cramér's V ``target`` over all groups.

    Args:
        groups: the share of each group of records, and the margins of the two columns in it, with values ordered so
            that the link is positive.
        target: Cramér's V over all groups. If the different margins of the groups alone exceed it, the result is 0.
    """
    return _bisect(lambda r: _cramers_v(groups, r), target, 0.0)


def complete(names: Sequence[str], known: Mapping[tuple[str, str], float]) -> Floats:
    """Return the correlation matrix of maximum entropy that has the known correlations.

    In it, two columns without a known correlation
    are independent given all others (Dempster 1972, https://doi.org/10.2307/2528966).

    Args:
        names: the columns, in the order of the result.
        known: correlations by pairs of names.
    """
    place = {name: index for index, name in enumerate(names)}
    matrix = np.eye(len(names))
    for (a, b), value in known.items():
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = value
    given = {frozenset((place[a], place[b])) for a, b in known}
    free = [(i, j) for i in range(len(names)) for j in range(i) if frozenset((i, j)) not in given]
    change = 1.0
    while change > 1e-6:
        change = 0.0
        for i, j in free:
            inverse = np.linalg.inv(matrix)
            step = inverse[i, j] / (inverse[i, i] * inverse[j, j] - inverse[i, j] ** 2)
            matrix[i, j] = matrix[j, i] = matrix[i, j] + step
            change = max(change, abs(step))
    return matrix


def _expand(margin: Margin, scores: Floats) -> Floats:
    mean = (scores * margin.shares).sum()
    deviation = np.sqrt(((scores - mean) ** 2 * margin.shares).sum())
    return np.asarray(margin.basis @ np.diff(scores) / deviation)


def _cramers_v(groups: Sequence[tuple[float, Margin, Margin]], r: float) -> float:
    table = np.sum([share * _joint(a, b, r) for share, a, b in groups], axis=0)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / (min(table.shape) - 1)))


def _joint(a: Margin, b: Margin, r: float) -> Floats:
    """Return the probability of each pair of values, shape [values of a, values of b]."""
    of_a, of_b = (-np.diff(margin.basis, prepend=0, append=0) for margin in (a, b))
    return np.outer(a.shares, b.shares) + (of_a * (r**_ORDERS)[:, None]).T @ of_b


def _bisect(rising: Callable[[float], float], target: float, low: float) -> float:
    high = _LIMIT
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return low

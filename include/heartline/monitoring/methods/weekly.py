"""The weekly test of each column against the reference: Kolmogorov-Smirnov, chi-squared, and Fisher's exact test.

They are the tests that most tools run, here with a limit that counts all columns and all looks of a year (Bonferroni).
"""

import math

import numpy as np
from scipy import special

from heartline.arrays import Floats, Ints

LOOKS = 53  # Sundays a year, at most
# Expected records below which a cell is joined with others. With five (Cochran 1954, Biometrics 10) p-values as small
# as the limit are up to three times as frequent as they say.
_RARE = 10.0


def limit(rate: float, tests: int) -> float:
    """Return the limit of each p-value, so that a year without a change has an alarm with about this probability.

    The p-values of chi-squared tests are approximate.
    """
    return rate / (tests * LOOKS)


def kolmogorov_smirnov(first: Ints, second: Ints) -> float | None:
    """Return the asymptotic two-sided p-value of two samples given as (cells,) counts; None if one is empty.

    With ties it is too large rather than too small (Noether 1963, "Note on the Kolmogorov statistic in the discrete
    case", Metrika 7).
    """
    n, m = int(first.sum()), int(second.sum())
    if not n or not m:
        return None
    distance = np.abs(np.cumsum(first) / n - np.cumsum(second) / m).max()
    return float(special.kolmogorov(distance * math.sqrt(n * m / (n + m))))


def chi_squared(first: Ints, second: Ints) -> float | None:
    """Return the p-value of a test that two samples, as (cells,) counts, have equal shares; None if it cannot differ.

    Cells in which fewer than ten records are expected are joined. Two cells are tested exactly.
    """
    counts = _joined(np.array([first, second], dtype="float64"))
    if counts.shape[1] < 2 or not counts.sum(axis=1).all():
        return None
    if counts.shape[1] == 2:
        return fisher_exact(counts.astype(np.int64))
    expected = _expected(counts)
    return float(special.chdtrc(counts.shape[1] - 1, ((counts - expected) ** 2 / expected).sum()))


def fisher_exact(table: Ints) -> float:
    """Return the two-sided p-value of a (2, 2) table: all tables with the same margins that are not more probable."""
    total, row, column = int(table.sum()), int(table[0].sum()), int(table[:, 0].sum())
    possible = np.arange(max(0, row + column - total), min(row, column) + 1)
    logs = _log_choose(column, possible) + _log_choose(total - column, row - possible)
    probabilities = np.exp(logs - special.logsumexp(logs))
    own = probabilities[int(table[0, 0]) - possible[0]]
    return float(min(1.0, probabilities[probabilities <= own * (1 + 1e-7)].sum()))


def _log_choose(n: int, k: Ints) -> Floats:
    found: Floats = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return found


def _expected(counts: Floats) -> Floats:
    found: Floats = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    return found


def _joined(counts: Floats) -> Floats:
    """Return (2, cells) counts without empty cells, and the rarest cells joined until none is rare or two are left."""
    counts = counts[:, counts.sum(axis=0) > 0]
    while counts.shape[1] > 2:
        order = np.argsort(counts.sum(axis=0), kind="stable")
        if _expected(counts)[:, order[0]].min() >= _RARE:
            break
        joined = counts[:, order[:2]].sum(axis=1, keepdims=True)
        counts = np.concatenate([joined, counts[:, order[2:]]], axis=1)
    return counts

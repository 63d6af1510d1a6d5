"""The confidence level of all intervals, and the intervals of bootstrap draws and of proportions."""

import math
from statistics import NormalDist

import numpy as np

from heartline.arrays import Floats

ALPHA = 0.05
CONFIDENCE = 1 - ALPHA
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
QUANTILES = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)

_MAX_UNDEFINED = 0.05  # share of the draws that may have no value


def percentile_interval(drawn: Floats) -> tuple[float, float] | None:
    """Return the ends of the percentile interval of (draws,) values.

    Returns:
        None where more than 5 % of the draws have no finite value.
    """
    usable = drawn[np.isfinite(drawn)]
    if len(usable) < (1 - _MAX_UNDEFINED) * len(drawn):
        return None
    low, high = np.quantile(usable, QUANTILES)
    return float(low), float(high)


def rank_interval(drawn: Floats) -> tuple[float, float]:
    """Return the ends of the percentile interval by rank: they are two of the (draws,) values.

    Such an interval excludes 0 exactly where the bootstrap's p-value is at most ``ALPHA`` (Davison and Hinkley 1997,
    "Bootstrap Methods and their Application", 5.3.1).

    Args:
        drawn: at least 39 finite values.
    """
    ordered = np.sort(drawn)
    rank = math.floor((len(drawn) + 1) * ALPHA / 2)
    return float(ordered[rank - 1]), float(ordered[-rank])


def wilson(value: float, n: int) -> tuple[float, float]:
    """Return the score interval of a proportion of n records (Wilson 1927, "Probable inference", JASA 22)."""
    middle = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    return max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half))

"""Conformal test martingales: do the records still come from where the reference comes from?

If the records of the reference and the later ones are exchangeable, the rank of each new value among all earlier ones
is uniform and independent of the earlier ranks (Vovk, Gammerman, Shafer 2022, "Algorithmic Learning in a Random World",
2nd edition, part III; Vovk et al. 2021, "Retrain or not retrain: conformal test martingales for change-point
detection", PMLR 152). The e-value of a column bets against that. Ties are broken by a number that follows from the
prediction's id.

The reference grows: each record joins it after its own test. With a fixed reference a small difference by chance
between it and the population would become an alarm in time.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from heartline.arrays import Floats, Hashes, Ints
from heartline.monitoring.methods import betting
from heartline.monitoring.methods.betting import Wealth
from heartline.monitoring.methods.columns import Cells

# Bets on the mean of the p-values, and on their spread (second Legendre polynomial).
_SHIFTS = np.array([-1.5, -0.75, 0.75, 1.5])
_SPREADS = np.array([-0.75, 1.5])
_POWERS = np.array([0.25, 0.5, 0.75])  # bets on small p-values: power martingales
_WAITING, _HORIZON = 0.5, 250.0
_DAYS = 30.0  # the horizon where each value is that of a day
_MOST = 50.0  # of a factor
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def seeds(texts: Sequence[str]) -> Hashes:
    """Return (n,) the first 64 bits of the sha256 of each text: of the ids of predictions, computed once a day."""
    digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype("uint64")


def uniforms(of_ids: Hashes, name: str) -> Floats:
    """Return (n,) numbers from 0 to 1 (without 1) that depend on nothing but an id and a name.

    The sha256 of both are mixed by SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
    generators", OOPSLA): a digest for each pair would take most of the time of a day.

    Args:
        of_ids: (n,) as ``seeds`` returns them.
        name: of the column.
    """
    with np.errstate(over="ignore"):
        mixed = of_ids + seeds([name]) * _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    found: Floats = (mixed >> np.uint64(11)).astype("float64") * 2.0**-53
    return found


def p_values(cells: Cells, counts: Ints, ties: Floats) -> Floats:
    """Return the conformal p-value of each value among all before it: small for large values.

    Args:
        cells: (n,) the values, as positions in ``counts``, in the order of arrival; -1 for a missing one.
        counts: (values,) how often each value was seen before: reference and earlier records.
        ties: (n,) from 0 to 1.

    Returns:
        (n,) from 0 to 1; NaN for a missing value.
    """
    known = cells >= 0
    values = cells[known]
    greater, equal = earlier(values, int(len(counts) - 1).bit_length())
    above = counts.sum() - np.cumsum(counts)
    total = counts.sum() + np.arange(1, len(values) + 1)
    found = np.full(len(cells), np.nan)
    found[known] = (above[values] + greater + ties[known] * (counts[values] + equal + 1)) / total
    return found


def earlier(values: Cells, bits: int) -> tuple[Ints, Ints]:
    """Return how many earlier values are greater than each value, and how many are equal to it: twice (n,).

    Bit by bit from the highest one: among values that agree in all higher bits, those with the bit are greater than
    those without it. That takes time in proportion to n, as each stable sort of 16-bit numbers does.

    Args:
        values: (n,) at least 0.
        bits: in which the largest value can be written.
    """
    greater = np.zeros(len(values), dtype=np.int64)
    for bit in range(bits - 1, -1, -1):
        order, starts, sizes = _grouped(values >> (bit + 1))
        has = (values[order] >> bit) & 1
        before = np.cumsum(has, dtype=np.int64) - has
        before -= np.repeat(before[starts], sizes)
        without = has == 0
        greater[order[without]] += before[without]
    equal = np.empty(len(values), dtype=np.int64)
    order, starts, sizes = _grouped(values)
    equal[order] = np.arange(len(values)) - np.repeat(starts, sizes)
    return greater, equal


def _grouped(keys: Cells) -> tuple[Ints, Ints, Ints]:
    """Return the order by key and arrival, where each key starts in it, and how often each one occurs."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(keys) else np.zeros(0, dtype=np.int64)
    return order, starts, np.diff(np.append(starts, len(keys)))


def start(columns: int) -> Wealth:
    """Return the accounts of the columns before the first record."""
    return betting.start(columns, len(_SHIFTS) + len(_SPREADS), waiting=_WAITING)


def bet(wealth: Wealth, p: Floats) -> Wealth:
    """Return the accounts after more records.

    Args:
        wealth: the accounts so far.
        p: (n, columns) conformal p-values, NaN for a missing value.
    """
    return betting.bet(wealth, p, _bets, waiting=_WAITING, horizon=_HORIZON)


def _bets(p: Floats) -> Floats:
    centred = p[:, :, None] - 0.5
    spread = 6.0 * centred**2 - 0.5  # from -1/2 to 1, with mean 0 over uniform p
    return 1.0 + np.concatenate([_SHIFTS * centred, _SPREADS * spread], axis=2)


def start_upwards() -> Wealth:
    """Return the accounts of one process that bets on large values only."""
    return betting.start(1, len(_POWERS), waiting=_WAITING)


def bet_upwards(wealth: Wealth, p: Floats) -> Wealth:
    """Return the accounts of ``start_upwards`` after more (n,) p-values: they bet on small p, that is large values."""

    def bets(some: Floats) -> Floats:
        factors: Floats = np.minimum(_POWERS * np.maximum(some, 1e-300)[:, :, None] ** (_POWERS - 1.0), _MOST)
        return factors

    return betting.bet(wealth, p[:, None], bets, waiting=_WAITING, horizon=_DAYS)


def combined(values: Sequence[float]) -> float:
    """Return one e-value of several columns: the largest one divided by their number.

    It reaches 1/alpha only if a column reaches columns/alpha, so its false-alarm rate is at most alpha however the
    columns depend on each other. The mean of the e-values would be larger, but has no such guarantee at every time:
    each column's martingale is one among its own ranks, not among those of all columns (Choe and Ramdas 2024,
    "Combining evidence across filtrations").
    """
    return max(values) / len(values)

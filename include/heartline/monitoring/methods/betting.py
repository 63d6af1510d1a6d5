"""Betting e-processes: evidence that may be looked at after every record.

A bet of the accounts on the next record multiplies each account by a factor whose mean is at most 1 if nothing is
wrong. So the sum of the accounts, the e-value, is a nonnegative supermartingale with start 1, and the probability that
it ever reaches 1/alpha is at most alpha (Ville 1939; Ramdas, Grünwald, Vovk, Shafer 2023, "Game-theoretic statistics
and safe anytime-valid inference", Statistical Science 38). The accounts hold different stakes at the same time
("grid Kelly" of Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86).

A part of the money waits and is staked little by little, so what begins after a long quiet time is found too: a mixture
over the record at which the change begins, with the weight horizon / n² for the nth one (compare Shin, Ramdas, Rinaldo
2024, "E-detectors", New England Journal of Statistics in Data Science 2).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heartline.arrays import Floats

CAP = 1e100  # an account that reaches it keeps no more: giving money away keeps the bound, and nothing overflows
_BLOCK = 64  # records at a time; with factors from 1/60 to 60 their product is a float

Bets = Callable[[Floats], Floats]  # (m, c) values to (m, c, k) factors from 1/60 to 60


@dataclass(frozen=True)
class Wealth:
    """The accounts of c e-processes that see the same records.

    Attributes:
        accounts: (c, k) money at stake.
        seen: records so far.
        present: (c,) the e-values.
        highest: (c,) the highest e-values so far.
    """

    accounts: list[list[float]]
    seen: int
    present: list[float]
    highest: list[float]


def start(processes: int, accounts: int, *, waiting: float) -> Wealth:
    """Return the accounts before the first record.

    Args:
        processes: c.
        accounts: k, those of each process.
        waiting: share of the money that is not at stake yet, from 0 to 1.
    """
    stake = (1.0 - waiting) / accounts
    return Wealth([[stake] * accounts for _ in range(processes)], 0, [1.0] * processes, [1.0] * processes)


def bet(wealth: Wealth, values: Floats, bets: Bets, *, waiting: float, horizon: float = 1.0) -> Wealth:
    """Return the accounts after more records.

    Args:
        wealth: the accounts so far.
        values: (n, c) what is bet on, in the order of arrival; NaN for a record that a process does not see.
        bets: gives the factors (m, c, k) of (m, c) values; their mean must be at most 1 if nothing is wrong.
        waiting: as in ``start``.
        horizon: of n records the share horizon / (n + horizon) of the waiting money still waits.
    """
    accounts = np.array(wealth.accounts)
    present, highest = np.array(wealth.present), np.array(wealth.highest)
    size = accounts.shape[1]
    for begin in range(0, len(values), _BLOCK):
        block = values[begin : begin + _BLOCK]
        factors = np.where(np.isnan(block)[:, :, None], 1.0, bets(block))
        number = wealth.seen + begin + np.arange(1, len(block) + 1) + horizon
        staked = waiting * horizon / ((number - 1) * number) / size
        products = np.cumprod(factors, axis=0)
        # an account a follows a[t] = (a[t - 1] + staked[t]) · factor[t]
        shares = np.empty_like(products)
        shares[0] = staked[0]
        shares[1:] = staked[1:, None, None] / products[:-1]
        path = products * (accounts + np.cumsum(shares, axis=0))
        values_e = np.minimum(path.sum(axis=2) + (waiting * horizon / number)[:, None], CAP)
        accounts = np.minimum(path[-1], CAP)
        present, highest = values_e[-1], np.maximum(highest, values_e.max(axis=0))
    return Wealth(accounts.tolist(), wealth.seen + len(values), present.tolist(), highest.tolist())

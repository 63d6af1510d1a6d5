"""Refused requests: is their share of a day's requests larger than on earlier days?

Requests are refused in groups (a client repeats the same wrong request), so their number has no simple distribution.
The days are compared instead: without a change, the rank of a day among all days before it is uniform. The e-value bets
on high ranks (conformal test martingale, as for the columns, with a day in the place of a record).
"""

from dataclasses import dataclass

import numpy as np

from heartline.monitoring.methods import conformal
from heartline.monitoring.methods.betting import Wealth
from heartline.monitoring.methods.columns import Cells

RATE = 0.01  # of a false alarm in the life of a version
_CELLS = 1001  # of a share: 0, 0.001, … 1


@dataclass(frozen=True)
class Refused:
    """The days so far.

    Attributes:
        days: (cells,) days by their share of refused requests, in thousandths; days without a request are not counted.
        wealth: the e-process.
    """

    days: list[int]
    wealth: Wealth


def start() -> Refused:
    """Return the days before the first one."""
    return Refused([0] * _CELLS, conformal.start_upwards())


def continued(before: Refused) -> Refused:
    """Return the days for the version that is in production next: after an alarm, the bets start anew.

    The days before stay what is compared with: whoever sends the requests sends them to any version.
    """
    return before if before.wealth.highest[0] < 1 / RATE else Refused(before.days, conformal.start_upwards())


def add(before: Refused, day: str, refused: int, accepted: int) -> Refused:
    """Return the days with one more.

    Args:
        before: the days before.
        day: its date, which breaks ties.
        refused: requests of the day that were refused.
        accepted: requests of the day that were accepted.
    """
    if not refused + accepted:
        return before
    cell: Cells = np.array([round((_CELLS - 1) * refused / (refused + accepted))], dtype=np.int16)
    days = np.array(before.days)
    p = conformal.p_values(cell, days, conformal.uniforms(conformal.seeds([day]), "refused"))
    days[cell] += 1
    return Refused(days.tolist(), conformal.bet_upwards(before.wealth, p))

"""Harm: is the Brier score worse than that of the reference by more than a margin?

The squared error of a prediction is between 0 and 1. The bets are on a mean above reference + margin, one-sided, as in
Podkopaev and Ramdas (2022, "Tracking the risk of a deployed model and detecting harmful distribution shifts", ICLR).

What is assumed: that the outcomes arrive in an order that does not depend on whether the prediction was right. If wrong
predictions are reported first, the alarm may be false.
"""

import numpy as np

from heartline.arrays import Floats
from heartline.monitoring.methods import betting
from heartline.monitoring.methods.betting import Wealth

# Of 1 / bound: at 1 a record without error would lose everything.
_STAKES = np.array([1 / 16, 1 / 8, 1 / 4])
_LARGEST = 50.0  # of all stakes, for bounds near 0
_WAITING, _HORIZON = 0.5, 500.0


def start() -> Wealth:
    """Return the accounts before the first outcome."""
    return betting.start(1, len(_STAKES), waiting=_WAITING)


def bet(wealth: Wealth, losses: Floats, bound: float) -> Wealth:
    """Return the accounts after more outcomes.

    Args:
        wealth: the accounts so far.
        losses: (n,) squared errors, in the order in which the outcomes arrived.
        bound: the largest mean that is no harm: Brier score of the reference plus margin.
    """
    stakes = np.minimum(_STAKES / bound, _LARGEST)
    return betting.bet(
        wealth,
        losses[:, None],
        lambda some: 1.0 + stakes * (some[:, :, None] - bound),
        waiting=_WAITING,
        horizon=_HORIZON,
    )

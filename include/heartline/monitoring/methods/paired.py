"""Shadow: would the candidate have done better? An always-valid paired comparison of two models on the same records.

Of each record with an outcome, the difference of the two squared errors is between -1 and 1. Two e-processes bet on its
mean, one on "the candidate is better", one on "it is worse" (bounded means: Waudby-Smith and Ramdas 2024; paired Brier
scores: Choe and Ramdas 2024, "Comparing sequential forecasters", Operations Research 72). Looking at them every day is
allowed; at z-tests it is not.
"""

from dataclasses import dataclass, replace

import numpy as np

from heartline import contract
from heartline.arrays import Floats, Ints
from heartline.evaluation.intervals import Z
from heartline.monitoring.methods import betting
from heartline.monitoring.methods.betting import Wealth
from heartline.monitoring.report import Interval, Shadow
from heartline.scores import squared_errors

RATE = 0.05  # of a false "better", and of a false "worse", in the life of a candidate
_STAKES = np.array([0.1, 0.2, 0.4, 0.8])  # at 1 a difference of -1 would lose everything


@dataclass(frozen=True)
class Compared:
    """What is known of a candidate: sums only.

    Attributes:
        version: of the candidate.
        answered, to_disease, to_healthy, largest: as in ``report.Shadow``.
        outcomes: records with an outcome that both answered.
        total, squares: sum of the differences and of their squares.
        better, worse: the e-processes.
    """

    version: str
    better: Wealth
    worse: Wealth
    answered: int = 0
    to_disease: int = 0
    to_healthy: int = 0
    largest: float = 0.0
    outcomes: int = 0
    total: float = 0.0
    squares: float = 0.0


def start(version: str) -> Compared:
    """Return the comparison with a candidate before its first record."""
    accounts = betting.start(1, len(_STAKES), waiting=0.0)
    return Compared(version, accounts, accounts)


def with_answers(compared: Compared, production: Floats, candidate: Floats) -> Compared:
    """Return the comparison with more answers.

    Args:
        compared: the comparison so far.
        production: (n,) probabilities that were returned.
        candidate: (n,) the candidate's; NaN where it has none.
    """
    both = np.isfinite(candidate)
    ours, theirs = production[both], candidate[both]
    before, after = ours >= contract.THRESHOLD, theirs >= contract.THRESHOLD
    return replace(
        compared,
        answered=compared.answered + int(both.sum()),
        to_disease=compared.to_disease + int((~before & after).sum()),
        to_healthy=compared.to_healthy + int((before & ~after).sum()),
        largest=max(compared.largest, float(np.abs(ours - theirs).max(initial=0.0))),
    )


def with_outcomes(compared: Compared, labels: Ints, production: Floats, candidate: Floats) -> Compared:
    """Return the comparison with more outcomes, each the first one of its prediction.

    Args:
        compared: the comparison so far.
        labels: (n,) 0 or 1, in the order of arrival.
        production: (n,) probabilities that were returned.
        candidate: (n,) the candidate's; NaN where it has none.
    """
    both = np.isfinite(candidate)
    gains = squared_errors(labels[both], production[both]) - squared_errors(labels[both], candidate[both])
    return replace(
        compared,
        better=_bet(compared.better, gains),
        worse=_bet(compared.worse, -gains),
        outcomes=compared.outcomes + len(gains),
        total=compared.total + float(gains.sum()),
        squares=compared.squares + float((gains**2).sum()),
    )


def _bet(wealth: Wealth, gains: Floats) -> Wealth:
    return betting.bet(wealth, gains[:, None], lambda some: 1.0 + _STAKES * some[:, :, None], waiting=0.0)


def report(compared: Compared) -> Shadow:
    """Return the comparison for the page: e-values that decide are the highest ones so far."""
    return Shadow(
        version=compared.version,
        answered=compared.answered,
        to_disease=compared.to_disease,
        to_healthy=compared.to_healthy,
        largest=compared.largest,
        outcomes=compared.outcomes,
        difference=_difference(compared),
        better=compared.better.highest[0],
        worse=compared.worse.highest[0],
        threshold=1.0 / RATE,
    )


def _difference(compared: Compared) -> Interval | None:
    n = compared.outcomes
    if n < 2:
        return None
    mean = compared.total / n
    half = Z * (max(0.0, compared.squares / n - mean**2) / (n - 1)) ** 0.5
    return Interval(mean, mean - half, mean + half)

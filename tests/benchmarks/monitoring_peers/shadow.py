"""The shadow comparison of two simulated models, beside a z-test after every ten outcomes."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from heartline.arrays import Floats, Ints
from heartline.monitoring.methods import paired
from heartline.scores import squared_errors

STEP = 10  # outcomes between two looks
Z, FEWEST = 1.959964, 30
SPREAD, MIDDLE = 2.6, -0.2  # of the true log odds: a ROC AUC of about 0.9, and 46 % with disease


@dataclass(frozen=True)
class Pair:
    """Two models that see the true log odds with noise.

    Attributes:
        production, candidate: standard deviations of their noise.
        outcomes: the most that are waited for.
    """

    production: float
    candidate: float
    outcomes: int


EQUAL = Pair(1.0, 1.0, 2500)
BETTER = (Pair(1.4, 1.1, 6000), Pair(1.75, 1.0, 4000), Pair(2.5, 1.0, 2000))


def drawn(pair: Pair, n: int, random: np.random.Generator) -> tuple[Ints, Floats, Floats]:
    """Return (n,) labels and the probabilities of both models, each calibrated."""
    truth = random.normal(MIDDLE, SPREAD, n)
    labels = (random.random(n) < special.expit(truth)).astype(np.int64)
    both = []
    for noise in (pair.production, pair.candidate):
        share = SPREAD**2 / (SPREAD**2 + noise**2)
        seen = truth + noise * random.standard_normal(n) - MIDDLE
        both.append(special.expit(MIDDLE + share * seen))
    return labels, both[0], both[1]


def difference(pair: Pair) -> float:
    """Return the true difference of the two Brier scores."""
    labels, production, candidate = drawn(pair, 400_000, np.random.default_rng(0))
    return float((squared_errors(labels, production) - squared_errors(labels, candidate)).mean())


def decided(seed: int, pair: Pair) -> tuple[int, int | None, bool]:
    """Return the verdict (1 better, -1 worse, 0 none), after how many outcomes, and whether the z-test said better."""
    labels, production, candidate = drawn(pair, pair.outcomes, np.random.default_rng([seed, 5]))
    gains = squared_errors(labels, production) - squared_errors(labels, candidate)
    looks = np.arange(FEWEST, pair.outcomes + 1, STEP)
    total, squares = np.cumsum(gains)[looks - 1], np.cumsum(gains**2)[looks - 1]
    spread = np.sqrt(np.maximum(squares / looks - (total / looks) ** 2, 1e-12) / looks)
    peeked = bool((total / looks / spread > Z).any())
    compared = paired.start("candidate")
    for begin in range(0, pair.outcomes, STEP):
        part = slice(begin, begin + STEP)
        compared = paired.with_outcomes(compared, labels[part], production[part], candidate[part])
        for verdict, wealth in ((1, compared.better), (-1, compared.worse)):
            if wealth.highest[0] >= 1 / paired.RATE:
                return verdict, begin + STEP, peeked
    return 0, None, peeked

"""How good the predictions with an outcome are: Brier score, ROC AUC and calibration from counts, by subgroup.

What is stored are counts by score (in thousandths) and outcome for each group. A corrected outcome moves its count.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from heartline import contract
from heartline.arrays import Flags, Floats, Ints
from heartline.evaluation import intervals
from heartline.evaluation.subgroups import AGE_BANDS, MIN_OF_CLASS, MIN_RECORDS
from heartline.monitoring.methods.columns import SCORES
from heartline.monitoring.report import CalibrationBin, Figures, Interval
from heartline.scores import roc_auc_from_counts, squared_errors

_CLIP = 1e-3  # a probability of 0 has no log odds
_STEPS = 50


@dataclass(frozen=True)
class Live:
    """Outcomes so far, as counts.

    Attributes:
        counts: of each group, outcome (0, 1) and score: (groups, 2, SCORES).
        losses: of each group, the sum of the squared errors and of their squares: (groups, 2).
    """

    counts: list[list[list[int]]]
    losses: list[list[float]]


def _groups() -> tuple[str, ...]:
    (sex,) = (column for column in contract.FEATURES if column.name == "sex")
    names = [f"under {AGE_BANDS[0]}"]
    names += [f"{low} to {high - 1}" for low, high in pairwise(AGE_BANDS)]
    names += [f"{AGE_BANDS[-1]} and over"]
    return ("all", *(f"sex: {label}" for label in sex.codes.values()), *(f"age: {name}" for name in names))


GROUPS = _groups()


def start() -> Live:
    """Return the counts before the first outcome."""
    return Live([[[0] * SCORES, [0] * SCORES] for _ in GROUPS], [[0.0, 0.0] for _ in GROUPS])


def members(features: Floats) -> Flags:
    """Return which records are in which group: (groups, n)."""
    age, sex = (features[:, contract.FEATURE_NAMES.index(name)] for name in ("age", "sex"))
    (column,) = (one for one in contract.FEATURES if one.name == "sex")
    bands = np.where(np.isnan(age), -1, np.digitize(age, AGE_BANDS))
    return np.array(
        [
            np.ones(len(features), dtype=np.bool_),
            *(sex == code for code in column.codes),
            *(bands == band for band in range(len(AGE_BANDS) + 1)),
        ]
    )


def add(live: Live, features: Floats, scores: Floats, outcomes: Ints, replaced: Ints) -> Live:
    """Return the counts with more outcomes.

    Args:
        live: the counts so far.
        features: (n, features) of the predictions' records.
        scores: (n,) their probabilities.
        outcomes: (n,) 0 or 1.
        replaced: (n,) the outcome that is corrected, -1 for a first one.
    """
    counts, losses = np.array(live.counts), np.array(live.losses)
    cells = np.clip(np.floor(scores * (SCORES - 1) + 0.5), 0, SCORES - 1).astype(np.int64)
    corrected = replaced >= 0
    new = squared_errors(outcomes, scores)
    old = np.where(corrected, squared_errors(np.maximum(replaced, 0), scores), 0.0)
    for group, inside in enumerate(members(features)):
        np.add.at(counts[group], (outcomes[inside], cells[inside]), 1)
        some = inside & corrected
        np.subtract.at(counts[group], (replaced[some], cells[some]), 1)
        losses[group] += [(new - old)[inside].sum(), (new**2 - old**2)[inside].sum()]
    return Live(np.maximum(counts, 0).tolist(), np.maximum(losses, 0.0).tolist())


def figures(live: Live) -> list[Figures]:
    """Return the figures of each group that has an outcome, the first one of all."""
    found = [
        _figures(group, np.array(counts[0]), np.array(counts[1]), losses[0], losses[1])
        for group, counts, losses in zip(GROUPS, live.counts, live.losses, strict=True)
    ]
    return [one for place, one in enumerate(found) if one.count or not place]


def _figures(group: str, negatives: Ints, positives: Ints, losses: float, squares: float) -> Figures:
    positive, negative = int(positives.sum()), int(negatives.sum())
    n = positive + negative
    if n < MIN_RECORDS:
        return Figures(group, n, positive)
    brier = mean_interval(losses, squares, n)
    if min(positive, negative) < MIN_OF_CLASS:
        return Figures(group, n, positive, brier)
    auc = float(
        roc_auc_from_counts(positives[None, ::-1].astype("float64"), negatives[None, ::-1].astype("float64"))[0]
    )
    return Figures(
        group,
        n,
        positive,
        brier,
        Interval(auc, *auc_interval(auc, positive, negative)),
        calibration_slope(negatives, positives),
        calibration_intercept(negatives, positives),
    )


def mean_interval(total: float, squares: float, n: int) -> Interval:
    """Return the mean of n squared errors with its interval (normal), from their sum and the sum of their squares."""
    mean = total / n
    half = intervals.Z * math.sqrt(max(0.0, squares / n - mean**2) / max(1, n - 1))
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def auc_interval(auc: float, positive: int, negative: int) -> tuple[float, float]:
    """Return the score interval of a ROC AUC (Newcombe 2006, Statistics in Medicine 25, method 5).

    The variance is that of Hanley and McNeil (1982), at the ends of the interval instead of the estimate, so there is
    an interval at 0 and 1 too.
    """
    size = (positive + negative) / 2 - 1

    def outside(area: float) -> bool:
        among = size * ((1 - area) / (2 - area) + area / (1 + area))
        return (auc - area) ** 2 > intervals.Z**2 * area * (1 - area) * (1 + among) / (positive * negative)

    def end(far: float) -> float:
        near = auc
        for _ in range(_STEPS):
            middle = (near + far) / 2
            near, far = (near, middle) if outside(middle) else (middle, far)
        return near

    return end(0.0), end(1.0)


def _log_odds() -> Floats:
    probabilities = np.clip(np.linspace(0.0, 1.0, SCORES), _CLIP, 1 - _CLIP)
    found: Floats = np.log(probabilities / (1 - probabilities))
    return found


def calibration_slope(negatives: Ints, positives: Ints) -> Interval | None:
    """Return the slope of a logistic regression of outcomes on the predictions' log odds, with Wald's interval.

    1 is right; below 1 the probabilities are too extreme (Cox 1958, "Two further applications of a model for binary
    regression", Biometrika 45). None where the classes do not overlap.

    Args:
        negatives: (SCORES,) outcomes 0 by score.
        positives: (SCORES,) outcomes 1 by score.
    """
    fitted = _logistic(np.column_stack([np.ones(SCORES), _log_odds()]), np.zeros(SCORES), negatives, positives)
    return fitted[1] if fitted else None


def calibration_intercept(negatives: Ints, positives: Ints) -> Interval | None:
    """Return the shift of the log odds with which the mean prediction is right (slope 1), with Wald's interval."""
    fitted = _logistic(np.ones((SCORES, 1)), _log_odds(), negatives, positives)
    return fitted[0] if fitted else None


def _logistic(design: Floats, offset: Floats, negatives: Ints, positives: Ints) -> list[Interval] | None:
    """Return the coefficients of a logistic regression on counts, by Newton's method; None if it does not converge."""
    total = negatives + positives
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(design @ weights + offset, -30, 30)))
        curvature = (design * (total * expected * (1 - expected))[:, None]).T @ design
        if np.linalg.cond(curvature) > 1e12:
            return None
        step = np.clip(np.linalg.solve(curvature, design.T @ (positives - total * expected)), -2, 2)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            half = intervals.Z * np.sqrt(np.diag(np.linalg.inv(curvature)))
            return [
                Interval(float(one), float(one - wide), float(one + wide))
                for one, wide in zip(weights, half, strict=True)
            ]
    return None


def calibration(live: Live) -> list[CalibrationBin]:
    """Return the tenths of the predicted risk that have an outcome."""
    negatives, positives = (np.array(one) for one in live.counts[0])
    tenths = np.minimum(np.arange(SCORES) // 100, 9)
    found = []
    for tenth in range(10):
        inside = tenths == tenth
        n, hits = int((negatives + positives)[inside].sum()), int(positives[inside].sum())
        if n:
            predicted = float(((negatives + positives) * np.linspace(0.0, 1.0, SCORES))[inside].sum() / n)
            found.append(CalibrationBin(predicted, Interval(hits / n, *intervals.wilson(hits / n, n)), n))
    return found

"""Scores of (n,) probabilities for (n,) labels, each with a 95 % interval. Pure functions.

Proportions (accuracy, precision, recall, specificity) have Wilson intervals: they are valid at 0 and 1, where all
bootstrap samples are equal. All other scores have percentile intervals of a bootstrap over groups of identical records.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from heartline import contract, scores
from heartline.arrays import Flags, Floats, Ints
from heartline.evaluation import bootstrap, cells, intervals
from heartline.evaluation.bootstrap import DRAWS, Ranked

CLIP = 1e-6  # probabilities are clipped to this distance from 0 and 1 before the logarithm

TITLES = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC (average precision)",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall (sensitivity)",
    "specificity": "Specificity",
    "f1": "F1",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "rmse": "RMSE of the probability",
    "calibration_slope": "Calibration slope",
    "calibration_in_the_large": "Calibration in the large",
}

# What MLflow's table of runs shows. The others, and all intervals, are in evaluation.json.
LOGGED = tuple(name for name in TITLES if name != "calibration_in_the_large")
MAIN = ("roc_auc", "brier", "recall", "specificity")  # where there is room for a few


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval.

    Attributes:
        value: None where it is not defined.
        low: lower end; None where there is no interval.
        high: upper end; None where there is no interval.
        n: the records that it is about: the positives for recall, the predicted positives for precision.
        note: why something is None.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""

    def as_dict(self) -> dict[str, float | int | str | None]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return ``0.908 (0.871 to 0.943)``, or why there is no number."""
        if self.value is None:
            return self.note
        return f"{self.value:.3f}" + (f" ({self.low:.3f} to {self.high:.3f})" if self.low is not None else "")


def evaluate(
    labels: Ints,
    probabilities: Floats,
    groups: Ints,
    *,
    seed: int,
    draws: int = DRAWS,
    names: Collection[str] = tuple(TITLES),
) -> dict[str, Estimate]:
    """Return scores with their intervals.

    Values are those of the records. With more records than ``cells.ROWS`` the bootstrap draws cells of records.

    Args:
        labels: (n,) 0 or 1, n at least 1.
        probabilities: (n,) 0 to 1.
        groups: (n,) records with the same number are drawn together.
        seed: of the bootstrap.
        draws: of the bootstrap.
        names: scores in ``TITLES``; by default all of them.
    """
    found = proportions(labels, probabilities, groups)
    resampled = [name for name in _SCORES if name in names]
    sample = cells.sample(labels, probabilities, groups)
    values = _scores(resampled, np.ones((1, len(labels))), labels, probabilities, Ranked.of(labels, probabilities))[0]
    ranked = Ranked.of(sample.labels, sample.probabilities)

    def score(weights: Floats) -> Floats:
        return _scores(resampled, weights, sample.labels, sample.probabilities, ranked)

    drawn = sample.over_draws(score, seed=seed, count=draws)
    if isinstance(sample, cells.Cells):
        drawn += values - score(sample.counts[None].astype("float64"))  # what rounding to levels changes in each draw
    undefined = _undefined(labels, probabilities)
    for position, name in enumerate(resampled):
        found[name] = _estimate(float(values[position]), drawn[:, position], len(labels), undefined)
    if "roc_auc" in found and found["roc_auc"].value in (0.0, 1.0):
        found["roc_auc"] = _separated(found["roc_auc"], labels)
    return {name: found[name] for name in TITLES if name in names}


def proportions(labels: Ints, probabilities: Floats, groups: Ints) -> dict[str, Estimate]:
    """Return accuracy, precision, recall and specificity at the contract's threshold, with Wilson intervals."""
    predictions = probabilities >= contract.THRESHOLD
    positive = labels == 1
    correct = predictions == positive
    return {
        "accuracy": share(correct, np.ones(len(labels), np.bool_), groups, "there are no records"),
        "precision": share(correct, predictions, groups, "no record is predicted to have the disease"),
        "recall": share(correct, positive, groups, "no record has the disease"),
        "specificity": share(correct, ~positive, groups, "no record is without the disease"),
    }


def share(true: Flags, among: Flags, groups: Ints, if_none: str) -> Estimate:
    """Return the share of ``true`` among the records ``among``, with the interval of Wilson (1927).

    The width of the interval depends on the number of groups: identical records are no additional evidence.

    Args:
        true: (n,).
        among: (n,).
        groups: (n,).
        if_none: the note where ``among`` is empty.
    """
    n = int(among.sum())
    if n == 0:
        return Estimate(None, None, None, 0, if_none)
    value = float(true[among].mean())
    low, high = intervals.wilson(value, bootstrap.numbered(groups[among])[1])
    return Estimate(value, low, high, n)


@dataclass(frozen=True, eq=False)
class _Weighted:
    """Labels and probabilities with the weights of draws, and the sums that several scores need."""

    weights: Floats
    labels: Ints
    probabilities: Floats
    ranked: Ranked

    # No matrix product: the order of its sums depends on the machine.
    def mean(self, values: Floats) -> Floats:
        """Return the weighted mean of (n,) values in each draw: (draws,)."""
        found: Floats = (self.weights * values).sum(axis=1) / self.total
        return found

    @cached_property
    def total(self) -> Floats:
        found: Floats = self.weights.sum(axis=1)
        return found

    @cached_property
    def confusion(self) -> tuple[Floats, Floats, Floats]:
        """Positive records, predicted positives, and hits."""
        predictions = self.probabilities >= contract.THRESHOLD
        of = (self.labels, predictions, self.labels * predictions)
        positive, predicted, hits = ((self.weights * one).sum(axis=1) for one in of)
        return positive, predicted, hits

    @cached_property
    def counts(self) -> tuple[Floats, Floats]:
        return self.ranked.counts(self.weights)

    @cached_property
    def brier(self) -> Floats:
        return self.mean(scores.squared_errors(self.labels, self.probabilities))


def _average_precision(of: _Weighted) -> Floats:
    return np.where(of.total > of.confusion[0], bootstrap.average_precision(*of.counts), np.nan)


def _balanced_accuracy(of: _Weighted) -> Floats:
    positive, predicted, hits = of.confusion
    found: Floats = (hits / positive + 1 - (predicted - hits) / (of.total - positive)) / 2
    return found


def _f1(of: _Weighted) -> Floats:
    positive, predicted, hits = of.confusion
    return np.where(positive > 0, 2 * hits / (predicted + positive), np.nan)


def _log_loss(of: _Weighted) -> Floats:
    clipped = np.clip(of.probabilities, CLIP, 1 - CLIP)
    return of.mean(-np.log(np.where(of.labels == 1, clipped, 1 - clipped)))


_SCORES: Mapping[str, Callable[[_Weighted], Floats]] = {
    "roc_auc": lambda of: scores.roc_auc_from_counts(*of.counts),
    "pr_auc": _average_precision,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "log_loss": _log_loss,
    "brier": lambda of: of.brier,
    "rmse": lambda of: np.sqrt(of.brier),
    "calibration_slope": lambda of: bootstrap.calibration_slopes(of.weights, of.labels, of.probabilities),
    "calibration_in_the_large": lambda of: of.mean(of.labels - of.probabilities),  # observed minus predicted prevalence
}


def _scores(names: Sequence[str], weights: Floats, labels: Ints, probabilities: Floats, ranked: Ranked) -> Floats:
    """Return (draws, scores) the values of these scores, NaN where one is not defined."""
    of = _Weighted(weights, labels, probabilities, ranked)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw without a class gives NaN
        return np.stack([_SCORES[name](of) for name in names], axis=1)


def _estimate(value: float, drawn: Floats, n: int, undefined: str) -> Estimate:
    if not math.isfinite(value):
        return Estimate(None, None, None, n, undefined)
    ends = intervals.percentile_interval(drawn)
    if ends is None:
        return Estimate(value, None, None, n, "too few records for an interval")
    if ends[0] == ends[1]:
        return Estimate(value, None, None, n, "no interval: every bootstrap sample gives the same")
    return Estimate(value, min(value, ends[0]), max(value, ends[1]), n)


def _undefined(labels: Ints, probabilities: Floats) -> str:
    """Return why a score may have no value."""
    if labels.all():
        return "no record is without the disease"
    if not labels.any():
        return "no record has the disease"
    if probabilities.min() == probabilities.max():
        return "every record has the same probability"
    return "the two classes do not overlap"


def _separated(estimate: Estimate, labels: Ints) -> Estimate:
    """Return an interval for an area of 0 or 1, where all bootstrap draws are equal and their interval has no width.

    It is the score interval of Newcombe (2006, "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2", Statistics in Medicine 25), with the variance of Hanley and McNeil.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    low, high = 0.5, 1.0
    for _ in range(50):
        area = (low + high) / 2
        among = (len(labels) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * (1 + among) / (positives * negatives)
        low, high = (low, area) if (1 - area) ** 2 < intervals.Z**2 * variance else (area, high)
    if estimate.value == 1.0:
        return Estimate(1.0, low, 1.0, estimate.n)
    return Estimate(0.0, 0.0, 1 - low, estimate.n)

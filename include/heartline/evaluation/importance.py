"""Feature importance: permutation importance for any model, odds ratios for a linear one."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from heartline import contract, scores
from heartline.arrays import Floats, Ints
from heartline.evaluation import bootstrap, cells, intervals
from heartline.storage.splits import LabelledDataset
from heartline.training import fast_logistic_regression

SHUFFLES = 5
MAX_ROWS = 2000  # of a fold: more would take much memory for the same result
REFITS = 200

_GROUPS = 1 << 16  # groups whose inputs are held at a time


@dataclass(frozen=True)
class OddsRatio:
    """The factor by which a change of one feature multiplies the odds of disease.

    Attributes:
        feature: the contract's column.
        label: the change: one category instead of another, or one standard deviation more, with its unit.
        value: the fitted model's.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
    """

    feature: str
    label: str
    value: float
    low: float
    high: float


def permuted(model: Pipeline, features: Floats, labels: Ints, *, seed: int) -> Floats:
    """Return the decrease of the ROC AUC when one feature's values are shuffled among the records: (13,).

    Each value is a mean over ``SHUFFLES`` shuffles. One call of the model scores all shuffled copies, which takes
    little more time than scoring one. Of a larger fold a sample of ``MAX_ROWS`` records is used.

    Args:
        model: fitted on other records.
        features: (n, 13) of both classes.
        labels: (n,).
        seed: of the shuffles.
    """
    random = np.random.default_rng(seed)
    count = features.shape[1]
    if len(features) > MAX_ROWS:
        rows = random.choice(len(features), MAX_ROWS, replace=False)
        features, labels = features[rows], labels[rows]
    copies = np.tile(features, (count, SHUFFLES, 1, 1))
    for feature in range(count):
        for shuffle in range(SHUFFLES):
            copies[feature, shuffle, :, feature] = random.permutation(features[:, feature])
    every = np.concatenate([features, copies.reshape(-1, count)])
    predictions = np.asarray(model.predict_proba(every)[:, 1]).reshape(-1, len(features))
    areas = scores.roc_aucs(labels, predictions)
    drops: Floats = areas[0] - areas[1:].reshape(count, SHUFFLES).mean(axis=1)
    return drops


def odds_ratios(model: Pipeline, records: LabelledDataset, *, seed: int) -> list[OddsRatio]:
    """Return the odds ratios of a fitted linear model, in the contract's order; an empty list for another model.

    A measurement has the ratio of one standard deviation more; a code has that of each category against the first.
    The interval covers the middle 95 % of ``REFITS`` refits on bootstrap samples with the same hyperparameters; with
    more records than ``cells.ROWS`` it is that of the sandwich estimate of the same spread. The model's penalty shrinks
    coefficients, so ratio and interval are nearer to 1 than those of an unpenalised regression. The interval describes
    the stability of this model, not a causal effect.

    Args:
        model: fitted on ``records``.
        records: n training records.
        seed: of the bootstrap.
    """
    if not hasattr(model[-1], "coef_"):
        return []
    fitted = np.asarray(model[-1].coef_[0], dtype="float64")
    ends = _sandwich_ends if len(records) > cells.ROWS else _refitted_ends
    contrasts = _contrasts(model)
    of_coefficients = np.zeros((len(contrasts), len(fitted)))
    for row, (_, _, plus, minus) in zip(of_coefficients, contrasts, strict=True):
        row[plus] = 1
        if minus is not None:
            row[minus] = -1
    found: dict[str, list[OddsRatio]] = {}
    for row, end, (feature, label, _, _) in zip(
        of_coefficients, ends(model, records, of_coefficients, seed), contrasts, strict=True
    ):
        ratio = OddsRatio(feature, label, *(float(np.exp(one)) for one in (fitted @ row, *end)))
        found.setdefault(feature, []).append(ratio)
    return [one for name in contract.FEATURE_NAMES for one in found.get(name, [])]


def interval_in_words(rows: int) -> str:
    """Return what the intervals of the odds ratios of ``rows`` training records are."""
    return "95 % (sandwich estimate)" if rows > cells.ROWS else f"middle 95 % of {REFITS} bootstrap refits"


def _refitted_ends(model: Pipeline, records: LabelledDataset, contrasts: Floats, seed: int) -> Floats:
    """Return the middle 95 % of the contrasts (k, p) of the coefficients of refits: (k, 2)."""
    inputs, unfitted = np.asarray(model[:-1].transform(records.features)), clone(model[-1])

    def coefficients(weights: Floats) -> Floats:
        if fast_logistic_regression.supports(unfitted):
            return fast_logistic_regression.weighted_refits(unfitted, inputs, records.labels, weights)[:, :-1]
        return np.array([unfitted.fit(inputs, records.labels, one).coef_[0] for one in weights])

    with threadpool_limits(limits=1):
        refits = bootstrap.over_draws(records.groups, coefficients, seed=seed, count=REFITS)
    ends: Floats = np.quantile(refits @ contrasts.T, intervals.QUANTILES, axis=0).T
    return ends


def _sandwich_ends(model: Pipeline, records: LabelledDataset, contrasts: Floats, seed: int) -> Floats:
    """Return the ends of the contrasts' (k, p) intervals by ``sandwich``: (k, 2); nothing is drawn."""
    middle = contrasts @ np.asarray(model[-1].coef_[0], dtype="float64")
    covariance = sandwich(model, records)[:-1, :-1]
    half = intervals.Z * np.sqrt(np.einsum("kp,pq,kq->k", contrasts, covariance, contrasts))
    return np.stack([middle - half, middle + half], axis=1)


def sandwich(model: Pipeline, records: LabelledDataset) -> Floats:
    """Return the covariance of a penalised logistic regression's coefficients and its intercept: (p + 1, p + 1).

    It is H⁻¹ S H⁻¹, with H the second derivative of the penalised loss and S the sum over groups of the squared sum of
    their gradients (White 1980, "A heteroskedasticity-consistent covariance matrix estimator", Econometrica 48; Liang
    and Zeger 1986, "Longitudinal data analysis using generalized linear models", Biometrika 73). It estimates the
    spread of refits on bootstrap samples of groups in one pass over the records.

    Args:
        model: a pipeline with a binary ``LogisticRegression`` with an l2 penalty, fitted on ``records``.
        records: n training records.
    """
    fitted = model[-1]
    coefficients = np.append(fitted.coef_[0], fitted.intercept_[0]).astype("float64")
    numbers, size = bootstrap.numbered(records.groups)
    order = np.argsort(numbers, kind="stable")  # a group's records follow each other
    hessian, squares = (np.zeros((len(coefficients), len(coefficients))) for _ in range(2))
    hessian[:-1, :-1] = np.eye(len(coefficients) - 1) / fitted.C
    ends = np.append(0, np.cumsum(np.bincount(numbers, minlength=size)))
    for first in range(0, size, _GROUPS):
        begins = ends[first : first + _GROUPS + 1]
        rows = order[begins[0] : begins[-1]]
        inputs = np.column_stack([model[:-1].transform(records.features[rows]), np.ones(len(rows))]).astype("float64")
        expected = 1 / (1 + np.exp(-np.clip(inputs @ coefficients, -30, 30)))
        hessian += (inputs * (expected * (1 - expected))[:, None]).T @ inputs
        gradients = np.add.reduceat(inputs * (records.labels[rows] - expected)[:, None], begins[:-1] - begins[0])
        squares += gradients.T @ gradients
    halves = np.linalg.solve(hessian, squares)
    covariance: Floats = np.linalg.solve(hessian, halves.T)
    return covariance


def _contrasts(model: Pipeline) -> list[tuple[str, str, int, int | None]]:
    """Return feature, label, and the two coefficients' positions whose difference is the logarithm of the ratio."""
    columns = {column.name: column for column in contract.FEATURES}
    scales = model[0].named_transformers_["numbers"].named_steps["scale"].scale_
    found: list[tuple[str, str, int, int | None]] = []
    for position, (name, scale) in enumerate(zip(contract.NUMERIC, scales, strict=True)):
        column = columns[name]
        found.append((name, f"{column.title}, +{scale:.2g} {column.unit}".rstrip(), position, None))
    first = len(contract.NUMERIC)
    for name in contract.CATEGORICAL:
        labels = list(columns[name].codes.values())
        for step, label in enumerate(labels[1:], start=1):
            found.append((name, f"{columns[name].title}: {label} / {labels[0]}", first + step, first))
        first += len(labels)
    return found

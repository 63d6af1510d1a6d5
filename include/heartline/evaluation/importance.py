"""Feature importance: permutation importance for any model, odds ratios for a linear one."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from heartline import contract, scores
from heartline.arrays import Floats, Ints
from heartline.evaluation import bootstrap, intervals
from heartline.storage.splits import LabelledDataset

SHUFFLES = 5
MAX_ROWS = 2000  # of a fold: more would take much memory for the same result
REFITS = 200


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
    The interval covers the middle 95 % of ``REFITS`` refits on bootstrap samples with the same hyperparameters. The
    model's penalty shrinks coefficients, so ratio and interval are nearer to 1 than those of an unpenalised
    regression. The interval describes the stability of this model, not a causal effect.

    Args:
        model: fitted on ``records``.
        records: n training records.
        seed: of the bootstrap.
    """
    if not hasattr(model[-1], "coef_"):
        return []
    inputs = model[:-1].transform(records.features)
    fitted = model[-1].coef_[0]
    unfitted = clone(model[-1])
    with threadpool_limits(limits=1):
        refits = bootstrap.over_draws(
            records.groups,
            lambda weights: np.array([unfitted.fit(inputs, records.labels, one).coef_[0] for one in weights]),
            seed=seed,
            count=REFITS,
        )
    found: dict[str, list[OddsRatio]] = {}
    for feature, label, plus, minus in _contrasts(model):
        values = [c[..., plus] - (0 if minus is None else c[..., minus]) for c in (fitted, refits)]
        low, high = np.quantile(values[1], intervals.QUANTILES)
        ratio = OddsRatio(feature, label, *(float(np.exp(one)) for one in (values[0], low, high)))
        found.setdefault(feature, []).append(ratio)
    return [one for name in contract.FEATURE_NAMES for one in found.get(name, [])]


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

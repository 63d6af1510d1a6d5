"""Chooses a hyperparameter set from a family's search space by the training records only, never by held-out ones."""

import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from heartline.arrays import Floats, Folds, Ints
from heartline.scores import brier
from heartline.storage.splits import INNER, LabelledDataset, hashed_folds
from heartline.training import fast_logistic_regression, preprocessing

FOLDS = 5
FOREST = 50  # trees of the forest that estimates a hyperparameter set's loss
MAX_ROWS = 10_000  # more records change the time, not the choice

# Arguments: unfitted models, their (n, p) inputs, their records, a seed. Result: Brier score of each on unseen records.
Loss = Callable[[Sequence[ClassifierMixin], Floats, LabelledDataset, int], Sequence[float]]


@dataclass(frozen=True, eq=False)
class _Search:
    """The result of a search: the chosen position, and what the search has fitted, None where it did not fit."""

    position: int
    steps: Pipeline | None = None
    inputs: Floats | None = None
    model: ClassifierMixin | None = None


def choose(pipelines: Sequence[Pipeline], records: LabelledDataset, loss: Loss, *, seed: int) -> int:
    """Return the position of the pipeline with the smallest loss, the first one on a tie.

    The preprocessing of the pipelines is fitted once, on all of ``records``: it is the same in each pipeline and does
    not use labels.

    Args:
        pipelines: unfitted, one for each hyperparameter set; they differ in their last step.
        records: n training records.
        loss: ``out_of_fold`` or ``out_of_bag``.
        seed: of the inner folds, and of the sample of a large number of records.
    """
    return _search(pipelines, records, loss, seed).position


def fit(pipelines: Sequence[Pipeline], records: LabelledDataset, loss: Loss, *, seed: int) -> Pipeline:
    """Return the pipeline with the smallest loss, fitted on ``records``.

    A fast equivalent's ``resume`` continues from what the search has fitted on the same records: a forest's first
    trees, or the logistic regression itself.

    Args:
        pipelines: as for ``choose``.
        records: n training records.
        loss: as for ``choose``.
        seed: as for ``choose``.
    """
    found = _search(pipelines, records, loss, seed)
    chosen = pipelines[found.position]
    if found.steps is None or found.inputs is None or len(found.inputs) < len(records):
        return _fitted(chosen, records)
    resume = getattr(found.model, "resume", None)
    if resume is None:
        return _fitted(chosen, records)
    model = resume(chosen[-1], found.inputs, records.labels)
    return Pipeline([*found.steps.steps, (chosen.steps[-1][0], model)])


def _fitted(pipeline: Pipeline, records: LabelledDataset) -> Pipeline:
    steps = pipeline[:-1]
    pipeline[-1].fit(preprocessing.fitted_inputs(steps, records.features), records.labels)
    return Pipeline([*steps.steps, pipeline.steps[-1]])


def _search(pipelines: Sequence[Pipeline], records: LabelledDataset, loss: Loss, seed: int) -> _Search:
    few = _sample(records, seed)
    _, smallest = np.unique(_positive(few), return_counts=True)
    if len(pipelines) == 1 or len(smallest) < 2 or smallest.min() < 2:
        return _Search(0)
    steps = pipelines[0][:-1]
    inputs = np.asarray(steps.fit_transform(few.features))
    models = [copy(one[-1]) for one in pipelines]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # only the convergence of the chosen model matters
        position = int(np.argmin(loss(models, inputs, few, seed)))
    return _Search(position, steps, inputs, models[position])


def out_of_fold(
    models: Sequence[ClassifierMixin], inputs: Floats, records: LabelledDataset, seed: int
) -> Sequence[float]:
    """Return the Brier scores of models in an inner cross-validation, grouped like the outer one.

    A record's inner fold depends on its group's key and the seed only, as in the outer folds. A fold without which a
    class has no record is left out: no model can be fitted then.
    """
    plan, usable = inner_folds(records, seed)
    scored = np.isin(plan, usable)
    if not usable:
        return [0.0] * len(models)
    if all(isinstance(model, fast_logistic_regression.NewtonRegression) for model in models):
        predictions = fast_logistic_regression.out_of_fold(models, inputs, records.labels, plan, usable)
    else:
        predictions = np.empty((len(models), len(records)))
        for fold in usable:
            test = plan == fold
            for model, row in zip(models, predictions, strict=True):
                fitted = clone(model).fit(inputs[~test], records.labels[~test])
                row[test] = fitted.predict_proba(inputs[test])[:, 1]
    return [brier(records.labels[scored], one[scored]) for one in predictions]


def inner_folds(records: LabelledDataset, seed: int) -> tuple[Folds, list[int]]:
    """Return the inner fold (n,) of each record, and the folds that leave both classes for a fit.

    Args:
        records: n training records.
        seed: of the folds.
    """
    _, sizes = np.unique(_positive(records), return_counts=True)
    splits = min(FOLDS, int(sizes.min()))
    (plan,) = hashed_folds(records.keys, splits=splits, repeats=1, seed=seed, salt=INNER)
    found = np.unique(plan).tolist()
    return plan, [fold for fold in found if len(np.unique(records.labels[plan != fold])) == 2]


def out_of_bag(
    models: Sequence[ClassifierMixin], inputs: Floats, records: LabelledDataset, seed: int
) -> Sequence[float]:
    """Return the out-of-bag Brier scores that forests of very many trees would have, estimated from small forests.

    The mean of k trees has an additional variance: that of one tree divided by k. It would count against deep trees,
    whose predictions vary most, so it is subtracted.
    """
    return [_out_of_bag(model, inputs, records) for model in models]


def _out_of_bag(model: ClassifierMixin, inputs: Floats, records: LabelledDataset) -> float:
    trees = min(FOREST, int(model.n_estimators))
    # ``max_samples`` is meant for all records; the few here would all be drawn, so that none is out of bag.
    forest = model.set_params(n_estimators=trees, max_samples=None).fit(inputs, records.labels)
    seen_by_trees = inputs.astype(np.float32)  # trees convert their inputs: once instead of once for each tree
    predictions, left_out = np.zeros((trees, len(records))), np.ones((trees, len(records)), dtype=np.bool_)
    for tree, drawn, row, rest in zip(
        forest.estimators_, forest.estimators_samples_, predictions, left_out, strict=True
    ):
        rest[drawn] = False
        row[rest] = tree.predict_proba(seen_by_trees[rest])[:, 1]
    votes = left_out.sum(axis=0)
    scored = votes > 1
    predictions, left_out, votes = predictions[:, scored], left_out[:, scored], votes[scored]
    mean = predictions.sum(axis=0) / votes
    variance = (((predictions - mean) * left_out) ** 2).sum(axis=0) / (votes - 1)
    return brier(records.labels[scored], mean) - float(np.mean(variance / votes))


def _positive(records: LabelledDataset) -> Ints:
    """Return 1 for each group of ``records`` with a positive record, else 0."""
    return np.asarray(np.bincount(records.groups, weights=records.labels) > 0, dtype=np.int64)


def _sample(records: LabelledDataset, seed: int) -> LabelledDataset:
    """Return at most ``MAX_ROWS`` records, their groups numbered from 0 without gaps."""
    if len(records) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(records), MAX_ROWS, replace=False))
        records = records.take(rows)
    return replace(records, groups=np.unique(records.groups, return_inverse=True)[1])

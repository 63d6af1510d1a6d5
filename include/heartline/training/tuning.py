"""Which candidate of a family's search space is taken. The training records alone decide: never the ones held back."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from heartline.arrays import Floats, Ints
from heartline.storage.splits import LabelledDataset, plan_folds

FOLDS = 5
FOREST = 50  # trees that a candidate is judged by
MAX_ROWS = 10_000  # more records would not change which candidate is taken, only how long it takes

# from an unfitted model, its (n, p) inputs and their records: the mean squared error on records that it did not see
Loss = Callable[[ClassifierMixin, Floats, LabelledDataset, int], float]


def choose(candidates: Sequence[Pipeline], records: LabelledDataset, loss: Loss, *, seed: int) -> int:
    """Return the position of the candidate with the smallest loss, the first one on a tie.

    What precedes the model in the pipelines is fitted once, on all of ``records``: it is the same in each candidate
    and never looks at a label.

    Args:
        candidates: unfitted pipelines that differ in their last step.
        records: n training records.
        loss: ``out_of_fold`` or ``out_of_bag``.
        seed: of inner folds, and of the sample where there are very many records.
    """
    few = _sample(records, seed)
    _, smallest = np.unique(_sick(few), return_counts=True)
    if len(candidates) == 1 or len(smallest) < 2 or smallest.min() < 2:
        return 0
    inputs = np.asarray(candidates[0][:-1].fit_transform(few.features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether the model that is taken converges is what counts
        losses = [loss(clone(one[-1]), inputs, few, seed) for one in candidates]
    return int(np.argmin(losses))


def out_of_fold(model: ClassifierMixin, inputs: Floats, records: LabelledDataset, seed: int) -> float:
    """Return the Brier score of a model in an inner cross-validation, stratified and grouped like the outer one."""
    _, sizes = np.unique(_sick(records), return_counts=True)
    splits = min(FOLDS, int(sizes.min()))
    (plan,) = plan_folds(records, splits=splits, repeats=1, seed=seed)
    predictions = np.empty(len(records))
    for fold in range(splits):
        test = plan == fold
        fitted = clone(model).fit(inputs[~test], records.labels[~test])
        predictions[test] = fitted.predict_proba(inputs[test])[:, 1]
    return _brier(predictions, records.labels)


def out_of_bag(model: ClassifierMixin, inputs: Floats, records: LabelledDataset, seed: int) -> float:
    """Return the Brier score that a forest of very many trees would have on what each left out of its own sample.

    It is estimated from a small forest. The mean of k trees has the variance of one tree over k on top, which would
    speak against deep trees, whose answers vary most; it is therefore taken off.
    """
    trees = min(FOREST, int(model.n_estimators))
    # ``max_samples`` bounds a tree on all records; of the few here it would leave none out
    forest = model.set_params(n_estimators=trees, max_samples=None).fit(inputs, records.labels)
    predictions = np.full((trees, len(records)), np.nan)
    for tree, seen, row in zip(forest.estimators_, forest.estimators_samples_, predictions, strict=True):
        left_out = np.ones(len(records), dtype=np.bool_)
        left_out[seen] = False
        row[left_out] = tree.predict_proba(inputs[left_out])[:, 1]
    votes = np.isfinite(predictions).sum(axis=0)
    judged = votes > 1
    predictions, labels, votes = predictions[:, judged], records.labels[judged], votes[judged]
    noise = np.nanvar(predictions, axis=0, ddof=1) / votes
    return _brier(np.nanmean(predictions, axis=0), labels) - float(np.mean(noise))


def _brier(predictions: Floats, labels: Ints) -> float:
    return float(np.mean((predictions - labels) ** 2))


def _sick(records: LabelledDataset) -> Ints:
    """Return, for each group of ``records``, 1 where one of it has the disease."""
    return np.asarray(np.bincount(records.groups, weights=records.labels) > 0, dtype=np.int64)


def _sample(records: LabelledDataset, seed: int) -> LabelledDataset:
    """Return at most ``MAX_ROWS`` records, their groups numbered from 0 without gaps."""
    if len(records) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(records), MAX_ROWS, replace=False))
        records = LabelledDataset(records.features[rows], records.labels[rows], records.groups[rows])
    return replace(records, groups=np.unique(records.groups, return_inverse=True)[1])

"""Chooses a hyperparameter set from a family's search space by the training records only, never by held-out ones."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from heartline.arrays import Flags, Floats, Ints
from heartline.scores import brier
from heartline.storage.splits import INNER, LabelledDataset, hashed_folds

FOLDS = 5
FOREST = 50  # trees of the forest that estimates a hyperparameter set's loss
MAX_ROWS = 10_000  # more records change the time, not the choice

# Arguments: an unfitted model, its (n, p) inputs, their records, a seed. Result: Brier score on unseen records.
Loss = Callable[[ClassifierMixin, Floats, LabelledDataset, int], float]


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
    few = _sample(records, seed)
    _, smallest = np.unique(_positive(few), return_counts=True)
    if len(pipelines) == 1 or len(smallest) < 2 or smallest.min() < 2:
        return 0
    inputs = np.asarray(pipelines[0][:-1].fit_transform(few.features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # only the convergence of the chosen model matters
        losses = [loss(clone(one[-1]), inputs, few, seed) for one in pipelines]
    return int(np.argmin(losses))


def out_of_fold(model: ClassifierMixin, inputs: Floats, records: LabelledDataset, seed: int) -> float:
    """Return the Brier score of a model in an inner cross-validation, grouped like the outer one.

    A record's inner fold depends on its group's key and the seed only, as in the outer folds. A fold whose training
    part lacks a class is left out, and without any other the score is infinite.
    """
    predictions = np.full(len(records), np.nan)
    for test in inner_folds(records, seed):
        fitted = clone(model).fit(inputs[~test], records.labels[~test])
        predictions[test] = fitted.predict_proba(inputs[test])[:, 1]
    scored = np.isfinite(predictions)
    return brier(records.labels[scored], predictions[scored]) if scored.any() else np.inf


def inner_folds(records: LabelledDataset, seed: int) -> list[Flags]:
    """Return which records (n,) each inner fold holds; without empty folds and those that leave no class for the fit.

    Args:
        records: n training records.
        seed: of the folds.
    """
    _, sizes = np.unique(_positive(records), return_counts=True)
    splits = min(FOLDS, int(sizes.min()))
    (plan,) = hashed_folds(records.keys, splits=splits, repeats=1, seed=seed, salt=INNER)
    tests = [plan == fold for fold in range(splits)]
    return [one for one in tests if one.any() and len(np.unique(records.labels[~one])) > 1]


def out_of_bag(model: ClassifierMixin, inputs: Floats, records: LabelledDataset, seed: int) -> float:
    """Return the out-of-bag Brier score that a forest of very many trees would have, estimated from a small forest.

    The mean of k trees has an additional variance: that of one tree divided by k. It would count against deep trees,
    whose predictions vary most, so it is subtracted.
    """
    trees = min(FOREST, int(model.n_estimators))
    # ``max_samples`` is meant for all records; the few here would all be drawn, so that none is out of bag.
    forest = model.set_params(n_estimators=trees, max_samples=None).fit(inputs, records.labels)
    predictions = np.full((trees, len(records)), np.nan)
    for tree, seen, row in zip(forest.estimators_, forest.estimators_samples_, predictions, strict=True):
        left_out = np.ones(len(records), dtype=np.bool_)
        left_out[seen] = False
        row[left_out] = tree.predict_proba(inputs[left_out])[:, 1]
    votes = np.isfinite(predictions).sum(axis=0)
    scored = votes > 1
    predictions, labels, votes = predictions[:, scored], records.labels[scored], votes[scored]
    noise = np.nanvar(predictions, axis=0, ddof=1) / votes
    return brier(labels, np.nanmean(predictions, axis=0)) - float(np.mean(noise))


def _positive(records: LabelledDataset) -> Ints:
    """Return 1 for each group of ``records`` with a positive record, else 0."""
    return np.asarray(np.bincount(records.groups, weights=records.labels) > 0, dtype=np.int64)


def _sample(records: LabelledDataset, seed: int) -> LabelledDataset:
    """Return at most ``MAX_ROWS`` records, their groups numbered from 0 without gaps."""
    if len(records) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(records), MAX_ROWS, replace=False))
        records = records.take(rows)
    return replace(records, groups=np.unique(records.groups, return_inverse=True)[1])

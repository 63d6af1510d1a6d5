"""The evidence for a verdict as a plain scikit-learn program, which ``evidence_cost.py`` compares with Heartline.

Its computations are independent of Heartline's, so that equal numbers are evidence: pipelines of public classes,
``cross_val_predict``, one call of a scorer for each bootstrap sample, one process. From Heartline it takes the recipes,
the fold plans, the seeds and the bootstrap's draws. It leaves out some of what Heartline does: subgroups, calibration
slopes, DeLong's test, odds ratios, figures, pages, the model's export and its smoke test.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from clock import Clock
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.arrays import Floats, Ints
from heartline.comparison import compare
from heartline.evaluation import bootstrap, cross_validation, importance, metrics
from heartline.storage.splits import LabelledDataset
from heartline.training import families, tuning

SCORES: Mapping[str, Callable[[Ints, Floats], float]] = {
    "roc_auc": roc_auc_score,
    "pr_auc": average_precision_score,
    "balanced_accuracy": lambda labels, p: balanced_accuracy_score(labels, p >= contract.THRESHOLD),
    "f1": lambda labels, p: f1_score(labels, p >= contract.THRESHOLD),
    "log_loss": lambda labels, p: log_loss(labels, np.clip(p, metrics.CLIP, 1 - metrics.CLIP)),
    "brier": brier_score_loss,
    "rmse": lambda labels, p: math.sqrt(brier_score_loss(labels, p)),
}


def evidence(
    records: LabelledDataset, holdout: LabelledDataset, plan: Ints, profile: families.Profile, seed: int, clock: Clock
) -> tuple[dict[str, Any], dict[str, Pipeline]]:
    """Return the numbers of all families and of their comparison, and the fitted models."""
    found: dict[str, Any] = {}
    models = {}
    for name in families.FAMILIES:
        with clock.counting(f"{name}: folds"):
            one = cross_validate(name, records, plan, profile, seed)
            models[name] = tuned(name, records, profile, seed, seed)
            held_out = models[name].predict_proba(holdout.features)[:, 1]
        with clock.counting("intervals of the scores"):
            one["cv"] = scores(records, np.mean(one["probabilities"], axis=0), seed)
            one["holdout"] = scores(holdout, held_out, seed)
        found[name] = one
    incumbent, challenger = (np.mean(found[name]["probabilities"], axis=0) for name in families.FAMILIES)
    with clock.counting("paired bootstrap"):
        found["delta_auc"] = paired_bootstrap(records, challenger, incumbent, seed)
    return found, models


def cross_validate(
    name: str, records: LabelledDataset, plan: Ints, profile: families.Profile, seed: int
) -> dict[str, Any]:
    """Return the out-of-fold probabilities, fold AUCs, choices and permutation importances of a family."""
    probabilities = np.full(plan.shape, np.nan)
    aucs, chosen, decreases = [], [], []
    for repeat, of_record in enumerate(plan):
        for fold in range(plan.max() + 1):
            test = of_record == fold
            model = tuned(name, records.take(~test), profile, seed, cross_validation.search_seed(seed, repeat, fold))
            probabilities[repeat, test] = model.predict_proba(records.features[test])[:, 1]
            aucs.append(roc_auc_score(records.labels[test], probabilities[repeat, test]))
            chosen.append({key: model[-1].get_params()[key] for one in families.family(name).grid for key in one})
            if repeat < cross_validation.IMPORTANCE_REPEATS:
                decreases.append(permutation_importance(model, records.features[test], records.labels[test], seed))
    return {
        "probabilities": probabilities.tolist(),
        "fold_aucs": aucs,
        "chosen": chosen,
        "importance": np.array(decreases).tolist(),
    }


def tuned(name: str, train: LabelledDataset, profile: families.Profile, seed: int, search_seed: int) -> Pipeline:
    """Return the candidate with the smallest Brier score, fitted."""
    recipe = families.family(name)
    candidates = [recipe.build(one, seed) for one in families.hyperparameter_sets(name, profile, len(train))]
    inputs = candidates[0][:-1].fit_transform(train.features)
    loss = out_of_bag if hasattr(candidates[0][-1], "oob_score") else out_of_fold
    losses = [loss(clone(one[-1]), inputs, train, search_seed) for one in candidates]
    return candidates[int(np.argmin(losses))].fit(train.features, train.labels)


def out_of_fold(model: Any, inputs: Floats, train: LabelledDataset, seed: int) -> float:
    """Return the Brier score of an inner cross-validation."""
    plan, _ = tuning.inner_folds(train, seed)
    predictions = cross_val_predict(model, inputs, train.labels, cv=PredefinedSplit(plan), method="predict_proba")
    return float(brier_score_loss(train.labels, predictions[:, 1]))


def out_of_bag(model: Any, inputs: Floats, train: LabelledDataset, seed: int) -> float:
    """Return the out-of-bag Brier score of a small forest, corrected for its small number of trees."""
    forest = model.set_params(n_estimators=min(tuning.FOREST, model.n_estimators)).fit(inputs, train.labels)
    predictions: list[list[float]] = [[] for _ in train.labels]
    for tree, seen in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        left_out = np.setdiff1d(np.arange(len(inputs)), seen)
        for row, probability in zip(left_out, tree.predict_proba(inputs[left_out])[:, 1], strict=True):
            predictions[row].append(probability)
    scored = [row for row, votes in enumerate(predictions) if len(votes) > 1]
    noise = np.mean([np.var(predictions[row], ddof=1) / len(predictions[row]) for row in scored])
    return float(brier_score_loss(train.labels[scored], [np.mean(predictions[row]) for row in scored]) - noise)


def permutation_importance(model: Pipeline, features: Floats, labels: Ints, seed: int) -> Floats:
    """Return the decrease of the ROC AUC when a feature is shuffled."""
    random = np.random.default_rng(seed)
    base = roc_auc_score(labels, model.predict_proba(features)[:, 1])
    decreases = np.empty(features.shape[1])
    for feature in range(features.shape[1]):
        areas = []
        for _ in range(importance.SHUFFLES):
            shuffled = features.copy()
            shuffled[:, feature] = random.permutation(features[:, feature])
            areas.append(roc_auc_score(labels, model.predict_proba(shuffled)[:, 1]))
        decreases[feature] = base - np.mean(areas)
    return decreases


def scores(
    records: LabelledDataset, probabilities: Floats, seed: int, draws: int = bootstrap.DRAWS
) -> dict[str, tuple[float, float, float]]:
    """Return each score with its 95 % interval: Wilson's for proportions, else the bootstrap's percentiles."""
    labels, predicted = records.labels, probabilities >= contract.THRESHOLD
    found = {}
    for name, correct, among in (
        ("accuracy", predicted == labels, labels >= 0),
        ("precision", labels == 1, predicted),
        ("recall", predicted, labels == 1),
        ("specificity", ~predicted, labels == 0),
    ):
        hits = correct[among]
        interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
        found[name] = (float(hits.mean()), interval.low, interval.high)
    drawn: dict[str, list[float]] = {name: [] for name in SCORES}
    for block in bootstrap.draws(records.groups, seed=seed, count=draws):
        for times in block:
            rows = np.repeat(np.arange(len(labels)), times.astype(int))
            for name, score in SCORES.items():
                drawn[name].append(score(labels[rows], probabilities[rows]))
    for name, score in SCORES.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        found[name] = (float(score(labels, probabilities)), float(low), float(high))
    return found


def paired_bootstrap(
    records: LabelledDataset, challenger: Floats, incumbent: Floats, seed: int, draws: int = compare.DRAWS
) -> tuple[float, float, float]:
    """Return the difference in ROC AUC with the ends of its 95 % interval; groups of one record each."""
    labels = records.labels
    in_order = np.argsort(records.groups)
    rows = []
    for stratum in (0, 1):
        members = in_order[labels[in_order] == stratum]
        rows.append(members[np.random.default_rng([seed, stratum]).integers(len(members), size=(draws, len(members)))])
    drawn = np.hstack(rows)
    deltas = sorted(
        roc_auc_score(labels[one], challenger[one]) - roc_auc_score(labels[one], incumbent[one]) for one in drawn
    )
    rank = int((draws + 1) * 0.025)
    delta = roc_auc_score(labels, challenger) - roc_auc_score(labels, incumbent)
    return float(delta), float(deltas[rank - 1]), float(deltas[draws - rank])

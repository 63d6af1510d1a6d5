"""How good a recipe is: out-of-fold probabilities on the shared fold plan, and the estimate on the hold-out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)
from threadpoolctl import threadpool_limits

from heartline import contract, training
from heartline.dataset import Floats, Ints, Labelled
from heartline.training import Profile


@dataclass(frozen=True)
class CrossValidation:
    """A recipe's answers on a fold plan.

    Attributes:
        probabilities: (repeats, n) each record's probability, from a model that did not see it.
        fold_aucs: (repeats · splits,) ROC AUC within each fold, in the plan's order.
    """

    probabilities: Floats
    fold_aucs: Floats


def cross_validate(name: str, records: Labelled, plan: Ints, *, profile: Profile, seed: int) -> CrossValidation:
    """Fit the family's recipe once for each fold and repeat of ``plan``, and score what it did not see.

    Args:
        name: the family.
        records: n training records.
        plan: (repeats, n) fold numbers.
        profile: hyperparameters' profile.
        seed: of the models' own randomness.
    """
    folds = [(repeat, fold) for repeat in range(len(plan)) for fold in range(int(plan.max()) + 1)]
    jobs = joblib.cpu_count() if training.family(name).parallel else 1
    try:
        answers = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(_fold)(name, records, plan[repeat] == fold, profile, seed) for repeat, fold in folds
        )
    finally:
        if jobs > 1:
            # joblib keeps its processes for the next call, and a task of Airflow ends without running exit handlers
            get_reusable_executor().shutdown(wait=True)
    probabilities = np.full(plan.shape, np.nan)
    aucs = []
    for (repeat, fold), answer in zip(folds, answers, strict=True):
        test = plan[repeat] == fold
        probabilities[repeat, test] = answer
        aucs.append(roc_auc_score(records.labels[test], answer))
    return CrossValidation(probabilities, np.array(aucs))


def _fold(name: str, records: Labelled, test: NDArray[np.bool_], profile: Profile, seed: int) -> Floats:
    train = Labelled(records.features[~test], records.labels[~test], records.groups[~test])
    # at a few hundred rows, BLAS threads cost more than they bring, and other processes use the cores
    with threadpool_limits(limits=1):
        model = training.fit(name, train, profile=profile, seed=seed)
        return training.probability(model, records.features[test])


def scores(labels: Ints, probabilities: Floats) -> dict[str, float]:
    """Return the usual scores of (n,) probabilities against (n,) labels, at the contract's threshold."""
    answers = probabilities >= contract.THRESHOLD
    return {
        "roc_auc": float(roc_auc_score(labels, probabilities)),
        "accuracy": float(accuracy_score(labels, answers)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, answers)),
        "precision": float(precision_score(labels, answers, zero_division=0.0)),
        "recall": float(recall_score(labels, answers)),
        "specificity": float(recall_score(labels, answers, pos_label=0)),
        "brier": float(brier_score_loss(labels, probabilities)),
        "log_loss": float(log_loss(labels, np.clip(probabilities, 1e-6, 1 - 1e-6))),
    }


def summary(cv: CrossValidation, records: Labelled, holdout: Mapping[str, float]) -> dict[str, Any]:
    """Return all scores of a family as the run and the bundle hold them, prefixed ``cv_`` and ``holdout_``.

    ``cv_roc_auc`` is the mean over folds, ``cv_roc_auc_sd`` its spread; the other ``cv_`` scores are those of the
    out-of-fold probabilities, averaged over the repeats.
    """
    pooled = scores(records.labels, cv.probabilities.mean(axis=0))
    return {
        **{f"cv_{name}": value for name, value in pooled.items()},
        "cv_roc_auc": float(cv.fold_aucs.mean()),
        "cv_roc_auc_sd": float(cv.fold_aucs.std(ddof=1)),
        **{f"holdout_{name}": value for name, value in holdout.items()},
    }

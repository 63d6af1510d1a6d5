"""How good a recipe is: out-of-fold probabilities on the shared fold plan, and the estimate on the hold-out."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from heartline import contract, importance, metrics, subgroups, training
from heartline.dataset import Floats, Ints, Labelled
from heartline.metrics import Estimate
from heartline.training import Profile

log = logging.getLogger(__name__)

IMPORTANCE_REPEATS = 2  # of the fold plan; more would narrow the spread little and cost as much as a fold each


@dataclass(frozen=True)
class CrossValidation:
    """A recipe's answers on a fold plan.

    Attributes:
        probabilities: (repeats, n) each record's probability, from a model that did not see it.
        fold_aucs: (repeats · splits,) ROC AUC within each fold, in the plan's order.
        importance: (k, 13) by how much a fold's ROC AUC falls when one feature of its records is shuffled, for the
            folds of the first repeats.
        chosen: (repeats · splits,) the hyperparameters that each fold took from the search space.
        unconverged: in how many folds the model did not converge.
    """

    probabilities: Floats
    fold_aucs: Floats
    importance: Floats = field(default_factory=lambda: np.empty((0, len(contract.FEATURES))))
    chosen: tuple[Mapping[str, Any], ...] = ()
    unconverged: int = 0

    @property
    def averaged(self) -> Floats:
        """(n,) each record's out-of-fold probability, averaged over the repeats."""
        mean: Floats = self.probabilities.mean(axis=0)
        return mean


@dataclass(frozen=True)
class _Fold:
    """What a fold's model answered, and what is known of it."""

    answers: Floats
    importance: Floats | None
    chosen: Mapping[str, Any]
    converged: bool


@dataclass(frozen=True)
class Evaluation:
    """All numbers about one family.

    Attributes:
        out_of_fold: each score of the averaged out-of-fold probabilities of the training records.
        holdout: each score of the final model on the hold-out, which nothing was fitted or chosen on.
        subgroups: out-of-fold, by sex and age band.
        fold_auc_mean: mean ROC AUC within folds: what the literature reports.
        fold_auc_sd: its standard deviation over the folds.
        chosen: how many folds took which candidate of the search space.
        unconverged: in how many folds the model did not converge.
    """

    out_of_fold: Mapping[str, Estimate]
    holdout: Mapping[str, Estimate]
    subgroups: tuple[subgroups.Subgroup, ...]
    fold_auc_mean: float
    fold_auc_sd: float
    chosen: Mapping[str, int]
    unconverged: int

    def metrics(self) -> dict[str, float]:
        """Return the scores as a run logs them: ``cv_…`` and ``holdout_…``, each with ``…_low`` and ``…_high``.

        What is not defined is left out. ``fold_roc_auc`` and ``fold_roc_auc_sd`` are about single folds.
        """
        found = {"fold_roc_auc": self.fold_auc_mean, "fold_roc_auc_sd": self.fold_auc_sd}
        for prefix, estimates in (("cv", self.out_of_fold), ("holdout", self.holdout)):
            for name, one in estimates.items():
                ends = {"": one.value, "_low": one.low, "_high": one.high}
                found |= {f"{prefix}_{name}{end}": value for end, value in ends.items() if value is not None}
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "out_of_fold": {name: one.as_dict() for name, one in self.out_of_fold.items()},
            "holdout": {name: one.as_dict() for name, one in self.holdout.items()},
            "subgroups": [one.as_dict() for one in self.subgroups],
            "fold_roc_auc": {"mean": self.fold_auc_mean, "sd": self.fold_auc_sd},
            "chosen": dict(self.chosen),
            "unconverged_folds": self.unconverged,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Evaluation":
        """Return what ``as_dict`` gave."""
        return cls(
            out_of_fold={name: Estimate(**one) for name, one in found["out_of_fold"].items()},
            holdout={name: Estimate(**one) for name, one in found["holdout"].items()},
            subgroups=tuple(subgroups.Subgroup.from_dict(one) for one in found["subgroups"]),
            fold_auc_mean=found["fold_roc_auc"]["mean"],
            fold_auc_sd=found["fold_roc_auc"]["sd"],
            chosen=found["chosen"],
            unconverged=found["unconverged_folds"],
        )


def cross_validate(name: str, records: Labelled, plan: Ints, *, profile: Profile, seed: int) -> CrossValidation:
    """Fit the family's recipe once for each fold and repeat of ``plan``, and score what it did not see.

    The recipe chooses its hyperparameters anew in each fold, from that fold's training records.

    Args:
        name: the family.
        records: n training records.
        plan: (repeats, n) fold numbers.
        profile: hyperparameters' profile.
        seed: of the models' own randomness.
    """
    folds = [(repeat, fold) for repeat in range(len(plan)) for fold in range(int(plan.max()) + 1)]
    recipe = training.family(name)
    jobs = joblib.cpu_count() if recipe.parallel else 1
    try:
        found: list[_Fold] = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(_fold)(name, records, plan[repeat] == fold, profile, seed, look=repeat < IMPORTANCE_REPEATS)
            for repeat, fold in folds
        )
    finally:
        if jobs > 1:
            # joblib keeps its processes for the next call, and a task of Airflow ends without running exit handlers
            get_reusable_executor().shutdown(wait=True)
    probabilities = np.full(plan.shape, np.nan)
    aucs = []
    for (repeat, fold), one in zip(folds, found, strict=True):
        test = plan[repeat] == fold
        probabilities[repeat, test] = one.answers
        aucs.append(roc_auc_score(records.labels[test], one.answers))
    unconverged = sum(not one.converged for one in found)
    if unconverged:
        log.warning("%s did not converge in %d of %d folds", recipe.title, unconverged, len(folds))
    return CrossValidation(
        probabilities,
        np.array(aucs),
        np.array([one.importance for one in found if one.importance is not None]),
        tuple(one.chosen for one in found),
        unconverged,
    )


def _fold(name: str, records: Labelled, test: NDArray[np.bool_], profile: Profile, seed: int, *, look: bool) -> _Fold:
    train = Labelled(records.features[~test], records.labels[~test], records.groups[~test])
    model = training.fit(name, train, profile=profile, seed=seed)
    features, labels = records.features[test], records.labels[test]
    return _Fold(
        answers=training.probability(model, features),
        importance=importance.permuted(model, features, labels, seed=seed) if look else None,
        chosen=training.chosen_parameters(name, model),
        converged=training.converged(model),
    )


def evaluate(
    cv: CrossValidation, records: Labelled, holdout: Labelled, holdout_answers: Floats, *, seed: int
) -> Evaluation:
    """Return all numbers about a family, each with its interval.

    Args:
        cv: its answers on the fold plan of ``records``.
        records: n training records.
        holdout: m records that nothing was fitted or chosen on.
        holdout_answers: (m,) the final model's probabilities for them.
        seed: of the bootstrap.
    """
    return Evaluation(
        out_of_fold=metrics.evaluate(records.labels, cv.averaged, records.groups, seed=seed),
        holdout=metrics.evaluate(holdout.labels, holdout_answers, holdout.groups, seed=seed),
        subgroups=subgroups.evaluate(records, cv.averaged, seed=seed),
        fold_auc_mean=float(cv.fold_aucs.mean()),
        fold_auc_sd=float(cv.fold_aucs.std(ddof=1)),
        chosen=Counter(", ".join(f"{key}={value}" for key, value in sorted(one.items())) for one in cv.chosen),
        unconverged=cv.unconverged,
    )

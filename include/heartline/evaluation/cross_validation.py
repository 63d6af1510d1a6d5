"""Cross-validation on the shared fold plan, and the scores of a family out of fold and on the hold-out."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sklearn
from sklearn.pipeline import Pipeline

from heartline import contract, scores
from heartline.arrays import Flags, Floats, Folds, Ints
from heartline.evaluation import importance, metrics, subgroups
from heartline.evaluation.metrics import Estimate
from heartline.storage.splits import LabelledDataset
from heartline.training import families
from heartline.training.families import Profile

log = logging.getLogger(__name__)

CHECKED_ROWS = 10_000  # records at most on which a fast equivalent is compared with its family
IMPORTANCE_REPEATS = 2  # repeats of the fold plan: more would take time and reduce the spread only a little


@dataclass(frozen=True)
class CrossValidation:
    """A recipe's predictions on a fold plan.

    Attributes:
        probabilities: (repeats, n) each record's probability, from a model that was not fitted on it.
        fold_aucs: (repeats · splits,) ROC AUC within each fold, in the plan's order; NaN for a fold without a record of
            a class.
        importance: (k, 13) decrease of a fold's ROC AUC when one feature of its records is shuffled, for the folds of
            the first repeats that have records of both classes.
        chosen: (at most repeats · splits,) the hyperparameters that each fold with records chose from the search space.
        unconverged: number of folds in which the model did not converge.
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
    """The predictions of a fold's model, and what is recorded about it."""

    predictions: Floats
    auc: float
    importance: Floats | None
    chosen: Mapping[str, Any]
    converged: bool

    def same(self, other: "_Fold", tolerance: float) -> bool:
        """Return whether the other fold has the same choice, and probabilities that differ by at most ``tolerance``.

        With 0 also the importances are equal, to the last bit. Otherwise they may differ: where two records change
        places in the order of probabilities, the ROC AUC changes by a step.
        """
        if (self.chosen, self.converged) != (other.chosen, other.converged):
            return False
        if tolerance:
            return float(np.abs(self.predictions - other.predictions).max()) <= tolerance
        mine, theirs = (
            np.concatenate([one.predictions, [] if one.importance is None else one.importance]) for one in (self, other)
        )
        return np.array_equal(mine, theirs)


@dataclass(frozen=True)
class Evaluation:
    """All scores of one family.

    Attributes:
        out_of_fold: each score of the averaged out-of-fold probabilities of the training records.
        holdout: each score of the final model on the hold-out, which took no part in fitting or tuning.
        subgroups: out-of-fold, by sex and age band.
        fold_auc_mean: mean ROC AUC within the folds that have records of both classes, as the literature reports it.
            The ROC AUC of the model is ``out_of_fold["roc_auc"]``: the interval and the paired test belong to that one.
        fold_auc_sd: its standard deviation over the folds.
        chosen: number of folds that chose each hyperparameter set of the search space.
        unconverged: number of folds in which the model did not converge.
    """

    out_of_fold: Mapping[str, Estimate]
    holdout: Mapping[str, Estimate]
    subgroups: tuple[subgroups.Subgroup, ...]
    fold_auc_mean: float
    fold_auc_sd: float
    chosen: Mapping[str, int]
    unconverged: int

    def metrics(self) -> dict[str, float]:
        """Return the scores as a run logs them: out of fold under their standard names, and ``holdout_…``.

        They are those of ``metrics.LOGGED``; undefined ones are left out. All scores and their intervals are in
        ``as_dict``: MLflow's table of runs shows no metric at all where there are dozens.
        """
        return {
            f"{prefix}{name}": value
            for prefix, estimates in (("", self.out_of_fold), ("holdout_", self.holdout))
            for name in metrics.LOGGED
            if (value := estimates[name].value) is not None
        }

    def scores_in_words(self) -> str:
        """Return the main out-of-fold scores with their intervals, one line."""
        return "; ".join(f"{metrics.TITLES[name]} {self.out_of_fold[name]}" for name in metrics.MAIN)

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


def cross_validate(
    name: str,
    records: LabelledDataset,
    plan: Ints | Folds,
    *,
    profile: Profile,
    seed: int,
    final: Pipeline | None = None,
) -> CrossValidation:
    """Fit the family's recipe for each fold and repeat of ``plan``, and predict the records of that fold.

    The recipe chooses its hyperparameters in each fold, from that fold's training records. The family's fast equivalent
    is used if it gives the family's own answers, within the family's ``tolerance``; otherwise a warning is logged and
    the family itself is used. The answers are those of ``final`` for ``records``; without it, or with more than
    ``CHECKED_ROWS`` records, those for the first fold, of at most ``CHECKED_ROWS`` records.

    Args:
        name: the family.
        records: n training records.
        plan: (repeats, n) fold numbers.
        profile: hyperparameters' profile.
        seed: of the models' own randomness.
        final: what ``families.fit`` returned for ``records``, with this profile and seed.
    """
    work = _Work(name, records, profile, seed, search_seed(seed, 0, int(plan[0].min())))
    recipe, splits = families.family(name), int(plan.max()) + 1
    # the first fold with records: only tiny classes leave a fold empty
    fast, first = _compared(work, plan[0] == plan[0].min(), final)
    probabilities, found, aucs = np.full(plan.shape, np.nan), [], np.full((len(plan), splits), np.nan)
    for repeat, of_record in enumerate(plan):
        for fold in range(splits):
            test = of_record == fold
            if test.any():
                work = replace(work, search_seed=search_seed(seed, repeat, fold))
                one, first = first or _fold(work, test, with_importance=repeat < IMPORTANCE_REPEATS, fast=fast), None
                probabilities[repeat, test], aucs[repeat, fold] = one.predictions, one.auc
                found.append(one)
        log.info("%s: %d of %d folds", recipe.title, splits * (repeat + 1), splits * len(plan))
    unconverged = sum(not one.converged for one in found)
    if unconverged:
        log.warning("%s did not converge in %d of %d folds", recipe.title, unconverged, len(found))
    return CrossValidation(
        probabilities,
        aucs.ravel(),
        np.array([one.importance for one in found if one.importance is not None]).reshape(-1, len(contract.FEATURES)),
        tuple(one.chosen for one in found),
        unconverged,
    )


@dataclass(frozen=True, eq=False)
class _Work:
    """What the folds of a cross-validation share."""

    name: str
    records: LabelledDataset
    profile: Profile
    seed: int
    search_seed: int


def search_seed(seed: int, repeat: int, fold: int) -> int:
    """Return the seed of the hyperparameter search of one fold.

    A record's inner fold follows from its hash and this seed. With one seed for all folds, all of them would search on
    the same inner folds, and make the same choice by chance.

    Args:
        seed: of the cross-validation.
        repeat: of the fold plan, from 0.
        fold: number in that repeat, from 0.
    """
    return int(np.random.SeedSequence([seed % 2**64, repeat, fold]).generate_state(1)[0])


def _fold(work: _Work, test: Flags, *, with_importance: bool, fast: bool) -> _Fold:
    records = work.records
    train = records.take(~test)
    features, labels = records.features[test], records.labels[test]
    with_importance = with_importance and len(np.unique(labels)) > 1
    fast = fast and _supported(train)
    with _checked_inputs(fast):
        model = families.fit(
            work.name, train, profile=work.profile, seed=work.seed, fast=fast, search_seed=work.search_seed
        )
        predictions = families.probability(model, features)
        decreases = importance.permuted(model, features, labels, seed=work.seed) if with_importance else None
    return _Fold(
        predictions=predictions,
        auc=scores.roc_auc(labels, predictions),
        importance=decreases,
        chosen=families.chosen_parameters(work.name, model),
        converged=families.converged(model),
    )


def _supported(train: LabelledDataset) -> bool:
    """Return whether the fast equivalents can be fitted: they do not support a column without any value."""
    return not np.isnan(train.features).all(axis=0).any()


def _checked_inputs(fast: bool) -> AbstractContextManager[None]:
    """Return a context in which a fast equivalent does not validate its inputs: that would take most of its time."""
    context: AbstractContextManager[None] = sklearn.config_context(assume_finite=fast, skip_parameter_validation=fast)
    return context


def _compared(work: _Work, test: Flags, final: Pipeline | None) -> tuple[bool, _Fold | None]:
    """Compare the family's fast equivalent with the family on all records if there is ``final``, else on one fold.

    Returns:
        whether it gives the same answers, and the fold by what is to be used; None where only some of its records were
        compared.
    """
    if families.family(work.name).fast_equivalent is None:
        return False, None
    if final is not None and len(work.records) <= CHECKED_ROWS:
        fast = _supported(work.records)
        return fast and _agrees(work, _whole(work, final), lambda: _whole(work)) is not None, None
    if len(work.records) <= CHECKED_ROWS:
        return _fast_equivalent_agrees(work, test)
    rows = np.sort(np.random.default_rng(work.seed % 2**64).choice(len(work.records), CHECKED_ROWS, replace=False))
    return _fast_equivalent_agrees(replace(work, records=work.records.take(rows)), test[rows])[0], None


def _whole(work: _Work, final: Pipeline | None = None) -> _Fold:
    """Return the predictions for all records by ``final``, or by the fast equivalent fitted on them."""
    with _checked_inputs(final is None):
        model = final or families.fit(work.name, work.records, profile=work.profile, seed=work.seed, fast=True)
        predictions = families.probability(model, work.records.features)
    return _Fold(predictions, np.nan, None, families.chosen_parameters(work.name, model), families.converged(model))


def _fast_equivalent_agrees(work: _Work, test: Flags) -> tuple[bool, _Fold]:
    """Return whether the family's fast equivalent agrees on one fold, and that fold; log a warning if it does not."""
    expected = _fold(work, test, with_importance=True, fast=False)
    found = _agrees(work, expected, lambda: _fold(work, test, with_importance=True, fast=True))
    return found is not None, found or expected


def _agrees(work: _Work, expected: _Fold, fitted: Callable[[], _Fold]) -> _Fold | None:
    """Return what the fast equivalent gives if it is what the family gave; else log a warning."""
    recipe = families.family(work.name)
    try:
        found = fitted()
    except Exception as error:  # of any kind: the family itself can be fitted
        log.warning(
            "%s: the fast equivalent fails (%s: %s); it is not used, so training takes longer",
            recipe.title,
            type(error).__name__,
            error,
        )
        return None
    if found.same(expected, recipe.tolerance):
        return found
    if found.chosen != expected.chosen:
        log.warning(
            "%s: the fast equivalent chooses %s instead of %s; it is not used, so training takes longer",
            recipe.title,
            _in_words(found.chosen),
            _in_words(expected.chosen),
        )
        return None
    log.warning(
        "%s: predictions of the fast equivalent differ by up to %.2g; it is not used, so training takes longer",
        recipe.title,
        float(np.abs(found.predictions - expected.predictions).max()),
    )
    return None


def _in_words(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(chosen.items()))


def evaluate(
    cv: CrossValidation, records: LabelledDataset, holdout: LabelledDataset, holdout_probabilities: Floats, *, seed: int
) -> Evaluation:
    """Return all scores of a family, each with its interval.

    Args:
        cv: its predictions on the fold plan of ``records``.
        records: n training records.
        holdout: m records that took no part in fitting or tuning.
        holdout_probabilities: (m,) the final model's probabilities for them.
        seed: of the bootstrap.
    """
    return Evaluation(
        out_of_fold=metrics.evaluate(records.labels, cv.averaged, records.groups, seed=seed),
        holdout=metrics.evaluate(holdout.labels, holdout_probabilities, holdout.groups, seed=seed),
        subgroups=subgroups.evaluate(records, cv.averaged, seed=seed),
        fold_auc_mean=float(np.nanmean(cv.fold_aucs)),
        fold_auc_sd=float(np.nanstd(cv.fold_aucs, ddof=1)),
        chosen=Counter(_in_words(one) for one in cv.chosen),
        unconverged=cv.unconverged,
    )

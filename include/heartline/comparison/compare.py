"""Compares the out-of-fold predictions of two models for the same patients. Pure functions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from heartline import scores
from heartline.arrays import Floats, Ints
from heartline.comparison import paired_tests
from heartline.comparison.paired_tests import DeLong, Interval
from heartline.errors import ComparisonError
from heartline.evaluation import bootstrap
from heartline.evaluation.intervals import CONFIDENCE

DRAWS = 2000
MIN_FOLDS = 2  # with a ROC AUC: one has no variance


@dataclass(frozen=True, eq=False)
class OutOfFoldPredictions:
    """A recipe's predictions for records that it was not fitted on.

    Attributes:
        name: the family, or another name for what is compared.
        probabilities: (n,) out-of-fold probability of disease, averaged over the repeats.
        labels: (n,) 1 for heart disease, else 0.
        groups: (n,) records with equal features share a number.
        fold_aucs: (repeats · splits,) ROC AUC within each fold, in the plan's order; NaN for a fold without a record of
            a class.
        basis: what the predictions are based on, such as the digests of snapshot, folds and contract. Predictions on
            different bases cannot be compared.
    """

    name: str
    probabilities: Floats
    labels: Ints
    groups: Ints
    fold_aucs: Floats
    basis: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """A difference in ROC AUC between a challenger and an incumbent, fold by fold.

    Attributes:
        challenger: the family that would replace the incumbent.
        incumbent: the family that stays unless the challenger is better.
        delta: mean of challenger minus incumbent over the shared folds.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        p_value: two-sided, of the hypothesis of no difference.
    """

    challenger: str
    incumbent: str
    delta: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """A challenger compared with an incumbent. Differences are challenger minus incumbent.

    Attributes:
        challenger: its name.
        incumbent: its name.
        rows: number of records.
        aucs: ROC AUC of challenger and incumbent, of the averaged out-of-fold probabilities.
        briers: Brier score of both, likewise.
        auc: difference in ROC AUC with its bootstrap interval; it decides the verdict.
        p_value: the bootstrap's, two-sided, of the hypothesis that the ROC AUCs do not differ.
        standard_error: of the difference in ROC AUC, by the bootstrap.
        brier: difference in Brier score with its bootstrap interval; below 0 the challenger is better.
        draws: number of bootstrap draws.
        seed: of the bootstrap.
        delong: DeLong's test of the same difference in ROC AUC.
        folds: the mean difference within folds, with the interval of Nadeau and Bengio.
    """

    challenger: str
    incumbent: str
    rows: int
    aucs: tuple[float, float]
    briers: tuple[float, float]
    auc: Interval
    p_value: float
    standard_error: float
    brier: Interval
    draws: int
    seed: int
    delong: DeLong
    folds: Difference


def compare(
    challenger: OutOfFoldPredictions, incumbent: OutOfFoldPredictions, *, splits: int, seed: int, draws: int = DRAWS
) -> Comparison:
    """Compare the predictions of two models for the same records.

    Args:
        challenger: would replace the incumbent.
        incumbent: stays unless the challenger is better.
        splits: folds in a repeat.
        seed: of the bootstrap; the same for all challengers of an incumbent.
        draws: of the bootstrap.

    Raises:
        ComparisonError: they are based on different snapshots, folds or contracts, or are not predictions for the same
            records; or there are too few records of a class.
    """
    _check_basis(challenger, incumbent)
    for predictions in (challenger, incumbent):
        _check_predictions(predictions, splits)
    _check_records(challenger, incumbent)
    labels = incumbent.labels
    resampled = paired_tests.bootstrap(
        labels, challenger.probabilities, incumbent.probabilities, incumbent.groups, draws=draws, seed=seed
    )
    pair = (challenger, incumbent)
    aucs = [scores.roc_auc(labels, one.probabilities) for one in pair]
    briers = [scores.brier(labels, one.probabilities) for one in pair]
    return Comparison(
        challenger=challenger.name,
        incumbent=incumbent.name,
        rows=len(labels),
        aucs=(aucs[0], aucs[1]),
        briers=(briers[0], briers[1]),
        auc=resampled.auc,
        p_value=resampled.p_value,
        standard_error=resampled.standard_error,
        brier=resampled.brier,
        draws=draws,
        seed=seed,
        delong=paired_tests.delong(labels, challenger.probabilities, incumbent.probabilities),
        folds=paired_difference(
            (challenger.name, challenger.fold_aucs), (incumbent.name, incumbent.fold_aucs), splits=splits
        ),
    )


def not_worse(difference: Interval, margin: float) -> bool:
    """Return whether a score, of which less is better, is not worse by ``margin`` or more.

    It is a test of non-inferiority: the upper end of the 95 % interval must be below the margin (Piaggio and others
    2012, "Reporting of noninferiority and equivalence randomized trials", JAMA 308).
    """
    return difference.high < margin


def paired_difference(challenger: tuple[str, Floats], incumbent: tuple[str, Floats], *, splits: int) -> Difference:
    """Compare fold scores by the corrected resampled t-test.

    Training sets of different folds overlap, so the plain t-test reports differences that do not exist. The variance
    is therefore multiplied by 1/k + n_test/n_train instead of 1/k (Nadeau and Bengio 2003, "Inference for the
    Generalization Error", Machine Learning 52).

    Args:
        challenger: name and (k,) scores, one for each fold of each repeat.
        incumbent: the same, on the same folds. A fold in which either is NaN is left out.
        splits: folds in a repeat, so that n_test/n_train is 1/(splits - 1).

    Raises:
        ValueError: the scores are not from the same number of folds.
    """
    (name, values), (other, base) = challenger, incumbent
    if values.shape != base.shape:
        raise ValueError(f"scores of {name} and {other} come from different folds: {values.shape}, {base.shape}")
    differences = (values - base)[np.isfinite(values) & np.isfinite(base)]
    k = len(differences)
    delta = float(differences.mean())
    spread = math.sqrt(float(differences.var(ddof=1)) * (1 / k + 1 / (splits - 1)))
    if spread == 0.0:
        return Difference(name, other, delta, delta, delta, 1.0 if delta == 0.0 else 0.0)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, k - 1)) * spread
    p_value = 2 * float(stats.t.sf(abs(delta) / spread, k - 1))
    return Difference(name, other, delta, delta - half, delta + half, p_value)


def _check_basis(challenger: OutOfFoldPredictions, incumbent: OutOfFoldPredictions) -> None:
    one, other = challenger.basis, incumbent.basis
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    if names:
        found = ", ".join(f"{name} {one.get(name, 'unknown')} and {other.get(name, 'unknown')}" for name in names)
        raise ComparisonError(
            f"{challenger.name} and {incumbent.name} were evaluated on a different basis: {', '.join(names)}",
            where=found,
            expected="the same snapshot, folds and contract",
            hint="evaluate both in one run",
        )


def _check_predictions(predictions: OutOfFoldPredictions, splits: int) -> None:
    """Refuse predictions that cannot be scored."""
    p, labels, folds = predictions.probabilities, predictions.labels, predictions.fold_aucs
    if not (p.shape == labels.shape == predictions.groups.shape) or p.ndim != 1:
        raise _unusable(
            predictions,
            f"shapes {p.shape}, {labels.shape}, {predictions.groups.shape}",
            "one probability, label and group for each record",
        )
    if not np.all((p >= 0) & (p <= 1)):
        raise _unusable(predictions, f"{int((~((p >= 0) & (p <= 1))).sum())} records", "probabilities from 0 to 1")
    if not np.all((labels == 0) | (labels == 1)):
        raise _unusable(predictions, "its labels", "0 and 1")
    if not len(folds) or len(folds) % splits or np.isinf(folds).any():
        raise _unusable(
            predictions, f"{len(folds)} ROC AUCs of folds", f"one for each of {splits} folds in each repeat"
        )
    defined = int(np.isfinite(folds).sum())
    if defined < MIN_FOLDS:
        raise _unusable(
            predictions,
            f"{defined} of {len(folds)} folds with records of both classes",
            f"at least {MIN_FOLDS}",
            hint="train on more data",
        )
    distinct = [len(stratum) for stratum in bootstrap.strata(labels, predictions.groups)]
    if min(distinct) < 2:
        raise _unusable(
            predictions,
            f"{distinct[0]} distinct records without disease and {distinct[1]} with",
            "at least two of each",
            hint="train on more data",
        )


def _unusable(
    predictions: OutOfFoldPredictions, where: str, expected: str, hint: str = "evaluate it again"
) -> ComparisonError:
    return ComparisonError(
        f"the predictions of {predictions.name} cannot be compared", where=where, expected=expected, hint=hint
    )


def _check_records(challenger: OutOfFoldPredictions, incumbent: OutOfFoldPredictions) -> None:
    """Refuse predictions for different records, even if they name the same basis."""
    for what in ("labels", "groups"):
        one, other = getattr(challenger, what), getattr(incumbent, what)
        if not np.array_equal(one, other):
            raise ComparisonError(
                f"{challenger.name} and {incumbent.name} have predictions for different records",
                where=f"{what}: {len(one)} and {len(other)}"
                + (f", {int((one != other).sum())} of them different" if len(one) == len(other) else ""),
                expected="the same records in the same order",
                hint="evaluate both in one run",
            )
    one, other = np.isfinite(challenger.fold_aucs), np.isfinite(incumbent.fold_aucs)
    if not np.array_equal(one, other):
        raise ComparisonError(
            f"{challenger.name} and {incumbent.name} were evaluated on different folds",
            where=f"{len(one)} and {len(other)} ROC AUCs of folds, {one.sum()} and {other.sum()} of them defined",
            expected="the same folds",
            hint="evaluate both in one run",
        )

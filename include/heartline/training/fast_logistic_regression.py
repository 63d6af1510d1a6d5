"""The fast equivalent of scikit-learn's logistic regression: Newton's method for many fits in one batch.

A search fits four values of ``C`` in five inner folds. At a few hundred records scikit-learn spends nearly all of the
time of a fit on validating inputs and on Python between small array operations. Here the fits of a search are one
batch: each array operation serves all of them.

The iterations are those of scikit-learn's ``newton-cholesky``: the same start, steps, line search and stopping rule, so
that coefficients agree far better than the tolerance asks for. ``cross_validation`` compares its predictions with those
of ``LogisticRegression`` before it uses them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import expit, log_expit
from sklearn.linear_model import LogisticRegression

from heartline.arrays import Flags, Floats, Folds, Ints

SOLVER = "newton-cholesky"
KNOWN = ("C", "solver", "tol", "max_iter", "random_state")  # supported hyperparameters
BLOCK = 2**15  # numbers of a weighted copy of the inputs: it stays in the processor's cache
REFITS = 20  # solved in one batch: of more, the blocks of inputs would be too small
HALVINGS = 20  # of a step, as scikit-learn allows
DECREASE = 2.0**-11  # share of the expected decrease of the loss that a step must reach (Armijo's condition)

_DEFAULT = LogisticRegression().get_params()


@dataclass(frozen=True, eq=False)
class Fits:
    """The results of k fits.

    Attributes:
        coefficients: (k, p + 1), the intercept last.
        iterations: (k,) number of Newton steps.
    """

    coefficients: Floats
    iterations: Ints


class NewtonRegression(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """``LogisticRegression`` for labels 0 and 1 and the hyperparameters in ``KNOWN``."""

    def fit(self, inputs: Floats, labels: Ints) -> Self:
        """Fit the model.

        Args:
            inputs: (n, p) without missing values.
            labels: (n,) 0 or 1, both of them present.

        Raises:
            ValueError: an unsupported hyperparameter is set, or a class is missing.
        """
        fit_together([self], inputs, labels)
        return self

    def predict_proba(self, inputs: Floats) -> Floats:
        """Return the probabilities of both classes for (m, p) inputs: (m, 2)."""
        positive = expit(inputs @ self.coef_[0] + self.intercept_[0])
        return np.column_stack([1 - positive, positive])

    def resume(self, model: "NewtonRegression", inputs: Floats, labels: Ints) -> "NewtonRegression":
        """Return a fitted model: this one, which a search has fitted on the same records with the same hyperparameters.

        A search without an inner fold that leaves both classes has fitted nothing; then it is ``model``.
        """
        return self if hasattr(self, "coef_") else model.fit(inputs, labels)


def fit_together(models: Sequence[NewtonRegression], inputs: Floats, labels: Ints) -> None:
    """Fit k models that differ in ``C`` on the same records.

    Args:
        models: unfitted.
        inputs: (n, p) without missing values.
        labels: (n,) 0 or 1, both of them present.

    Raises:
        ValueError: an unsupported hyperparameter is set, or a class is missing.
    """
    _check(models, labels)
    found = _solve(models, inputs, labels, np.ones((len(models), len(labels))))
    for model, coefficients, iterations in zip(models, found.coefficients, found.iterations, strict=True):
        model.classes_ = np.array([0, 1])
        model.coef_, model.intercept_ = coefficients[None, :-1], coefficients[-1:]
        model.n_iter_ = np.array([iterations], dtype=np.int32)


def out_of_fold(
    models: Sequence[NewtonRegression], inputs: Floats, labels: Ints, plan: Folds, folds: Sequence[int]
) -> Floats:
    """Fit k models on all records, and return each record's probability from fits without its fold: (k, n).

    The fits without a fold start from the coefficients of those on all records, so that two or three steps are enough.

    Args:
        models: unfitted; they are fitted.
        inputs: (n, p) without missing values.
        labels: (n,) 0 or 1.
        plan: (n,) the fold of each record.
        folds: the folds to leave out, of any size, both classes present outside of each. Records of others get NaN.

    Raises:
        ValueError: an unsupported hyperparameter is set, or a class is missing.
    """
    fit_together(models, inputs, labels)
    start = np.repeat([np.append(one.coef_[0], one.intercept_) for one in models], len(folds), axis=0)
    if any(one.n_iter_[0] == one.max_iter for one in models):
        start = np.zeros_like(start)  # a fit that was cut off is cut off there, too
    every = [one for one in models for _ in folds]  # model by model, fold by fold
    weights = np.tile([np.asarray(plan != fold, dtype=np.float64) for fold in folds], (len(models), 1))
    found = _solve(every, inputs, labels, weights, start).coefficients
    found = found.reshape(len(models), len(folds), -1)
    predictions = np.full((len(models), len(labels)), np.nan)
    for position, fold in enumerate(folds):
        test = plan == fold
        predictions[:, test] = expit(found[:, position, :-1] @ inputs[test].T + found[:, position, -1:])
    return predictions


def supports(model: LogisticRegression) -> bool:
    """Return whether the hyperparameters of a model are among those that are supported."""
    return not _unknown(model)


def weighted_refits(model: LogisticRegression, inputs: Floats, labels: Ints, weights: Floats) -> Floats:
    """Return the coefficients of k fits with the hyperparameters of ``model`` and other weights of the records.

    Args:
        model: fitted or not; it is not changed.
        inputs: (n, p) without missing values.
        labels: (n,) 0 or 1, both of them with a positive weight in each fit.
        weights: (k, n) at least 0.

    Returns:
        (k, p + 1), the intercept last.

    Raises:
        ValueError: an unsupported hyperparameter is set, or a class is missing.
    """
    _check([model], labels)
    found = []
    for first in range(0, len(weights), REFITS):
        some = weights[first : first + REFITS]
        found.append(_solve([model] * len(some), inputs, labels, some).coefficients)
    return np.concatenate(found)


def _unknown(model: LogisticRegression) -> set[str]:
    unknown = {name for name, value in vars(model).items() if name in _DEFAULT and value != _DEFAULT[name]} - set(KNOWN)
    return unknown or ({"solver"} if model.solver != SOLVER else set())


def _check(models: Sequence[LogisticRegression], labels: Ints) -> None:
    for model in models:
        if unknown := _unknown(model):
            raise ValueError(f"cannot fit a logistic regression with {', '.join(sorted(unknown))}")
    if not 0 < np.count_nonzero(labels) < len(labels):
        raise ValueError("cannot fit a logistic regression to one class")


def _solve(
    models: Sequence[LogisticRegression], inputs: Floats, labels: Ints, weights: Floats, start: Floats | None = None
) -> Fits:
    """Minimise the penalised mean log loss of k fits by Newton's method with backtracking.

    Boyd and Vandenberghe 2004, "Convex Optimization", section 9.5. As in scikit-learn, a fit stops where the largest
    entry of the gradient and half of the squared Newton decrement are at most ``tol``. A fit whose loss no step
    decreases gets ``max_iter`` iterations: it did not converge.

    Args:
        models: k, of the same ``tol`` and ``max_iter``.
        inputs: (n, p).
        labels: (n,).
        weights: (k, n) of the records in each fit.
        start: (k, p + 1); without it, zeros.
    """
    tolerance, allowed = models[0].tol, models[0].max_iter
    total = weights.sum(axis=1)
    loss = _Loss(inputs, np.where(labels, 1.0, -1.0), weights / total[:, None], 1 / ([one.C for one in models] * total))
    found = np.zeros((len(models), inputs.shape[1] + 1)) if start is None else start.copy()
    iterations = np.full(len(models), allowed)
    active = np.arange(len(models))
    point = loss.at(found, loss.margins(found))
    with np.errstate(over="ignore", invalid="ignore"):  # of a step that is too long; it is halved
        for iteration in range(1, allowed + 1):
            solved = np.linalg.solve(loss.hessians(point), point.gradients[:, :, None])
            steps = np.asarray(-solved[:, :, 0], dtype=np.float64)
            slopes = (point.gradients * steps).sum(axis=1)
            point, moved = _searched(loss, point, steps, slopes)
            found[active] = point.coefficients
            near = (np.abs(point.gradients).max(axis=1) <= tolerance) & (-slopes / 2 <= tolerance)
            iterations[active[near & moved]] = iteration
            going = moved & ~near
            if not going.all():
                active, loss, point = active[going], loss.only(going), point.only(going)
            if not len(active):
                break
    return Fits(found, iterations)


@dataclass(frozen=True, eq=False)
class _Point:
    """Coefficients of k fits (k, p + 1), with margins (k, n), losses (k,) and gradients (k, p + 1) there."""

    coefficients: Floats
    margins: Floats
    losses: Floats
    gradients: Floats

    def only(self, which: Flags) -> "_Point":
        """Return those of some of the fits."""
        return _Point(self.coefficients[which], self.margins[which], self.losses[which], self.gradients[which])


@dataclass(frozen=True, eq=False)
class _Loss:
    """The penalised mean log losses of k fits to (n, p) inputs and (n,) signs: weights (k, n), penalties (k,)."""

    inputs: Floats
    signs: Floats
    weights: Floats
    penalties: Floats

    def only(self, which: Flags) -> "_Loss":
        """Return those of some of the fits."""
        return _Loss(self.inputs, self.signs, self.weights[which], self.penalties[which])

    def margins(self, coefficients: Floats) -> Floats:
        """Return the log odds of each record for (k, p + 1) coefficients: (k, n)."""
        found: Floats = coefficients[:, :-1] @ self.inputs.T + coefficients[:, -1:]
        return found

    def at(self, coefficients: Floats, margins: Floats) -> _Point:
        """Return losses and gradients at (k, p + 1) coefficients with (k, n) margins."""
        signed = margins * self.signs
        slopes = coefficients[:, :-1]
        losses = -(self.weights * log_expit(signed)).sum(axis=1)
        losses += self.penalties * (slopes * slopes).sum(axis=1) / 2
        residuals = self.weights * expit(-signed)
        residuals *= -self.signs
        gradients = np.empty_like(coefficients)
        gradients[:, :-1] = residuals @ self.inputs + self.penalties[:, None] * slopes
        gradients[:, -1] = residuals.sum(axis=1)
        return _Point(coefficients, margins, losses, gradients)

    def hessians(self, point: _Point) -> Floats:
        """Return the second derivatives: (k, p + 1, p + 1). Only a block of inputs is ever copied."""
        positive = expit(point.margins)
        curvatures = self.weights * positive * (1 - positive)
        (k, n), p = curvatures.shape, self.inputs.shape[1]
        found = np.zeros((k, p + 1, p + 1))
        rows = max(1, BLOCK // (k * p))
        for at in range(0, n, rows):
            block = self.inputs[at : at + rows]
            weighted = block[:, None, :] * curvatures.T[at : at + rows, :, None]
            found[:, :p, :p] += (weighted.reshape(-1, k * p).T @ block).reshape(k, p, p)
        found[:, :p, p] = found[:, p, :p] = curvatures @ self.inputs
        found[:, p, p] = curvatures.sum(axis=1) + np.finfo(np.float64).tiny  # all probabilities 0 or 1: not singular
        found[:, range(p), range(p)] += self.penalties[:, None]
        return found


def _searched(loss: _Loss, point: _Point, steps: Floats, slopes: Floats) -> tuple[_Point, Flags]:
    """Return the points after steps that decrease the losses, and which fits have found one; the others stay."""
    along = loss.margins(steps)
    length = np.ones(len(steps))
    tiny = np.abs(point.losses) * 16 * np.finfo(np.float64).eps
    for _ in range(HALVINGS + 1):
        reached = loss.at(point.coefficients + length[:, None] * steps, point.margins + length[:, None] * along)
        change = reached.losses - point.losses
        flatter = np.abs(reached.gradients).sum(axis=1) < np.abs(point.gradients).sum(axis=1)
        moved = (change <= DECREASE * length * slopes) | ((np.abs(change) <= tiny) & flatter)
        if moved.all():
            return reached, moved
        length[~moved] /= 2
    kept = np.where(moved, 1.0, 0.0)[:, None] * length[:, None]
    return loss.at(point.coefficients + kept * steps, point.margins + kept * along), moved

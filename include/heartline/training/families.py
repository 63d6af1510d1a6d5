"""The model families. A new family is one entry in ``FAMILIES``."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController

from heartline.errors import HeartlineError
from heartline.storage.splits import MANY, LabelledDataset
from heartline.training import fast_forest, fast_logistic_regression, tuning
from heartline.training.family_names import LOGISTIC_REGRESSION, RANDOM_FOREST
from heartline.training.preprocessing import LEARNED_FROM, Encoder, preprocessor

T = TypeVar("T")

# A tree on a million records takes 22 MB and three seconds. With more records than this, each tree gets a sample.
MAX_SAMPLES = 100_000
# Newton's method: on a few columns it is exact in a few steps. ``lbfgs``, the default, stops at its default ``tol``
# where probabilities still differ by 1e-3 from those of the optimum.
NEWTON = {"C": 1.0, "solver": fast_logistic_regression.SOLVER, "tol": 1e-8, "max_iter": 100}
# float32 inputs need a solver without second derivatives: with little penalty they are singular in float32.
FIRST_ORDER = {"C": 1.0, "solver": "lbfgs", "tol": 1e-5, "max_iter": 1000}
# Trees of 20,000 records have about as many leaves. With more records they have at most so many, or a bundle of 300
# trees takes 400 MB, and its export 7 GB.
MAX_LEAVES, LEAVES_FROM = 2_500, 20_000


@dataclass(frozen=True)
class Profile:
    """The effort of an evaluation.

    Attributes:
        name: value of the DAG's parameter ``profile``.
        splits: folds in each repeat of the cross-validation.
        repeats: of the cross-validation, each with other folds.
        trees: number of trees in a forest.
    """

    name: str
    splits: int
    repeats: int
    trees: int


PROFILES: Mapping[str, Profile] = {
    "quick": Profile("quick", splits=5, repeats=2, trees=100),
    "full": Profile("full", splits=10, repeats=10, trees=300),
}


@dataclass(frozen=True)
class Family:
    """A model family and its recipe.

    Attributes:
        name: used in tags and parameters.
        title: shown to users.
        simplicity: rank; where no difference is detected, the family with the lower rank wins.
        parameters: hyperparameters for a profile and a number of training records, before ``grid``.
        build: returns an unfitted pipeline from hyperparameters and a seed; its last step is called ``model``.
        grid: the search space, the simplest hyperparameter set first; each overrides ``parameters``. ``fit``
            chooses one of them by the training records only.
        loss: by which hyperparameter sets are compared.
        fast_equivalent: returns a pipeline whose predictions are those of ``build``'s, in less time. It is used for the
            many fits of a cross-validation; without one they use ``build``.
        tolerance: by how much a probability of the fast equivalent may differ; 0 for equal to the last bit.
        trusted: types that a stored model of this family contains in addition to those of every family.
    """

    name: str
    title: str
    simplicity: int
    parameters: Callable[..., dict[str, Any]]
    build: Callable[[dict[str, Any], int], Pipeline]
    grid: tuple[Mapping[str, Any], ...] = ({},)
    loss: tuning.Loss = tuning.out_of_fold
    fast_equivalent: Callable[[dict[str, Any], int], Pipeline] | None = None
    tolerance: float = 0.0
    trusted: tuple[str, ...] = ()


def _logistic_parameters(profile: Profile, rows: int = 0) -> dict[str, Any]:
    # half of ``MANY``: the folds of float32 records have fewer records, and need the same solver
    return dict(FIRST_ORDER if rows > MANY // 2 else NEWTON)


def _logistic_regression(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = LogisticRegression(**parameters, random_state=seed)
    return Pipeline([("preprocess", preprocessor(scale=True)), ("model", model)])


def _fast_logistic_regression(parameters: dict[str, Any], seed: int) -> Pipeline:
    newton = parameters["solver"] == fast_logistic_regression.SOLVER
    build = fast_logistic_regression.NewtonRegression if newton else LogisticRegression
    model = build(**parameters, random_state=seed)
    return Pipeline([("preprocess", Encoder(scale=True)), ("model", model)])


def _forest_size(profile: Profile, rows: int = 0) -> dict[str, Any]:
    leaves = {"max_leaf_nodes": MAX_LEAVES} if rows > LEAVES_FROM else {}
    return {"n_estimators": profile.trees, "max_samples": MAX_SAMPLES if rows > MAX_SAMPLES else None, **leaves}


def _random_forest(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = RandomForestClassifier(**parameters, random_state=seed, n_jobs=1)
    return Pipeline([("preprocess", preprocessor(scale=False)), ("model", model)])


def _fast_random_forest(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = fast_forest.Forest(**parameters, random_state=seed, n_jobs=1)
    return Pipeline([("preprocess", Encoder(scale=False)), ("model", model)])


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            LOGISTIC_REGRESSION,
            "Logistic regression",
            simplicity=1,
            parameters=_logistic_parameters,
            build=_logistic_regression,
            grid=({"C": 0.01}, {"C": 0.1}, {"C": 1.0}, {"C": 10.0}),
            fast_equivalent=_fast_logistic_regression,
            tolerance=1e-6,
        ),
        Family(
            RANDOM_FOREST,
            "Random forest",
            simplicity=2,
            parameters=_forest_size,
            build=_random_forest,
            grid=({"min_samples_leaf": 3}, {"min_samples_leaf": 1}),
            loss=tuning.out_of_bag,
            fast_equivalent=_fast_random_forest,
        ),
    )
}


def family(name: str) -> Family:
    """Return the family called ``name``.

    Raises:
        HeartlineError: there is no such entry.
    """
    return _entry(FAMILIES, name, "family")


def profile(name: str) -> Profile:
    """Return the profile called ``name``.

    Raises:
        HeartlineError: there is no such entry.
    """
    return _entry(PROFILES, name, "profile")


def hyperparameter_sets(name: str, profile: Profile, rows: int = 0) -> tuple[dict[str, Any], ...]:
    """Return the hyperparameter sets of a family's search space, each complete.

    Args:
        name: the family.
        profile: hyperparameters' profile.
        rows: number of training records; over ``MAX_SAMPLES`` each tree gets a sample, over ``LEAVES_FROM`` it has at
            most ``MAX_LEAVES`` leaves.

    Raises:
        HeartlineError: there is no such family.
    """
    recipe = family(name)
    return tuple({**recipe.parameters(profile, rows), **one} for one in recipe.grid)


def fit(
    name: str,
    records: LabelledDataset,
    *,
    profile: Profile,
    seed: int,
    fast: bool = False,
    search_seed: int | None = None,
) -> Pipeline:
    """Choose a family's hyperparameter set on ``records`` and fit a model with it on all of them.

    A model that did not converge is returned too; ``converged`` tells.

    Args:
        name: the family.
        records: n training records.
        profile: hyperparameters' profile.
        seed: of the model's own randomness.
        fast: use the family's fast equivalent, if it has one. Its pipeline is for predictions only, not for storing.
        search_seed: of the inner folds of the search; without it, ``seed``.

    Raises:
        HeartlineError: there is no such family.
    """
    recipe = family(name)
    build = recipe.fast_equivalent if fast and recipe.fast_equivalent else recipe.build
    pipelines = [build(one, seed) for one in hyperparameter_sets(name, profile, len(records))]
    # One BLAS thread: more are slower at a few hundred rows, and make sums depend on the machine.
    with _threadpools().limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return tuning.fit(pipelines, records, recipe.loss, seed=seed if search_seed is None else search_seed)


def converged(pipeline: Pipeline) -> bool:
    """Return whether a fitted model stopped before it used all its iterations."""
    model = pipeline[-1]
    done, allowed = getattr(model, "n_iter_", None), getattr(model, "max_iter", None)
    return done is None or allowed is None or bool(np.max(done) < allowed)


def chosen_parameters(name: str, pipeline: Pipeline) -> dict[str, Any]:
    """Return the hyperparameters that a fitted pipeline of the family got from the search space.

    Raises:
        HeartlineError: there is no such family.
    """
    searched = sorted({key for one in family(name).grid for key in one})
    values = pipeline[-1].get_params()
    return {key: values[key] for key in searched}


def probability(pipeline: Pipeline, features: np.ndarray) -> np.ndarray:
    """Return the probability of heart disease for (n, 13) features: (n,)."""
    if len(features) <= LEARNED_FROM:
        return np.asarray(pipeline.predict_proba(features)[:, 1], dtype="float64")
    # In parts: the encoder holds several copies of what it transforms.
    parts = range(0, len(features), LEARNED_FROM)
    return np.concatenate([probability(pipeline, features[start : start + LEARNED_FROM]) for start in parts])


def _entry(table: Mapping[str, T], name: str, kind: str) -> T:
    if name not in table:
        raise HeartlineError(
            f"unknown {kind} {name!r}",
            where=f"parameter {kind}",
            expected=f"one of {', '.join(table)}",
            hint="choose one of them",
        )
    return table[name]


@cache
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()  # searches all loaded libraries, so it is done once

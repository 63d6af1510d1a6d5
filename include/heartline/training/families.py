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
from heartline.storage.splits import LabelledDataset
from heartline.training import fast_forest, tuning
from heartline.training.family_names import LOGISTIC_REGRESSION, RANDOM_FOREST
from heartline.training.preprocessing import Encoder, preprocessor

T = TypeVar("T")

# A tree on a million records takes 22 MB and three seconds. From here on each tree gets a sample of this many.
MAX_SAMPLES = 100_000


@dataclass(frozen=True)
class Profile:
    """How much work an evaluation does.

    Attributes:
        name: as the DAG's parameter names it.
        splits: folds in each repeat of the cross-validation.
        repeats: how often the cross-validation is repeated with other folds.
        trees: size of a forest.
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
    """A kind of model with its recipe.

    Attributes:
        name: as tags and parameters name it.
        title: as people name it.
        simplicity: rank; where the evidence shows no difference, the lower rank wins.
        parameters: hyperparameters for a profile and a number of training records, before ``grid``.
        build: returns an unfitted pipeline from hyperparameters and a seed; its last step is called ``model``.
        grid: the search space, from the simplest candidate on: hyperparameters that are laid over ``parameters``.
            ``fit`` takes one of them by looking at the training records only.
        loss: how a candidate is judged.
        twin: returns a pipeline that answers what ``build``'s would, to the last bit, in less time: for the many fits
            of a cross-validation. Without one they are made with ``build``'s.
        trusted: types that a stored model of this family holds beside those that every family's does.
    """

    name: str
    title: str
    simplicity: int
    parameters: Callable[..., dict[str, Any]]
    build: Callable[[dict[str, Any], int], Pipeline]
    grid: tuple[Mapping[str, Any], ...] = ({},)
    loss: tuning.Loss = tuning.out_of_fold
    twin: Callable[[dict[str, Any], int], Pipeline] | None = None
    trusted: tuple[str, ...] = ()


def _logistic_regression(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = LogisticRegression(**parameters, random_state=seed)
    return Pipeline([("preprocess", preprocessor(scale=True)), ("model", model)])


def _logistic_regression_twin(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = LogisticRegression(**parameters, random_state=seed)
    return Pipeline([("preprocess", Encoder(scale=True)), ("model", model)])


def _forest_size(profile: Profile, rows: int = 0) -> dict[str, Any]:
    return {"n_estimators": profile.trees, "max_samples": MAX_SAMPLES if rows > MAX_SAMPLES else None}


def _random_forest(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = RandomForestClassifier(**parameters, random_state=seed, n_jobs=1)
    return Pipeline([("preprocess", preprocessor(scale=False)), ("model", model)])


def _random_forest_twin(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = fast_forest.Forest(**parameters, random_state=seed, n_jobs=1)
    return Pipeline([("preprocess", Encoder(scale=False)), ("model", model)])


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            LOGISTIC_REGRESSION,
            "Logistic regression",
            simplicity=1,
            parameters=lambda profile, rows=0: {"C": 1.0, "max_iter": 1000},
            build=_logistic_regression,
            grid=({"C": 0.01}, {"C": 0.1}, {"C": 1.0}, {"C": 10.0}),
            twin=_logistic_regression_twin,
        ),
        Family(
            RANDOM_FOREST,
            "Random forest",
            simplicity=2,
            parameters=_forest_size,
            build=_random_forest,
            grid=({"min_samples_leaf": 3}, {"min_samples_leaf": 1}),
            loss=tuning.out_of_bag,
            twin=_random_forest_twin,
        ),
    )
}


def family(name: str) -> Family:
    """Return the family called ``name``.

    Raises:
        HeartlineError: there is none.
    """
    return _entry(FAMILIES, name, "family")


def profile(name: str) -> Profile:
    """Return the profile called ``name``.

    Raises:
        HeartlineError: there is none.
    """
    return _entry(PROFILES, name, "profile")


def candidates(name: str, profile: Profile, rows: int = 0) -> tuple[dict[str, Any], ...]:
    """Return the complete hyperparameters of each candidate of a family's search space.

    Args:
        name: the family.
        profile: hyperparameters' profile.
        rows: number of training records; from ``MAX_SAMPLES`` on it bounds what a tree sees.

    Raises:
        HeartlineError: there is no such family.
    """
    recipe = family(name)
    return tuple({**recipe.parameters(profile, rows), **one} for one in recipe.grid)


def fit(name: str, records: LabelledDataset, *, profile: Profile, seed: int, twin: bool = False) -> Pipeline:
    """Choose among a family's candidates on ``records`` and fit the chosen one on all of them.

    Where it does not converge it is returned all the same, and ``converged`` says so.

    Args:
        name: the family.
        records: n training records.
        profile: hyperparameters' profile.
        seed: of the model's own randomness.
        twin: take the family's twin, where it has one: for answers, not for keeping.

    Raises:
        HeartlineError: there is no such family.
    """
    recipe = family(name)
    build = recipe.twin if twin and recipe.twin else recipe.build
    pipelines = [build(one, seed) for one in candidates(name, profile, len(records))]
    # one BLAS thread: at a few hundred rows more cost more than they bring, and sums do not depend on the machine
    with _threadpools().limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        chosen = pipelines[tuning.choose(pipelines, records, recipe.loss, seed=seed)]
        return chosen.fit(records.features, records.labels)


def converged(pipeline: Pipeline) -> bool:
    """Return whether a fitted model stopped by itself, not because its iterations were used up."""
    model = pipeline[-1]
    done, allowed = getattr(model, "n_iter_", None), getattr(model, "max_iter", None)
    return done is None or allowed is None or bool(np.max(done) < allowed)


def chosen_parameters(name: str, pipeline: Pipeline) -> dict[str, Any]:
    """Return the hyperparameters that a fitted pipeline of the family took from the search space.

    Raises:
        HeartlineError: there is no such family.
    """
    searched = sorted({key for one in family(name).grid for key in one})
    values = pipeline[-1].get_params()
    return {key: values[key] for key in searched}


def probability(pipeline: Pipeline, features: np.ndarray) -> np.ndarray:
    """Return the probability of heart disease for (n, 13) features: (n,)."""
    return np.asarray(pipeline.predict_proba(features)[:, 1], dtype="float64")


def _entry(table: Mapping[str, T], name: str, kind: str) -> T:
    if name not in table:
        raise HeartlineError(
            f"unknown {kind} {name!r}",
            where=f"parameter {kind}",
            expected=f"one of {', '.join(table)}",
            hint="choose one of these",
        )
    return table[name]


@cache
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries: once is enough

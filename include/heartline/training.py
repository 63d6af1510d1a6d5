"""The model families. A new family is one entry in ``FAMILIES``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from heartline.dataset import Labelled
from heartline.errors import HeartlineError
from heartline.preprocessing import preprocessor

T = TypeVar("T")


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
        parameters: hyperparameters for a profile.
        build: returns an unfitted pipeline from hyperparameters and a seed.
        parallel: whether folds are worth a second process.
    """

    name: str
    title: str
    simplicity: int
    parameters: Callable[[Profile], dict[str, Any]]
    build: Callable[[dict[str, Any], int], Pipeline]
    parallel: bool = False


def _logistic_regression(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = LogisticRegression(**parameters, random_state=seed)
    return Pipeline([("preprocess", preprocessor(scale=True)), ("model", model)])


def _random_forest(parameters: dict[str, Any], seed: int) -> Pipeline:
    model = RandomForestClassifier(**parameters, random_state=seed, n_jobs=1)
    return Pipeline([("preprocess", preprocessor(scale=False)), ("model", model)])


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "logistic_regression",
            "Logistic regression",
            simplicity=1,
            parameters=lambda profile: {"C": 1.0, "max_iter": 1000},
            build=_logistic_regression,
        ),
        Family(
            "random_forest",
            "Random forest",
            simplicity=2,
            parameters=lambda profile: {"n_estimators": profile.trees, "min_samples_leaf": 1},
            build=_random_forest,
            parallel=True,
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


def fit(name: str, records: Labelled, *, profile: Profile, seed: int) -> Pipeline:
    """Fit a family's recipe on all of ``records``.

    Raises:
        HeartlineError: there is no such family.
    """
    recipe = family(name)
    return recipe.build(recipe.parameters(profile), seed).fit(records.features, records.labels)


def probability(pipeline: Pipeline, features: np.ndarray) -> np.ndarray:
    """Return the probability of heart disease for (n, 13) features: (n,)."""
    return np.asarray(pipeline.predict_proba(features)[:, 1], dtype="float64")


def _entry(table: Mapping[str, T], name: str, kind: str) -> T:
    if name not in table:
        raise HeartlineError(
            f"unknown {kind} {name!r}",
            where=f"parameter {kind}",
            expected=f"one of {', '.join(table)}",
            do="choose one of these",
        )
    return table[name]

"""Scores within each sex and age band, with a warning where there are too few records."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heartline import contract
from heartline.arrays import Floats, Ints
from heartline.evaluation import metrics
from heartline.evaluation.metrics import Estimate
from heartline.storage.splits import LabelledDataset

# Decades in the middle of the published cohorts' age range: finer bands would hold too few records.
AGE_BANDS = (45, 55, 65)
# Below these numbers an interval is too wide to be useful, or its coverage is below 95 %.
MIN_RECORDS = 20
MIN_OF_CLASS = 10

TITLES = {name: metrics.TITLES[name] for name in ("roc_auc", "recall", "specificity", "calibration_in_the_large")}


@dataclass(frozen=True)
class Subgroup:
    """One sex or age band.

    Attributes:
        kind: ``sex`` or ``age``.
        name: for example ``female`` or ``45 to 54``.
        n: its records.
        positives: how many of them have the disease.
        estimates: ROC AUC, recall, specificity, and calibration in the large (observed minus predicted prevalence:
            above 0 the risk is higher than predicted). None with a note where there are too few records.
        warnings: which scores are missing and why, in words; empty where none is.
    """

    kind: str
    name: str
    n: int
    positives: int
    estimates: dict[str, Estimate]
    warnings: tuple[str, ...]

    @property
    def prevalence(self) -> float | None:
        """The share of positives; None without records."""
        return self.positives / self.n if self.n else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "n": self.n,
            "positives": self.positives,
            "prevalence": self.prevalence,
            "estimates": {name: one.as_dict() for name, one in self.estimates.items()},
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Subgroup":
        """Return what ``as_dict`` gave, also in version 0.1, whose key for the positives was another."""
        estimates = {name: Estimate(**one) for name, one in found["estimates"].items()}
        positives = found["positives"] if "positives" in found else found["sick"]
        return cls(found["kind"], found["name"], found["n"], positives, estimates, tuple(found["warnings"]))


def evaluate(records: LabelledDataset, probabilities: Floats, *, seed: int) -> tuple[Subgroup, ...]:
    """Return the subgroups by sex and by age band, each with its scores or the reason why they are missing.

    Args:
        records: n records.
        probabilities: (n,) for them.
        seed: of the bootstrap.
    """
    return tuple(
        _subgroup(kind, name, records.labels[members], probabilities[members], records.groups[members], seed)
        for kind, name, members in _members(records.features)
    )


def _members(features: Floats) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    sex = features[:, contract.FEATURE_NAMES.index("sex")]
    (column,) = (one for one in contract.FEATURES if one.name == "sex")
    for code, label in column.codes.items():
        yield "sex", label, sex == code
    age = features[:, contract.FEATURE_NAMES.index("age")]
    bands = np.digitize(age, AGE_BANDS)
    names = [f"under {AGE_BANDS[0]}"]
    names += [f"{low} to {high - 1}" for low, high in pairwise(AGE_BANDS)]
    for band, name in enumerate([*names, f"{AGE_BANDS[-1]} and over"]):
        yield "age", name, bands == band


def _subgroup(kind: str, name: str, labels: Ints, probabilities: Floats, groups: Ints, seed: int) -> Subgroup:
    n, positives = len(labels), int(labels.sum())
    estimates = {}
    for score, why in _refusals(n, positives).items():
        if why:
            estimates[score] = Estimate(None, None, None, n, why)
    if missing := [score for score in TITLES if score not in estimates]:
        estimates |= metrics.evaluate(labels, probabilities, groups, seed=seed, names=missing)
    warnings = tuple(
        f"{name}: no {TITLES[score]}, {one.note}" for score, one in sorted(estimates.items()) if one.value is None
    )
    return Subgroup(kind, name, n, positives, {score: estimates[score] for score in TITLES}, warnings)


def _refusals(n: int, positives: int) -> dict[str, str]:
    """Return why each score is missing; "" where it is not."""
    negatives = n - positives
    few = "" if n >= MIN_RECORDS else f"{n} records of at least {MIN_RECORDS}"
    few_with = "" if positives >= MIN_OF_CLASS else f"{positives} records with disease of at least {MIN_OF_CLASS}"
    few_without = "" if negatives >= MIN_OF_CLASS else f"{negatives} records without disease of at least {MIN_OF_CLASS}"
    return {
        "roc_auc": few or few_with or few_without,
        "recall": few or few_with,
        "specificity": few or few_without,
        "calibration_in_the_large": few,
    }

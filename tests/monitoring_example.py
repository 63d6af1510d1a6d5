"""Days of a served version for the tests of the monitoring: a synthetic cohort, and probabilities that are right."""

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from heartline import contract
from heartline.arrays import Floats, Ints
from heartline.ingestion.sample import synthetic
from heartline.monitoring.inputs import Answers, Day, Outcomes, Reference

FIRST = datetime.date(2026, 3, 2)  # a Monday
AGE, SEX, CHOL, CA = (contract.FEATURE_NAMES.index(name) for name in ("age", "sex", "chol", "ca"))
NO_IDS: tuple[str, ...] = ()


def drawn(n: int, seed: int) -> tuple[Floats, Floats, Ints]:
    """Return features, probabilities and labels of n records; the labels follow the probabilities."""
    frame = synthetic.generate(max(n, synthetic.MIN_ROWS), seed)
    features = frame[list(contract.FEATURE_NAMES)].to_numpy("float64", copy=True)
    random = np.random.default_rng(seed)
    probabilities = random.beta(0.6, 0.7, len(features))
    labels = (random.random(len(features)) < probabilities).astype(np.int64)
    return features[:n], probabilities[:n], labels[:n]


def reference(n: int = 303, seed: int = 1) -> Reference:
    """Return the reference of version 7."""
    return Reference("7", "d" * 64, "s" * 64, *drawn(n, seed))


def day(
    number: int,
    records: int = 10,
    *,
    features: Floats | None = None,
    outcomes: Outcomes | None = None,
    rejected: Mapping[str, int] | None = None,
    candidate: str = "",
    **service: Any,
) -> Day:
    """Return a day, numbered from 0, with new records of the same population, and no outcome unless it is given.

    More arguments are those of ``Day`` on the whole service.
    """
    some, probabilities, _ = drawn(records, 1000 + number)
    some = some if features is None else features[:records]
    theirs = np.sqrt(probabilities) if candidate else None
    answers = Answers([f"{number}-{at}" for at in range(records)], some, probabilities, theirs)
    return Day(
        FIRST + datetime.timedelta(days=number),
        answers,
        outcomes or no_outcomes(),
        dict(rejected or {}),
        candidate,
        **service,
    )


def outcomes(labels: Ints, probabilities: Floats, **others: object) -> Outcomes:
    """Return first outcomes of women of 50 after three days, or as given."""
    n = len(labels)
    features = np.full((n, len(contract.FEATURES)), np.nan)
    features[:, AGE], features[:, SEX] = 50, 0
    given: dict[str, object] = {
        "replaced": np.full(n, -1),
        "features": features,
        "delays": np.full(n, 3.0),
        "candidate": None,
        **others,
    }
    return Outcomes(outcomes=labels, probabilities=probabilities, **given)  # type: ignore[arg-type]


def no_outcomes() -> Outcomes:
    """Return the outcomes of a day without one."""
    return outcomes(np.zeros(0, dtype=np.int64), np.zeros(0))

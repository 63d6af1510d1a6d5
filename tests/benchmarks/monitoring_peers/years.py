"""Simulated years of a served model: reference, model, records and outcomes, with a change in the ninth week."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special
from sklearn.linear_model import LogisticRegression

from heartline import contract
from heartline.arrays import Floats, Ints
from heartline.ingestion.sample import synthetic

DAYS, CHANGE = 364, 56  # both are Mondays, counted from 0
FOLDS = 10
MG_DL = 38.67  # of cholesterol in one mmol/l
TEN = [name not in ("slope", "ca", "thal") for name in contract.FEATURE_NAMES]  # columns that Hungary has
CHOL, OLDPEAK = (contract.FEATURE_NAMES.index(name) for name in ("chol", "oldpeak"))


@dataclass(frozen=True, eq=False)
class Pool:
    """Records to draw from: (n, features) and (n,) labels."""

    features: Floats
    labels: Ints


@dataclass(frozen=True)
class Change:
    """What changes on the day ``CHANGE``.

    Attributes:
        title: for the page.
        features: what happens to the features.
        hungary: the patients are others; reference and model have ten columns.
        doubled: share with disease, as a multiple of the pool's.
        brier: by how much wrong labels raise the Brier score.
        refused: all requests are refused.
        delay: days until an outcome arrives.
    """

    title: str
    features: Callable[[Floats], Floats] = field(default=lambda features: features)
    hungary: bool = False
    doubled: bool = False
    brier: float = 0.0
    refused: bool = False
    delay: int = 0


def _column(at: int, change: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def changed(features: Floats) -> Floats:
        found = features.copy()
        found[:, at] = change(found[:, at])
        return found

    return changed


QUIET = Change("nothing")
CHANGES = {
    "hungary": Change("Hungary's patients (ten columns)", hungary=True),
    "refused": Change("`chol` in mmol/l: the service refuses the records", refused=True),
    "unchecked": Change("`chol` in mmol/l, if it were not refused", _column(CHOL, lambda chol: chol / MG_DL)),
    "zero": Change("`oldpeak` is always 0", _column(OLDPEAK, np.zeros_like)),
    "prevalence": Change("prevalence doubled", doubled=True),
    "brier02": Change("Δ Brier .02 (the margin: no harm)", brier=0.02),
    "brier05": Change("Δ Brier .05", brier=0.05),
    "brier10": Change("Δ Brier .1", brier=0.1),
    "delayed": Change("Δ Brier .1, outcomes after 90 days", brier=0.1, delay=90),
}


@dataclass(frozen=True, eq=False)
class Year:
    """A year: the reference, and what arrived.

    Attributes:
        reference: its records.
        expected: (n,) out-of-fold probabilities of the reference.
        features, probabilities, labels: of the records, in the order of arrival.
        day: (m,) on which each record arrived.
        delay: days until its outcome.
        requests: (DAYS,) requests of each day.
    """

    reference: Pool
    expected: Floats
    features: Floats
    probabilities: Floats
    labels: Ints
    day: Ints
    delay: int
    requests: Ints


@cache
def pools() -> tuple[Pool, Pool | None]:
    """Return the records at home, and Hungary's (without missing values in ten columns) if the real files are given."""
    folder = os.environ.get("HEARTLINE_REAL_DATA")
    if not folder:
        return _pool(synthetic.generate(20_000, seed=11)), None
    home, other = (_read(Path(folder) / f"processed.{name}.data") for name in ("cleveland", "hungarian"))
    names = [name for name, ten in zip(contract.FEATURE_NAMES, TEN, strict=True) if ten]
    return _pool(home), _pool(other.dropna(subset=names))


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, header=None, names=list(contract.COLUMN_NAMES), na_values="?", dtype="float64")


def _pool(frame: pd.DataFrame) -> Pool:
    labels = (frame[contract.LABEL.name] > 0).to_numpy("int64")
    return Pool(frame[list(contract.FEATURE_NAMES)].to_numpy("float64", copy=True), labels)


def _ten(pool: Pool) -> Pool:
    return replace(pool, features=np.where(TEN, pool.features, np.nan))


def year(seed: int, volume: float, reference: int, change: Change = QUIET) -> Year:
    """Return a year; equal arguments give equal years.

    Args:
        seed: any number.
        volume: mean number of records a day; their number is a Poisson count.
        reference: number of records, drawn from the pool with replacement.
        change: what changes.
    """
    random = np.random.default_rng([seed, round(volume), reference])
    home, other = pools()
    if change.hungary:
        assert other is not None
        home, other = _ten(home), _ten(other)
    rows = random.integers(len(home.labels), size=reference)
    trained = Pool(home.features[rows], home.labels[rows])
    expected, predict = _model(trained, random)
    requests = random.poisson(volume, DAYS)
    day = np.repeat(np.arange(DAYS), requests)
    changed = day >= CHANGE
    rows = random.integers(len(home.labels), size=len(day))
    features, labels = home.features[rows], home.labels[rows]
    if change.hungary and other is not None:
        rows = random.integers(len(other.labels), size=len(day))
        features = np.where(changed[:, None], other.features[rows], features)
        labels = np.where(changed, other.labels[rows], labels)
    if change.doubled:
        rows = _with_share(home.labels, min(0.95, 2 * home.labels.mean()), len(day), random)
        features = np.where(changed[:, None], home.features[rows], features)
        labels = np.where(changed, home.labels[rows], labels)
    features = np.where(changed[:, None], change.features(features), features)
    probabilities = predict(features)
    if change.brier:
        right = np.where(trained.labels == 1, expected, 1 - expected)
        flipped = changed & (random.random(len(day)) < change.brier / (2 * right - 1).mean())
        labels = np.where(flipped, 1 - labels, labels)
    kept = ~changed if change.refused else np.ones(len(day), dtype=np.bool_)
    return Year(trained, expected, features[kept], probabilities[kept], labels[kept], day[kept], change.delay, requests)


def _with_share(labels: Ints, share: float, n: int, random: np.random.Generator) -> Ints:
    """Return n rows, of which this share has the disease."""
    with_disease, without = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    diseased = random.random(n) < share
    return np.where(diseased, with_disease[random.integers(len(with_disease), size=n)],
                    without[random.integers(len(without), size=n)])  # fmt: skip


def _model(trained: Pool, random: np.random.Generator) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Return the out-of-fold probabilities of a logistic regression, and the model of all records."""
    kept = ~np.isnan(trained.features).all(axis=0)
    middle = np.nanmedian(trained.features[:, kept], axis=0)
    spread = np.nanstd(trained.features[:, kept], axis=0) + 1e-9

    def prepared(features: Floats) -> Floats:
        some = features[:, kept]
        return (np.where(np.isnan(some), middle, some) - middle) / spread

    design = prepared(trained.features)
    fold = random.permutation(np.arange(len(design)) % FOLDS)
    expected = np.empty(len(design))
    for one in range(FOLDS):
        inside = fold == one
        expected[inside] = _fitted(design[~inside], trained.labels[~inside])(design[inside])
    model = _fitted(design, trained.labels)
    return expected, lambda features: model(prepared(features))


def _fitted(design: Floats, labels: Ints) -> Callable[[Floats], Floats]:
    model = LogisticRegression(max_iter=200).fit(design, labels)
    weights, shift = model.coef_[0], model.intercept_[0]
    return lambda rows: special.expit(rows @ weights + shift)

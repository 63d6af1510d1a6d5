"""What the monitoring does on the real records, at ten a day: false alarms in 250 days, and delays."""

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heartline import contract
from heartline.monitoring.methods import columns, conformal, harm

ADAY, DAYS = 10, 250
MISSING = [contract.FEATURE_NAMES.index(name) for name in ("slope", "ca", "thal")]  # Hungary has ten columns


@pytest.fixture(scope="module")
def stream(real_data):
    """Return the cells of both cohorts in ten columns, and Cleveland's out-of-fold probabilities and labels."""
    names = list(contract.COLUMN_NAMES)
    files = [
        pd.read_csv(real_data / f"processed.{name}.data", header=None, names=names, na_values="?", dtype="float64")
        for name in ("cleveland", "hungarian")
    ]
    features = []
    for frame in files:
        values = frame[list(contract.FEATURE_NAMES)].to_numpy("float64", copy=True)
        values[:, MISSING] = np.nan
        features.append(values[np.isnan(values).sum(axis=1) == len(MISSING)])
    labels = (files[0]["num"] > 0).to_numpy("int64")
    kept = ~np.isnan(features[0]).all(axis=0)
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression())
    expected = cross_val_predict(model, features[0][:, kept], labels, cv=10, method="predict_proba")[:, 1]
    model.fit(features[0][:, kept], labels)
    other = model.predict_proba(features[1][:, kept])[:, 1]
    return columns.all_cells(features[0], expected), columns.all_cells(features[1], other), expected, labels


def _found(reference, cells, random):
    """Return the number of records after whose day the page's e-value is at least 100; None without."""
    counts, ties = columns.counts(reference), random.random(cells.shape)
    p = np.column_stack([conformal.p_values(cells[:, at], counts[at], ties[:, at]) for at in range(len(counts))])
    wealth = conformal.start(len(counts))
    for begin in range(0, len(cells), ADAY):
        wealth = conformal.bet(wealth, p[begin : begin + ADAY])
        if conformal.combined(wealth.highest) >= 100:
            return begin + ADAY
    return None


def test_a_year_without_a_change_has_hardly_ever_an_alarm_of_drift(stream):
    home = stream[0]
    random = np.random.default_rng(1)
    found = [_found(home, home[random.integers(len(home), size=ADAY * DAYS)], random) for _ in range(60)]
    assert sum(one is not None for one in found) <= 2


@pytest.mark.parametrize("quiet", [0, 60])
def test_hungarys_patients_are_found_within_two_weeks(stream, quiet):
    home, other, _, _ = stream
    random = np.random.default_rng(2)
    for _ in range(10):
        before = home[random.integers(len(home), size=ADAY * quiet)]
        after = other[random.integers(len(other), size=ADAY * 30)]
        found = _found(home, np.concatenate([before, after]), random)
        assert ADAY * quiet < found <= ADAY * (quiet + 14)


def _losses(stream, raised, n, random):
    """Return squared errors of Cleveland's records, their mean raised by wrong labels."""
    _, _, expected, labels = stream
    right = np.where(labels == 1, expected, 1 - expected)
    rows = random.integers(len(labels), size=n)
    wrong = random.random(n) < raised / (2 * right - 1).mean()
    return (np.where(wrong, 1 - labels[rows], labels[rows]) - expected[rows]) ** 2


def _outcomes(losses, bound):
    wealth = harm.start()
    for begin in range(0, len(losses), ADAY):
        wealth = harm.bet(wealth, losses[begin : begin + ADAY], bound)
        if wealth.highest[0] >= 100:
            return begin + ADAY
    return np.inf


def test_2500_outcomes_without_harm_have_hardly_ever_an_alarm(stream):
    random = np.random.default_rng(3)
    bound = ((stream[2] - stream[3]) ** 2).mean() + 0.02
    found = [_outcomes(_losses(stream, 0.0, 2500, random), bound) for _ in range(60)]
    assert np.isfinite(found).sum() <= 1


@pytest.mark.parametrize(("raised", "most"), [(0.056, 700), (0.094, 200)])
def test_harm_is_found_within_some_outcomes(stream, raised, most):
    """The median of the outcomes that are needed; of this logistic regression 500 and 145 were measured."""
    random = np.random.default_rng(4)
    bound = ((stream[2] - stream[3]) ** 2).mean() + 0.02
    found = [_outcomes(_losses(stream, raised, 2500, random), bound) for _ in range(40)]
    assert np.median(found) <= most

"""The chance level of drift: how often records without a change exceed it, and that real changes do."""

import numpy as np
import pytest
from scipy import stats

from heartline.ingestion.sample import synthetic
from heartline.validation import drift

RUNS = 100


@pytest.fixture(scope="module")
def population():
    return synthetic.generate(20_000, seed=5)


def _warnings(population, n, m, *, change=lambda frame: frame, runs=RUNS) -> int:
    """In how many of the runs at least one column is above its chance level."""
    count = 0
    for run in range(runs):
        rows = np.random.default_rng([n, m, run]).choice(len(population), n + m, replace=False)
        reference = drift.reference(population.iloc[rows[n:]])
        found = drift.divergences(change(population.iloc[rows[:n]]), reference)
        count += any(one.value > one.chance for one in found)
    return count


def test_without_a_change_about_one_run_in_a_hundred_has_a_warning(population):
    """800 runs: 8 are expected, and 18 or more have a probability of 0.1 %."""
    counts = {(n, m): _warnings(population, n, m) for n in (60, 100, 300, 1000) for m in (235, 303)}
    assert 0 < sum(counts.values()) < 18, counts
    assert max(counts.values()) <= 6, counts  # of 100; 7 or more in one of eight: 0.05 %


def test_a_change_of_four_years_is_found_at_300_records(population):
    changed = _warnings(population, 300, 303, change=lambda frame: frame.assign(age=frame["age"] + 4), runs=20)
    assert changed >= 18


def test_the_chance_level_is_a_quantile_of_chi_squared_and_falls_with_the_records():
    level = drift.chance_level(100, 235, cells=10, columns=14)
    assert level == pytest.approx(stats.chi2.isf(0.01 / 14, 9) / (2 * 100 * 235 / 335))
    assert (
        drift.chance_level(1000, 235, cells=10, columns=14) < level < drift.chance_level(60, 235, cells=10, columns=14)
    )
    assert level == drift.chance_level(235, 100, cells=10, columns=14)


def test_a_column_without_a_value_has_no_divergence(population):
    records = population.iloc[:100].assign(ca=np.nan)
    reference = drift.reference(population.iloc[100:400])
    columns = [one.column for one in drift.divergences(records, reference)]
    assert "ca" not in columns
    assert columns[-1] == "num"
    assert len(columns) == 13


def test_without_a_label_it_has_no_divergence(population):
    reference = drift.reference(population.iloc[100:400])
    assert "num" not in [one.column for one in drift.divergences(population.iloc[:100].assign(num=np.nan), reference)]


def test_missing_values_are_not_counted(population):
    records = population.iloc[:100].copy()
    records.iloc[:40, records.columns.get_loc("ca")] = np.nan
    (found,) = (
        one for one in drift.divergences(records, drift.reference(population.iloc[100:400])) if one.column == "ca"
    )
    assert found.records <= 60

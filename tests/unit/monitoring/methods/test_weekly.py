"""The weekly tests against scipy, and how they treat rare values."""

import numpy as np
import pytest
from scipy import stats

from heartline.monitoring.methods import weekly


def _counts(values, size):
    return np.bincount(values, minlength=size)


@pytest.mark.parametrize("shift", [0, 2, 10])
def test_kolmogorov_smirnov_is_that_of_scipy(shift):
    random = np.random.default_rng(shift)
    first, second = random.integers(0, 60, 70) + shift, random.integers(0, 60, 303)
    wanted = stats.ks_2samp(first, second)
    found = weekly.kolmogorov_smirnov(_counts(first, 80), _counts(second, 80))
    assert found == pytest.approx(stats.kstwobign.sf(wanted.statistic * (70 * 303 / 373) ** 0.5))


def test_chi_squared_is_that_of_scipy():
    table = np.array([[20, 30, 20], [150, 100, 53]])
    wanted = stats.chi2_contingency(table, correction=False).pvalue
    assert weekly.chi_squared(*table) == pytest.approx(wanted)


@pytest.mark.parametrize("table", [[[3, 7], [4, 296]], [[0, 10], [5, 5]], [[50, 20], [150, 153]], [[5, 0], [0, 5]]])
def test_two_cells_are_tested_exactly(table):
    wanted = stats.fisher_exact(table).pvalue
    assert weekly.chi_squared(*np.array(table)) == pytest.approx(wanted)


def test_rare_cells_are_joined():
    found = weekly.chi_squared(np.array([30, 38, 1, 1]), np.array([150, 148, 4, 1]))
    joined = stats.chi2_contingency([[30, 38, 2], [150, 148, 5]], correction=False).pvalue
    exact = stats.fisher_exact([[30 + 2, 38], [150 + 5, 148]]).pvalue
    assert found == pytest.approx(exact)
    assert found != pytest.approx(joined)


@pytest.mark.parametrize("test", [weekly.kolmogorov_smirnov, weekly.chi_squared])
def test_no_record_has_no_p_value(test):
    assert test(np.zeros(4, dtype=np.int64), np.array([1, 2, 3, 4])) is None


def test_one_value_cannot_differ():
    assert weekly.chi_squared(np.array([7, 0, 0]), np.array([303, 0, 0])) is None


def test_the_limit_counts_tests_and_weeks():
    assert weekly.limit(0.05, 27) == pytest.approx(0.05 / (27 * 53))


def test_small_p_values_are_as_rare_as_they_say():
    random = np.random.default_rng(1)
    shares = [0.5, 0.48, 0.015, 0.005]
    found = [weekly.chi_squared(random.multinomial(70, shares), random.multinomial(303, shares)) for _ in range(4000)]
    assert np.mean(np.array(found) < 0.01) < 0.015

from math import asin, pi

import numpy as np
import pytest

from heartline.ingestion.sample import copula
from heartline.ingestion.sample.copula import Margin


def even(k: int) -> Margin:
    return Margin(np.arange(k, dtype=float), np.full(k, 1 / k))


@pytest.mark.parametrize("latent", [-0.9, -0.3, 0.0, 0.5, 0.9])
def test_two_binary_margins_follow_sheppards_formula(latent):
    """Two normal variables cut at the median have the phi coefficient 2/π·asin(r)."""
    half = even(2)
    found = copula.match_correlation(half, half.values, half, half.values, 2 / pi * asin(latent))
    assert found == pytest.approx(latent, abs=0.01)


@pytest.mark.parametrize("latent", [-0.8, 0.25, 0.6])
def test_fine_ranks_follow_pearsons_formula(latent):
    """Two normal variables without ties have Spearman's correlation 6/π·asin(r/2)."""
    fine = even(400)
    found = copula.match_correlation(fine, fine.ranks(), fine, fine.ranks(), 6 / pi * asin(latent / 2))
    assert found == pytest.approx(latent, abs=0.005)


def test_a_draw_has_the_given_margin_and_correlation():
    rng = np.random.default_rng(0)
    a, b = Margin(np.array([0.0, 1.0, 5.0]), np.array([0.7, 0.2, 0.1])), even(5)
    latent = copula.match_correlation(a, a.values, b, b.values, 0.4)

    first, second = rng.standard_normal((2, 200_000))
    columns = a.at(first), b.at(latent * first + np.sqrt(1 - latent**2) * second)

    assert np.corrcoef(columns)[0, 1] == pytest.approx(0.4, abs=0.01)
    for value, share in zip(a.values, a.shares, strict=True):
        assert (columns[0] == value).mean() == pytest.approx(share, abs=0.005)


def test_cramers_v_includes_the_effect_of_the_groups_margins():
    rare, common = (Margin(np.array([0.0, 1.0]), np.array([1 - p, p])) for p in (0.1, 0.9))
    different = [(0.5, rare, rare), (0.5, common, common)]

    assert copula.match_cramers_v(different, 0.5) == pytest.approx(0.0, abs=1e-6)  # 0.64 without any link
    assert copula.match_cramers_v(different, 0.8) > 0.5
    assert copula.match_cramers_v([(1.0, even(2), even(2))], 2 / pi * asin(0.7)) == pytest.approx(0.7, abs=0.01)


def test_pairs_without_a_known_correlation_are_conditionally_independent():
    known = {("a", "b"): 0.6, ("b", "c"): 0.5, ("c", "d"): -0.4}
    matrix = copula.complete("abcd", known)

    assert matrix[0, 1] == 0.6
    assert matrix[0, 2] == pytest.approx(0.3, abs=1e-4)
    assert matrix[0, 3] == pytest.approx(-0.12, abs=1e-4)
    inverse = np.linalg.inv(matrix)
    assert abs(inverse[[0, 0, 1], [2, 3, 3]]).max() < 1e-4

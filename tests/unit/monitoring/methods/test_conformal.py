"""Conformal p-values against counting one by one; their uniformity; the martingale's false-alarm rate."""

import hashlib

import numpy as np
import pytest
from scipy import stats

from heartline.monitoring.methods import columns, conformal


@pytest.mark.parametrize(("size", "n"), [(1, 5), (2, 50), (14, 200), (1001, 300), (1001, 0)])
def test_earlier_values_are_counted(size, n):
    values = np.random.default_rng(size).integers(0, size, n).astype("int16")
    greater, equal = conformal.earlier(values, int(size - 1).bit_length())
    assert greater.tolist() == [int((values[:at] > values[at]).sum()) for at in range(n)]
    assert equal.tolist() == [int((values[:at] == values[at]).sum()) for at in range(n)]


def test_p_values_by_hand():
    counts = np.array([2, 1, 1])  # the reference: 0, 0, 1, 2
    cells = np.array([2, -1, 0], dtype="int16")
    found = conformal.p_values(cells, counts, np.array([0.5, 0.9, 0.25]))
    # 2: none of 4 is greater, one is equal, and itself: (0 + 0.5 · 2) / 5
    # 0: then 2 and 2 and 1 are greater, two are equal, and itself: (3 + 0.25 · 3) / 6
    assert found[[0, 2]] == pytest.approx([1 / 5, 3.75 / 6])
    assert np.isnan(found[1])


def test_parts_of_a_stream_give_the_same_p_values():
    random = np.random.default_rng(4)
    cells, ties = random.integers(-1, 30, 120).astype("int16"), random.random(120)
    counts = random.integers(0, 5, 30)
    whole = conformal.p_values(cells, counts, ties)
    first = conformal.p_values(cells[:50], counts, ties[:50])
    counts = counts + np.bincount(cells[:50][cells[:50] >= 0], minlength=30)
    assert np.concatenate([first, conformal.p_values(cells[50:], counts, ties[50:])]) == pytest.approx(
        whole, nan_ok=True
    )


def test_p_values_of_one_population_are_uniform():
    random = np.random.default_rng(5)
    cells = random.binomial(8, 0.3, 4000).astype("int16")
    counts = np.bincount(cells[:300], minlength=9)
    found = conformal.p_values(cells[300:], counts, random.random(3700))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.05


def test_ties_follow_from_id_and_name_only():
    seeds = conformal.seeds(["a", "b"])
    assert seeds[0] == int.from_bytes(hashlib.sha256(b"a").digest()[:8], "little")
    assert (conformal.uniforms(seeds, "age") == conformal.uniforms(seeds[::-1], "age")[::-1]).all()
    assert (conformal.uniforms(seeds, "age") != conformal.uniforms(seeds, "sex")).all()


def test_ties_are_uniform_and_unrelated():
    seeds = conformal.seeds([str(one) for one in range(20_000)])
    found = np.array([conformal.uniforms(seeds, name) for name in columns.NAMES])
    assert found.min() >= 0
    assert found.max() < 1
    for ties in found:
        assert stats.kstest(ties, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(found) - np.eye(len(found))).max() < 0.04


def test_every_bet_has_mean_one_and_keeps_money():
    p = np.linspace(0, 1, 100_001)[:, None]
    factors = conformal._bets(p)
    assert factors.mean(axis=0) == pytest.approx(np.ones((1, factors.shape[2])), abs=1e-4)
    assert factors.min() >= 0.2499


@pytest.mark.parametrize(
    ("start", "bet"), [(lambda: conformal.start(1), conformal.bet), (conformal.start_upwards, conformal.bet_upwards)]
)
def test_the_martingale_stays_within_its_rate(start, bet):
    random = np.random.default_rng(6)
    paths = 300
    reached = 0
    for _ in range(paths):
        p = random.random(800)
        reached += bet(start(), p[:, None] if bet is conformal.bet else p).highest[0] >= 20
    assert reached <= 0.05 * paths


@pytest.mark.parametrize("draw", [lambda r: r.beta(1, 2), lambda r: r.beta(2, 1), lambda r: r.beta(4, 4)])
def test_a_change_is_found(draw):
    random = np.random.default_rng(7)
    p = np.array([[random.random()] for _ in range(300)] + [[draw(random)] for _ in range(300)])
    wealth = conformal.bet(conformal.start(1), p)
    assert wealth.highest[0] > 1000


def test_combined_columns_are_divided_by_their_number():
    assert conformal.combined([1.0, 300.0, 2.0]) == 100.0

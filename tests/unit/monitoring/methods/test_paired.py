"""The shadow comparison: its counts, its intervals, and how often it is wrong."""

import numpy as np
import pytest

from heartline.monitoring.methods import paired

NONE = np.zeros(0)


def test_answers_are_counted_at_the_threshold():
    ours = np.array([0.2, 0.49, 0.5, 0.9, 0.3])
    theirs = np.array([0.6, 0.5, 0.4, 0.95, np.nan])
    found = paired.report(paired.with_answers(paired.start("8"), ours, theirs))
    assert (found.version, found.answered, found.to_disease, found.to_healthy) == ("8", 4, 2, 1)
    assert found.largest == pytest.approx(0.4)


def test_the_difference_is_positive_where_the_candidate_is_better():
    labels = np.array([1, 0, 1])
    compared = paired.with_outcomes(paired.start("8"), labels, np.array([0.6, 0.4, 0.5]), np.array([0.9, 0.2, 0.5]))
    found = paired.report(compared)
    gains = np.array([0.16 - 0.01, 0.16 - 0.04, 0.0])
    assert found.difference.value == pytest.approx(gains.mean())
    half = 1.959964 * gains.std(ddof=1) / 3**0.5
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (gains.mean() - half, gains.mean() + half), abs=1e-6
    )
    stakes = np.array([0.1, 0.2, 0.4, 0.8])
    assert found.better == pytest.approx(np.prod(1 + stakes[:, None] * gains, axis=1).mean())
    assert found.worse == 1.0  # the highest value: before the first outcome


def test_exchanged_models_exchange_the_verdict():
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 50)
    ours, theirs = random.random(50), random.random(50)
    one = paired.with_outcomes(paired.start("8"), labels, ours, theirs)
    other = paired.with_outcomes(paired.start("8"), labels, theirs, ours)
    assert (one.better, one.worse, one.total) == (other.worse, other.better, pytest.approx(-other.total))


def test_no_record_gives_no_difference():
    empty = paired.with_outcomes(paired.start("8"), np.zeros(0, dtype=np.int64), NONE, NONE)
    assert paired.report(paired.with_answers(empty, NONE, NONE)).difference is None


def _decided(random, n, noise):
    """Two models that see the truth with noise of these sizes, compared every ten outcomes."""
    truth = random.normal(-0.2, 2.6, n)
    labels = (random.random(n) < 1 / (1 + np.exp(-truth))).astype(np.int64)
    ours, theirs = (
        1 / (1 + np.exp(-(truth + size * random.normal(size=n)) * 6.76 / (6.76 + size**2))) for size in noise
    )
    found = paired.with_outcomes(paired.start("8"), labels, ours, theirs)
    return found.better.highest[0] >= 1 / paired.RATE, found.worse.highest[0] >= 1 / paired.RATE


def test_equal_models_are_rarely_told_apart():
    random = np.random.default_rng(2)
    found = np.array([_decided(random, 2000, (1.0, 1.0)) for _ in range(200)])
    assert found.mean(axis=0).max() <= paired.RATE


def test_a_better_candidate_is_found():
    random = np.random.default_rng(3)
    found = np.array([_decided(random, 800, (1.9, 1.0)) for _ in range(40)])  # a difference of 0.03
    assert found[:, 0].mean() > 0.8
    assert not found[:, 1].any()

"""The bootstrap of cells: the intervals of the bootstrap of records, at a cost that does not grow with the records."""

import tracemalloc

import numpy as np
import pytest

from heartline import contract
from heartline.comparison import paired_tests
from heartline.evaluation import bootstrap, cells, metrics

DRAWS = 400


def _records(n, seed=0, *, pairs=0.0, gain=0.02):
    """Labels, two models' probabilities, and groups; a share ``pairs`` of the records are two visits of one patient."""
    random = np.random.default_rng([n, seed])
    visits = int(pairs * n) // 2
    patient = np.concatenate([np.arange(n - visits), np.arange(visits)])
    labels = (random.random(n - visits) < 0.46).astype(np.int64)[patient]
    common = random.normal(size=n - visits)[patient] + 1.8 * labels
    scores = [common + 0.4 * random.normal(size=n - visits)[patient] + more * labels for more in (gain, 0)]
    challenger, incumbent = (1 / (1 + np.exp(0.9 - one)) for one in scores)
    return labels, challenger, incumbent, patient


def _ends_agree(found, expected, draws=DRAWS):
    """The ends of two percentile intervals differ by no more than the draws explain, five standard errors."""
    sd = (expected[1] - expected[0]) / 3.92
    error = sd * np.sqrt(2 * 0.025 * 0.975 / draws) / 0.0584  # of the difference of two quantiles of a normal sample
    return all(abs(one - other) < 5 * error for one, other in zip(found, expected, strict=True))


def test_levels_keep_equal_values_together_and_their_order():
    values = np.round(np.random.default_rng(0).normal(size=50_000), 4)
    found = cells.levels(values, threshold=0.5)
    assert found.max() <= cells.LEVELS
    assert (np.bincount(found) > 0).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert (np.diff(found[order])[np.diff(values[order]) == 0] == 0).all()
    assert found[values < 0.5].max() < found[values >= 0.5].min()


def test_few_values_are_their_own_levels():
    values = np.repeat([0.1, 0.3, 0.9], [5, 40_000, 1])
    assert (cells.levels(values) == np.repeat([0, 1, 2], [5, 40_000, 1])).all()


def test_the_number_of_cells_is_bounded():
    for n in (40_000, 160_000):
        labels, probabilities, _, groups = _records(n)
        found = cells.Cells.of(labels, probabilities, groups)
        assert len(found.labels) <= 2 * (cells.LEVELS + 1)
        assert found.counts.sum() == n
        assert (found.counts * found.labels).sum() == labels.sum()
        predicted = found.probabilities >= contract.THRESHOLD
        assert found.counts[predicted].sum() == (probabilities >= contract.THRESHOLD).sum()


def test_a_draw_takes_as_many_groups_as_there_are():
    labels, probabilities, _, groups = _records(31_000)
    (weights,) = cells.Cells.of(labels, probabilities, groups).draws(seed=0, count=3)
    assert (weights.sum(axis=1) == 31_000).all()
    pairs = cells.Cells.of(labels, probabilities, np.arange(31_000) // 2)
    (weights,) = pairs.draws(seed=0, count=3)
    assert (weights.sum(axis=1) == 31_000).all()


def test_records_of_a_group_are_drawn_together():
    labels = np.tile([0, 1, 1], 20_000)
    probabilities = np.tile([0.2, 0.6, 0.8], 20_000)
    found = cells.Cells.of(labels, probabilities, np.repeat(np.arange(20_000), 3))
    (weights,) = found.draws(seed=0, count=20)
    assert (weights == 20_000).all(), "each group has one record of each cell"


@pytest.mark.parametrize("pairs", [0.0, 0.3, 1.0])
def test_intervals_of_scores_are_those_of_the_bootstrap_of_records(pairs, monkeypatch):
    labels, probabilities, _, groups = _records(31_000, pairs=pairs)
    found = metrics.evaluate(labels, probabilities, groups, seed=1, draws=DRAWS)
    monkeypatch.setattr(cells, "ROWS", len(labels))
    expected = metrics.evaluate(labels, probabilities, groups, seed=2, draws=DRAWS)
    assert {name: one.value for name, one in found.items()} == {name: one.value for name, one in expected.items()}
    different = {
        name: (str(one), str(expected[name]))
        for name, one in found.items()
        if not _ends_agree((one.low, one.high), (expected[name].low, expected[name].high))
    }
    assert different == {}


@pytest.mark.parametrize("pairs", [0.0, 0.3, 1.0])
def test_the_paired_bootstrap_has_the_intervals_of_the_bootstrap_of_records(pairs, monkeypatch):
    labels, challenger, incumbent, groups = _records(31_000, pairs=pairs)
    found = paired_tests.bootstrap(labels, challenger, incumbent, groups, draws=DRAWS, seed=1)
    monkeypatch.setattr(cells, "ROWS", len(labels))
    expected = paired_tests.bootstrap(labels, challenger, incumbent, groups, draws=DRAWS, seed=2)
    assert (found.auc.value, found.brier.value) == (expected.auc.value, expected.brier.value)
    for one, other in ((found.auc, expected.auc), (found.brier, expected.brier)):
        assert _ends_agree((one.low, one.high), (other.low, other.high))
    assert found.standard_error == pytest.approx(expected.standard_error, rel=5 / np.sqrt(DRAWS))


def test_models_that_hardly_differ_are_told_apart_as_by_delong():
    """Cells of probabilities would hide a difference that is smaller than a level."""
    labels, challenger, _, groups = _records(40_000)
    other = challenger * (1 - 1e-5 * np.random.default_rng(0).random(len(labels)))
    found = paired_tests.bootstrap(labels, challenger, other, groups, draws=1000, seed=0)
    exact = paired_tests.delong(labels, challenger, other)
    assert found.standard_error == pytest.approx(exact.standard_error, rel=0.12)


def test_two_visits_of_a_patient_are_no_additional_evidence():
    labels, challenger, incumbent, groups = _records(32_000)
    twice = [np.tile(one, 2) for one in (labels, challenger, incumbent, groups)]
    once = paired_tests.bootstrap(labels, challenger, incumbent, groups, draws=400, seed=0)
    again = paired_tests.bootstrap(*twice, draws=400, seed=0)
    alone = paired_tests.bootstrap(*twice[:3], np.arange(64_000), draws=400, seed=0)
    assert again.standard_error == pytest.approx(once.standard_error, rel=0.01)
    assert alone.standard_error == pytest.approx(once.standard_error / np.sqrt(2), rel=0.15)


@pytest.mark.parametrize("seed", range(10))
def test_interval_and_p_value_agree(seed):
    found = paired_tests.bootstrap(*_records(31_000, seed), draws=400, seed=seed)
    assert (found.p_value <= 0.05) == (found.auc.low > 0 or found.auc.high < 0)


def test_equal_seeds_give_equal_numbers_for_any_block_size(monkeypatch):
    labels, challenger, incumbent, groups = _records(31_000, pairs=0.3)

    def run(seed=1):
        return (
            paired_tests.bootstrap(labels, challenger, incumbent, groups, draws=50, seed=seed),
            metrics.evaluate(labels, challenger, groups, draws=50, seed=seed),
        )

    first = run()
    monkeypatch.setattr(cells, "_BLOCK_CELLS", 50_000)
    assert run() == first
    assert run(seed=2) != first


def test_the_memory_of_the_draws_does_not_grow_with_the_records():
    """What grows is what is computed from the records once: less than 250 bytes a record."""

    def peak(n):
        labels, challenger, _, groups = _records(n)
        tracemalloc.start()
        try:
            metrics.evaluate(labels, challenger, groups, draws=70, seed=0, names=["roc_auc", "brier"])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(40_000), peak(160_000)
    assert (many - few) / 120_000 < 250


def test_few_records_are_drawn_themselves():
    labels, probabilities, _, groups = _records(300)
    sample = cells.sample(labels, probabilities, groups)
    assert isinstance(sample, cells.Records)
    drawn = sample.over_draws(lambda weights: weights, seed=3, count=5)
    assert (drawn == np.concatenate(list(bootstrap.draws(groups, seed=3, count=5)))).all()

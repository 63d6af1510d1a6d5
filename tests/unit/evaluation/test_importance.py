"""Odds ratios of many records: the sandwich estimate has the spread of refits on bootstrap samples."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from heartline.evaluation import bootstrap, cells, importance
from heartline.ingestion.sample import synthetic
from heartline.storage import record_identity, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families, fast_logistic_regression


def _linear(records):
    return families.fit("logistic_regression", records, profile=families.profile("quick"), seed=0)


@pytest.fixture(scope="module")
def records():
    return splits.to_labelled(record_identity.canonical(synthetic.generate(1500)))


@pytest.mark.parametrize("visits", [1, 2])
def test_the_sandwich_estimate_has_the_spread_of_refits(records, visits):
    """With two visits of each patient it counts patients, as the bootstrap of groups does."""
    twice = LabelledDataset(
        *(np.concatenate([one] * visits) for one in (records.features, records.labels, records.groups))
    )
    model = _linear(twice)
    inputs, unfitted = model[:-1].transform(twice.features), model[-1]
    unfitted.set_params(solver="newton-cholesky")
    spread = np.sqrt(np.diag(importance.sandwich(model, twice)))[:-1]
    weights = np.concatenate(list(bootstrap.draws(twice.groups, seed=0, count=200)))
    with threadpool_limits(limits=1):
        refits = np.array([unfitted.fit(inputs, twice.labels, one).coef_[0] for one in weights])
    ratios = spread / refits.std(axis=0, ddof=1)
    assert np.median(ratios) == pytest.approx(1, abs=0.08)
    assert ((ratios > 0.7) & (ratios < 1.3)).all()


def test_the_order_of_the_records_and_the_block_size_do_not_matter(records, monkeypatch):
    model = _linear(records)
    expected = importance.sandwich(model, records)
    order = np.random.default_rng(0).permutation(len(records))
    shuffled = LabelledDataset(records.features[order], records.labels[order], records.groups[order])
    monkeypatch.setattr(importance, "_GROUPS", 100)
    assert importance.sandwich(model, shuffled) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_odds_ratios_of_many_records_have_intervals_without_refits(records, monkeypatch):
    model = _linear(records)
    refitted = importance.odds_ratios(model, records, seed=0)
    monkeypatch.setattr(cells, "ROWS", 1000)
    monkeypatch.setattr(importance, "clone", None)
    found = importance.odds_ratios(model, records, seed=0)
    for one, other in zip(found, refitted, strict=True):
        assert (one.label, one.value) == (other.label, other.value)
        assert one.low < one.value < one.high
        assert np.log(one.high / one.low) == pytest.approx(np.log(other.high / other.low), rel=0.35)
    assert importance.interval_in_words(1001) == "95 % (sandwich estimate)"
    assert importance.interval_in_words(1000) == f"middle 95 % of {importance.REFITS} bootstrap refits"


def test_the_intervals_are_those_of_refits_by_scikit_learn(records, monkeypatch):
    model = _linear(records)
    with monkeypatch.context() as patch:
        patch.setattr(type(model[-1]), "fit", lambda *_: pytest.fail("refitted one by one"))
        found = importance.odds_ratios(model, records, seed=0)
    monkeypatch.setattr(fast_logistic_regression, "supports", lambda model: False)
    expected = importance.odds_ratios(model, records, seed=0)
    for one, other in zip(found, expected, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-6)

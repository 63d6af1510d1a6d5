"""Records that look like two visits of one patient: found, compared with chance, and kept together."""

import itertools

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.ingestion.sample import synthetic
from heartline.storage import near_duplicates, record_identity, splits
from tests.unit.storage.support import RECORD, changed, frame_of


def _found(*records):
    found = near_duplicates.find(record_identity.canonical(frame_of(*records)))
    return len(found.pairs)


@pytest.mark.parametrize(
    ("change", "near"),
    [
        ({"age": 55, "trestbps": 140, "chol": 262, "thalach": 144}, True),
        ({"age": 55, "trestbps": 140, "chol": 262, "thalach": 144, "oldpeak": 1.3}, False),
        ({"oldpeak": 1.3}, True),
        ({"oldpeak": 1.31}, False),
        ({"age": 57}, False),
        ({"chol": 268}, False),
        ({"sex": 1}, False),
        ({"ca": np.nan}, False),
        ({"num": 1}, False),
    ],
    ids=str,
)
def test_nine_equal_features_and_near_measurements_make_near_duplicates(change, near):
    assert _found(RECORD, changed(**change)) == near


def test_a_missing_value_equals_no_value():
    one = changed(ca=np.nan)
    assert _found(one, changed(one, age=55, trestbps=131, chol=243)) == 1
    assert _found(one, changed(one, age=55, trestbps=131, chol=243, thalach=153)) == 0


def test_the_pairs_are_those_of_a_plain_search():
    frame = record_identity.canonical(synthetic.generate(400, seed=4))
    values = frame[list(contract.FEATURE_NAMES)]
    tolerance = np.array([contract.TOLERANCES.get(name, 0.0) for name in values]) + 1e-9
    cells = values.to_numpy("float64")
    plain = [
        (one, other)
        for one, other in itertools.combinations(range(len(cells)), 2)
        if (abs(cells[one] - cells[other]) <= tolerance)[~(np.isnan(cells[one]) & np.isnan(cells[other]))].all()
        and near_duplicates.MIN_EQUAL <= (cells[one] == cells[other]).sum() < len(tolerance)
    ]
    assert near_duplicates.find(frame).pairs.tolist() == [list(pair) for pair in plain]


def _visits(patients, twice, seed):
    first = synthetic.generate(patients, seed)
    random = np.random.default_rng(seed)
    again = first.iloc[:twice].copy()
    again["age"] += 1
    for name, most in (("trestbps", 10), ("thalach", 8), ("chol", 20)):
        again[name] += random.integers(-most, most + 1, twice)
    return record_identity.canonical(pd.concat([first, again]))


@pytest.mark.parametrize("seed", range(3))
def test_second_visits_are_grouped_and_chance_pairs_are_not(seed):
    found = near_duplicates.find(_visits(240, 60, seed))
    assert found.certain
    assert found.beyond_chance
    assert 60 <= len(found.pairs) <= 66
    for size in (303, 2000):
        alone = near_duplicates.find(_visits(size, 0, seed))
        assert not alone.certain
        assert not alone.beyond_chance
        assert alone.by_chance <= 2 * len(alone.pairs) + 3


def test_a_large_set_is_not_searched(monkeypatch):
    monkeypatch.setattr(near_duplicates, "MAX_ROWS", 100)
    found = near_duplicates.find(_visits(101, 0, 0))
    assert found.skipped
    assert not found.certain
    assert near_duplicates.find(_visits(101, 0, 0).iloc[:1]).pairs.shape == (0, 2)


def test_a_group_has_its_smallest_key_and_others_keep_theirs():
    keys = np.array([50, 40, 30, 20, 10, 40], dtype="uint64")
    pairs = np.array([[0, 1], [1, 2]])
    assert near_duplicates.grouped(keys, pairs).tolist() == [30, 30, 30, 20, 10, 30]


def test_only_records_in_pairs_change_their_group_and_side():
    frame = _visits(240, 60, 5)
    found = near_duplicates.find(frame)
    with_groups = splits.with_groups(frame)
    alone = np.setdiff1d(np.arange(len(frame)), found.pairs)
    keys = splits.group_keys(with_groups)
    assert (keys[alone] == record_identity.feature_hashes(frame)[alone]).all()
    assert (keys[found.pairs[:, 0]] == keys[found.pairs[:, 1]]).all()
    assert splits.with_groups(_visits(240, 0, 5)).equals(_visits(240, 0, 5))


def test_a_snapshot_without_a_key_keeps_its_columns_and_its_split():
    frame = record_identity.canonical(synthetic.generate(303))
    assert list(frame) == list(contract.COLUMN_NAMES)
    training, holdout = splits.train_test_split(frame)
    assert list(training) == list(holdout) == list(contract.COLUMN_NAMES)

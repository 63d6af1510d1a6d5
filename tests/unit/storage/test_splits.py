"""The train/test split and the fold plan."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion.sample import synthetic
from heartline.storage import record_identity, splits
from heartline.training import tuning
from tests.unit.storage.support import FEATURES, features_of


@pytest.fixture(scope="module")
def many():
    """Twenty thousand records."""
    return synthetic.generate(20_000)


def test_a_fifth_of_the_records_is_held_out(many):
    canonical = record_identity.canonical(many)
    train, holdout = splits.train_test_split(canonical)

    assert len(train) + len(holdout) == len(canonical)
    assert len(holdout) / len(canonical) == pytest.approx(0.2, abs=0.01)
    assert (train["num"] > 0).mean() == pytest.approx((holdout["num"] > 0).mean(), abs=0.03)
    assert features_of(train).isdisjoint(features_of(holdout))
    for part in (train, holdout):
        pd.testing.assert_frame_equal(part, record_identity.canonical(part))


@given(shares=st.lists(st.integers(100, 5_000), min_size=2, max_size=2), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_new_records_do_not_move_records_across_the_split(many, shares, seed):
    some = many.sample(min(shares), random_state=seed)
    more = pd.concat([many.sample(max(shares), random_state=seed + 1 & 0xFFFFFFFF), some])

    before, after = (
        splits.train_test_split(record_identity.canonical(some)),
        splits.train_test_split(record_identity.canonical(more)),
    )

    assert features_of(before[0]) <= features_of(after[0])
    assert features_of(before[1]) <= features_of(after[1])


def test_a_corrected_label_does_not_move_a_record(cohort):
    corrected = cohort.assign(num=(cohort["num"] + 1) % 5)
    before, after = (
        splits.train_test_split(record_identity.canonical(cohort)),
        splits.train_test_split(record_identity.canonical(corrected)),
    )
    assert features_of(before[1]) == features_of(after[1])


def test_records_with_equal_features_and_different_labels_stay_together(cohort):
    both = pd.concat([cohort, cohort.iloc[:100].assign(num=(cohort["num"] + 1) % 5)])
    train, holdout = splits.train_test_split(record_identity.canonical(both))
    assert len(features_of(train)) < len(train)
    assert len(features_of(train)) + len(features_of(holdout)) == len(cohort)
    assert features_of(train).isdisjoint(features_of(holdout))

    records = splits.to_labelled(train)
    plan = splits.plan_folds(records, splits=5, repeats=3, seed=1)
    for repeat in plan:
        assert pd.Series(repeat).groupby(records.groups).nunique().max() == 1


def test_a_side_without_a_class_is_refused(many):
    positive = many["num"] > 0
    in_holdout = record_identity.fingerprints(many)[0] < 0.2 * 2**64
    parts = many[~positive & ~in_holdout].iloc[:80], many[~positive & in_holdout].iloc[:20]
    positive_to_train = many[positive & ~in_holdout].iloc[:5]

    with pytest.raises(DataError) as caught:
        splits.train_test_split(record_identity.canonical(pd.concat([*parts, positive_to_train])))

    assert str(caught.value) == (
        "the hold-out has no record with disease\n"
        "  where:    the split of 105 records: 85 for training, 20 held out\n"
        "  expected: records with and without disease on both sides\n"
        "  hint:     train on more data: this happens only if a class has very few records"
    )
    with pytest.raises(DataError, match="the training set has no record without disease"):
        splits.train_test_split(record_identity.canonical(pd.concat([parts[1], positive_to_train])))


def test_a_labelled_dataset_holds_features_labels_and_groups(cohort):
    canonical = record_identity.canonical(pd.concat([cohort, cohort.iloc[:5].assign(num=(cohort["num"] + 1) % 5)]))
    records = splits.to_labelled(canonical)

    assert len(records) == len(cohort) + 5
    assert records.features.dtype == "float64"
    np.testing.assert_array_equal(records.features, canonical[FEATURES])
    assert records.labels.tolist() == (canonical["num"] > 0).astype(int).tolist()
    assert sorted(set(records.groups)) == list(range(len(cohort)))
    assert features_of(cohort.iloc[:5]) <= features_of(canonical[np.bincount(records.groups)[records.groups] > 1])


def test_labels_and_groups_equal_those_of_the_labelled_dataset(cohort):
    canonical = record_identity.canonical(cohort)
    records, light = splits.to_labelled(canonical), splits.labels_and_groups(canonical)

    assert light.features.shape == (len(cohort), 0)
    assert (light.labels == records.labels).all()
    assert (light.groups == records.groups).all()
    plans = [splits.plan_folds(one, splits=5, repeats=2, seed=1) for one in (records, light)]
    assert (plans[0] == plans[1]).all()


keys = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=60, unique=True)


@given(all_keys=keys, n_splits=st.integers(2, 10), seed=st.integers(-(2**63), 2**63), data=st.data())
def test_other_records_change_the_fold_of_no_record(all_keys, n_splits, seed, data):
    before = dict(zip(all_keys, _folds(all_keys, n_splits, seed), strict=True))

    fewer = data.draw(st.permutations(all_keys))[: data.draw(st.integers(1, len(all_keys)))]
    more = data.draw(st.permutations([*all_keys, *data.draw(st.lists(st.integers(0, 2**64 - 1)))]))

    for other in (fewer, more):
        after = zip(other, _folds(other, n_splits, seed), strict=True)
        assert all(before[key] == folds for key, folds in after if key in before)


def _folds(of, n_splits, seed):
    plan = splits.hashed_folds(np.array(of, dtype="uint64"), splits=n_splits, repeats=3, seed=seed)
    assert (plan.dtype, plan.shape) == ("int8", (3, len(of)))
    return [tuple(folds) for folds in plan.T.tolist()]


def test_one_new_record_moves_no_other_record_to_another_fold(cohort):
    """In the plan, which numbers groups over all records, and in the folds within a training part."""
    new = synthetic.generate(20, seed=99).iloc[:1]

    def folds(frame):
        records = splits.to_labelled(record_identity.canonical(frame))
        plan = splits.plan_folds(records, splits=5, repeats=2, seed=3)
        inner, _ = tuning.inner_folds(records, seed=3)
        of_each = zip(records.keys.tolist(), plan.T.tolist(), inner.tolist(), strict=True)
        return {key: (outer, within) for key, outer, within in of_each}

    before, after = folds(cohort), folds(pd.concat([new, cohort]))

    assert len(after) == len(before) + 1
    assert all(after[key] == of_key for key, of_key in before.items())


def test_folds_are_of_nearly_equal_size_and_independent_of_each_other(many):
    records = splits.labels_and_groups(record_identity.canonical(many))
    first, second = splits.plan_folds(records, splits=5, repeats=2, seed=0)
    inner = splits.hashed_folds(records.keys, splits=5, repeats=1, seed=0, salt=splits.INNER)[0]
    next_seed = splits.plan_folds(records, splits=5, repeats=1, seed=1)[0]
    for one, other in ((first, second), (first, inner), (first, next_seed), (second, next_seed)):
        shares = pd.crosstab(one, other) / len(records)
        assert shares.to_numpy() == pytest.approx(np.full((5, 5), 0.04), abs=0.006)
    in_first = np.bincount(first[records.labels == 1]) / records.labels.sum()
    assert in_first == pytest.approx(np.full(5, 0.2), abs=0.02)


def test_fold_numbers_never_change():
    # a change would reshuffle the folds of every record, and so the scores of every model
    found = splits.hashed_folds(np.arange(8, dtype="uint64"), splits=10, repeats=2, seed=0)
    assert found.tolist() == [[4, 9, 0, 7, 9, 1, 4, 3], [4, 5, 7, 4, 6, 2, 1, 6]]


def test_part_of_the_records_keeps_groups_and_keys(cohort):
    records = splits.to_labelled(record_identity.canonical(cohort))
    some = records.take(records.labels == 1)
    assert (some.keys == records.keys[records.labels == 1]).all()
    assert len(some) == records.labels.sum()
    assert splits.LabelledDataset(records.features, records.labels, np.arange(len(records))).keys.tolist() == list(
        range(len(records))
    )


def test_a_plan_with_one_usable_fold_is_refused():
    """Both records with disease are in the same of two folds in about half of the repeats."""
    records = splits.LabelledDataset(np.empty((40, 0)), np.repeat([1, 0], [2, 38]), np.arange(40))
    with pytest.raises(DataError, match="only 1 of 2 folds holds records of both classes") as caught:
        splits.plan_folds(records, splits=2, repeats=20, seed=0)
    assert "another seed" in caught.value.hint


def test_a_fold_plan_depends_on_the_seed_and_differs_between_repeats(cohort):
    records = splits.to_labelled(record_identity.canonical(cohort))
    plan = splits.plan_folds(records, splits=5, repeats=4, seed=1)

    assert (plan == splits.plan_folds(records, splits=5, repeats=4, seed=1)).all()
    assert (plan[:2] == splits.plan_folds(records, splits=5, repeats=2, seed=1)).all()
    assert (plan[0] != plan[1]).any()
    other = splits.plan_folds(records, splits=5, repeats=4, seed=2)
    assert all((one != two).any() for one in plan for two in other)


def test_too_few_records_of_a_class_are_refused(cohort):
    few = pd.concat([cohort[cohort["num"] == 0], cohort[cohort["num"] > 0].iloc[:4]])
    with pytest.raises(DataError) as caught:
        splits.plan_folds(splits.to_labelled(record_identity.canonical(few)), splits=5, repeats=1, seed=0)
    assert str(caught.value) == (
        "too few distinct records with disease to evaluate a model: 4\n"
        "  where:    label 1 of the training set\n"
        "  expected: at least 5, one for each fold\n"
        "  hint:     train on more data"
    )


def test_features_of_many_records_are_float32_and_those_of_few_float64(cohort, monkeypatch):
    canonical = record_identity.canonical(cohort)
    few = splits.to_labelled(canonical)
    monkeypatch.setattr(splits, "MANY", len(canonical) - 1)
    many = splits.to_labelled(canonical)
    assert (few.features.dtype, many.features.dtype) == (np.float64, np.float32)
    assert np.array_equal(many.features, few.features.astype("float32"), equal_nan=True)
    whole = [position for position, column in enumerate(contract.FEATURES) if column.whole]
    assert np.array_equal(many.features[:, whole], few.features[:, whole], equal_nan=True)

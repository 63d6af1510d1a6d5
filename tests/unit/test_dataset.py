import numpy as np
import pandas as pd
import pytest

from heartline import dataset
from heartline.errors import DataError


def test_snapshot_depends_on_the_records_and_not_on_their_order(store, cohort):
    shuffled = cohort.sample(frac=1, random_state=7)
    first = dataset.write_snapshot(dataset.canonical(cohort))
    second = dataset.write_snapshot(dataset.canonical(shuffled))
    changed = cohort.copy()
    changed.iloc[0, 0] += 1

    assert first == second
    assert dataset.write_snapshot(dataset.canonical(changed)) != first
    pd.testing.assert_frame_equal(dataset.read_snapshot(first), dataset.canonical(cohort))


def test_division_is_stratified_complete_and_independent_of_order(cohort):
    train, holdout = dataset.divide(dataset.canonical(cohort))
    again, _ = dataset.divide(dataset.canonical(cohort.sample(frac=1, random_state=3)))

    pd.testing.assert_frame_equal(train, again)
    assert len(train) + len(holdout) == len(cohort)
    assert len(holdout) / len(cohort) == pytest.approx(0.2, abs=0.01)
    assert (train["num"] > 0).mean() == pytest.approx((holdout["num"] > 0).mean(), abs=0.02)


def test_equal_records_never_straddle(cohort):
    doubled = dataset.canonical(pd.concat([cohort, cohort.iloc[::3], cohort.iloc[::3]]))
    train, holdout = dataset.divide(doubled)
    assert set(dataset.record_keys(train)).isdisjoint(dataset.record_keys(holdout))

    records = dataset.labelled(train)
    plan = dataset.plan_folds(records, splits=5, repeats=3, seed=1)
    for repeat in plan:
        folds_of_group = pd.Series(repeat).groupby(records.groups).nunique()
        assert folds_of_group.max() == 1


def test_missing_values_make_equal_records_equal(cohort):
    twice = pd.concat([cohort.iloc[:1], cohort.iloc[:1]]).assign(ca=np.nan)
    twice.iloc[0, 0] = twice.iloc[1, 0] = 50.0
    assert len(set(dataset.record_keys(dataset.canonical(twice)))) == 1


def test_fold_plan_is_a_stratified_partition_and_follows_the_seed(cohort):
    records = dataset.labelled(dataset.canonical(cohort))
    plan = dataset.plan_folds(records, splits=5, repeats=4, seed=1)

    assert plan.shape == (4, len(cohort))
    assert set(np.unique(plan)) == set(range(5))
    shares = [records.labels[plan[0] == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.05
    assert (plan == dataset.plan_folds(records, splits=5, repeats=4, seed=1)).all()
    assert (plan != dataset.plan_folds(records, splits=5, repeats=4, seed=9)).any()
    assert (plan[0] != plan[1]).any()


def test_too_few_records_of_a_class_are_refused(cohort):
    few = pd.concat([cohort[cohort["num"] == 0], cohort[cohort["num"] > 0].iloc[:4]])
    with pytest.raises(DataError, match="with disease to evaluate a model: 4"):
        dataset.plan_folds(dataset.labelled(dataset.canonical(few)), splits=5, repeats=1, seed=0)

"""The task ``preprocess``: the train/test split and the fold plan. Its refusals are in ``bad_training``."""

import pandas as pd

from heartline.pipeline.preprocess import preprocess
from heartline.storage import snapshots, splits
from heartline.training import families
from tests.unit.pipeline.support import SMALL, prepare


def test_each_record_is_in_the_training_set_or_in_the_hold_out(store, cohort):
    prepared = prepare(cohort)
    parts = [snapshots.read_snapshot(prepared[name]) for name in ("training", "holdout")]
    snapshot = snapshots.read_snapshot(prepared["snapshot"])
    assert sum(len(part) for part in parts) == len(snapshot) == prepared["used"]
    together = pd.concat(parts).sort_values(list(snapshot.columns), ignore_index=True)
    pd.testing.assert_frame_equal(together, snapshot.sort_values(list(snapshot.columns), ignore_index=True))


def test_the_fold_plan_has_a_row_for_each_training_record_and_a_column_for_each_repeat(store, cohort):
    prepared = prepare(cohort)
    folds = snapshots.read_snapshot(prepared["folds"])
    assert folds.shape == (len(snapshots.read_snapshot(prepared["training"])), SMALL.repeats)
    assert set(folds.to_numpy().ravel()) == set(range(SMALL.splits))


def test_the_seed_changes_the_folds_only(store, cohort):
    first, second = prepare(cohort, seed=0), prepare(cohort, seed=1)
    assert {name for name in first if first[name] != second[name]} == {"fingerprint", "folds", "seed"}
    assert prepare(cohort, seed=0) == first


def test_the_profile_sets_the_number_of_folds(store, cohort):
    prepared = prepare(cohort)
    again = preprocess(prepared, profile="quick", seed=0)
    folds = snapshots.read_snapshot(again["folds"])
    assert folds.shape[1] == families.PROFILES["quick"].repeats
    assert again["training"] == prepared["training"]
    assert splits.to_labelled(snapshots.read_snapshot(again["holdout"])).labels.sum() > 0

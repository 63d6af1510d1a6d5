import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import synthetic
from heartline.storage import record_identity, snapshots, splits

NAMES = list(contract.COLUMN_NAMES)
FEATURES = list(contract.FEATURE_NAMES)
RECORD = (54, 0, 1, 130, 242, 0, 0, 152, 0, 0.8, 1, 0, 3, 0)


def frame_of(*records):
    return pd.DataFrame(list(records), columns=NAMES, dtype="float64")


def changed(record=RECORD, **values):
    return tuple(values.get(name, value) for name, value in zip(NAMES, record, strict=True))


def features_of(frame):
    return set(frame[FEATURES].fillna(-1).itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def many():
    """Twenty thousand records."""
    return synthetic.generate(20_000)


# Two values a column, and few columns that vary: repetitions and contradictory labels are the rule.
few_values = st.builds(
    lambda age, sex, oldpeak, ca, num: changed(age=age, sex=sex, oldpeak=oldpeak, ca=ca, num=num),
    st.sampled_from([40, 50]),
    st.sampled_from([0, 1]),
    st.sampled_from([0.0, -0.0, 1.5]),
    st.sampled_from([0, float("nan")]),
    st.sampled_from([0, 1, 4]),
)
frames = st.lists(few_values, min_size=1, max_size=40).map(lambda records: frame_of(*records))


def test_fingerprints_are_these_for_ever():
    # a change here moves records between training set and hold-out: it makes every comparison over time worthless
    frame = frame_of(RECORD, changed(ca=np.nan, thal=np.nan), changed(num=4), changed(oldpeak=0))

    features, records = record_identity.fingerprints(frame)

    assert features.tolist() == [0xBD985B92610302EB, 0x11554C9AE28F7A63, 0xBD985B92610302EB, 0x58A976F30E6B6739]
    assert records.tolist() == [0x76EE8681503CC0AB, 0x3D3DCD16222901A9, 0x813AF19AF8BA7E2C, 0x592AC52367E17388]


def test_the_mixing_is_splitmix64():
    states = np.array([0, 1234567], dtype="uint64")
    record_identity._mix(states, np.zeros(2, dtype="uint64"))
    assert states.tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]  # the generator's first numbers of these seeds


def test_fingerprints_are_those_of_the_values_and_not_of_their_form(cohort, monkeypatch):
    expected = record_identity.fingerprints(cohort)
    other_nan = np.array([0xFFF8000000000001], dtype="uint64").view("float64")[0]
    forms = {
        "the contract's types": cohort.astype(contract.DTYPES),
        "other columns about": cohort.assign(id=1)[["id", *reversed(NAMES)]],
        "minus zero": cohort.replace(0.0, -0.0),
        "another missing value": cohort.fillna(other_nan),
        "Fortran order": pd.DataFrame(np.asfortranarray(cohort.to_numpy()), columns=cohort.columns),
    }
    for form, frame in forms.items():
        for found, wanted in zip(record_identity.fingerprints(frame), expected, strict=True):
            assert (found == wanted).all(), form
    monkeypatch.setattr(record_identity, "_BLOCK", 7)
    assert (record_identity.fingerprints(cohort)[1] == expected[1]).all()


def test_every_column_changes_the_fingerprint():
    for name in NAMES:
        features, records = record_identity.fingerprints(frame_of(RECORD, changed(**{name: 6})))
        assert (features[0] == features[1]) == (name == contract.LABEL.name)
        assert records[0] != records[1]


@given(frame=frames)
def test_distinct_finds_what_repeats_an_earlier_row_in_all_columns(frame):
    order, repeats = record_identity.distinct(frame)
    assert (repeats == frame.duplicated()).all()
    assert not repeats[order].any()
    pd.testing.assert_frame_equal(record_identity.canonical(frame, order), record_identity.canonical(frame))


@given(frame=frames, seed=st.integers(0, 2**32 - 1))
def test_canonical_holds_each_record_once_whatever_the_order(frame, seed):
    one = record_identity.canonical(frame)
    again = record_identity.canonical(pd.concat([frame, frame.iloc[::2]]).sample(frac=1, random_state=seed))

    pd.testing.assert_frame_equal(one, again)
    assert not np.signbit(one["oldpeak"]).any()
    assert len(one) == (~frame.duplicated()).sum()
    assert len(one.merge(frame.drop_duplicates().astype(contract.DTYPES), on=NAMES)) == len(one)


@pytest.mark.parametrize("several", [1, 2])
def test_a_collision_of_hashes_loses_no_record(cohort, monkeypatch, several):
    def colliding(hashes, frame, _):
        hashes[:] = (frame["age"] % several).to_numpy()
        return hashes

    monkeypatch.setattr(record_identity, "_absorb", colliding)
    twice = pd.concat([cohort, cohort.iloc[::3]])

    assert (record_identity.distinct(twice)[1] == twice.duplicated()).all()
    assert len(record_identity.canonical(twice)) == len(cohort)
    pd.testing.assert_frame_equal(record_identity.canonical(twice), record_identity.canonical(cohort.iloc[::-1]))


def test_records_with_equal_features_are_neighbours_in_the_order_of_their_label():
    frame = frame_of(*(changed(num=num, age=age) for num in (4, 0, 2) for age in (40, 50, 60)))
    canonical = record_identity.canonical(frame)
    assert canonical["age"].nunique() == 3
    assert [part["num"].tolist() for _, part in canonical.groupby((canonical["age"].diff() != 0).cumsum())] == [
        [0, 2, 4]
    ] * 3


@pytest.mark.parametrize(("name", "value"), [("age", 300), ("cp", 2.7), ("sex", np.nan), ("ca", 0.1)])
def test_what_does_not_fit_the_contract_is_never_bent_to_fit(name, value):
    with pytest.raises(
        ValueError, match=f"{name} holds values that are no {contract.DTYPES[name]}: the records were not checked"
    ):
        record_identity.canonical(frame_of(RECORD, changed(**{name: value})))


def test_a_snapshot_depends_on_the_records_and_not_on_their_order_or_repetition(store, cohort):
    first = snapshots.write_snapshot(record_identity.canonical(cohort))
    mixed = pd.concat([cohort, cohort.iloc[:9]]).sample(frac=1, random_state=7)[list(reversed(NAMES))]
    other = cohort.copy()
    other.iloc[0, 0] += 1

    assert snapshots.write_snapshot(record_identity.canonical(mixed)) == first
    assert snapshots.write_snapshot(record_identity.canonical(snapshots.read_snapshot(first))) == first
    assert snapshots.write_snapshot(record_identity.canonical(other)) != first


def test_a_snapshot_is_read_with_the_types_that_it_was_written_with(store, cohort):
    canonical = record_identity.canonical(cohort)
    uri = snapshots.write_snapshot(canonical)

    pd.testing.assert_frame_equal(snapshots.read_snapshot(uri), canonical)
    assert canonical.dtypes.astype(str).to_dict() == contract.DTYPES
    assert pq.read_schema(uri.removeprefix("file://")).metadata == {
        b"heartline.contract": contract.VERSION.encode(),
    }


def test_what_is_not_canonical_is_read_as_it_was_written_too(store, cohort):
    raw = cohort.rename_axis("row").reset_index()
    notes = pd.DataFrame({"row": [3, 1], "field": ["age", ""], "value": ["?", "1,2"], "reason": ["", "short"]})
    for frame in (raw, notes, notes.iloc[:0]):
        pd.testing.assert_frame_equal(snapshots.read_snapshot(snapshots.write_snapshot(frame, "raw")), frame)


def test_a_fifth_is_held_out(many):
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
def test_records_that_join_move_none_to_the_other_side(many, shares, seed):
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


def test_contradictory_labels_of_equal_features_stay_together(cohort):
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
    sick = many["num"] > 0
    held = record_identity.fingerprints(many)[0] < 0.2 * 2**64
    parts = many[~sick & ~held].iloc[:80], many[~sick & held].iloc[:20]
    sick_to_train = many[sick & ~held].iloc[:5]

    with pytest.raises(DataError) as caught:
        splits.train_test_split(record_identity.canonical(pd.concat([*parts, sick_to_train])))

    assert str(caught.value) == (
        "the hold-out has no record with disease\n"
        "  where:    the division of 105 records: 85 to train on, 20 held out\n"
        "  expected: records with and without disease in both parts\n"
        "  hint:     train on more data: chance leaves a class out only where it has a handful of records"
    )
    with pytest.raises(DataError, match="the training set has no record without disease"):
        splits.train_test_split(record_identity.canonical(pd.concat([parts[1], sick_to_train])))


def test_labelled_holds_features_labels_and_groups(cohort):
    canonical = record_identity.canonical(pd.concat([cohort, cohort.iloc[:5].assign(num=(cohort["num"] + 1) % 5)]))
    records = splits.to_labelled(canonical)

    assert len(records) == len(cohort) + 5
    assert records.features.dtype == "float64"
    np.testing.assert_array_equal(records.features, canonical[FEATURES])
    assert records.labels.tolist() == (canonical["num"] > 0).astype(int).tolist()
    assert sorted(set(records.groups)) == list(range(len(cohort)))
    assert features_of(cohort.iloc[:5]) <= features_of(canonical[np.bincount(records.groups)[records.groups] > 1])


def test_grouped_is_labelled_without_features(cohort):
    canonical = record_identity.canonical(cohort)
    records, light = splits.to_labelled(canonical), splits.labels_and_groups(canonical)

    assert light.features.shape == (len(cohort), 0)
    assert (light.labels == records.labels).all()
    assert (light.groups == records.groups).all()
    plans = [splits.plan_folds(one, splits=5, repeats=2, seed=1) for one in (records, light)]
    assert (plans[0] == plans[1]).all()


@given(
    sick=st.integers(10, 60),
    healthy=st.integers(10, 60),
    n_splits=st.integers(2, 10),
    seed=st.integers(-(2**63), 2**63),
)
def test_folds_differ_by_at_most_one_record_of_each_class_and_in_all(sick, healthy, n_splits, seed):
    labels = np.repeat([1, 0], [sick, healthy])
    records = splits.LabelledDataset(np.empty((len(labels), 0)), labels, np.arange(len(labels))[::-1])

    plan = splits.plan_folds(records, splits=n_splits, repeats=2, seed=seed)

    assert plan.shape == (2, len(labels))
    assert plan.dtype == "int8"
    for repeat in plan:
        for members in (labels == 0, labels == 1, labels >= 0):
            sizes = np.bincount(repeat[members], minlength=n_splits)
            assert len(sizes) == n_splits
            assert np.ptp(sizes) <= 1


def test_a_fold_plan_follows_the_seed_and_differs_between_repeats(cohort):
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

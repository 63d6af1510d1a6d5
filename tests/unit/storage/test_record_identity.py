"""Record identity: hashes, duplicates and the canonical order."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartline import contract
from heartline.storage import record_identity
from tests.unit.storage.support import NAMES, RECORD, changed, frame_of

# Two values a column, and few columns that vary: duplicates and contradictory labels are frequent.
few_values = st.builds(
    lambda age, sex, oldpeak, ca, num: changed(age=age, sex=sex, oldpeak=oldpeak, ca=ca, num=num),
    st.sampled_from([40, 50]),
    st.sampled_from([0, 1]),
    st.sampled_from([0.0, -0.0, 1.5]),
    st.sampled_from([0, float("nan")]),
    st.sampled_from([0, 1, 4]),
)
frames = st.lists(few_values, min_size=1, max_size=40).map(lambda records: frame_of(*records))


def test_fingerprints_never_change():
    # a change would move records between training set and hold-out, and invalidate every comparison over time
    frame = frame_of(RECORD, changed(ca=np.nan, thal=np.nan), changed(num=4), changed(oldpeak=0))

    features, records = record_identity.fingerprints(frame)

    assert features.tolist() == [0xBD985B92610302EB, 0x11554C9AE28F7A63, 0xBD985B92610302EB, 0x58A976F30E6B6739]
    assert records.tolist() == [0x76EE8681503CC0AB, 0x3D3DCD16222901A9, 0x813AF19AF8BA7E2C, 0x592AC52367E17388]


def test_the_mixing_is_splitmix64():
    states = np.array([0, 1234567], dtype="uint64")
    record_identity._mix(states, np.zeros(2, dtype="uint64"))
    assert states.tolist() == [
        0xE220A8397B1DCDAF,
        6457827717110365317,
    ]  # the first outputs for these seeds


def test_fingerprints_depend_on_values_and_not_on_types_or_layout(cohort, monkeypatch):
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
def test_distinct_finds_the_duplicates_in_all_columns(frame):
    order, repeats = record_identity.distinct(frame)
    assert (repeats == frame.duplicated()).all()
    assert not repeats[order].any()
    pd.testing.assert_frame_equal(record_identity.canonical(frame, order), record_identity.canonical(frame))


@given(frame=frames, seed=st.integers(0, 2**32 - 1))
def test_canonical_holds_each_record_once_in_an_order_independent_of_the_input(frame, seed):
    one = record_identity.canonical(frame)
    again = record_identity.canonical(pd.concat([frame, frame.iloc[::2]]).sample(frac=1, random_state=seed))

    pd.testing.assert_frame_equal(one, again)
    assert not np.signbit(one["oldpeak"]).any()
    assert len(one) == (~frame.duplicated()).sum()
    assert len(one.merge(frame.drop_duplicates().astype(contract.DTYPES), on=NAMES)) == len(one)


@pytest.mark.parametrize("several", [1, 2])
def test_a_hash_collision_loses_no_record(cohort, monkeypatch, several):
    def colliding(hashes, frame, _):
        hashes[:] = (frame["age"] % several).to_numpy()
        return hashes

    monkeypatch.setattr(record_identity, "_absorb", colliding)
    twice = pd.concat([cohort, cohort.iloc[::3]])

    assert (record_identity.distinct(twice)[1] == twice.duplicated()).all()
    assert len(record_identity.canonical(twice)) == len(cohort)
    pd.testing.assert_frame_equal(record_identity.canonical(twice), record_identity.canonical(cohort.iloc[::-1]))


def test_records_with_equal_features_are_neighbours_sorted_by_label():
    frame = frame_of(*(changed(num=num, age=age) for num in (4, 0, 2) for age in (40, 50, 60)))
    canonical = record_identity.canonical(frame)
    assert canonical["age"].nunique() == 3
    assert [part["num"].tolist() for _, part in canonical.groupby((canonical["age"].diff() != 0).cumsum())] == [
        [0, 2, 4]
    ] * 3


@pytest.mark.parametrize(("name", "value"), [("age", 300), ("cp", 2.7), ("sex", np.nan), ("ca", 0.1)])
def test_a_value_that_does_not_fit_the_contracts_type_is_refused(name, value):
    with pytest.raises(
        ValueError, match=f"{name} holds values that do not fit {contract.DTYPES[name]}: the records were not validated"
    ):
        record_identity.canonical(frame_of(RECORD, changed(**{name: value})))

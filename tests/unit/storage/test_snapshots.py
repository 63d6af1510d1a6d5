"""Snapshots: named by their content, and read with their types."""

import pandas as pd
import pyarrow.parquet as pq

from heartline import contract
from heartline.storage import record_identity, snapshots
from tests.unit.storage.support import NAMES


def test_a_snapshot_depends_on_the_distinct_records_and_not_on_their_order(store, cohort):
    first = snapshots.write_snapshot(record_identity.canonical(cohort))
    mixed = pd.concat([cohort, cohort.iloc[:9]]).sample(frac=1, random_state=7)[list(reversed(NAMES))]
    other = cohort.copy()
    other.iloc[0, 0] += 1

    assert snapshots.write_snapshot(record_identity.canonical(mixed)) == first
    assert snapshots.write_snapshot(record_identity.canonical(snapshots.read_snapshot(first))) == first
    assert snapshots.write_snapshot(record_identity.canonical(other)) != first


def test_a_snapshot_keeps_the_types(store, cohort):
    canonical = record_identity.canonical(cohort)
    uri = snapshots.write_snapshot(canonical)

    pd.testing.assert_frame_equal(snapshots.read_snapshot(uri), canonical)
    assert canonical.dtypes.astype(str).to_dict() == contract.DTYPES
    assert pq.read_schema(uri.removeprefix("file://")).metadata == {
        b"heartline.contract": contract.VERSION.encode(),
    }


def test_a_raw_snapshot_is_read_as_it_was_written(store, cohort):
    raw = cohort.rename_axis("row").reset_index()
    notes = pd.DataFrame({"row": [3, 1], "field": ["age", ""], "value": ["?", "1,2"], "reason": ["", "short"]})
    for frame in (raw, notes, notes.iloc[:0]):
        pd.testing.assert_frame_equal(snapshots.read_snapshot(snapshots.write_snapshot(frame, "raw")), frame)

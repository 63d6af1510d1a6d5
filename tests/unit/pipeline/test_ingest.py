"""The task ``ingest``: the values of a source are stored before validation."""

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.errors import OutOfMemoryError, PermanentError
from heartline.ingestion import sources
from heartline.pipeline.ingest import ingest
from heartline.storage import snapshots
from heartline.validation import checkpoint


def test_the_rows_of_a_source_are_stored_unchanged(store):
    ingested = ingest("sample:250")
    raw = snapshots.read_snapshot(ingested["raw"]).set_index(checkpoint.ROW)
    pd.testing.assert_frame_equal(raw, sources.read("sample:250").table.frame, check_names=False)
    assert ingested["origin"] == "sample"
    assert ingested["names"] == list(contract.COLUMN_NAMES)
    assert (ingested["missing_columns"], ingested["extra_columns"]) == ([], [])


def test_what_differs_from_the_contract_is_returned_beside_the_rows(store, tmp_path, cohort):
    frame = cohort.drop(columns="thal").assign(ward="A").astype({"age": "object"})
    frame.loc[3, "age"] = "old"
    frame.to_csv(tmp_path / "records.csv", index=False)

    ingested = ingest(str(tmp_path / "records.csv"))

    assert ingested["missing_columns"] == ["thal"]
    assert ingested["extra_columns"] == ["ward"]
    assert snapshots.read_snapshot(ingested["unparseable"]).to_numpy().tolist() == [[3, "age", "old", "not a number"]]


def test_the_same_source_is_ingested_to_the_same_objects(store):
    assert ingest("sample:250") == ingest("sample:250")


def test_records_that_do_not_fit_in_memory_are_a_clear_error_that_is_not_retried(monkeypatch):
    def read(*_: object, **__: object) -> None:
        np.empty(1 << 60, "int8")

    monkeypatch.setattr(sources, "read", read)
    with pytest.raises(OutOfMemoryError) as caught:
        ingest("sample:250")
    assert isinstance(caught.value, PermanentError)
    assert caught.value.what.startswith("the records need more memory than the task has: ")
    assert caught.value.where == "task ingest"

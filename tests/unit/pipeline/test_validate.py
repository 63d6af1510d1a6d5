"""The task ``validate`` beside a version in production. What it makes of bad input is in ``test_bad_input``."""

import json

import pandas as pd
import pytest

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import sources
from heartline.pipeline.handovers import Validated
from heartline.pipeline.ingest import ingest
from heartline.pipeline.validate import validate
from heartline.storage import object_store, record_identity, snapshots
from tests.pages import Page
from tests.unit.pipeline.support import move_by_hand


@pytest.fixture
def in_production(store, empty_mlflow):
    """Return a function that puts a version with these tags into production."""
    empty_mlflow.create_registered_model(contract.MODEL_NAME)

    def put(**tags: str) -> str:
        version = empty_mlflow.create_model_version(contract.MODEL_NAME, source="s3://somewhere/else", tags=tags)
        move_by_hand(version.version)
        return str(version.version)

    return put


def _notes(validated: Validated) -> list[str]:
    """Return the notes but the number of pairs of similar records, which chance makes."""
    notes = json.loads(object_store.get(validated["report"]))["notes"]
    return [one for one in notes if "like two visits of one patient" not in one]


def _snapshot(frame: pd.DataFrame) -> str:
    return object_store.digest_of(snapshots.write_snapshot(record_identity.canonical(frame)))


@pytest.fixture
def older(tmp_path, cohort) -> str:
    """A file whose patients are fifteen years older than those of the cohort."""
    path = tmp_path / "older.csv"
    cohort.assign(age=(cohort["age"] + 15).clip(upper=110)).to_csv(path, index=False)
    return str(path)


def test_records_that_drifted_from_productions_snapshot_are_refused(in_production, cohort, older):
    in_production(origin="file", snapshot=_snapshot(cohort))
    with pytest.raises(DataError) as caught:
        validate(ingest(older), run="drifted")
    assert caught.value.what == "these records are refused: 1 expectation about the dataset is not met, of 67 in all"
    assert "age: expected " in caught.value.where
    assert "distribution like that of production" in caught.value.where
    assert "run with a larger max_drift" in caught.value.hint


def test_drift_above_chance_is_a_note_and_a_warning_on_the_page(in_production, cohort, tmp_path):
    in_production(origin="file", snapshot=_snapshot(cohort))
    path = tmp_path / "older.csv"
    cohort.assign(age=(cohort["age"] + 4).clip(upper=110)).to_csv(path, index=False)
    validated = validate(ingest(str(path)), run="a little older")
    report = json.loads(object_store.get(validated["report"]))
    (finding,) = [one for one in report["findings"] if one["layer"] == "drift"]
    assert (finding["column"], report["stopped"]) == ("age", [])
    (note,) = [one for one in report["notes"] if one.startswith("drift: ")]
    assert f"age {finding['found']} diverge from production's snapshot by more than chance" in note
    page = Page(object_store.get(validated["page"])).text
    assert "drift, only a warning Columns that differ from production's snapshot by more than chance." in page
    assert f"Expected {finding['expected']} Found {finding['found']}" in page
    assert note in page


def test_a_larger_max_drift_accepts_the_drift(in_production, cohort, older):
    in_production(origin="file", snapshot=_snapshot(cohort))
    assert validate(ingest(older), max_drift=5, run="intended")["used"] == 303


def test_real_records_are_not_compared_with_the_sample(in_production, cohort, older):
    version = in_production(origin="sample", snapshot=_snapshot(cohort))
    assert _notes(validate(ingest(older), run="a file after the sample")) == [
        f"drift was not checked: version {version} in production was trained on the sample"
    ]


@pytest.mark.parametrize("tags", [{"origin": "sample", "snapshot": "0" * 64}, {}], ids=["deleted", "never recorded"])
def test_a_missing_snapshot_of_production_is_reported_and_stops_nothing(in_production, tags):
    version = in_production(**tags)
    assert _notes(validate(ingest("sample:250"), run="no snapshot")) == [
        f"drift was not checked: the snapshot of version {version} in production cannot be read from the store"
    ]


def test_a_snapshot_of_another_contract_is_reported_and_stops_nothing(in_production, cohort):
    frame = record_identity.canonical(cohort).drop(columns=["slope", "thal"])
    version = in_production(origin="sample", snapshot=object_store.digest_of(snapshots.write_snapshot(frame)))
    assert _notes(validate(ingest("sample:250"), run="a new contract")) == [
        f"drift was not checked: the snapshot of version {version} in production is of another contract and lacks "
        "slope, thal"
    ]


def test_the_order_of_rows_does_not_change_the_snapshot(store, empty_mlflow, tmp_path):
    frame = sources.read("sample:250").table.frame
    frame.sample(frac=1, random_state=1).to_csv(tmp_path / "shuffled.csv", index=False)
    from_file = validate(ingest(str(tmp_path / "shuffled.csv")), run="shuffled")
    assert from_file["snapshot"] == validate(ingest("sample:250"), run="sample")["snapshot"]
    pd.testing.assert_frame_equal(snapshots.read_snapshot(from_file["snapshot"]), record_identity.canonical(frame))


def test_the_same_records_in_other_types_give_the_same_snapshot(mlflow_store, store, cohort, tmp_path):
    cohort.to_csv(tmp_path / "text.csv", index=False)
    cohort.astype("float32").to_parquet(tmp_path / "float32.parquet", index=False)
    half = cohort.assign(oldpeak=cohort["oldpeak"].astype("float16"))
    half.to_parquet(tmp_path / "float16.parquet", index=False)
    names = ("text.csv", "float32.parquet", "float16.parquet")
    found = [validate(ingest(str(tmp_path / name)), run=name) for name in names]
    assert len({one["snapshot"] for one in found}) == 1
    assert [one["used"] for one in found] == [303] * 3
    assert [_findings(one, "oldpeak") for one in found] == [[]] * 3


def test_values_finer_than_the_resolution_are_rounded_with_a_warning(mlflow_store, store, cohort, tmp_path):
    oldpeak = cohort["oldpeak"].copy()
    oldpeak.loc[[7, 9]] = 2.3456, 1.005
    cohort.assign(oldpeak=oldpeak).to_csv(tmp_path / "finer.csv", index=False)
    validated = validate(ingest(str(tmp_path / "finer.csv")), run="finer")
    assert (validated["used"], validated["quarantined"]) == (303, 0)
    assert {2.35, 1.01} <= set(snapshots.read_snapshot(validated["snapshot"])["oldpeak"])
    (finding,) = _findings(validated, "oldpeak")
    assert (finding["layer"], finding["count"]) == ("unusual", 2)
    assert finding["expected"] == "at most 2 decimals (finer values are rounded)"
    assert finding["rows"] == [[7, "2.3456"], [9, "1.005"]]
    page = object_store.get(validated["page"]).decode()
    assert "at most 2 decimals" in page
    assert "2.3456" in page


def test_an_impossible_word_does_not_hide_a_finer_value(mlflow_store, store, cohort, tmp_path):
    oldpeak = cohort["oldpeak"].astype("object")
    oldpeak.loc[[7, 9]] = "high", 2.3456
    cohort.assign(oldpeak=oldpeak).to_csv(tmp_path / "both.csv", index=False)
    validated = validate(ingest(str(tmp_path / "both.csv")), run="both")
    assert [(one["layer"], one["count"]) for one in _findings(validated, "oldpeak")] == [("row", 1), ("unusual", 1)]


def _findings(validated: Validated, column: str) -> list[dict]:
    found = json.loads(object_store.get(validated["report"]))["findings"]
    return [one for one in found if one["column"] == column and "between" not in one["expectation"]]

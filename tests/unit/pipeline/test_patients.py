"""Records of one patient stay together from the source to the split; the value itself is stored nowhere."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from heartline.errors import DataError
from heartline.ingestion.sample import synthetic
from heartline.pipeline import handovers
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.validate import validate
from heartline.storage import object_store, record_identity, snapshots, splits
from heartline.storage.record_identity import PATIENT
from heartline.validation import same_patient

SECRET = "5" * 64


@pytest.fixture
def twice(tmp_path, monkeypatch) -> pd.DataFrame:
    """150 patients with two rows each, a duplicate, a bad row and a row without a patient; in the file a.csv."""
    monkeypatch.setenv("HEARTLINE_PATIENT_SECRET", SECRET)
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", str(tmp_path))
    first = synthetic.generate(150, seed=3).reset_index(drop=True)
    second = first.assign(age=first["age"] + 1, chol=first["chol"] + 7)
    frame = pd.concat([first, second], ignore_index=True)
    frame["MRN"] = [f"geheim-{number % 150}" for number in range(300)]
    extra = frame.iloc[[0, 1, 2, 3]].copy()
    extra.iloc[1, frame.columns.get_loc("age")] = 900
    extra.iloc[2, frame.columns.get_loc("MRN")] = None
    extra.iloc[3, frame.columns.get_loc("MRN")] = "geheim-other"
    frame = pd.concat([frame, extra], ignore_index=True)
    frame.to_csv(tmp_path / "a.csv", index=False)
    return frame


def _validated(tmp_path, **parameters):
    return validate(ingest(str(tmp_path / "a.csv"), **parameters), run="a run")


def test_a_patient_is_on_one_side_of_the_split_and_in_one_fold(twice, store, empty_mlflow, tmp_path):
    validated = _validated(tmp_path, patient="MRN")
    assert (validated["used"], validated["duplicates"], validated["quarantined"]) == (302, 1, 1)
    prepared = preprocess(validated, profile="quick", seed=0)
    training, holdout = (snapshots.read_snapshot(prepared[name]) for name in ("training", "holdout"))
    known = [set(one[PATIENT]) - {0} for one in (training, holdout)]
    assert known[0].isdisjoint(known[1])
    assert len(known[0] | known[1]) == 151
    records = splits.to_labelled(training)
    assert records.features.shape == (len(training), 13)
    assert len(np.unique(records.groups)) < 0.6 * len(training)
    folds = snapshots.read_snapshot(prepared["folds"])
    assert folds.groupby(records.groups).nunique().to_numpy().max() == 1


def test_a_copy_without_a_patient_is_kept_together_with_the_patient(twice, store, empty_mlflow, tmp_path):
    copies = twice.iloc[:100].assign(MRN=None)
    pd.concat([twice.iloc[:300], copies], ignore_index=True).to_csv(tmp_path / "a.csv", index=False)
    prepared = preprocess(_validated(tmp_path, patient="MRN"), profile="quick", seed=0)
    training, holdout = (snapshots.read_snapshot(prepared[name]) for name in ("training", "holdout"))
    features = [record_identity.feature_hashes(one) for one in (training, holdout)]
    assert (training[PATIENT] == 0).sum() > 50
    assert set(features[0]).isdisjoint(features[1])
    folds = snapshots.read_snapshot(prepared["folds"])
    assert folds.groupby(features[0]).nunique().to_numpy().max() == 1


def test_equal_values_of_two_patients_are_two_records(twice, store, empty_mlflow, tmp_path):
    without, by_key = _validated(tmp_path), _validated(tmp_path, patient="MRN")
    assert (without["used"], without["duplicates"]) == (300, 3)
    assert (by_key["used"], by_key["duplicates"]) == (302, 1)
    assert PATIENT not in snapshots.read_snapshot(without["snapshot"])


def test_the_patients_value_is_in_nothing_that_is_stored(twice, store, empty_mlflow, tmp_path, caplog):
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text + "geheim-9,1,2\n")
    with caplog.at_level(logging.DEBUG, "heartline"):
        ingested = ingest(str(tmp_path / "a.csv"), patient="mrn")
        validated = validate(ingested, run="a run")
        prepared = preprocess(validated, profile="quick", seed=0)
    stored = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "a.csv"]
    assert len(stored) > 5
    everything = b"".join(path.read_bytes() for path in stored)
    everything += json.dumps([ingested, prepared]).encode() + caplog.text.encode()
    for name in ("raw", "unparseable"):
        everything += snapshots.read_snapshot(ingested[name]).to_csv().encode()
    everything += object_store.get(validated["quarantine_csv"]) + object_store.get(validated["page"])
    assert b"geheim" not in everything
    assert SECRET.encode() not in everything
    assert ingested["patient"] == "MRN"


def test_the_report_counts_patients_and_records_without_one(twice, store, empty_mlflow, tmp_path):
    validated = _validated(tmp_path, patient="MRN")
    report = json.loads(object_store.get(validated["report"]))
    warning = "1 record has no value of the column MRN: it is kept together only with records of equal features."
    assert report["warnings"] == validated["about_patients"] == [warning]
    assert "The column MRN identifies 151 patients in 301 records." in report["notes"]
    assert warning in object_store.get(validated["page"]).decode()


def test_near_duplicates_are_kept_together_and_named(twice, store, empty_mlflow, tmp_path):
    validated = _validated(tmp_path)
    (warning,) = validated["about_patients"]
    assert "pairs of records look like two visits of one patient, and chance makes about" in warning
    assert warning.endswith("name it: patient=COLUMN.")
    prepared = preprocess(validated, profile="quick", seed=0)
    training, holdout = (snapshots.read_snapshot(prepared[name]) for name in ("training", "holdout"))
    assert set(training[splits.GROUP]).isdisjoint(holdout[splits.GROUP])
    assert handovers.expect("preprocess", prepared) is None


def test_the_column_of_the_nightly_source_is_a_setting(twice, store, empty_mlflow, tmp_path, monkeypatch):
    monkeypatch.setenv("HEARTLINE_PATIENT", "MRN")
    assert "patient" not in ingest(str(tmp_path / "a.csv"))
    monkeypatch.setenv("HEARTLINE_SOURCE", str(tmp_path / "a.csv"))
    assert ingest(str(tmp_path / "a.csv"))["patient"] == "MRN"


def test_a_column_that_the_source_lacks_is_refused_with_those_that_it_has(twice, store, tmp_path):
    with pytest.raises(DataError, match="no column patient_no for the patients") as caught:
        ingest(str(tmp_path / "a.csv"), patient="patient_no")
    assert "MRN" in caught.value.where
    assert "geheim" not in str(caught.value)


def test_a_model_knows_the_records_of_a_patient_that_it_was_trained_on(twice):
    keys = np.arange(1, 151, dtype=np.uint64)
    first = record_identity.canonical(twice.iloc[:150].assign(**{PATIENT: keys}))
    second = record_identity.canonical(twice.iloc[150:300].assign(**{PATIENT: keys}))
    trained = first[first[PATIENT] <= 50]
    assert set(second[splits.seen(second, trained)][PATIENT]) == set(range(1, 51))
    names = [name for name in second if name != PATIENT]
    assert not splits.seen(second[names], trained[names]).any()
    both = record_identity.canonical(twice.iloc[:300])
    of_first = record_identity.canonical(twice.iloc[:50])
    assert splits.seen(both, of_first).sum() == pytest.approx(100, abs=4), "near duplicates of what it was trained on"


def test_a_pair_that_chance_makes_is_counted_and_not_warned_of():
    records = record_identity.canonical(synthetic.generate(300, seed=5))
    records = pd.concat([records, records.iloc[:1].assign(age=lambda one: one["age"] + 1)], ignore_index=True)
    found = same_patient.of_records(record_identity.canonical(records), "")
    (note,) = found.notes
    assert "like two visits of one patient, no more than chance makes" in note
    assert found.warnings == ()

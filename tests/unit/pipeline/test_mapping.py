"""Files with a mapping, from their bytes to the evidence of the checks."""

import json

import pandas as pd
import pytest

from heartline.errors import DataError
from heartline.ingestion import mapping_catalog, mapping_draft
from heartline.pipeline.ingest import ingest
from heartline.pipeline.validate import validate
from heartline.storage import object_store, snapshots
from tests.unit.ingestion.mapping import layouts
from tests.unit.pipeline.support import artifact


@pytest.fixture
def run(tmp_path, mlflow_store, module_store):
    """Write a frame to a file, and run ``ingest`` and ``validate`` on it."""

    def _run(frame: pd.DataFrame, name: str = "records.csv", **parameters: str) -> dict:
        path = tmp_path / name
        frame.to_excel(path, index=False) if name.endswith("xlsx") else frame.to_csv(path, index=False)
        return validate(ingest(str(path), **parameters), run=f"run of {path}")

    return _run


@pytest.mark.parametrize("name", ["records.csv", "records.xlsx"])
@pytest.mark.parametrize(
    "layout", [layouts.hospital, layouts.heart_920, layouts.heart_297], ids=lambda one: one.__name__
)
def test_a_layout_from_the_wild_gives_the_snapshot_of_the_same_records(run, cohort, layout, name):
    records = layouts.binary(cohort) if layout is layouts.heart_297 else cohort
    outcome = run(layout(cohort), name)
    assert outcome["snapshot"] == run(records)["snapshot"]
    assert outcome["encoding"] == "mapping"
    assert (outcome["used"], outcome["quarantined"]) == (len(cohort), 0)


def test_a_file_without_ca_and_thal_is_refused_in_one_sentence(run, cohort):
    with pytest.raises(DataError) as caught:
        run(layouts.heart_918(cohort))
    error = caught.value
    assert error.what == (
        "the source has no columns ca and thal, and contract 1.1.0 needs them: such records can be trained only with a "
        "contract that does without them"
    )
    assert "expect_" not in str(error)
    assert error.where.count("\n") == 1
    assert "include/heartline/contract.py" in error.hint


def test_the_mapping_is_recorded_with_the_run_and_its_page(run, cohort, mlflow_store):
    outcome = run(layouts.hospital(cohort))
    digest = object_store.digest_of(outcome["mapping"])
    text = object_store.get(outcome["mapping"]).decode()
    assert digest == mapping_catalog.named("hospital").digest
    found = mlflow_store.get_run(outcome["validation_run"]).data.params
    assert (found["mapping"], found["decided_encoding"]) == (f"hospital (sha256 {digest})", "mapping")
    assert artifact(mlflow_store, outcome["validation_run"], "mapping.yaml").read_text() == text
    report = json.loads(object_store.get(outcome["report"]))
    assert report["mapping"] == text
    assert any(digest in line for line in report["evidence"])
    assert "They were read with the mapping below" in object_store.get(outcome["page"]).decode()


def test_a_stated_mapping_with_a_turned_label_is_refused_by_the_polarity(run, cohort):
    text = mapping_catalog.text_of("heart-297").replace("disease: [1]", "disease: [X]")
    turned = text.replace("no_disease: [0]", "no_disease: [1]").replace("[X]", "[0]")
    with pytest.raises(DataError, match="the label is inverted"):
        run(layouts.heart_297(cohort), mapping=turned)


def test_a_draft_that_was_filled_in_is_used(run, cohort):
    file = layouts.binary(cohort).rename(columns={"num": "target", "chol": "serum_chol", "age": "Years"})
    text = mapping_draft.draft(file.to_csv(index=False).encode(), where="a.csv", name="ward.csv")
    with pytest.raises(DataError, match="left open"):
        run(file, mapping=text)
    filled = (
        text.replace('disease: "?"', "disease: [1]", 1)
        .replace('no_disease: "?"', "no_disease: [0]")
        .replace('column: "?"', "column: Years", 1)
        .replace('column: "?"', "column: serum_chol", 1)
        .replace("  - Years\n", "")
        .replace("  - serum_chol\n", "  - nothing\n")
    )
    outcome = run(file, mapping=filled)
    assert outcome["mapping_title"] == "ward"
    assert outcome["snapshot"] == run(layouts.binary(cohort))["snapshot"]


@pytest.mark.parametrize("source", ["sample:250", "uci"])
def test_a_source_with_known_columns_takes_no_mapping(store, source):
    with pytest.raises(DataError, match="this source takes no mapping"):
        ingest(source, mapping="hospital")


def test_an_encoding_and_a_mapping_exclude_each_other(store):
    with pytest.raises(DataError, match="are both set"):
        ingest("/data/a.csv", mapping="hospital", encoding="uci")


def test_an_encoding_that_is_set_keeps_a_mapping_from_being_chosen(store, tmp_path, cohort):
    path = tmp_path / "a.csv"
    layouts.hospital(cohort).to_csv(path, index=False)
    assert ingest(str(path))["mapping_title"] == "hospital"
    assert "mapping" not in ingest(str(path), encoding="uci")


def test_words_of_the_file_are_in_the_raw_snapshot(store, tmp_path, cohort):
    path = tmp_path / "a.csv"
    layouts.hospital(cohort).to_csv(path, index=False)
    raw = snapshots.read_snapshot(ingest(str(path))["raw"])
    assert set(raw["sex"].astype("str")) == {"F", "M"}


@pytest.mark.parametrize("ending", ["xls", "ODS", "xlsb"])
def test_a_spreadsheet_that_is_not_read_is_refused_by_its_name(store, ending):
    with pytest.raises(DataError, match=rf"^this is an? .*\(\.{ending.lower()}\), which is not read"):
        ingest(f"/data/heart.{ending}")

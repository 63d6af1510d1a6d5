"""Files with a mapping, from their bytes to the evidence of the checks."""

import json

import pandas as pd
import pytest

from heartline.errors import DataError, ParameterError, SourceRefusedError
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ingestion.mapping import draft as mapping_draft
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
        "the source has no columns ca and thal, and contract 1.2.0 needs them: such records can be trained only with a "
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
    with pytest.raises(ParameterError, match="this source takes no mapping"):
        ingest(source, mapping="hospital")


def test_an_encoding_and_a_mapping_exclude_each_other(store):
    with pytest.raises(ParameterError, match="are both set"):
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
    with pytest.raises(ParameterError, match=rf"^this is an? .*\(\.{ending.lower()}\), which is not read"):
        ingest(f"/data/heart.{ending}")


MMOL = """
columns:
  sex:
    column: Gender
    codes: {M: 1, F: 0, unknown: missing}
  chol:
    column: Cholesterol (mmol/l)
    factor: 38.67
  cp:
    column: pain
    codes: {0: 1, 1: 2, 2: 3, 3: 4, 8: missing}
label:
  column: outcome
  disease: [sick]
  no_disease: [healthy]
"""


def ward(cohort: pd.DataFrame) -> pd.DataFrame:
    return cohort.assign(
        sex=cohort["sex"].map({0: "F", 1: "M"}),
        chol=(cohort["chol"] / 38.67).round(4),
        cp=cohort["cp"] - 1,
        num=cohort["num"].map(lambda code: "sick" if code else "healthy"),
    ).rename(columns={"sex": "Gender", "chol": "Cholesterol (mmol/l)", "cp": "pain", "num": "outcome"})


def with_cells(frame: pd.DataFrame, **cells: object) -> pd.DataFrame:
    """Return a copy in which row N of a column holds a value, for each ``column=(N, value)``."""
    changed = frame.astype("object")
    for column, (row, value) in cells.items():
        changed.loc[changed.index[row - 1], column] = value
    return changed


def test_what_is_said_of_a_file_with_a_mapping_names_its_own_columns_words_and_units(run, cohort, mlflow_store):
    changed = with_cells(
        ward(cohort),
        **{"Gender": (3, "X"), "pain": (4, 4), "Cholesterol (mmol/l)": (5, 99), "outcome": (6, "perhaps")},
    )
    outcome = run(changed, mapping=MMOL)
    report = json.loads(object_store.get(outcome["report"]))
    said = {
        one["name"]: (one["expected"], one["rows"], one["codes"]) for one in report["findings"] if one["layer"] == "row"
    }
    assert said["Gender (sex)"] == (
        "one of the mapping's words M, F, and unknown for missing",
        [[3, "'X'"]],
        "M male, F female",
    )
    expected, rows, codes = said["pain (cp)"]
    assert (expected, rows) == ("one of the mapping's codes 0, 1, 2, 3, and 8 for missing", [[4, "4"]])
    assert codes.startswith("0 typical angina, 1 ")
    assert said["Cholesterol (mmol/l) (chol)"][1] == [[5, "99, which is 3828 mg/dl"]]
    assert said["outcome (num)"][:2] == ("one of the mapping's words sick, healthy", [[6, "'perhaps'"]])
    quarantine = snapshots.read_snapshot(outcome["quarantine"])
    assert quarantine[["row", "field", "value"]].values.tolist() == [
        [3, "Gender", "X"],
        [4, "pain", "4"],
        [5, "Cholesterol (mmol/l)", "99, which is 3828 mg/dl"],
        [6, "outcome", "perhaps"],
    ]
    assert outcome["quarantined"] == 4


def test_a_word_for_missing_is_shown_as_it_stands_in_the_file(run, cohort):
    outcome = run(with_cells(ward(cohort), Gender=(3, "Unknown"), pain=(4, 8)), mapping=MMOL)
    quarantine = snapshots.read_snapshot(outcome["quarantine"])
    assert quarantine[["row", "field", "value"]].values.tolist() == [
        [3, "Gender", "'Unknown', which means missing"],
        [4, "pain", "8, which means missing"],
    ]


@pytest.mark.parametrize(
    ("layout", "column", "wrong", "expected"),
    [
        (layouts.hospital, "sex", "Q", "one of the mapping's words F, M, female, male, 0, 1"),
        (layouts.heart_920, "thal", "unclear", "one of the mapping's words"),
    ],
    ids=["hospital", "920"],
)
def test_the_messages_of_a_shipped_mapping_name_the_words_of_the_file(run, cohort, layout, column, wrong, expected):
    name = layout.__name__.replace("_", "-")
    outcome = run(with_cells(layout(cohort), **{column: (7, wrong)}), mapping=name)
    found = json.loads(object_store.get(outcome["report"]))["findings"]
    (finding,) = [one for one in found if one["layer"] == "row"]
    assert finding["expected"].startswith(expected)
    assert finding["rows"] == [[7, f"'{wrong}'"]]
    assert "codes" not in finding["expected"]


def test_the_mapping_of_the_nightly_runs_is_used_for_their_source_only(store, tmp_path, cohort, monkeypatch):
    nightly, other = tmp_path / "nightly.csv", tmp_path / "other.csv"
    ward(cohort).to_csv(nightly, index=False)
    cohort.to_csv(other, index=False)
    monkeypatch.setenv("HEARTLINE_SOURCE", str(nightly))
    monkeypatch.setenv("HEARTLINE_MAPPING", MMOL)
    assert "mapping" in ingest(str(nightly))
    assert "mapping" not in ingest(str(other))


def test_a_mapping_outside_the_allowed_folders_is_not_read(store, tmp_path, cohort, monkeypatch):
    allowed = tmp_path / "records"
    allowed.mkdir()
    ward(cohort).to_csv(allowed / "ward.csv", index=False)
    (tmp_path / "ward.yaml").write_text(MMOL)
    monkeypatch.setenv("HEARTLINE_SOURCE_FOLDERS", str(allowed))
    with pytest.raises(SourceRefusedError, match="may not be read as a mapping: it is outside the folders"):
        ingest(str(allowed / "ward.csv"), mapping=str(tmp_path / "ward.yaml"))
    (allowed / "ward.yaml").write_text(MMOL)
    assert "mapping" in ingest(str(allowed / "ward.csv"), mapping=str(allowed / "ward.yaml"))

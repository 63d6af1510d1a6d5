"""Bad input, from its bytes to the end of the checks: what is quarantined, what is refused, and with which message."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.errors import DataError
from heartline.pipeline.ingest import ingest
from heartline.pipeline.validate import validate
from heartline.reports import data_docs_site
from heartline.storage import object_store, snapshots
from tests.unit.messages import message

HEADER = ",".join(contract.COLUMN_NAMES)
PAGE = "http://localhost:4200/data-docs/"
CORRECT_SOURCE = "correct the source and run again; nothing was trained on these records"
STATE_IN_MAPPING = (
    "if the file is right, state {} in a mapping, with encoding=auto: ./heartline mapping FILE writes a draft; else "
    f"{CORRECT_SOURCE}"
)
SET_ENCODING = (
    "read the evidence, then set the parameter encoding=uci or encoding=kaggle; if the file has neither's codes, state "
    "them in a mapping: ./heartline mapping FILE writes a draft; nothing was trained"
)
ONE_OF_53 = "1 expectation about the dataset is not met, of 53 in all"
CONFLICT = "the evidence about the encoding conflicts"
INVERTED = (
    "num: expected disease to go with higher age, lower thalach, higher exang, higher oldpeak, higher ca, with at most "
    "1 exception: otherwise the label is inverted; found 5 of them contradict the label "
    "[expect_column_max_to_be_between]"
)


@dataclass(frozen=True)
class Bench:
    """Runs files through ``ingest`` and ``validate``."""

    folder: Path
    client: object

    def file(self, frame: pd.DataFrame | str, name: str = "records.csv") -> str:
        path = self.folder / name
        path.write_text(frame if isinstance(frame, str) else frame.to_csv(index=False))
        return str(path)

    def run(self, source: str, **rules: object) -> dict:
        return validate(ingest(source), run=f"run of {source}", **rules)

    def refused(self, source: str, **rules: object) -> DataError:
        with pytest.raises(DataError) as caught:
            self.run(source, **rules)
        return caught.value


@pytest.fixture
def bench(tmp_path, mlflow_store, module_store, monkeypatch) -> Bench:
    monkeypatch.setenv("HEARTLINE_DATA_DOCS_URL", PAGE)
    return Bench(tmp_path, mlflow_store)


def _quarantine(outcome: dict) -> list[list[object]]:
    return snapshots.read_snapshot(outcome["quarantine"]).to_numpy().tolist()


def _refusal(source: str, what: str, lines: list[str], hint: str) -> str:
    page = f"{PAGE}{data_docs_site.page_name(f'run of {source}')}"
    return message(
        f"these records are refused: {what}",
        where=f"source {source}" + "".join(f"\n    - {one}" for one in lines) + f"\n    page: {page}",
        expected=f"records as contract {contract.VERSION} describes them",
        hint=hint,
    )


def _kaggle(cohort: pd.DataFrame) -> pd.DataFrame:
    return cohort.assign(
        cp=cohort["cp"].map({1: 3, 2: 1, 3: 2, 4: 0}),
        restecg=cohort["restecg"].map({0: 1, 1: 2, 2: 0}),
        slope=cohort["slope"].map({1: 2, 2: 1, 3: 0}),
        thal=cohort["thal"].map({6: 1, 3: 2, 7: 3}).fillna(0),
        ca=cohort["ca"].fillna(4),
        num=(cohort["num"] == 0).astype("float64"),
    )


@pytest.mark.parametrize(
    ("field", "value", "shown", "reason"),
    [
        pytest.param("thalach", "fast", "fast", "not a number", id="words in a number"),
        pytest.param("cp", 2.7, "2.7", "not a whole number", id="fraction in a code"),
        pytest.param("cp", 9, "9", "expected one of the codes 1, 2, 3, 4", id="unknown code"),
        pytest.param("chol", 0, "0", "expected 50 to 1000 mg/dl", id="chol 0 in some"),
        pytest.param("trestbps", 0, "0", "expected 50 to 300 mm Hg", id="trestbps 0"),
        pytest.param("age", 300, "300", "expected 1 to 120 years", id="age 300"),
        pytest.param("oldpeak", -1.5, "-1.5", "expected 0 to 10 mm", id="negative oldpeak"),
        pytest.param("oldpeak", -1.005, "-1.005", "expected 0 to 10 mm", id="a value that is rounded"),
        pytest.param("oldpeak", 10.128, "10.128", "expected 0 to 10 mm", id="another that is rounded"),
        pytest.param("num", 5, "5", "expected one of the codes 0, 1, 2, 3, 4", id="label 5"),
        pytest.param("chol", np.nan, "missing", "expected a value in every row", id="chol missing"),
    ],
)
def test_bad_rows_are_quarantined_and_the_run_continues(bench, cohort, field, value, shown, reason):
    bad = cohort.astype("object")
    bad.loc[[3, 9], field] = value
    outcome = bench.run(bench.file(bad))
    assert _quarantine(outcome) == [[3, field, shown, reason], [9, field, shown, reason]]
    assert (outcome["rows"], outcome["used"], outcome["duplicates"], outcome["quarantined"]) == (303, 301, 0, 2)


def test_a_value_of_float32_is_shown_without_its_noise(bench, cohort):
    path = bench.folder / "records.parquet"
    bad = cohort.astype("float32")
    bad.loc[3, "oldpeak"] = -1.005
    bad.loc[9, "age"] = 54.3
    bad.to_parquet(path)
    shown = [row[:3] for row in _quarantine(bench.run(str(path)))]
    assert shown == [[3, "oldpeak", "-1.005"], [9, "age", "54.3"]]


def test_rows_of_another_length_are_quarantined_with_their_text(bench, cohort):
    lines = bench.file(cohort)
    text = Path(lines).read_text().splitlines()
    text[2], text[5] = "63,1,4", text[5] + ",1,2"
    outcome = bench.run(bench.file("\n".join(text)))
    short, long = _quarantine(outcome)
    assert short == [2, "", "63,1,4", "3 fields instead of 14"]
    assert (long[0], long[1], long[3]) == (5, "", "16 fields instead of 14")
    assert (outcome["rows"], outcome["used"], outcome["quarantined"]) == (303, 301, 2)


WHOLE_SETS: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str, list[str]]] = [
    ("ten rows", lambda x: x.iloc[20:30], ONE_OF_53,
     ["all records: expected at least 100 records; found 10 [expect_table_row_count_to_be_between]"]),
    ("chol 0 in every row", lambda x: x.assign(chol=0),
     "303 of 303 rows (100.0%) are in quarantine, at most 5.0% may be",
     ["all records: 303 of 303 rows (100.0%) are in quarantine, at most 5.0% may be",
      "chol: expected 50 to 1000 mg/dl; found 303 rows that do not meet this: 0 in rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "
      "… [expect_column_values_to_be_between]"]),
    ("one class", lambda x: x.assign(num=0), ONE_OF_53,
     ["num: expected a share of patients with disease between 5% and 95%; found 0.0% "
      "[expect_column_mean_to_be_between]"]),
    ("70 % duplicates", lambda x: pd.concat([x, x, x, x.iloc[:101]]),
     ONE_OF_53,
     ["all records: expected at most 20% duplicate rows; found 70.0% "
      "[expect_column_mean_to_be_between]"]),
    ("ca almost wholly missing", lambda x: x.assign(ca=x["ca"].where(x.index < 10)),
     ONE_OF_53,
     ["ca: expected a value in at least 80% of the rows; found 3.0% [expect_column_values_to_not_be_null]"]),
    ("slope almost wholly missing", lambda x: x.assign(slope=x["slope"].where(x.index < 10)),
     "294 of 303 rows (97.0%) are in quarantine, at most 5.0% may be",
     ["all records: 294 of 303 rows (97.0%) are in quarantine, at most 5.0% may be",
      "slope: expected a value in every row; found 294 rows that do not meet this: missing in rows 10, 11, 12, 13, 14, "
      "15, 16, 17, 18, 19, … [expect_column_values_to_not_be_null]"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "what", "lines"), [one[1:] for one in WHOLE_SETS], ids=[one[0] for one in WHOLE_SETS]
)
def test_a_bad_set_is_refused_with_its_reasons_and_its_page(bench, cohort, change, what, lines):
    source = bench.file(change(cohort))
    assert str(bench.refused(source)) == _refusal(source, what, lines, CORRECT_SOURCE)


@pytest.mark.parametrize(
    ("change", "stated"),
    [
        (lambda x: x.assign(sex=x["sex"].map({0: "w", 1: "m"})), "what the values of sex mean"),
        (
            lambda x: x.assign(sex=x["sex"].map({0: "F", 1: "M"}), patient_id=range(len(x))),
            "what the values of sex mean",
        ),
        (lambda x: x.assign(thal=x["thal"].map({3: "a", 6: "b", 7: "c"})), "what the values of thal mean"),
        (lambda x: x.assign(num=np.where(x["num"] > 0, "ill", "well")), "what the values of num mean"),
        (lambda x: x.assign(cp=x["cp"] - 1), "what the values of cp mean"),
        (lambda x: x.assign(chol=(x["chol"] / 38.67).round()), "the factor of another unit for chol"),
    ],
    ids=["letters", "letters and an extra column", "words", "label", "codes from 0", "unit"],
)
def test_a_file_that_only_a_mapping_can_help_is_told_so(bench, cohort, change, stated):
    error = bench.refused(bench.file(change(cohort)), encoding="uci")
    assert error.hint == STATE_IN_MAPPING.format(stated)


def test_slips_in_a_few_rows_are_to_be_corrected(bench, cohort):
    slips = cohort.assign(sex=cohort["sex"].astype("object").where(cohort.index > 10, "male?"))
    error = bench.refused(bench.file(slips), max_quarantine=0.0)
    assert error.hint == CORRECT_SOURCE


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda x: x.drop(columns="thal"), "get the columns, or take these columns out of"),
        (
            lambda x: x.rename(columns={"thal": "thallium"}),
            "if one of its further columns (thallium (thal?)) is meant, state so",
        ),
    ],
    ids=["missing", "renamed"],
)
def test_a_column_that_is_not_there_is_named_in_one_sentence(bench, cohort, change, hint):
    source = bench.file(change(cohort))
    error = bench.refused(source)
    assert error.what == (
        f"the source has no column thal, and contract {contract.VERSION} needs it: such records can be trained only "
        "with a contract that does without it"
    )
    assert error.where.startswith(f"source {source}\n    page: {PAGE}")
    assert error.hint.startswith(hint)


def test_an_inverted_label_under_ucis_codes_is_refused(bench, cohort):
    source = bench.file(
        cohort.assign(num=(cohort["num"] == 0).astype(int)).set_axis([*contract.FEATURE_NAMES, "target"], axis=1)
    )
    inverted = f"target (num){INVERTED.removeprefix('num')}"
    lines = [
        f"all records: {CONFLICT}",
        inverted,
        "names: target is Kaggle's",
        "codes: 201 of 303 rows have codes that only UCI has (cp 4, slope 3, thal 6, thal 7)",
        "label: higher means no disease, as in Kaggle's file (AUC of age 0.37, thalach 0.23, exang 0.33, oldpeak 0.27, "
        "ca 0.26)",
    ]
    assert str(bench.refused(source)) == _refusal(source, CONFLICT, lines, SET_ENCODING)
    assert str(bench.refused(source, encoding="uci")) == _refusal(source, ONE_OF_53, [inverted], CORRECT_SOURCE)


def test_kaggles_codes_under_ucis_names_are_refused_unless_the_parameter_says_kaggle(bench, cohort):
    source = bench.file(_kaggle(cohort), "processed.cleveland.data")
    lines = [
        "all records: 273 of 303 rows (90.1%) are in quarantine, at most 5.0% may be",
        INVERTED,
        "thal: expected one of the codes 3, 6, 7; found 190 rows that do not meet this: 2 in rows 1, 2, 3, 4, 5, 6, 7, "
        "9, 10, 11, … [expect_column_values_to_be_in_set]",
        "cp: expected one of the codes 1, 2, 3, 4; found 157 rows that do not meet this: 0 in rows 1, 3, 7, 11, 13, "
        "14, 17, 18, 19, 20, … [expect_column_values_to_be_in_set]",
        "slope: expected one of the codes 1, 2, 3; found 18 rows that do not meet this: 0 in rows 11, 55, 89, 99, 105, "
        "141, 150, 174, 177, 190, … [expect_column_values_to_be_in_set]",
        "ca: expected one of the codes 0, 1, 2, 3; found 4 rows that do not meet this: 4 in rows 64, 77, 187, 189 "
        "[expect_column_values_to_be_in_set]",
    ]
    evidence = [
        "names: the label is called num, as in the UCI archive",
        "codes: 273 of 303 rows have codes that only Kaggle has (cp 0, slope 0, ca 4, thal 0, thal 1, thal 2)",
        "label: higher means no disease, as in Kaggle's file (AUC of age 0.37, thalach 0.23, exang 0.33, oldpeak 0.27, "
        "ca 0.27)",
    ]
    as_ucis = [line.replace("one of the codes", "one of UCI's codes") for line in lines]
    undecided = _refusal(source, CONFLICT, [f"all records: {CONFLICT}", *as_ucis, *evidence], SET_ENCODING)
    assert str(bench.refused(source)) == undecided
    stated = STATE_IN_MAPPING.format("what the values of cp, slope, thal mean")
    assert str(bench.refused(source, encoding="uci")) == _refusal(source, ONE_OF_53, lines, stated)
    outcome = bench.run(source, encoding="kaggle")
    assert (outcome["encoding"], outcome["used"]) == ("kaggle", 303)


def test_both_encodings_of_the_same_patients_give_the_same_snapshot(bench, cohort):
    from_kaggle = bench.run(bench.file(_kaggle(cohort)[list(contract.COLUMN_NAMES)].rename(columns={"num": "output"})))
    from_uci = bench.run(bench.file(cohort.assign(num=(cohort["num"] > 0).astype(int))))
    assert from_kaggle["snapshot"] == from_uci["snapshot"]


def test_a_0_in_place_of_a_missing_value_is_found_where_0_is_no_code(bench, cohort):
    outcome = bench.run(bench.file(cohort.fillna(0)))
    rows = cohort.index[cohort["thal"].isna()].tolist()
    assert _quarantine(outcome) == [[row, "thal", "0", "expected one of the codes 3, 6, 7"] for row in rows]


def test_a_minus_9_in_place_of_a_missing_value_is_read_as_missing(bench, cohort):
    as_it_is = bench.run(bench.file(cohort))
    assert bench.run(bench.file(cohort.fillna(-9)))["snapshot"] == as_it_is["snapshot"]


def test_order_and_formatting_do_not_matter(bench, cohort):
    plain = bench.run(bench.file(cohort))
    by_label = cohort.sort_values("num").astype({"age": int, "num": int})
    assert bench.run(bench.file(by_label[sorted(by_label.columns)]))["snapshot"] == plain["snapshot"]


def test_extra_columns_are_ignored_and_reported(bench, cohort):
    outcome = bench.run(bench.file(cohort.assign(name="anna", ward=3)))
    assert outcome["snapshot"] == bench.run(bench.file(cohort))["snapshot"]
    assert json.loads(object_store.get(outcome["report"]))["notes"] == [
        "columns that the contract does not have were left out: name, ward",
        "drift was not checked: no version is in production yet",
    ]


def test_a_source_that_changes_between_two_reads_is_two_snapshots(bench, cohort):
    source = bench.file(cohort)
    ingested = ingest(source)
    bench.file(cohort.iloc[:200])
    first, second = validate(ingested, run="1"), validate(ingest(source), run="2")
    assert (first["used"], second["used"]) == (303, 200)
    assert first["snapshot"] != second["snapshot"]


def test_a_run_chooses_its_max_quarantine(bench, cohort):
    source = bench.file(cohort.assign(chol=cohort["chol"].where(cohort.index > 30, 0)))
    assert "30 of 303 rows (9.9%) are in quarantine, at most 5.0% may be" in bench.refused(source).where
    assert bench.run(source, max_quarantine=0.1)["quarantined"] == 30
    assert (
        "at most 0.0% may be"
        in bench.refused(
            bench.file(cohort.assign(age=cohort["age"].where(cohort.index > 1, 300))), max_quarantine=0.0
        ).where
    )


def test_a_refused_set_is_logged_with_its_evidence(bench, cohort):
    source = bench.file(cohort.assign(chol=0))
    bench.refused(source)
    experiment = bench.client.get_experiment_by_name("heart-disease-data").experiment_id
    (run,) = bench.client.search_runs([experiment], f"tags.source = '{source}'")
    assert run.info.status == "FAILED"
    assert (run.data.metrics["rows"], run.data.metrics["quarantined"]) == (303, 303)
    assert {one.path for one in bench.client.list_artifacts(run.info.run_id)} == {
        "data_docs.html",
        "quarantine.csv",
        "quarantine.parquet",
        "validation.json",
    }
    page = data_docs_site.read(data_docs_site.page_name(f"run of {source}")).decode()
    assert "303 of 303 rows" in page
    assert "Cholesterol" in page


def test_a_repeated_validation_is_one_run(bench, cohort):
    source = bench.file(cohort.assign(age=cohort["age"].where(cohort.index != 5, 200)))
    assert bench.run(source) == bench.run(source)

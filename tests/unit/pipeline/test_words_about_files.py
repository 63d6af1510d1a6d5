"""Every sentence about a file is true of the file as it is: its own column names, values and codes."""

import csv
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

KAGGLE_NAMES = {"trestbps": "trtbps", "thalach": "thalachh", "exang": "exng", "slope": "slp", "ca": "caa",
                "thal": "thall", "num": "output"}  # fmt: skip


def _kaggle(frame: pd.DataFrame) -> pd.DataFrame:
    recoded = frame.assign(
        cp=frame["cp"].map({1: 3, 2: 1, 3: 2, 4: 0}),
        restecg=frame["restecg"].map({0: 1, 1: 2, 2: 0}),
        slope=frame["slope"].map({1: 2, 2: 1, 3: 0}),
        thal=frame["thal"].map({6: 1, 3: 2, 7: 3}).fillna(0),
        ca=frame["ca"].fillna(4),
        num=(frame["num"] == 0).astype("float64"),
    )
    return recoded.rename(columns=KAGGLE_NAMES)


def _set(frame: pd.DataFrame, column: str, value: object, rows: int = 3) -> pd.DataFrame:
    changed = frame.astype("object")
    changed.loc[changed.index[:rows], column] = value
    return changed


@dataclass(frozen=True)
class Case:
    """A variant of the sample, what must be said about it, and what must not.

    Attributes:
        change: makes the file's table from the sample.
        said: parts of the text about the file: the error, or the log, page and quarantine of a run that continued.
        unsaid: parts that would be untrue.
        encoding: the run's parameter.
    """

    change: Callable[[pd.DataFrame], pd.DataFrame]
    said: tuple[str, ...]
    unsaid: tuple[str, ...]
    encoding: str = "auto"


CASES: dict[str, Case] = {
    "Kaggle's codes, cp 4 in three rows": Case(
        lambda x: _set(_kaggle(x), "cp", 4),
        ("cp: expected one of Kaggle's codes 0, 1, 2, 3; found 3 rows that do not meet this: 4 in rows 1, 2, 3",
         "1,cp,4,\"expected one of Kaggle's codes 0, 1, 2, 3\"", "3 typical angina"),
        ("whole numbers; found", "codes 1, 2, 3, 4", "1 typical angina"),
    ),
    "Kaggle's codes and names, thall 9": Case(
        lambda x: _set(_kaggle(x), "thall", 9),
        ("thall (thal): expected one of Kaggle's codes 1, 2, 3, and 0 for missing; found 3 rows", "1,thall,9,"),
        ("3, 6, 7",),
    ),
    "Kaggle's codes, a fraction in slp": Case(
        lambda x: _set(_kaggle(x), "slp", 1.5),
        ("slp (slope): expected whole numbers; found 3 rows that do not meet this: 1.5 in rows 1, 2, 3",),
        ("found 3 rows that do not meet this: missing",),
    ),
    "Kaggle's codes, output 2": Case(
        lambda x: _set(_kaggle(x), "output", 2),
        ("output (num): expected one of Kaggle's codes 0, 1; found 3 rows",),
        ("0, 1, 2, 3, 4",),
    ),
    "a label of words": Case(
        lambda x: x.assign(num=np.where(x["num"] > 0, "yes", "no")),
        ("num: expected whole numbers; found 303 rows", "'no' in ", "found no row with a label that can be read",
         "label: no row has a label that is a number"),
        ("found 0.0%", "higher means", "duplicate rows; found"),
        encoding="uci",
    ),
    "a label of words in a few rows": Case(
        lambda x: _set(x, "num", "unknown"),
        ("num: expected whole numbers; found 3 rows that do not meet this: 'unknown' in rows 1, 2, 3",),
        ("share of patients with disease between 5% and 95%; found",),
    ),
    "thal of words": Case(
        lambda x: x.assign(thal=x["thal"].map({3: "normal", 6: "fixed", 7: "reversible"})),
        ("thal: expected whole numbers; found ", "'normal' in row"),
        ("have a value", "found 0.0%", "a value in at least 80% of the rows; found"),
        encoding="uci",
    ),
    "0-based codes with an upright label, read as Kaggle's": Case(
        lambda x: x.assign(cp=x["cp"] - 1, slope=x["slope"] - 1, thal=x["thal"].map({3: 0, 6: 1, 7: 2})).rename(
            columns={"num": "condition_"}).rename(columns={"condition_": "num"}),
        ("rows hold 0, which means missing in Kaggle's codes",),
        (),
        encoding="kaggle",
    ),
    "0-based codes, undecided": Case(
        lambda x: x.assign(cp=x["cp"] - 1, slope=x["slope"] - 1, thal=x["thal"].map({3: 0, 6: 1, 7: 2}),
                           num=(x["num"] > 0).astype(int)),
        ("thal: expected one of UCI's codes 3, 6, 7; found ",),
        ("44.", "a value in at least 80%"),
    ),
    "a renamed column": Case(
        lambda x: x.rename(columns={"chol": "Cholesterol"}).assign(ward=1),
        ("found none of chol; unknown columns: Cholesterol (chol?), ward",),
        (),
    ),
    "a misspelt column": Case(
        lambda x: x.rename(columns={"thalach": "thalch", "oldpeak": "old_peak"}),
        ("found none of oldpeak, thalach; unknown columns: thalch (thalach?), old_peak (oldpeak?)",),
        (),
    ),
    "an invisible character in a name": Case(
        lambda x: x.rename(columns={"chol": "ch\u200bol"}),
        ("unknown columns: ch\\u200bol (contains U+200B ZERO WIDTH SPACE) (chol?)",),
        ("\u200b",),
    ),
    "a look-alike in a name": Case(
        lambda x: x.rename(columns={"age": "\u0430ge"}),
        ("unknown columns: \\u0430ge (contains U+0430 CYRILLIC SMALL LETTER A) (age?)",),
        ("\u0430ge",),
    ),
    "names in another case": Case(
        lambda x: _set(x, "chol", 0).rename(columns=str.upper),
        ("CHOL: expected 50 to 1000 mg/dl; found 3 rows that do not meet this: 0 in rows 1, 2, 3", "1,CHOL,0,"),
        (),
    ),
    "a unit in the value": Case(
        lambda x: _set(x, "chol", "233 mg/dl"),
        ("chol: expected whole numbers; found 3 rows that do not meet this: '233 mg/dl' in rows 1, 2, 3",),
        ("missing in row",),
    ),
    "a percentage": Case(
        lambda x: _set(x, "oldpeak", "55%"),
        ("oldpeak: expected numbers; found 3 rows that do not meet this: '55%' in rows 1, 2, 3",),
        ("missing in row",),
    ),
    "a date": Case(
        lambda x: _set(x, "age", "1961-03-02"),
        ("'1961-03-02' in rows 1, 2, 3",),
        ("missing in row",),
    ),
    "blanks around words": Case(
        lambda x: _set(x, "sex", "  masculine "),
        ("sex: expected whole numbers; found 3 rows that do not meet this: 'masculine' in rows 1, 2, 3",),
        (),
    ),
    "an empty cell": Case(
        lambda x: _set(x, "chol", np.nan),
        ("chol: expected a value in every row; found 3 rows that do not meet this: missing in rows 1, 2, 3",),
        ("whole numbers; found",),
    ),
    "-9 for missing": Case(
        lambda x: _set(x, "chol", -9),
        ("found 3 rows that do not meet this: -9, which means missing in rows 1, 2, 3",),
        ("50 to 1000 mg/dl; found",),
    ),
    "-9 in most of ca": Case(
        lambda x: _set(x, "ca", -9, 200),
        ("200 rows hold -9, which means missing in UCI's codes",),
        (),
    ),
    "a no-break space in a value": Case(
        lambda x: _set(x, "chol", "2\xa033"),
        ("'2\\xa033' (contains U+00A0 NO-BREAK SPACE)",),
        ("\xa0",),
    ),
    "an escape sequence in a value": Case(
        lambda x: _set(x, "chol", "\x1b[2Jhigh"),
        ("'\\x1b[2Jhigh' (contains U+001B ESCAPE)",),
        ("\x1b",),
    ),
    "a long value": Case(
        lambda x: _set(x, "chol", "high " * 1000),
        ("'high high high",),
        ("high " * 60,),
    ),
    "hundreds of unknown columns": Case(
        lambda x: x.assign(**{f"gene{n}" + "x" * 100: 1 for n in range(322)}),
        ("columns that the contract does not have were left out: gene0", "… and 312 more"),
        ("gene11x", "x" * 60),
    ),
    "words in a column that make rows look alike": Case(
        lambda x: pd.concat([x.iloc[:1].assign(chol=f"word {n}") for n in range(120)] + [x]),
        ("chol: expected whole numbers; found 120 rows",),
        ("duplicate rows; found",),
    ),
    "an inverted label under Kaggle's names": Case(
        lambda x: x.assign(num=(x["num"] == 0).astype(int)).rename(columns=KAGGLE_NAMES),
        ("lower thalachh (thalach)", "higher exng (exang)", "AUC of age 0.37, thalachh 0.23, exng 0.33",
         "thall 6, thall 7"),
        ("lower thalach,", "AUC of age 0.37, thalach "),
        encoding="uci",
    ),
}  # fmt: skip


@pytest.fixture
def told(tmp_path: Path, mlflow_store, module_store, caplog):
    """Return a function that runs a table as a file and returns all that is written about it."""

    def told(table: pd.DataFrame, encoding: str) -> str:
        path = tmp_path / "records.csv"
        table.to_csv(path, index=False)
        caplog.set_level("INFO")
        try:
            outcome = validate(ingest(str(path)), encoding=encoding, run="told")
        except DataError as error:
            return "\n".join([str(error), caplog.text])
        page = data_docs_site.read(data_docs_site.page_name("told")).decode()
        findings = page[page.index("<h2>Findings") : page.index("<h2>Encoding")].replace("&#39;", "'")
        quarantine = object_store.get(outcome["quarantine_csv"]).decode()
        return "\n".join([caplog.text, findings, quarantine])

    return told


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_said_about_a_file_is_true_of_it(told, cohort, case):
    text = told(case.change(cohort), case.encoding)
    assert [part for part in case.said if part not in text] == [], text
    assert [part for part in case.unsaid if part in text] == [], text


def test_the_number_of_expected_fields_is_that_of_the_file(told, cohort, tmp_path):
    lines = cohort.assign(ward=1, bed=2).to_csv(index=False).splitlines()
    lines[3] = lines[3][:-2]
    path = tmp_path / "short.csv"
    path.write_text("\n".join(lines))
    outcome = validate(ingest(str(path)), run="fields")
    text = data_docs_site.read(data_docs_site.page_name("fields")).decode()
    assert "16 fields in each row" in text
    assert "14 fields" not in text
    assert snapshots.read_snapshot(outcome["quarantine"])["reason"].tolist() == ["15 fields instead of 16"]


def test_the_number_of_rows_is_that_of_the_file(told, cohort):
    path_rows = cohort.iloc[:95]
    text = told(path_rows, "uci")
    assert "at least 100 records; found 95 [" in text
    assert contract.MIN_ROWS == 100


def test_the_quarantine_of_a_file_is_safe_in_a_spreadsheet(told, cohort, tmp_path):
    bad = cohort.astype("object").rename(columns={"chol": "CHOL"})
    texts = ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\x1b[2J"]
    bad.loc[list(range(1, 7)), "CHOL"] = texts
    bad.loc[7, "oldpeak"] = -1.5
    path = tmp_path / "formulas.csv"
    bad.to_csv(path, index=False)
    outcome = validate(ingest(str(path)), run="formulas")
    rows = csv.reader(object_store.get(outcome["quarantine_csv"]).decode().splitlines())
    assert [row[2] for row in rows][1:] == ["'=1+1", "'+cmd", "'-2+3", "'@SUM(A1)", "'=1", "\\x1b[2J", "-1.5"]
    assert snapshots.read_snapshot(outcome["quarantine"])["value"].tolist() == [
        "=1+1", "+cmd", "-2+3", "@SUM(A1)", "=1", "\x1b[2J", "-1.5",
    ]  # fmt: skip

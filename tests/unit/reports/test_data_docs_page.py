"""The Data Docs page of a run: its text, and that it runs no script and loads nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.reports import data_docs_checks, data_docs_page
from heartline.validation import checkpoint, drift
from heartline.validation.findings import Finding
from tests.pages import EVIL, Page


def _check(frame: pd.DataFrame, *unparseable: tuple[int, str, str, str], **more) -> checkpoint.Checked:
    return checkpoint.check(frame, pd.DataFrame(list(unparseable), columns=checkpoint.QUARANTINE), **more)


def _report(checked: checkpoint.Checked, **changed) -> checkpoint.Report:
    report = checkpoint.Report(
        rows=checked.rows,
        used=checked.used,
        duplicates=len(checked.duplicates),
        quarantined=checked.quarantined,
        max_quarantine=0.05,
        encoding="uci",
        evidence=["codes: 300 of 303 rows have codes that only UCI has"],
        notes=["drift was not checked"],
        expectations=len(checked.result.results),
        findings=checked.findings,
        stopped=checkpoint.reasons_to_stop(checked, 0.05),
    )
    return replace(report, **changed)


def _render(checked: checkpoint.Checked, report: checkpoint.Report | None = None, source: str = "a file") -> bytes:
    return data_docs_page.render(checked.result, report or _report(checked), run="manual__1", source=source)


@pytest.fixture(scope="module")
def usual(cohort) -> pd.DataFrame:
    """A cohort without unusual values."""
    frame = cohort.rename_axis(None)
    for column in contract.COLUMNS:
        if column.usual:
            frame[column.name] = frame[column.name].clip(*column.usual)
    return frame


@pytest.fixture(scope="module")
def good(usual) -> checkpoint.Checked:
    return _check(usual)


@pytest.fixture(scope="module")
def bad(usual) -> checkpoint.Checked:
    """Forty-three bad rows, a drifted column, and text that looks like markup."""
    frame = usual.copy()
    frame.loc[3, "cp"] = 9
    frame.loc[9, "trestbps"] = 230
    frame.loc[20:60, "chol"] = 0
    frame.loc[2, "thalach"] = np.nan
    return _check(frame, (2, "thalach", EVIL, "not a number"), reference={"age": drift.reference(usual - 15)["age"]})


@pytest.fixture(scope="module")
def stopped(bad) -> Page:
    return Page(_render(bad))


def test_a_good_run_says_so(good):
    page = Page(_render(good))
    assert "The run continued: all checks passed 303 records of 303 are used, in training set or hold-out" in page.text
    assert "Source a file Checks 53, with no findings" in page.text
    assert "Findings None: all checks passed." in page.text
    assert "They were read as the codes of the UCI archive. codes: 300 of 303 rows" in page.text
    assert "Notes drift was not checked" in page.text
    assert (
        f"Data contract {contract.VERSION} ({contract.digest()[:12]}) · checked by Great Expectations 1." in page.text
    )


def test_a_stopped_run_says_why(stopped):
    assert (
        "The run stopped: these records are refused Nothing was trained on these records. The reasons: "
        "all records: 43 of 303 rows (14.2%) are in quarantine, at most 5.0% may be age: " in stopped.text
    )


def test_the_rows_are_counted_by_their_use(stopped):
    assert (
        "Use of the 303 rows "
        "260 usable (85.8%) not used, as the run stopped "
        "0 repeated (0%) the same record as an earlier row "
        "43 quarantined (14.2%) rows with impossible or missing values "
        "Up to 5% of the rows may be quarantined; above that the run stops."
    ) in stopped.text
    bars = [(attrs["class"], attrs["style"]) for tag, attrs in stopped.tags if tag == "span" and "style" in attrs]
    assert bars == [("used", "width:85.81%"), ("quarantined", "width:14.19%")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"quarantined": 1, "used": 302}, "The run continued, with 1 row in quarantine 302 records of 303 are used"),
        ({"quarantined": 1, "used": 302}, "1 row with invalid values went to quarantine. Correct them"),
        ({"duplicates": 2, "used": 301}, "2 rows repeated an earlier row and counted once."),
        ({"duplicates": 2, "used": 301}, "301 used (99.3%) in training set or hold-out 2 repeated (0.7%)"),
        ({"rows": 1_000_000, "used": 999_999, "quarantined": 1}, "1 quarantined (less than 0.1%)"),
        ({"rows": 1_000_000, "used": 999_999, "quarantined": 1}, "999,999 used (more than 99.9%)"),
        ({"encoding": "kaggle"}, "They were read as the codes of the Kaggle file, and converted to those of"),
        ({"encoding": "", "stopped": ["undecided"]}, "It is uncertain whether the codes are UCI's or Kaggle's"),
        ({"stopped": ["one"]}, "Nothing was trained on these records. The reason: one Run"),
        ({"max_quarantine": 0.0}, "Up to 0% of the rows"),
        ({"max_quarantine": 1}, "Up to 100% of the rows"),
        ({"rows": 0, "used": 0, "stopped": ["empty"]}, "Use of the 0 rows 0 usable (0%)"),
    ],
)
def test_outcomes_in_words(good, changed, words):
    assert words in Page(_render(good, _report(good, **changed))).text


def test_findings_are_shown_with_rows_the_most_severe_first(stopped):
    found = stopped.text[stopped.text.index(" Findings ") : stopped.text.index("Encoding of the codes")]
    stops, quarantined, unusual = (
        found.index(words)
        for words in ("stops the run Expectations about", "rows quarantined Values", "unusual, only a warning")
    )
    assert stops < quarantined < unusual
    assert (
        "Age in years Age of the patient (column age) Expected a distribution like that of production's"
        in found[stops:quarantined]
    )
    assert (
        "Chest pain Type of chest pain: 1 typical angina, 2 atypical angina, 3 non-anginal pain, 4 asymptomatic "
        "(column cp) Expected one of the codes 1, 2, 3, 4 Found 1 of 303 rows (0.3%) does not meet this Where row 3: 9"
    ) in found[quarantined:unusual]
    assert (
        "Cholesterol in mg/dl Serum cholesterol (column chol) Expected 50 to 1000 mg/dl "
        "Found 41 of 303 rows (13.5%) do not meet this Where row 20: 0 row 21: 0 row 22: 0 row 23: 0 row 24: 0 "
        "row 25: 0 row 26: 0 row 27: 0 row 28: 0 row 29: 0 The first 10 of 41 rows."
    ) in found[quarantined:unusual]
    assert (
        "Expected usually 80 to 220 mm Hg Found 1 of 303 rows (0.3%) does not meet this Where row 9: 230"
        in (found[unusual:])
    )


def test_malformed_rows_are_named(good):
    finding = Finding("rows", "", "row", "14 fields in each row", "another", [(7, "13 fields instead of 14")], 1)
    text = Page(_render(good, _report(good, findings=[finding], quarantined=1))).text
    assert "Whole rows Expected 14 fields in each row" in text
    assert "Where row 7: 13 fields instead of 14" in text


def test_below_are_all_checks_in_great_expectations_own_words(bad, stopped):
    checks = stopped.text[stopped.text.index("All checks") :]
    titles = ["All records together", *(f"{column.title} {column.name}" for column in contract.COLUMNS)]
    places = [checks.index(title) for title in titles]
    assert places == sorted(places)
    assert checks.count("Outcome Expectation Observed") == len(titles)
    assert "rows quarantined cp values must belong to this set: 1 2 3 4. 1 unexpected values found." in checks
    assert "warning trestbps values must be greater than or equal to 80 and less than or equal to 220." in checks
    assert "stops the run age Kullback-Leibler (KL) divergence with respect to the following distribution" in checks
    assert "met Must have greater than or equal to 100 rows. 303" in checks
    shown = sum(len(group["checks"]) for group in data_docs_checks.by_column(bad.result))
    assert shown == len(bad.result.results)


def test_the_columns_that_the_checks_add_are_not_among_those_observed(stopped):
    assert "['age', 'ca', 'chol', 'cp', 'exang', 'fbs', 'num', 'oldpeak', 'restecg', 'sex', 'slope', 'thal', " in (
        stopped.text
    )


def test_an_expectation_that_could_not_run_shows_its_error_and_no_traceback(good):
    result = data_docs_checks._plain(good.result)
    result.results[4].success = False
    result.results[4].exception_info = {
        "raised_exception": True,
        "exception_message": "no <such> column",
        "exception_traceback": "Traceback: /home/someone/x.py",
    }
    html = data_docs_page.render(result, _report(good), run="r", source="s")
    assert "could not run" in Page(html).text
    assert "raised an exception: no <such> column" in Page(html).text
    assert b"/home/someone" not in html


def test_values_of_the_data_are_escaped(bad):
    report = _report(bad, stopped=[EVIL], notes=[EVIL], evidence=[EVIL])
    html = data_docs_page.render(bad.result, report, run=EVIL, source=EVIL)
    page = Page(html)
    # title, run, source, reason, note, evidence, and what Great Expectations shows; a finding has it in quotes
    assert page.text.count(EVIL) == 7
    assert page.text.count("<script>alert(1)</script>") == 8
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "link", "base", "form"})
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_the_page_loads_nothing(bad):
    html = _render(bad, source="https://example.org/heart.csv").decode()
    page = Page(html.encode())
    assert "https://example.org/heart.csv" in page.text
    assert not [attrs for _, attrs in page.tags if {"src", "href", "srcset", "data", "poster"} & set(attrs)]
    assert not re.findall(r"""(?:href|src)\s*=\s*["']?\s*(?:https?:)?//""", html)
    assert "url(" not in html
    assert "@import" not in html
    assert len(html) < 300_000


def test_every_tag_is_closed(bad):
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    balance = Balance()
    balance.feed(_render(bad).decode())
    assert balance.open == []


def test_the_same_records_give_the_same_page(usual, good):
    assert _render(_check(usual)) == _render(good)


def test_rendering_leaves_the_result_as_it_was(bad):
    before = bad.result.to_json_dict()
    _render(bad)
    assert bad.result.to_json_dict() == before

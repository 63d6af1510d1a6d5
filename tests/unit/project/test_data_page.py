"""The tables, quotes and figures of docs/data.md are those of the code and of the real files."""

import re

import pytest

from heartline import contract
from heartline.ingestion import encodings, source_catalog, sources
from heartline.ingestion.sample import synthetic
from heartline.validation import checkpoint, drift
from tests import data_page

TEXT = data_page.PAGE.read_text()


def test_the_table_of_checks_is_current():
    assert data_page.section("checks") == data_page.checks(), f"run: {data_page.REFRESH}"


def test_the_table_of_the_hungarian_file_is_current(real_data):
    assert data_page.section("hungary") == data_page.hungary(real_data), f"run: {data_page.REFRESH}"


def test_the_hungarian_file_has_the_outcome_on_the_page(real_data):
    checked = data_page.check_hungary(real_data, with_reference=True)
    assert f"{checked.quarantined} of {checked.rows} rows ({checked.quarantined / checked.rows:.1%})" in _unquoted(TEXT)
    reasons = checkpoint.reasons_to_stop(checked, max_quarantine=1.0)
    assert {"ca", "thal"} == {one.split(":")[0] for one in reasons if "divergence" not in one}


@pytest.mark.parametrize("name", ["kaggle_heart_303.csv", "processed.cleveland.data"])
def test_the_quoted_evidence_is_current(real_data, name):
    table = sources.read(str(real_data / name), settings=data_page.ANY_FILE).table
    decision = encodings.decide_encoding(table.frame, table.names, encodings.AUTO)
    assert len(decision.evidence) == 3
    assert [one for one in decision.evidence if f"> - {one}\n" not in TEXT] == []


def test_the_counts_of_kaggles_file_are_those_on_the_page(real_data):
    table = sources.read(str(real_data / "kaggle_heart_303.csv"), settings=data_page.ANY_FILE).table
    checked = checkpoint.check(encodings.decode(table.frame, encodings.KAGGLE), table.unparseable)
    assert (checked.rows, checked.used, checked.duplicates, checked.quarantined) == (303, 302, [165], 0)
    said = (
        "in Kaggle's file row 165 repeats row 164, and Cleveland's row 185 is missing. So 302 of its 303 rows are used."
    )
    assert said in TEXT


def test_the_defaults_of_the_parameters_are_those_on_the_page():
    assert f"| `max_quarantine` | {contract.MAX_QUARANTINE_SHARE:g} |" in TEXT
    assert f"| `max_drift` | {contract.MAX_DRIFT:g} |" in TEXT


@pytest.mark.slow
def test_the_table_of_divergence_by_chance_is_reproducible():
    said = data_page.section("chance")
    ((draws, seed),) = re.findall(r"^([\d,]+) draws for each size, seed (\d+)\.$", said, re.MULTILINE)
    again = data_page.chance(draws=int(draws.replace(",", "")), seed=int(seed), sizes=(100,))
    assert [line for line in again.splitlines() if line not in said.splitlines()] == [], f"run: {data_page.REFRESH}"
    assert "| 100 |" in again


def test_the_page_computes_the_same_divergence_as_the_checkpoint(cohort):
    other = synthetic.generate(150, seed=11)
    seen = [
        one.result["observed_value"]
        for one in checkpoint.check(
            other, encodings.no_unparseable_cells(), reference=drift.reference(cohort)
        ).result.results
        if one.expectation_config.type == "expect_column_kl_divergence_to_be_less_than"
    ]
    assert len(seen) == len(contract.COLUMNS)
    assert data_page.largest_divergence(cohort, other) == pytest.approx(max(seen), abs=0.002)


def _unquoted(text: str) -> str:
    return text.replace(" %", "%").replace("\n  ", " ")


def test_the_page_shows_the_query_of_the_nightly_run():
    shown = TEXT.split("<!-- default query -->")[1].split("<!-- /default query -->")[0]
    assert shown.strip() == f"```sql\n{source_catalog.DEFAULT_QUERY}\n```"

"""The measurement runs at sizes that take seconds; the page has its results."""

import json
import shutil

import pytest
from checked import call, split_page, tables

from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "benchmarks" / "pipeline_cost.py"
PAGE = ROOT / "docs" / "cost.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The results of two small sizes: figures and page."""
    folder = tmp_path_factory.mktemp("cost")
    shutil.copy(PAGE, folder / "cost.md")
    done = call(SCRIPT, "--rows", "2000", "303", "--json", str(folder / "cost.json"), "--page", str(folder / "cost.md"))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "cost.json").read_text()), (folder / "cost.md").read_text()


@pytest.mark.slow
def test_every_stage_of_every_size_is_measured(measured):
    figures, _ = measured
    assert [size["rows"] for size in figures["sizes"]] == [303, 2000]
    for size in figures["sizes"]:
        assert size["used"] + size["duplicates"] + size["quarantined"] == size["rows"]
        assert size["quarantined"] == 0
        assert list(size["stages"]) == ["ingest", "validate", "preprocess"]
        for cost in (*size["stages"].values(), size["pandas"]):
            assert cost["cpu"] > 0
            assert cost["wall"] > 0
            assert cost["peak"] >= cost["base"] > 50e6
        assert list(size["training"]) == ["logistic_regression", "random_forest", "compare", "register"]
        assert all(cost["cpu"] > 0 for cost in size["training"].values())
        assert set(size["bundles"]) == {"logistic_regression", "random_forest"}
        assert 0 < size["great_expectations_cpu"] < size["stages"]["validate"]["cpu"]


@pytest.mark.slow
def test_the_page_holds_complete_tables_and_keeps_its_words(measured):
    _, page = measured
    before, text, after = split_page(page, BEGIN, END)
    assert (before, after) == split_page(PAGE.read_text(), BEGIN, END)[::2]
    found = tables(text)
    assert len(found) == 4
    for table in found:
        assert [row[0] for row in table] == ["rows", "---:", "303", "2,000"]
        assert {len(row) for row in table} == {len(table[0])}
        assert all(cell for row in table for cell in row)


@pytest.mark.slow
def test_the_page_in_the_repository_was_written_by_this_script(measured):
    headers = [
        [table[0] for table in tables(split_page(page, BEGIN, END)[1])] for page in (measured[1], PAGE.read_text())
    ]
    assert headers[0] == headers[1]


def test_a_page_without_markers_is_refused_before_the_measurement(tmp_path):
    page = tmp_path / "other.md"
    page.write_text("# Another page\n")
    done = call(SCRIPT, "--page", str(page))
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: {page} has no lines {BEGIN} and {END}\n")
    assert page.read_text() == "# Another page\n"

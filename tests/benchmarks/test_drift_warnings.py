"""The simulation of the warnings of drift runs at a size that takes seconds, and the page has its tables."""

import shutil

from checked import call, split_page

from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "benchmarks" / "drift_warnings.py"
PAGE = ROOT / "docs" / "data.md"
MARKERS = ("<!-- drift warnings: begin -->", "<!-- drift warnings: end -->")


def test_the_tables_are_written_between_their_markers(tmp_path):
    page = tmp_path / "data.md"
    shutil.copy(PAGE, page)
    done = call(SCRIPT, "--unchanged", "2", "--changed", "2", "--page", page)
    assert done.returncode == 0, done.stderr
    before, measured, after = split_page(page.read_text(), *MARKERS)
    assert (before, after) == split_page(PAGE.read_text(), *MARKERS)[::2]
    assert measured.strip() == done.stdout.strip()
    assert "| prevalence 46% → 12% | 100% / " in measured


def test_the_page_has_the_measured_tables():
    measured = split_page(PAGE.read_text(), *MARKERS)[1]
    assert "Without a change; 3,000 runs for each row" in measured
    assert "500 runs for each cell" in measured


def test_a_page_without_markers_is_refused_before_measuring(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    done = call(SCRIPT, "--page", page)
    assert done.returncode == 2
    assert MARKERS[0] in done.stderr

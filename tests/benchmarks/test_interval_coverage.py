"""The simulation of the intervals' coverage runs at a size that takes seconds, and the page has its table."""

import shutil

from checked import call, split_page

from heartline.evaluation import metrics
from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "benchmarks" / "interval_coverage.py"
PAGE = ROOT / "docs" / "evaluation.md"
MARKERS = ("<!-- coverage: begin -->", "<!-- coverage: end -->")
SIZES = ("--samples", "4", "--draws", "60", "--population", "20000")


def test_the_table_has_every_score_and_is_written_between_its_markers(tmp_path):
    page = tmp_path / "evaluation.md"
    shutil.copy(PAGE, page)
    done = call(SCRIPT, *SIZES, "--page", page)
    assert done.returncode == 0, done.stderr
    before, measured, after = split_page(page.read_text(), *MARKERS)
    assert (before, after) == split_page(PAGE.read_text(), *MARKERS)[::2]
    assert measured.strip() == done.stdout.strip()
    assert [title for title in metrics.TITLES.values() if f"| {title} |" not in measured] == []
    assert "| Calibration in the large | 0.000 |" in measured
    assert "4 samples of each size, 60 draws each" in measured


def test_the_page_has_the_measured_table():
    measured = split_page(PAGE.read_text(), *MARKERS)[1]
    assert [title for title in metrics.TITLES.values() if f"| {title} |" not in measured] == []
    assert "2,000 samples of each size, 1,000 draws each" in measured


def test_a_page_without_markers_is_refused_before_measuring(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    done = call(SCRIPT, "--page", page)
    assert done.returncode == 2
    assert MARKERS[0] in done.stderr

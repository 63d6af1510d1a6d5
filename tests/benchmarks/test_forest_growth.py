"""The measurement runs at sizes that take seconds; the page has its results."""

import json
import re
import shutil

import pytest
from checked import call, split_page, tables

from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "benchmarks" / "forest_growth.py"
PAGE = ROOT / "docs" / "growth.md"
BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"
BOUNDS = ("--bound", "500", "--leaves", "60", "--leaves-from", "500")
SIZES = ("--rows", "2000", "300", *BOUNDS, "--trees", "30", "--few", "10", "--tested", "3000")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The results of two small sizes: figures, page and picture."""
    folder = tmp_path_factory.mktemp("growth")
    shutil.copy(PAGE, folder / "growth.md")
    figure, figures = folder / "growth.svg", folder / "growth.json"
    done = call(
        SCRIPT, *SIZES, "--exported", "300", "--json", figures, "--page", folder / "growth.md", "--figure", figure
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(figures.read_text()), (folder / "growth.md").read_text(), figure.read_text()


def test_a_size_above_the_bound_is_grown_with_it_and_without(measured):
    small, large = measured[0]["sizes"]
    assert [small["rows"], large["rows"]] == [300, 2000]
    found = [[(one["bound"], one["leaves"], one["trees"]) for one in size["forests"]] for size in (small, large)]
    assert found == [[(None, None, 30)], [(500, 60, 30), (None, None, 10)]]


def test_the_bound_makes_trees_smaller(measured):
    with_bound, without = measured[0]["sizes"][1]["forests"]
    assert with_bound["nodes"] < 0.5 * without["nodes"]
    assert with_bound["bytes"] / 30 < 0.5 * without["bytes"] / 10


def test_each_forest_has_costs_and_scores(measured):
    for size in measured[0]["sizes"]:
        for forest in size["forests"]:
            assert forest["cpu"] > 0
            assert forest["peak"] >= forest["base"] > 50e6
            assert 0 < forest["seconds_per_prediction"] < forest["cpu"] / 20, "not that of one prediction"
            half, few, every = (forest["scores"][name] for name in ("half", "few", "all"))
            assert 0.7 < few["auc"] <= every["auc"] < 1
            assert half["brier"] > few["brier"] >= every["brier"] > 0


def test_the_difference_is_the_difference_of_the_scores(measured):
    small, large = measured[0]["sizes"]
    assert small["gain"] is None
    with_bound, without = (one["scores"]["few"] for one in large["forests"])
    for score in ("auc", "brier"):
        gain = large["gain"][score]
        assert gain["value"] == pytest.approx(with_bound[score] - without[score])
        assert gain["low"] < gain["value"] < gain["high"]


def test_both_formats_are_written_and_read(measured):
    exported = measured[0]["export"]
    for name in ("skops", "onnx"):
        assert exported[name]["bytes"] > 10_000
        assert exported[name]["cpu"] > 0
        assert exported[name]["reading"]["cpu"] > 0


def test_the_page_has_complete_tables_and_keeps_its_text(measured):
    _, page, figure = measured
    before, text, after = split_page(page, BEGIN, END)
    assert (before, after) == split_page(PAGE.read_text(), BEGIN, END)[::2]
    found = tables(text)
    assert len(found) == 4
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}
        assert all(cell for row in table for cell in row)
    assert [row[:4] for row in found[0][2:]] == [
        ["300", "all", "any", "30"],
        ["2,000", "500", "60", "30"],
        ["2,000", "all", "any", "10"],
        ["2,000", "all", "any", "30"],
    ]
    assert figure.count("<svg") == 1


def test_the_page_in_the_repository_was_written_by_this_script(measured):
    def words(page):
        return [[re.sub(r"\d+", "n", cell) for cell in table[0]] for table in tables(split_page(page, BEGIN, END)[1])]

    assert words(measured[1]) == words(PAGE.read_text())


def test_the_score_of_many_trees_is_estimated_from_few(measured):
    """The Brier score of k trees is a limit plus a term in 1/k; this holds for the 30 bounded trees."""
    for size in measured[0]["sizes"]:
        scores = size["forests"][0]["scores"]
        half, few, every = (scores[name]["brier"] for name in ("half", "few", "all"))
        spread = (half - few) / (1 / 5 - 1 / 10)
        assert few - spread * (1 / 10 - 1 / 30) == pytest.approx(every, abs=0.004)


def test_a_page_without_markers_is_refused_before_the_measurement(tmp_path):
    page = tmp_path / "other.md"
    page.write_text("# Another page\n")
    done = call(SCRIPT, "--page", page)
    assert done.returncode == 2
    assert f"has no lines {BEGIN} and {END}" in done.stderr

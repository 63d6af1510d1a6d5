"""The simulations of a year and of the verdict's limits run at sizes that take seconds; the page has their results."""

import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from checked import call
from scipy import stats

from heartline.comparison import looks, paired_tests
from heartline.comparison.verdict_names import BETTER
from tests.benchmarks import verdict_limits, year
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "evidence.md"
RATE = re.compile(r"to ([\d.]+)\)")


@pytest.mark.parametrize(
    ("module", "sizes"),
    [
        (year, ("--drawn", "2", "--power", "2", "--fitted", "1")),
        (verdict_limits, ("--small", "4", "--signal", "2", "--power", "2", "--recall", "2")),
    ],
    ids=["year", "limits"],
)
def test_the_page_is_written_between_its_markers(tmp_path, module, sizes):
    shutil.copy(PAGE, tmp_path / "evidence.md")
    script = ROOT / "tests" / "benchmarks" / f"{module.__name__.rpartition('.')[2]}.py"
    done = call(script, *sizes, "--jobs", "1", "--json", tmp_path / "found.json", "--page", tmp_path / "evidence.md")
    assert done.returncode == 0, done.stderr
    results, page = json.loads((tmp_path / "found.json").read_text()), (tmp_path / "evidence.md").read_text()
    before, _, rest = page.partition(module.PART.begin)
    assert rest.partition(module.PART.end)[0].strip() == module.markdown(results)
    assert before == PAGE.read_text().partition(module.PART.begin)[0]


def test_on_the_page_production_moves_to_an_equal_model_in_at_most_five_per_cent_of_years():
    part = PAGE.read_text().partition(year.PART.begin)[2].partition("Production moved to a model whose")[0]
    rows = [line.split("|") for line in part.splitlines() if line.startswith("| ") and "%" in line]
    assert len(rows) == len(year.DESIGNS) + len(year.FITTED)
    with_looks = [cell for row in rows for cell in row[4:6] if "%" in cell]
    assert max(float(RATE.search(cell)[1]) for cell in with_looks) <= 5
    alone = [float(re.search(r"([\d.]+) %", row[3])[1]) for row in rows if "%" in row[3]]
    assert min(alone) > 5, "the verdict alone is wrong more often in each design"


def test_looks_are_taken_after_a_quarter_of_new_records():
    nights = list(year._looks(year.DESIGNS["grow5"]))
    sizes = [year.START + 5 * night for night in nights]
    assert nights[:2] == [0, 13]
    assert all(later - size >= looks.needed(size) > later - size - 5 for size, later in pairwise(sizes))
    assert list(year._looks(year.DESIGNS["fresh"])) == list(range(year.YEAR))


@pytest.mark.parametrize("rolling", [False, True])
def test_the_counts_of_pairs_are_kept_as_records_come_and_go(rolling):
    cohorts = year.Cohorts((1.9, 2.0), (30, 25), np.random.default_rng(0))
    for night in range(9):
        cohorts.add(0, 3 + night % 2, rolling=rolling)
        cohorts.add(1, 2, rolling=rolling)
    delta, error, better = cohorts.tests()
    for one in range(year.BATCH):
        labels = np.repeat([0, 1], [cohorts.scores[label].shape[1] for label in (0, 1)])
        scores = np.concatenate([cohorts.scores[label][one] for label in (0, 1)])
        found = paired_tests.delong(labels, scores[:, 1], scores[:, 0])
        assert (delta[one], error[one]) == pytest.approx((found.auc.value, found.standard_error))
        assert not better[one] or found.auc.low > 0


def test_delongs_test_rules_out_only_looks_that_the_bootstrap_refuses():
    cohorts = year.Cohorts((1.9, 2.05), (131, 111), np.random.default_rng(1))
    delta, error, _ = cohorts.tests()
    for one in range(10):
        compared = cohorts.compared(one)
        z = stats.norm.isf(looks.p_values([compared])["second"])
        assert z == pytest.approx(delta[one] / error[one], abs=year.SCREEN)


def test_a_move_needs_the_verdict_and_a_p_value_within_the_level():
    cohorts = year.Cohorts((1.5, 2.5), (131, 111), np.random.default_rng(2))
    rule = year.LookRule()
    rule.look(9.0, lambda: cohorts.compared(0), 40)
    assert year._verdict(cohorts.compared(0)) == BETTER
    assert rule.result() == {"after30": False, "after365": True, "looks": 1}


def test_the_requirement_on_recall_is_decided_on_its_interval():
    by_point, by_interval = verdict_limits.vetoed(0.6, 20)
    assert by_interval < 0.01 < by_point
    assert verdict_limits.vetoed(0.2, 40)[1] > 0.9

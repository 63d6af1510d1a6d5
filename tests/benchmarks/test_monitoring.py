"""The simulated years raise the alarms that `advance` raises, and the page is written from the figures."""

import datetime
import math

import monitoring
import numpy as np
import pytest
from monitoring_peers import rules, shadow, years

from heartline.monitoring.advance import advance
from heartline.monitoring.inputs import Answers, Day, Outcomes, Reference, Settings
from heartline.monitoring.methods import conformal
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "monitoring-evidence.md"


@pytest.fixture(autouse=True)
def sample(monkeypatch):
    """The built-in sample, whatever the environment has."""
    monkeypatch.delenv("HEARTLINE_REAL_DATA", raising=False)
    years.pools.cache_clear()
    yield
    years.pools.cache_clear()


def _advanced(year, days):
    """Return the first alarm of each kind, day by day; the ties are those of the simulation."""
    reference = Reference("1", "d" * 64, "s", year.reference.features, year.expected, year.reference.labels)
    state, found = None, {}
    for number in range(days):
        here, known = year.day == number, year.day + year.delay == number
        answers = Answers([str(one) for one in np.flatnonzero(here)], year.features[here], year.probabilities[here])
        n = int(known.sum())
        outcomes = Outcomes(
            year.labels[known], np.full(n, -1), year.features[known], year.probabilities[known], np.zeros(n)
        )
        refused = int(year.requests[number] - here.sum())
        day = Day(rules.MONDAY + datetime.timedelta(days=number), answers, outcomes, {"invalid": refused})
        state, report = advance(state, reference, day, Settings())
        for one in report.alarms:
            kind = "refused" if one.kind == "completeness" else one.kind
            found.setdefault(kind, number)
    return found


@pytest.mark.parametrize("name", ["refused", "zero", "brier10"])
def test_the_simulation_raises_the_alarms_of_advance(name, monkeypatch):
    days = years.CHANGE + 35
    year = years.year(4, 12, 303, years.CHANGES[name])
    ties = np.random.default_rng(rules._SEED).random((len(year.day), len(rules.columns.NAMES)))
    monkeypatch.setattr(conformal, "seeds", lambda ids: [int(one) if one.isdigit() else one for one in ids])
    columns = {name: at for at, name in enumerate(rules.columns.NAMES)}

    def uniforms(seeds, name):
        return ties[seeds, columns[name]] if name in columns else np.full(len(seeds), 0.5)

    monkeypatch.setattr(conformal, "uniforms", uniforms)
    expected = {kind: day for kind, day in rules.ours(year).items() if day is not None and day < days}
    assert expected
    assert _advanced(year, days) == expected


def test_equal_arguments_give_equal_years():
    one, two = (years.year(1, 10, 303) for _ in range(2))
    assert (one.features.tobytes(), one.probabilities.tobytes()) == (
        two.features.tobytes(),
        two.probabilities.tobytes(),
    )
    assert one.day[-1] < years.DAYS
    assert len(one.reference.labels) == 303


def test_a_change_begins_on_its_day():
    quiet, changed = years.year(2, 10, 303), years.year(2, 10, 303, years.CHANGES["zero"])
    before = quiet.day < years.CHANGE
    assert np.array_equal(quiet.features[before], changed.features[before], equal_nan=True)
    assert (changed.features[~before, years.OLDPEAK] == 0).all()


def test_wrong_labels_raise_the_brier_score_by_what_is_said():
    year = years.year(3, 100, 3000, years.CHANGES["brier10"])
    losses = (year.labels - year.probabilities) ** 2
    before = year.day < years.CHANGE
    assert losses[~before].mean() - losses[before].mean() == pytest.approx(0.1, abs=0.015)


def test_the_psi_of_a_week_by_hand():
    year = years.year(5, 100, 3000)
    found = rules._psi(year)
    assert len(found) == years.DAYS // 7
    assert 0 < found.max() < 0.25


def test_a_pair_of_models_has_the_difference_that_the_page_says():
    assert [round(shadow.difference(pair), 2) for pair in (shadow.EQUAL, *shadow.BETTER)] == [0.0, 0.01, 0.03, 0.05]


def test_delays_count_from_the_change_and_leave_earlier_alarms_out():
    found = [{"harm": years.CHANGE + 5}, {"harm": None}, {"harm": 3}]
    assert monitoring._delays(found, "harm") == [5, math.inf]


def test_a_small_run_fills_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(monitoring, "CELLS", [(10, 303)])
    monkeypatch.setattr(shadow, "BETTER", shadow.BETTER[2:])
    page = tmp_path / "page.md"
    page.write_text(f"before\n{monitoring.PART.begin}\nold\n{monitoring.PART.end}\nafter\n")
    monitoring.main(
        ["--years", "2", "--runs", "1", "--pairs", "2", "--peer-years", "0", "--jobs", "1", "--page", str(page)]
    )
    text = page.read_text()
    assert "built-in sample" in text
    assert "Evidently and NannyML were not measured" in text
    assert "Hungary's patients (ten columns)" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert capsys.readouterr().out


def test_the_page_has_measured_figures():
    text = PAGE.read_text()
    for title in (*monitoring.RULES.values(), *monitoring.SHARES.values()):
        assert f"| {title} |" in text

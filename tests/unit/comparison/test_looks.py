"""Looks: their levels, their numbers, their p-values, and what they say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from scipy import stats

from heartline.comparison import looks
from heartline.comparison.looks import Look, NewRecords
from heartline.comparison.paired_tests import Interval
from tests.unit.comparison.test_verdict import against

NOW = datetime(2026, 6, 1, 2, tzinfo=UTC)
NEW = NewRecords(61, 59, "the look of 2026-05-01 02:00 UTC")


def with_z(z, challenger="random_forest"):
    """A comparison whose difference is z standard errors."""
    return replace(against(0.0, 0.0, challenger=challenger), auc=Interval(0.01 * z, 0, 0), standard_error=0.01)


def test_the_levels_fall_and_any_number_of_looks_spends_less_than_the_error_rate():
    levels = [looks.level(number) for number in range(1, 2000)]
    assert levels == sorted(levels, reverse=True)
    assert levels[:3] == pytest.approx([looks.ERROR_RATE / 2, looks.ERROR_RATE / 6, looks.ERROR_RATE / 12])
    assert sum(levels[:365]) < sum(levels) < looks.ERROR_RATE <= 0.05
    with pytest.raises(ValueError, match="numbered from 1: 0"):
        looks.level(0)


def test_the_looks_of_the_last_365_days_are_counted():
    earlier = [NOW - timedelta(days=days) for days in (800, 365, 364, 30)]
    assert looks.number([], NOW) == 1
    assert looks.number(earlier, NOW) == 3


@pytest.mark.parametrize(("records", "needed"), [(235, 59), (4, 1), (1000, 250), (1001, 251)])
def test_a_quarter_of_the_records_has_to_be_new(records, needed):
    assert looks.needed(records) == needed


@pytest.mark.parametrize(
    ("without", "with_disease", "expected"),
    [
        (150, 50, ""),
        (100, 99, "199 distinct training records, at least 200 are needed"),
        (900, 49, "49 distinct training records with disease, at least 50 are needed"),
        (
            20,
            30,
            "50 distinct training records, at least 200 are needed; 20 distinct training records without disease, at "
            "least 50 are needed; 30 distinct training records with disease, at least 50 are needed",
        ),
    ],
)
def test_a_small_set_is_no_look_and_says_how_many_are_needed(without, with_disease, expected):
    assert looks.too_few(without, with_disease) == expected


@pytest.mark.parametrize("z", [-3.0, 0.0, 1.0, 2.5, 6.0])
def test_the_p_value_is_one_sided_and_resolves_what_draws_do_not(z):
    assert looks.p_values([with_z(z)])["random_forest"] == pytest.approx(stats.norm.sf(z))


def test_several_challengers_are_corrected():
    found = looks.p_values([with_z(3.0), with_z(1.0, "knn")])
    assert found == pytest.approx({"random_forest": 2 * stats.norm.sf(3.0), "knn": stats.norm.sf(1.0)})


def test_models_that_rank_all_records_alike_have_no_evidence():
    same = replace(against(0.0, 0.0), standard_error=0.0)
    assert looks.p_values([same]) == {"random_forest": 1.0}
    assert looks.p_values([replace(same, auc=Interval(0.1, 0.1, 0.1))]) == {"random_forest": 0.0}


@pytest.mark.parametrize(
    ("look", "p_value", "caution"),
    [
        (Look(1, 0.015), 0.015, None),
        (
            Look(2, 0.005, new=NEW),
            0.0062,
            "this is look 2 of the last 365 days, and its p-value of 0.0062 exceeds the look's level of 0.0050 "
            "(one-sided)",
        ),
        (Look(None, None, "12 new"), 0.0001, "this comparison is no look: 12 new"),
    ],
)
def test_a_run_may_move_production_only_at_a_look_within_its_level(look, p_value, caution):
    assert looks.cautions(look, {"rf": p_value}).get("rf") == caution


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (Look(1, 0.015), "look 1 of the last 365 days, one-sided level 0.015, smallest p-value 0.20"),
        (
            Look(2, 0.005, new=NEW),
            "look 2 of the last 365 days, one-sided level 0.0050, smallest p-value 0.20; 61 new training records since "
            "the look of 2026-05-01 02:00 UTC",
        ),
        (
            Look(2, 0.005, new=replace(NEW, note="X cannot be read")),
            "look 2 of the last 365 days, one-sided level 0.0050, smallest p-value 0.20; X cannot be read",
        ),
        (Look(None, None, "no other family took part"), "this comparison is no look: no other family took part"),
    ],
)
def test_a_look_in_words(look, expected):
    assert looks.in_words(look, {"rf": 0.2, "knn": 0.3}) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.50"), (0.015, "0.015"), (0.000123, "0.00012"), (1e-9, "< 0.000001"), (0.0, "< 0.000001")],
)
def test_a_level_is_shown_with_two_digits(value, text):
    assert looks.figure(value) == text

"""Silent days: when they are an alarm, and when not."""

import datetime

import numpy as np
import pytest

from heartline.monitoring.methods import volume
from heartline.monitoring.methods.volume import Volume
from tests.monitoring_example import FIRST


def _lived(records):
    """Return what is said of each day."""
    state, found = Volume(), []
    for number, count in enumerate(records):
        state, silence = volume.look(state, FIRST + datetime.timedelta(days=number), count)
        found.append(silence)
    return found


def test_the_probability_by_hand():
    assert volume.probability([10, 10, 10, 10]) == pytest.approx(0.8**40.5)
    assert volume.probability([0]) == pytest.approx(0.5**0.5)


def test_a_silent_day_after_some_weeks_is_an_alarm():
    found = _lived([10] * 56 + [0])
    assert found[-1].alarm
    assert found[-1].usual == 10
    assert found[-1].probability < volume.RATE / 365
    assert not any(one.alarm for one in found[:-1])


def test_at_one_record_a_day_a_silent_day_is_no_alarm():
    assert not any(one.alarm for one in _lived([1] * 364 + [0]))


def test_silent_weekends_are_usual():
    weeks = _lived([10, 10, 10, 10, 10, 0, 0] * 20)
    assert not any(one.alarm for one in weeks)
    assert weeks[-1].usual == 0


def test_days_of_one_outage_are_one_alarm():
    found = _lived([20] * 56 + [0, 0, 0] + [20] * 4 + [0])
    assert [at for at, one in enumerate(found) if one.alarm] == [56, 63]


@pytest.mark.parametrize(("mean", "days"), [(1, 14), (2, 7), (5, 3), (10, 2), (20, 1)])
def test_an_outage_after_twelve_weeks_is_found_within_days(mean, days):
    """With volumes that vary as by chance (Poisson): the worst of 200 services.

    A silent day just before the outage is its first one.
    """
    random = np.random.default_rng(0)
    delays = []
    for _ in range(200):
        found = _lived([*random.poisson(mean, 84), *[0] * 30])
        delays.append(next(at for at, one in enumerate(found) if at >= 77 and one.alarm) - 83)
    assert max(delays) <= days


@pytest.mark.parametrize("mean", [0.3, 1, 3, 6, 12])
def test_years_without_an_outage_raise_an_alarm_rarely(mean):
    random = np.random.default_rng(1)
    years = [any(one.alarm for one in _lived(random.poisson(mean, 364))) for _ in range(60)]
    assert np.mean(years) <= volume.RATE


def test_an_unfinished_run_is_not_learned():
    """A service that stays away does not become one that is usually silent."""
    found = _lived([1] * 84 + [0] * 100)
    assert [at for at, one in enumerate(found) if one.alarm] == [93]
    assert found[-1].usual == 1
    assert found[-1].probability < 1e-10
    assert (found[93].days, found[93].expected) == (10, 10)


def test_the_probability_of_a_run_counts_a_weekday_that_comes_twice():
    found = _lived([3] * 56 + [0] * 8)[-1]
    assert found.probability == pytest.approx((8 / 9) ** (24.5 * 6) * (8 / 10) ** 24.5)


def test_nothing_is_said_before_there_were_enough_days():
    found = _lived([0] * 14 + [5])
    assert [one.usual for one in found[:14]] == [None] * 14
    assert found[14].usual == 0
    assert not any(one.alarm for one in found)

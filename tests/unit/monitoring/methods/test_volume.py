"""Silent days: when they are an alarm, and when not."""

import datetime

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


def test_nothing_is_said_before_there_were_enough_days():
    found = _lived([0] * 14 + [5])
    assert [one.usual for one in found[:14]] == [None] * 14
    assert found[14].usual == 0
    assert not any(one.alarm for one in found)

"""Refused requests by day: when their share is an alarm."""

import numpy as np

from heartline.monitoring.methods import refused


def _e(shares, records=20):
    """Return the highest e-value after days with these numbers of refused requests."""
    state = refused.start()
    for day, count in enumerate(shares):
        state = refused.add(state, str(day), int(count), records)
    return state.wealth.highest[0]


def test_days_without_a_change_reach_the_limit_rarely():
    random = np.random.default_rng(0)
    found = [_e(random.binomial(1, 0.2, 250) * random.integers(1, 40, 250)) for _ in range(60)]
    assert np.mean(np.array(found) >= 20) <= 0.05


def test_many_refused_requests_are_found_in_two_weeks():
    assert _e([0, 1, 0, 0, 2] * 12 + [20] * 14) >= 1 / refused.RATE


def test_the_next_version_continues_the_days_and_after_an_alarm_bets_anew():
    before = refused.start()
    for day in range(20):
        before = refused.add(before, str(day), 1, 20)
    assert refused.continued(before) == before
    for day in range(20, 45):
        before = refused.add(before, str(day), 40, 20)
    assert before.wealth.highest[0] >= 1 / refused.RATE
    after = refused.continued(before)
    assert after.days == before.days
    assert after.wealth == refused.start().wealth


def test_a_day_without_a_request_is_not_counted():
    before = refused.start()
    assert refused.add(before, "2026-03-02", 0, 0) is before

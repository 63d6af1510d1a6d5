"""The accounts of a betting e-process: by hand, in any parts, within Ville's bound."""

import numpy as np
import pytest

from heartline.monitoring.methods import betting, harm


def _stakes(*stakes):
    return lambda values: 1 + np.array(stakes) * values[:, :, None]


def test_two_bets_by_hand():
    wealth = betting.start(1, 2, waiting=0)
    wealth = betting.bet(wealth, np.array([[0.5], [-1.0]]), _stakes(0.2, 0.6), waiting=0)
    first = (1.1 + 1.3) / 2
    second = (1.1 * 0.8 + 1.3 * 0.4) / 2
    assert wealth.present == pytest.approx([second])
    assert wealth.highest == pytest.approx([first])
    assert wealth.seen == 2


def test_waiting_money_is_staked_little_by_little():
    """With factors of 1 no money is won or lost; of n records horizon / (n + horizon) still waits."""
    wealth = betting.start(1, 2, waiting=0.5)
    quiet = betting.bet(wealth, np.zeros((30, 1)), _stakes(0.5, 1), waiting=0.5, horizon=10)
    assert quiet.present == pytest.approx([1.0])
    assert np.sum(quiet.accounts) == pytest.approx(1 - 0.5 * 10 / 40)


def test_the_recursion_and_the_blocks_agree():
    random = np.random.default_rng(0)
    values = random.uniform(-1, 1, (300, 1))
    found = betting.bet(betting.start(1, 1, waiting=0.5), values, _stakes(0.7), waiting=0.5, horizon=20)
    account, waiting, highest = 0.5, 0.5, 1.0
    for number, value in enumerate(values[:, 0], 1):
        staked = waiting / (20 + number)
        account, waiting = (account + staked) * (1 + 0.7 * value), waiting - staked
        highest = max(highest, account + waiting)
    assert found.present == pytest.approx([account + waiting])
    assert found.highest == pytest.approx([highest])


@pytest.mark.parametrize("parts", [[], [1], [10, 64, 65], list(range(1, 200, 7))])
def test_records_may_come_in_any_parts(parts):
    values = np.random.default_rng(1).uniform(-1, 1, (200, 3))
    whole = betting.bet(betting.start(3, 2, waiting=0.3), values, _stakes(0.2, 0.8), waiting=0.3, horizon=9)
    wealth = betting.start(3, 2, waiting=0.3)
    for part in np.split(values, parts):
        wealth = betting.bet(wealth, part, _stakes(0.2, 0.8), waiting=0.3, horizon=9)
    assert wealth.present == pytest.approx(whole.present)
    assert wealth.highest == pytest.approx(whole.highest)
    assert wealth.seen == 200


def test_a_record_that_is_not_seen_changes_nothing_but_the_count():
    wealth = betting.start(2, 1, waiting=0)
    found = betting.bet(wealth, np.array([[1.0, np.nan]]), _stakes(0.5), waiting=0)
    assert found.present == pytest.approx([1.5, 1.0])


def test_no_record_changes_nothing():
    wealth = betting.bet(betting.start(1, 1, waiting=0), np.ones((3, 1)), _stakes(0.5), waiting=0)
    assert betting.bet(wealth, np.zeros((0, 1)), _stakes(0.5), waiting=0) == wealth


def test_nothing_overflows():
    wealth = betting.bet(betting.start(1, 2, waiting=0.5), np.ones((5000, 1)), _stakes(0.9, 49), waiting=0.5)
    assert wealth.highest == [betting.CAP]
    assert np.isfinite(wealth.accounts).all()


def test_harm_stays_within_its_rate_at_the_margin():
    """At the bound itself, where a false alarm is most likely: at most 5 % of the paths reach 20 (Ville)."""
    random = np.random.default_rng(2)
    paths = 400
    probabilities = random.uniform(0, 1, (paths, 1000))
    labels = random.random((paths, 1000)) < probabilities  # a mean squared error of 1/6
    alarms = sum(harm.bet(harm.start(), losses, 1 / 6).highest[0] >= 20 for losses in (probabilities - labels) ** 2)
    assert alarms <= 0.05 * paths


def test_harm_is_found():
    random = np.random.default_rng(3)
    wealth = harm.bet(harm.start(), random.beta(2, 6, 600), 0.19)  # a mean of 0.25
    assert wealth.highest[0] > 100
    better = harm.bet(harm.start(), random.beta(2, 6, 600), 0.35)
    assert better.highest[0] < 2
    assert better.present[0] < 1


def test_harm_takes_any_bound():
    for bound in (1e-6, 0.5, 1.0):
        wealth = harm.bet(harm.start(), np.array([0.0, 1.0, 0.0]), bound)
        assert np.isfinite(wealth.present).all()
        assert min(wealth.accounts[0]) >= 0

"""The alarms of a simulated year: Heartline's, and those of the usual rules on the same records."""

import datetime
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from heartline.arrays import Floats, Ints
from heartline.monitoring import recent
from heartline.monitoring.inputs import Settings
from heartline.monitoring.methods import columns, conformal, harm, refused, volume, weekly
from heartline.monitoring.methods.betting import Wealth
from heartline.scores import brier, squared_errors
from monitoring_peers.years import DAYS, Year

MONDAY = datetime.date(2026, 1, 5)
OURS = ("drift", "weekly", "harm", "silence", "refused")
LIMITS = {"each": 0.05, "columns": 0.05 / recent.TESTS, "looks": 0.05 / (recent.TESTS * weekly.LOOKS)}
PSI = 0.25
_BINS = 10
_SEED = 3


def ours(year: Year, settings: Settings | None = None) -> dict[str, int | None]:
    """Return the day of the first alarm of each kind of Heartline's; None without one."""
    settings = settings or Settings()
    reference = columns.all_cells(year.reference.features, year.expected)
    counts = columns.counts(reference)
    cells = columns.all_cells(year.features, year.probabilities)
    found: dict[str, int | None] = dict.fromkeys(OURS)
    found["drift"] = _first_drift(_p_values(cells, counts), year.day, settings.drift_rate)
    found["weekly"] = _first(weekly_p(year) < LIMITS["looks"], 6, 7)
    found["harm"] = _first_harm(year, settings)
    found["silence"], found["refused"] = _first_silence(year)
    return found


def usual(year: Year) -> dict[str, int]:
    """Return the number of weeks with an alarm of each of the usual rules, and whether the fixed martingale has one."""
    counts = columns.counts(columns.all_cells(year.reference.features, year.expected))
    cells = columns.all_cells(year.features, year.probabilities)
    p = weekly_p(year)
    found = {name: int((p < limit).sum()) for name, limit in LIMITS.items()}
    found["psi"] = int((_psi(year) > PSI).sum())
    fixed = _p_values(cells, counts, grows=False)
    found["fixed"] = int(_first_drift(fixed, year.day, Settings().drift_rate) is not None)
    return found


def _p_values(cells: columns.Cells, counts: list[Ints], *, grows: bool = True) -> Floats:
    ties = np.random.default_rng(_SEED).random(cells.shape)
    if grows:
        found = [conformal.p_values(cells[:, at], counts[at], ties[:, at]) for at in range(len(counts))]
        return np.column_stack(found)
    found = []
    for at, count in enumerate(counts):
        above, some = count.sum() - np.cumsum(count), cells[:, at]
        p = (above[some] + ties[:, at] * (count[some] + 1)) / (count.sum() + 1)
        found.append(np.where(some < 0, np.nan, p))
    return np.column_stack(found)


def _first(alarms: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]", start: int, step: int) -> int | None:
    return int(start + step * np.argmax(alarms)) if alarms.any() else None


def _first_drift(p: Floats, day: Ints, rate: float) -> int | None:
    wealth = conformal.start(p.shape[1])
    return _passage(wealth, p, day, conformal.bet, lambda one: conformal.combined(one.highest) >= 1 / rate)


def _passage(
    wealth: Wealth,
    values: Floats,
    day: Ints,
    bet: Callable[[Wealth, Floats], Wealth],
    reached: Callable[[Wealth], bool],
) -> int | None:
    """Return the day on which an e-process reaches its threshold: weeks are bet on at once, the last one day by day."""
    edges = np.searchsorted(day, np.arange(DAYS + 1))
    for monday in range(0, DAYS, 7):
        after = bet(wealth, values[edges[monday] : edges[monday + 7]])
        if reached(after):
            for one in range(monday, monday + 7):
                wealth = bet(wealth, values[edges[one] : edges[one + 1]])
                if reached(wealth):
                    return one
        wealth = after
    return None


def _first_harm(year: Year, settings: Settings) -> int | None:
    bound = brier(year.reference.labels, year.expected) + settings.margin
    losses = squared_errors(year.labels, year.probabilities)
    return _passage(
        harm.start(),
        losses,
        year.day + year.delay,
        lambda wealth, some: harm.bet(wealth, some, bound),
        lambda wealth: wealth.highest[0] >= 1 / settings.harm_rate,
    )


def _first_silence(year: Year) -> tuple[int | None, int | None]:
    """Return the first silent day, and the first day with too many refused requests."""
    records = np.bincount(year.day, minlength=DAYS)
    seen, before = volume.Volume(), refused.start()
    silent = rejected = None
    for one in range(DAYS):
        date = MONDAY + datetime.timedelta(days=one)
        seen, said = volume.look(seen, date, int(records[one]))
        if said.alarm and silent is None:
            silent = one
        before = refused.add(before, str(date), int(year.requests[one] - records[one]), int(records[one]))
        if before.wealth.highest[0] >= 1 / refused.RATE and rejected is None:
            rejected = one
    return silent, rejected


@lru_cache(maxsize=1)
def weekly_p(year: Year) -> Floats:
    """Return the smallest p-value of each week, 1 for a week without a record."""
    cells = columns.all_cells(year.features, year.probabilities)
    counts = columns.counts(columns.all_cells(year.reference.features, year.expected))
    missing = np.isnan(year.reference.features).sum(axis=0)
    found = np.ones(DAYS // 7)
    edges = np.searchsorted(year.day, np.arange(0, DAYS + 1, 7))
    for one in range(DAYS // 7):
        some = cells[edges[one] : edges[one + 1]]
        if len(some):
            lost = (some[:, : len(columns.FEATURES)] < 0).sum(axis=0)
            week = recent.added(None, columns.counts(some), lost, len(some))
            p: Mapping[str, float] = recent.test(week, counts, missing, len(year.reference.labels))
            found[one] = min(p.values(), default=1.0)
    return found


def _psi(year: Year) -> Floats:
    """Return the largest population stability index of each week: codes by value, others in tenths of the reference."""
    before = np.column_stack([year.reference.features, year.expected])
    after = np.column_stack([year.features, year.probabilities])
    week = year.day // 7
    found = np.zeros(DAYS // 7)
    for at, column in enumerate(columns.COUNTED[:-1]):
        known = before[:, at][~np.isnan(before[:, at])]
        if not len(known):
            continue
        cuts = [code + 0.5 for code, _ in column.codes[:-1]] if column.codes else np.unique(
            np.quantile(known, np.arange(1, _BINS) / _BINS))  # fmt: skip
        size = len(cuts) + 1
        expected = np.maximum(np.bincount(np.digitize(known, cuts), minlength=size) / len(known), 1e-4)
        some = ~np.isnan(after[:, at])
        cells = np.bincount(week[some] * size + np.digitize(after[some, at], cuts), minlength=size * len(found))
        by_week = cells.reshape(len(found), size)
        total = by_week.sum(axis=1, keepdims=True)
        seen = np.maximum(by_week / np.maximum(total, 1), 1e-4)
        index = ((seen - expected) * np.log(seen / expected)).sum(axis=1)
        found = np.maximum(found, np.where(total[:, 0] > 0, index, 0.0))
    return found

"""Reports of a few months of monitoring, for the tests of its page and command and for the picture in the README.

The numbers are drawn, and computed in a simpler way than by the monitoring: only their form is right.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

from heartline import contract
from heartline.monitoring.alarm_entries import OpenAlarm
from heartline.monitoring.report import (
    Alarm,
    Awaited,
    CalibrationBin,
    ColumnDrift,
    Completeness,
    Drift,
    Figures,
    Harm,
    Interval,
    Report,
    RiskBand,
    Shadow,
)
from heartline.reports.monitoring import history
from heartline.reports.monitoring.history import Monitored

FIRST = date(2026, 1, 5)  # a Monday
LAST = date(2026, 3, 1)
TODAY = LAST + timedelta(days=1)
RATE = (
    "without a change, at most 3 % of the versions ever have a false alarm "
    "(harm 1 %, drift 1 %, refused requests 1 %), "
    "and about 10 % of the years (weekly tests 5 %, silent days 5 %)"
)
HARM_RATE = DRIFT_RATE = "at most 1 % of the versions ever have a false one, however often one looks"
WEEKLY_RATE = "about 5 % of the years have a false one"
SCENARIOS = ("quiet", "drift", "harm", "silent", "no outcomes", "no candidate")
_GROUPS = ("all", "sex: female", "sex: male", "age: under 55", "age: 55 and over")
_BANDS = 10
_REFERENCE = 303


@dataclass
class _Running:
    """What the simulated days have added up to."""

    answers: int = 0
    outcomes: int = 0
    harm: float = 1.0
    highest: float = 1.0
    drift: float = 1.0
    highest_drift: float = 1.0
    better: float = 1.0


def reports(scenario: str, *, first: date = FIRST, last: date = LAST, version: str = "7") -> list[Report]:
    """Return a report of each day.

    Args:
        scenario: one of ``SCENARIOS``.
        first: the first day.
        last: the last day.
        version: of the model.
    """
    drawn = random.Random(11)
    running = _Running()
    days = [first + timedelta(days=one) for one in range((last - first).days + 1)]
    return [_report(scenario, day, days, version, running, drawn) for day in days]


def monitored(scenario: str, *, more: Sequence[Report] = (), open_: bool = True, **chosen: str) -> Monitored:
    """Return what the page shows of a scenario.

    Args:
        scenario: one of ``SCENARIOS``.
        more: reports of other versions.
        open_: whether its alarms are open.
        **chosen: as for ``history.build``.
    """
    found = [*reports(scenario), *more]
    raised = [alarm for one in found for alarm in one.alarms] if open_ else []
    alarms = [OpenAlarm(40 + number, alarm) for number, alarm in enumerate(raised)]
    return history.build(found, alarms, **chosen)


def alarm(kind: str, day: date, sentence: str = "", version: str = "7") -> Alarm:
    """Return an alarm."""
    rates = {"harm": HARM_RATE, "drift": DRIFT_RATE, "completeness": HARM_RATE}
    return Alarm(
        kind, f"{kind} {day}", day, version, sentence or f"An alarm of the kind {kind}.", rates.get(kind, WEEKLY_RATE)
    )


def _report(
    scenario: str, day: date, days: Sequence[date], version: str, running: _Running, drawn: random.Random
) -> Report:
    number = days.index(day)
    weekend = day.weekday() >= 5
    silent = scenario == "silent" and day == days[-1]
    arrived = 0 if silent else max(0, round(drawn.gauss(4 if weekend else 12, 2)))
    late = number > len(days) * 0.6
    running.answers += arrived
    if scenario != "no outcomes" and number > 5:
        running.outcomes += max(0, round(arrived * 0.7))
    harmed, drifted = scenario == "harm" and late, scenario == "drift" and late
    running.harm = _moved(running.harm, 0.42 if harmed else -0.03, drawn, counted=running.outcomes > 0)
    running.drift = _moved(running.drift, 0.45 if drifted else -0.02, drawn, counted=True)
    running.better = _moved(running.better, 0.05, drawn, counted=running.outcomes > 0)
    before = (running.highest, running.highest_drift)
    running.highest, running.highest_drift = max(before[0], running.harm), max(before[1], running.drift)
    alarms = []
    if before[0] < 100 <= running.highest:
        sentence = (
            "The predictions are worse than at training: the mean squared error (Brier score) is 0.183 over the 240 "
            "outcomes of the last 28 days, and was 0.124 at training."
        )
        figures = {"e-value": 112.4, "outcomes": running.outcomes}
        alarms.append(replace(alarm("harm", day, sentence, version), figures=figures))
    if before[1] < 100 <= running.highest_drift:
        sentence = "The patients differ from those of the training data, most in: Cholesterol, Probability of disease."
        alarms.append(alarm("drift", day, sentence, version))
    if silent:
        alarms.append(alarm("silence", day, "No record arrived, and 4.1 are usual on this weekday.", version))
    return Report(
        date=day,
        version=version,
        digest=f"{int(version):02x}" * 32,
        reference_records=_REFERENCE,
        first=days[0],
        harm=_harm(running, harmed),
        drift=_drift(running, drifted),
        completeness=_completeness(number, arrived, weekend=weekend, silent=silent, drawn=drawn),
        awaited=_awaited(running),
        shadow=None if scenario == "no candidate" else _shadow(running),
        alarms=alarms,
        rate=RATE,
    )


def _moved(value: float, step: float, drawn: random.Random, *, counted: bool) -> float:
    return max(0.004, value * math.exp(step + drawn.gauss(0, 0.22))) if counted else 1.0


def _around(value: float, count: int, spread: float) -> Interval:
    half = spread / math.sqrt(max(count, 1))
    return Interval(value, value - half, value + half)


def _harm(running: _Running, harmed: bool) -> Harm:
    count = running.outcomes
    estimated = {"brier": 0.127, "auc": 0.902, "predictions": min(running.answers, 260)}
    if not count:
        return Harm(1.0, 1.0, 100.0, 0.124, 0.02, 0, (Figures("all", 0, 0),), (), estimated, reference_error=0.013)
    worse = min(0.05, 0.0005 * max(0.0, math.log(running.highest)) * 20) if harmed else 0.0
    wave = 0.006 * math.sin(count / 20) - 0.004 * math.cos(count / 7)
    groups = []
    for place, name in enumerate(_GROUPS):
        members = count if place == 0 else round(count * (0.32, 0.68, 0.45, 0.55)[place - 1])
        positive = round(members * (0.46, 0.26, 0.55, 0.36, 0.54)[place])
        enough = members >= 30
        groups.append(
            Figures(
                name,
                members,
                positive,
                _around(0.121 + worse + 0.006 * place + wave, members, 0.3) if members >= 10 else None,
                _around(0.905 - worse - 0.004 * place, members, 0.5) if enough else None,
                _around(0.97 - 6 * worse, members, 4.0) if enough else None,
                _around(0.04 + 4 * worse, members, 3.0) if enough else None,
            )
        )
    bins = [_bin(one, count, worse) for one in range(_BANDS) if count >= 30]
    recent = min(count, 240)
    return Harm(
        running.harm,
        running.highest,
        100.0,
        0.124,
        0.02,
        count,
        groups,
        bins,
        estimated,
        recent_brier=0.183 if harmed else 0.122,
        recent_outcomes=recent,
        reference_error=0.013,
    )


def _bin(place: int, count: int, worse: float) -> CalibrationBin:
    predicted = (place + 0.5) / _BANDS
    members = max(1, round(count * (0.2, 0.12, 0.08, 0.07, 0.06, 0.06, 0.07, 0.08, 0.11, 0.15)[place]))
    positive = round(members * min(1.0, predicted + 5 * worse))
    share = positive / members
    centre = (share + 1.92 / members) / (1 + 3.84 / members)
    half = 1.96 * math.sqrt(share * (1 - share) / members + 0.96 / members**2) / (1 + 3.84 / members)
    return CalibrationBin(predicted, Interval(share, max(0.0, centre - half), min(1.0, centre + half)), members)


def _drift(running: _Running, drifted: bool) -> Drift:
    columns = [_column(place, one, drifted) for place, one in enumerate(contract.FEATURES)]
    tenths = [f"{one / 10:.1f}–{(one + 1) / 10:.1f}" for one in range(10)]
    usual = [0.2, 0.12, 0.08, 0.07, 0.06, 0.06, 0.07, 0.08, 0.11, 0.15]
    now = list(reversed(usual)) if drifted else usual
    columns.append(
        ColumnDrift("probability", "Probability of disease", 161.0 if drifted else 0.8, tenths, usual, now, 0, 0)
    )
    missing = ["0", "1", "2 or more"]
    columns.append(
        ColumnDrift("missing fields", "Missing fields", 0.6, missing, [0.9, 0.08, 0.02], [0.88, 0.1, 0.02], 0, 0)
    )
    return Drift(running.drift, running.highest_drift, 100.0, 6.2e-5, running.answers, columns)


def _column(place: int, column: contract.Column, drifted: bool) -> ColumnDrift:
    if column.codes:
        labels = list(column.codes.values())
    else:
        width = (column.maximum - column.minimum) / 8
        edges = [column.minimum + one * width for one in range(9)]
        labels = [f"{low:.0f}–{high:.0f}" for low, high in pairwise(edges)]
    drawn = random.Random(place)
    weights = [math.exp(-(((one + 0.5) / len(labels) - 0.4) ** 2) / 0.08) + 0.02 for one in range(len(labels))]
    now = [one * drawn.uniform(0.9, 1.1) for one in weights]
    changed = drifted and column.name == "chol"
    if changed:
        now = [*now[2:], 0.02, 0.01]
    missing = 0.02 if column.optional else 0.0
    return ColumnDrift(
        column.name,
        column.title,
        8240.0 if changed else drawn.uniform(0.1, 2.5),
        labels,
        [one / sum(weights) for one in weights],
        [one / sum(now) for one in now],
        missing,
        missing * 1.5,
        3.1e-7 if changed else drawn.uniform(0.05, 0.9),
    )


def _completeness(number: int, arrived: int, *, weekend: bool, silent: bool, drawn: random.Random) -> Completeness:
    usual = None if number < 14 else 4.1 if weekend else 11.8
    return Completeness(
        arrived,
        usual,
        0.016 if usual and weekend else None,
        0.031 + drawn.uniform(-0.004, 0.004),
        0.02,
        {} if silent else {"invalid-record": drawn.randint(0, 2), "too-many-records": 0},
        0.012 + drawn.uniform(-0.002, 0.002),
    )


def _awaited(running: _Running) -> Awaited:
    bands = []
    for place in range(_BANDS):
        predictions = round(running.answers * (0.2, 0.12, 0.08, 0.07, 0.06, 0.06, 0.07, 0.08, 0.11, 0.15)[place])
        known = running.outcomes / max(1, running.answers) * (0.55 + 0.07 * place)
        outcomes = min(predictions, round(predictions * known))
        bands.append(RiskBand(place / _BANDS, (place + 1) / _BANDS, predictions, outcomes))
    known = running.outcomes
    return Awaited(running.answers, known, known // 60, 4.0 if known else None, bands)


def _shadow(running: _Running) -> Shadow:
    answered, outcomes = running.answers, running.outcomes
    difference = _around(0.012, outcomes, 0.16) if outcomes >= 10 else None
    return Shadow(
        "9",
        answered,
        round(answered * 0.03),
        round(answered * 0.02),
        0.312,
        outcomes,
        difference,
        running.better,
        1 / (1 + running.better),
        100.0,
    )

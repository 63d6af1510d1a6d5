"""Looks: which comparisons may move ``production``, and how strong their evidence must be. Pure functions.

A comparison every night, each with an error rate of 2.5 %, moves ``production`` to a model that is not better in many
years. Therefore only a comparison on enough new records is a look, and each look of a year spends a share of one error
rate. docs/evidence.md shows the rates with and without these rules.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist

from heartline.comparison.compare import Comparison
from heartline.comparison.verdict import holm

ERROR_RATE = 0.03
"""What all looks of a year may spend together, one-sided. Less than 5 %, because the bootstrap ignores that another
training set would have given another model."""
WINDOW = timedelta(days=365)
"""The looks of this time before a comparison are counted."""
MIN_NEW_SHARE = 0.25
"""New training records that a look needs, as a share of the records of the look before."""
MIN_RECORDS = 200
"""Distinct training records that a look needs."""
MIN_OF_CLASS = 50
"""Distinct training records with and without disease that a look needs, each."""


@dataclass(frozen=True)
class NewRecords:
    """The records of a training set that no look of the last 365 days had.

    Attributes:
        count: number of distinct new records.
        needed: number that the next look needs.
        since: the last look in words, for example its date.
        note: why some records count as new although an earlier look may have had them; "" otherwise.
    """

    count: int
    needed: int
    since: str
    note: str = ""


@dataclass(frozen=True)
class Look:
    """What a comparison is among the comparisons of the last 365 days.

    Attributes:
        number: which look it is, from 1; None for a comparison that is no look.
        level: the one-sided level that it spends; None for no look.
        why_none: why it is no look; "" for a look.
        new: the new records since the last look; None if there was no look before.
    """

    number: int | None
    level: float | None
    why_none: str = ""
    new: NewRecords | None = None


def level(number: int) -> float:
    """Return the one-sided level of a look: ``ERROR_RATE`` / (k (k + 1)) for look k of the year.

    The levels of any number of looks add up to less than ``ERROR_RATE``, so by Bonferroni's inequality no assumption
    about the dependence between looks is needed. An error rate that is spent over looks: Lan and DeMets 1983, "Discrete
    sequential boundaries for clinical trials", Biometrika 70; without a planned number of looks: Foster and Stine 2008,
    "Alpha-investing", JRSS B 70.

    Raises:
        ValueError: the number is below 1.
    """
    if number < 1:
        raise ValueError(f"looks are numbered from 1: {number}")
    return ERROR_RATE / (number * (number + 1))


def number(earlier: Iterable[datetime], now: datetime) -> int:
    """Return the number of a look at ``now`` among those of the last 365 days.

    Args:
        earlier: the times of all earlier looks.
        now: the time of this one.
    """
    return 1 + sum(now - when < WINDOW for when in earlier)


def needed(records: int) -> int:
    """Return how many new records the next look needs after one on ``records`` distinct records."""
    return math.ceil(MIN_NEW_SHARE * records)


def too_few(without_disease: int, with_disease: int) -> str:
    """Return why a training set is too small for a look; "" if it is not.

    Args:
        without_disease: its distinct records without disease.
        with_disease: its distinct records with disease.
    """
    found, total = [], without_disease + with_disease
    if total < MIN_RECORDS:
        found.append(f"{total:,} distinct training records, at least {MIN_RECORDS} are needed")
    for count, kind in ((without_disease, "without"), (with_disease, "with")):
        if count < MIN_OF_CLASS:
            found.append(f"{count:,} distinct training records {kind} disease, at least {MIN_OF_CLASS} are needed")
    return "; ".join(found)


def p_values(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Return for each challenger the one-sided p-value of its gain in ROC AUC, corrected for their number (Holm).

    It is normal, from the difference and its bootstrap standard error: 2,000 draws cannot resolve the levels of later
    looks (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13).
    """
    corrected = holm([_p_value(one) for one in comparisons])
    return {one.challenger: p_value for one, p_value in zip(comparisons, corrected, strict=True)}


def _p_value(one: Comparison) -> float:
    if one.standard_error == 0.0:
        return 0.0 if one.auc.value > 0 else 1.0
    return NormalDist().cdf(-one.auc.value / one.standard_error)


def in_words(look: Look, p_values: Mapping[str, float]) -> str:
    """Return which look a comparison is and what it spends, or why it is none, as one sentence without a full stop.

    Args:
        look: of the comparison.
        p_values: of each challenger, one-sided.
    """
    if look.number is None or look.level is None:
        return f"this comparison is no look: {look.why_none}"
    smallest = f", smallest p-value {figure(min(p_values.values()))}" if p_values else ""
    since = ""
    if look.new:
        since = f"; {look.new.note or f'{look.new.count:,} new training records since {look.new.since}'}"
    return f"look {look.number} of the last 365 days, one-sided level {figure(look.level)}{smallest}{since}"


def cautions(look: Look, p_values: Mapping[str, float]) -> dict[str, str]:
    """Return for each challenger why the evidence does not allow a run to move ``production`` to it, if it does not.

    Args:
        look: of the comparison.
        p_values: of each challenger, one-sided.
    """
    found = {}
    for name, p_value in p_values.items():
        if look.number is None or look.level is None:
            found[name] = in_words(look, p_values)
        elif p_value > look.level:
            found[name] = (
                f"this is look {look.number} of the last 365 days, and its p-value of {figure(p_value)} exceeds the "
                f"look's level of {figure(look.level)} (one-sided)"
            )
    return found


def figure(value: float) -> str:
    """Return a p-value or a level with two significant digits, such as 0.015 and 0.00012."""
    if value >= 0.1:
        return f"{value:.2f}"
    if value < 1e-6:
        return "< 0.000001"
    return f"{value:.{1 - math.floor(math.log10(value))}f}"

"""A silent day: how probable is a day without a record, given the last ones of the same weekday?"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

RATE = 0.05  # of a false alarm in a year
_LIMIT = RATE / 365
_KEPT = 8  # days of each weekday
_ENOUGH = 2  # of them for a statement


@dataclass(frozen=True)
class Volume:
    """The numbers of records of the last days.

    Attributes:
        days: of each weekday from Monday, the last numbers.
        silent: whether the last day was silent and unusual: the days after it are no new alarm.
    """

    days: tuple[tuple[int, ...], ...] = ((),) * 7
    silent: bool = False


@dataclass(frozen=True)
class Silence:
    """What is usual on a weekday.

    Attributes:
        usual: mean number of records; None before there were enough days.
        probability: of a day without a record; None likewise.
        alarm: whether this day is silent, and such a day is rarer than the limit, and the day before was none.
    """

    usual: float | None
    probability: float | None
    alarm: bool


def probability(days: Sequence[int]) -> float:
    """Return the probability of a day without a record after k days.

    The counts are taken as Poisson with a mean that is not known exactly (Jeffreys' prior): (k / (k + 1))^(sum + 1/2).
    At one record a day a silent day is normal, and at ten it is rare. A holiday is a silent day too.
    """
    k = len(days)
    return float((k / (k + 1)) ** (sum(days) + 0.5))


def look(volume: Volume, date: datetime.date, records: int) -> tuple[Volume, Silence]:
    """Return the volume with one more day, and what is to be said of this day.

    A day that is silent beyond the limit is not counted as usual.

    Args:
        volume: of the days before.
        date: the day.
        records: its number of records.
    """
    weekday = date.weekday()
    days = volume.days[weekday]
    if len(days) < _ENOUGH:
        usual = chance = None
    else:
        usual, chance = sum(days) / len(days), probability(days)
    unusual = records == 0 and chance is not None and chance < _LIMIT
    found = Silence(usual, chance, unusual and not volume.silent)
    if unusual:
        return replace(volume, silent=True), found
    kept = (*days, records)[-_KEPT:]
    return Volume((*volume.days[:weekday], kept, *volume.days[weekday + 1 :]), silent=False), found

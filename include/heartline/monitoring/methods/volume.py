"""Silent days: how probable are days without a record, given the last ones of the same weekdays?

All silent days that follow each other, a run, are one question: at one record a day a silent day is usual, and ten of
them are not.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

RATE = 0.05  # of a false alarm in a year
_LIMIT = RATE / 365  # a year has at most as many runs as days
_KEPT = 8  # days of each weekday
_ENOUGH = 2  # of them for a statement


@dataclass(frozen=True)
class Volume:
    """The numbers of records of the last days.

    Attributes:
        days: of each weekday from Monday, the last numbers, without those of the present run.
        run: of each weekday, the silent days of the present run, maybe of an outage; all 0 after a day with records.
        alarmed: whether the present run was an alarm: its next days are no new one.
    """

    days: tuple[tuple[int, ...], ...] = ((),) * 7
    run: tuple[int, ...] = (0,) * 7
    alarmed: bool = False


@dataclass(frozen=True)
class Silence:
    """What is usual on a day.

    Attributes:
        usual: mean number of records on this weekday; None before there were enough days.
        probability: of a day without a record; on a silent day, of the whole run; None likewise.
        alarm: whether the run is rarer than the limit, for the first time.
        days: of the run with this day; 0 on a day with records.
        expected: records that are usual on the days of the run.
    """

    usual: float | None = None
    probability: float | None = None
    alarm: bool = False
    days: int = 0
    expected: float = 0.0


def probability(days: Sequence[int], silent: int = 1) -> float:
    """Return the probability of m silent days after k days.

    The counts are taken as Poisson with a mean that is not known exactly (Jeffreys' prior): (k / (k + m))^(sum + 1/2).
    At one record a day a silent day is usual, and at ten it is rare. A holiday is a silent day too.

    Args:
        days: (k,) numbers of records.
        silent: m.
    """
    k = len(days)
    return float((k / (k + silent)) ** (sum(days) + 0.5))


def look(volume: Volume, date: datetime.date, records: int) -> tuple[Volume, Silence]:
    """Return the volume with one more day, and what is to be said of this day.

    The days of a run are counted as usual after it has ended, and not at all if it was an alarm.

    Args:
        volume: of the days before.
        date: the day.
        records: its number of records.
    """
    weekday = date.weekday()
    if not records:
        return _silent(volume, weekday)
    days = _ended(volume)
    known = days[weekday]
    found = Silence(_usual(known), probability(known) if len(known) >= _ENOUGH else None)
    return Volume((*days[:weekday], (*known, records)[-_KEPT:], *days[weekday + 1 :])), found


def _silent(volume: Volume, weekday: int) -> tuple[Volume, Silence]:
    run = tuple(count + (at == weekday) for at, count in enumerate(volume.run))
    known = [(days, silent) for days, silent in zip(volume.days, run, strict=True) if silent and len(days) >= _ENOUGH]
    chance = math.prod(probability(days, silent) for days, silent in known) if known else None
    unusual = chance is not None and chance < _LIMIT
    found = Silence(
        usual=_usual(volume.days[weekday]),
        probability=chance,
        alarm=unusual and not volume.alarmed,
        days=sum(run),
        expected=sum(silent * sum(days) / len(days) for days, silent in known),
    )
    return replace(volume, run=run, alarmed=volume.alarmed or unusual), found


def _ended(volume: Volume) -> tuple[tuple[int, ...], ...]:
    """Return the last numbers of each weekday after the run; at most as many silent days are added as are kept."""
    if volume.alarmed:
        return volume.days
    return tuple(
        (*days, *[0] * min(silent, _KEPT))[-_KEPT:] for days, silent in zip(volume.days, volume.run, strict=True)
    )


def _usual(days: Sequence[int]) -> float | None:
    return sum(days) / len(days) if len(days) >= _ENOUGH else None

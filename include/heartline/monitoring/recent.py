"""The last days, of which the page shows bars and shares, and the present week, which is tested on its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heartline.arrays import Ints
from heartline.monitoring.methods import weekly
from heartline.monitoring.methods.columns import FEATURES, MISSING_FIELDS, NAMES, PROBABILITY, Bars

DAYS = 28
FEWEST = 5  # records of the last days of which shares are shown: those of fewer would be the values of patients
_SCORES = 101  # cells of a probability here: 0, 0.01, … 1
TESTS = 2 * len(FEATURES) + 1  # of a week: values and missing values of each feature, and the probability


@dataclass(frozen=True)
class Recent:
    """One of the last days, as counts.

    Attributes:
        records: predictions.
        imputed: of them with a missing value.
        refused: requests of the whole service that were refused; 0 where the version was not in production.
        accepted: requests of the whole service that were accepted; 0 likewise.
        bars: of each column, predictions by bar.
        missing: of each feature, missing values.
        scores: (101,) predictions by probability.
        outcomes: first outcomes of a prediction.
        losses: the sum of their squared errors.
    """

    records: int
    imputed: int
    refused: int
    accepted: int
    bars: list[list[int]]
    missing: list[int]
    scores: list[int]
    outcomes: int = 0
    losses: float = 0.0


@dataclass(frozen=True)
class Week:
    """The present week, from Monday on.

    Attributes:
        records: predictions.
        counts: of each feature and of the probability, predictions by cell.
        missing: of each feature, missing values.
    """

    records: int
    counts: list[list[int]]
    missing: list[int]


def day(
    counts: Sequence[Ints], missing: Ints, records: int, requests: tuple[int, int], pictures: Sequence[Bars]
) -> Recent:
    """Return a day.

    Args:
        counts: of each column, its predictions by cell.
        missing: (features,) missing values.
        records: predictions.
        requests: refused ones and accepted ones.
        pictures: the bars of each column.
    """
    hundredths = (np.arange(len(counts[-2])) + 5) // 10
    return Recent(
        records=records,
        imputed=int(counts[-1][1:].sum()),
        refused=requests[0],
        accepted=requests[1],
        bars=[one.heights(count).tolist() for one, count in zip(pictures, counts, strict=True)],
        missing=missing.tolist(),
        scores=np.bincount(hundredths, weights=counts[-2], minlength=_SCORES).astype(np.int64).tolist(),
    )


def shown(days: Sequence[Recent]) -> int:
    """Return the records of these days; 0 where there are too few to show shares of them."""
    records = sum(one.records for one in days)
    return records if records >= FEWEST else 0


def errors(days: Sequence[Recent]) -> tuple[int, float | None]:
    """Return the number of first outcomes of these days, and their Brier score; None without an outcome."""
    outcomes = sum(one.outcomes for one in days)
    return outcomes, sum(one.losses for one in days) / outcomes if outcomes else None


def scores(days: Sequence[Recent]) -> Ints:
    """Return (101,) predictions of these days by probability."""
    found: Ints = np.array([one.scores for one in days]).sum(axis=0)
    return found


def added(week: Week | None, counts: Sequence[Ints], missing: Ints, records: int) -> Week:
    """Return the week with one more day, or the week that begins with it; arguments as in ``day``."""
    if week is None:
        return Week(records, [one.tolist() for one in counts[:-1]], missing.tolist())
    return Week(
        week.records + records,
        [(np.array(before) + one).tolist() for before, one in zip(week.counts, counts[:-1], strict=True)],
        (np.array(week.missing) + missing).tolist(),
    )


def test(week: Week, counts: Sequence[Ints], missing: Ints, records: int) -> Mapping[str, float]:
    """Return the smaller p-value of each column, of its values and of its missing values; columns without one left out.

    Args:
        week: the week.
        counts: of each column, the reference by cell.
        missing: (features,) missing values of the reference.
        records: of the reference.
    """
    found: dict[str, float] = {}
    for place, name in enumerate(one for one in NAMES if one != MISSING_FIELDS):
        of_week, of_reference = np.array(week.counts[place]), counts[place]
        coded = name != PROBABILITY and FEATURES[place].codes
        values = (weekly.chi_squared if coded else weekly.kolmogorov_smirnov)(of_week, of_reference)
        lost = None
        if name != PROBABILITY and week.records:
            gone = week.missing[place]
            lost = weekly.chi_squared(
                np.array([gone, week.records - gone]), np.array([missing[place], records - missing[place]])
            )
        if known := [one for one in (values, lost) if one is not None]:
            found[name] = min(known)
    return found

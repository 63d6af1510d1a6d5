"""What the page on monitoring shows: the reports of one version, day by day, and the alarms that are open."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from heartline.monitoring.alarm_entries import OpenAlarm
from heartline.monitoring.report import Report

SHOWN_DAYS = 366  # of the pictures over time


@dataclass(frozen=True)
class Monitored:
    """What is known of one version.

    Attributes:
        reports: of the version, in the order of the days; empty where there is none.
        alarms: those that are open, of all versions, oldest first.
        versions: all versions with a report, the newest first.
        logged: whether the service logs its predictions.
        notes: why versions of the last day are not monitored, one sentence each.
    """

    reports: tuple[Report, ...] = ()
    alarms: tuple[OpenAlarm, ...] = ()
    versions: tuple[str, ...] = ()
    logged: bool = True
    notes: tuple[str, ...] = ()

    @property
    def latest(self) -> Report | None:
        """The last report; None where there is none."""
        return self.reports[-1] if self.reports else None


def build(
    reports: Sequence[Report],
    alarms: Iterable[OpenAlarm] = (),
    *,
    version: str = "",
    production: str = "",
    logged: bool = True,
    notes: Sequence[str] = (),
) -> Monitored:
    """Choose the version that is shown, and its reports.

    Args:
        reports: of all versions, in any order.
        alarms: those that are open.
        version: the one that was asked for; "" for the one in production, or where that has no report, the one with
            the most predictions on the last day.
        production: the version in production, "" where that is not known.
        logged: whether the service logs its predictions.
        notes: why versions of the last day are not monitored.

    Returns:
        What the page shows; without a report where the version that was asked for has none.
    """
    ordered = sorted(reports, key=lambda one: (one.date, one.version, one.digest))
    versions = sorted({one.version for one in ordered}, key=_number, reverse=True)
    chosen = version or _usual(ordered, production)
    last = next((one for one in reversed(ordered) if one.version == chosen), None)
    of_it = tuple(one for one in ordered if last and one.digest == last.digest)
    raised = sorted(alarms, key=lambda one: one.number)
    return Monitored(of_it, tuple(raised), tuple(versions), logged, tuple(notes))


def since(today: date) -> date:
    """Return the first day of the pictures."""
    return date.fromordinal(today.toordinal() - SHOWN_DAYS)


def _usual(reports: Sequence[Report], production: str) -> str:
    if not reports or any(one.version == production for one in reports):
        return production
    last = [one for one in reports if one.date == reports[-1].date]
    return max(last, key=lambda one: (one.completeness.records, _number(one.version))).version


def _number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else 0, version)

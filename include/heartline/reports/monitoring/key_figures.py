"""The figures of a day in words: for the tables of the page and of the command line."""

from collections.abc import Iterable
from dataclasses import dataclass

from heartline.monitoring.report import ColumnDrift, Figures, Interval, Report
from heartline.reports.monitoring.axes import share
from heartline.reports.monitoring.figures import number
from heartline.reports.monitoring.sentence import counted

RIGHT, PATIENTS, INPUT, CANDIDATE = (
    "is it right",
    "have the patients changed",
    "is the input complete",
    "the candidate",
)
NONE = "–"
ESTIMATED = {"brier": "Brier score", "auc": "ROC AUC"}
"""What is estimated without outcomes: by name in the report, its title."""


@dataclass(frozen=True)
class KeyFigure:
    """A figure of a day.

    Attributes:
        question: which of the questions of the page it belongs to.
        name: what it is.
        value: with its interval.
        beside: what it is compared with; "" for nothing.
    """

    question: str
    name: str
    value: str
    beside: str = ""


def of(report: Report) -> list[KeyFigure]:
    """Return the key figures of a day."""
    return [*_right(report), *_patients(report), *_input(report), *_candidate(report)]


def interval(estimate: Interval | None) -> str:
    """Return ``0.131 (0.102 to 0.160)``, a dash where there is no estimate."""
    if estimate is None:
        return NONE
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})".replace("-", "−")


def changed(report: Report, most: int = 3) -> list[ColumnDrift]:
    """Return the columns whose own e-value is above 1, the highest first."""
    return sorted((one for one in report.drift.columns if one.e > 1), key=lambda one: -one.e)[:most]


def _right(report: Report) -> Iterable[KeyFigure]:
    harm, awaited = report.harm, report.awaited
    known = f"{awaited.outcomes:,} of {awaited.predictions:,}"
    delay = "" if awaited.median_delay is None else f"median {awaited.median_delay:.0f} days after the prediction"
    yield KeyFigure(RIGHT, "outcomes", known, delay)
    live = harm.groups[0] if harm.groups else Figures("all", 0, 0)
    limit = f"{harm.reference_brier:.3f} at its training, margin {harm.margin:g}"
    yield KeyFigure(RIGHT, "Brier score", interval(live.brier), limit)
    recent = NONE if harm.recent_brier is None else f"{harm.recent_brier:.3f}"
    yield KeyFigure(RIGHT, "Brier score, last 28 days", recent, counted(harm.recent_outcomes, "outcome"))
    yield KeyFigure(RIGHT, "ROC AUC", interval(live.auc))
    yield KeyFigure(RIGHT, "calibration slope", interval(live.slope), "1 is best")
    yield KeyFigure(RIGHT, "calibration intercept", interval(live.intercept), "0 is best")
    yield KeyFigure(RIGHT, "e-value of “worse”", number(harm.e), _alarm_at(harm.highest, harm.threshold))
    for name, title in ESTIMATED.items():
        if name in harm.estimated:
            value = f"{harm.estimated[name]:.3f}"
            yield KeyFigure(RIGHT, f"{title}, estimated without outcomes", value, "if the model is calibrated")


def _patients(report: Report) -> Iterable[KeyFigure]:
    drift = report.drift
    yield KeyFigure(PATIENTS, "predictions counted", f"{drift.counted:,}", f"reference {report.reference_records:,}")
    yield KeyFigure(PATIENTS, "e-value of “changed”", number(drift.e), _alarm_at(drift.highest, drift.threshold))
    if found := changed(report):
        names = ", ".join(f"{one.title} ({number(one.e)})" for one in found)
        yield KeyFigure(PATIENTS, "columns with the highest e-values", names)


def _input(report: Report) -> Iterable[KeyFigure]:
    found = report.completeness
    usual = "" if found.usual is None else f"usual for this weekday: {found.usual:.1f}"
    yield KeyFigure(INPUT, "predictions of the day", f"{found.records:,}", usual)
    imputed = f"{share(found.imputed_reference)} at its training"
    yield KeyFigure(INPUT, "with an imputed field, 28 days", share(found.imputed), imputed)
    refused = sum(found.rejected.values())
    yield KeyFigure(INPUT, "refused requests, 28 days", share(found.rejected_share), f"{refused:,} on the day")


def _candidate(report: Report) -> Iterable[KeyFigure]:
    found = report.shadow
    if found is None:
        return
    same = found.answered - found.to_disease - found.to_healthy
    agreement = share(same / found.answered) if found.answered else NONE
    changes = f"{found.to_disease:,} to disease, {found.to_healthy:,} to healthy"
    yield KeyFigure(CANDIDATE, f"version {found.version}: same answers", agreement, changes)
    outcomes = f"{found.outcomes:,} outcomes"
    yield KeyFigure(CANDIDATE, "Brier score, production − candidate", interval(found.difference), outcomes)
    values = f"{number(found.better)} and {number(found.worse)}"
    yield KeyFigure(
        CANDIDATE, "highest e-values of “better” and “worse”", values, f"decided from {found.threshold:,.0f}"
    )


def _alarm_at(highest: float, threshold: float) -> str:
    return f"highest {number(highest)}, alarm from {threshold:,.0f}"

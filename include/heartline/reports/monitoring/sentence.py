"""What the monitoring says of a day, in one sentence for people who know no statistics; what to do about an alarm."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from heartline.monitoring.report import Alarm, Report
from heartline.reports.monitoring.history import Monitored

HARM, SILENCE, COMPLETENESS, DRIFT, WEEKLY = "harm", "silence", "completeness", "drift", "weekly"
KINDS = (HARM, SILENCE, COMPLETENESS, DRIFT, WEEKLY)
"""The kinds of alarms, the most urgent one first."""

TITLES: Mapping[str, str] = {
    HARM: "The model is worse",
    SILENCE: "No predictions",
    COMPLETENESS: "More requests are refused",
    DRIFT: "The patients differ",
    WEEKLY: "A column changed within a week",
}
ACTIONS: Mapping[str, tuple[str, ...]] = {
    HARM: (
        "The DAG heart_training was started. It trains only if the training source has new records, else it ends as "
        "“nothing new”. Outcomes in the prediction log are no training data: put the new cases with their outcomes "
        "into the training source. If the new version is better, a person can put it into production.",
        "Until then, decide whether the predictions may still be used. If an older version was better, "
        "./heartline rollback restores it.",
        "Check first whether the outcomes are right: a new source of outcomes, or another meaning of 0 and 1, looks "
        "the same. The calibration and the groups below show for whom the predictions are wrong.",
    ),
    DRIFT: (
        "Nothing is retrained: other patients alone do not make the model wrong, see “Is the model right?”.",
        "Look at the columns with the highest e-values below. Ask whether another ward, a new form, a new device or "
        "another unit explains them. A column with wrong values has to be corrected where it comes from.",
    ),
    WEEKLY: (
        "Nothing is retrained. Look at the column below, and at the records of that week where they come from: a unit, "
        "a form or a device may have changed.",
    ),
    SILENCE: (
        "Check that the service runs (./heartline status), and that the programs that call it still do.",
        "If the clinic was closed, acknowledge it.",
    ),
    COMPLETENESS: (
        "Look at the reasons of the refused requests below, and at the log of the service. A program that calls it has "
        "probably changed; its records are not predicted.",
    ),
}
_OFF = "Predictions are not logged"
_ON = (
    "The setting HEARTLINE_PREDICTION_LOG_URL is off. Monitoring compares logged predictions with the training data "
    "and with outcomes.",
    "To switch it on, unset the setting and start the stack again: ./heartline up.",
)
FEW = 30  # outcomes below which “no sign that it is worse” would say little
STALE = timedelta(days=2)  # the report of a day comes in the night after it


@dataclass(frozen=True)
class Sentence:
    """What is said first.

    Attributes:
        headline: one sentence, without a full stop.
        tone: CSS class: "" where nothing needs attention, ``bad``, ``fair`` or ``same``.
        more: further sentences.
    """

    headline: str
    tone: str
    more: tuple[str, ...] = ()


def of(monitored: Monitored, today: date) -> Sentence:
    """Return what the monitoring says today.

    Args:
        monitored: the version that is shown, and all open alarms.
        today: the present day, UTC.
    """
    report = monitored.latest
    notes = (*monitored.notes, *(report.notes if report else ()))
    if monitored.alarms:
        return _of_alarms(monitored, report, notes)
    if report is None:
        return _of_nothing(monitored, notes)
    if not monitored.logged:
        return Sentence(f"{_OFF} any more, so nothing is monitored", "fair", (*_ON, f"{_nothing(report)}.", *notes))
    if today - report.date > STALE:
        late = (
            f"{_nothing(report)}.",
            "The DAG heart_monitoring writes a report of each day in the night after it: look at its last runs.",
        )
        headline = f"The monitoring stopped: its last day is {day(report.date)}, {(today - report.date).days} days ago"
        return Sentence(headline, "fair", (*late, *notes))
    return Sentence(_nothing(report), "same" if _known_harm(report) else "", notes)


def day(moment: date) -> str:
    """Return ``1 March 2026``."""
    return f"{moment.day} {moment:%B %Y}"


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 outcome``, ``2 outcomes``, ``1,200 outcomes``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def by_urgency(alarm: Alarm) -> int:
    """Return the place of an alarm among others; the most urgent kind first."""
    return KINDS.index(alarm.kind) if alarm.kind in KINDS else len(KINDS)


def _of_alarms(monitored: Monitored, report: Report | None, notes: tuple[str, ...]) -> Sentence:
    first: dict[str, Alarm] = {}
    for one in monitored.alarms:
        first.setdefault(one.alarm.kind, one.alarm)
    kinds = sorted(first.values(), key=by_urgency)
    clauses = [_CLAUSES.get(one.kind, _of_a_newer_release)(one) for one in kinds]
    headline = ", and ".join([clauses[0], *(_lower(one) for one in clauses[1:])])
    more = [] if report is None else [f"The last day with a report is {day(report.date)}."]
    if report and HARM not in first and (right := _right(report)):
        more.append(right)
    return Sentence(headline, "bad" if kinds[0].kind == HARM else "fair", (*more, *notes))


def _right(report: Report) -> str:
    """Return what is known about the predictions while another alarm is open."""
    if _known_harm(report):
        return f"That version {report.version} is worse than at its training was acknowledged before."
    if 0 < report.harm.counted < FEW:
        return f"Whether the model is still right is another question: {_too_few(report)}."
    if report.harm.counted:
        known = counted(report.harm.counted, "known outcome gives", "known outcomes give")
        return f"Whether the model is still right is another question: {known} no sign that it is worse."
    return "Whether the model is still right is another question, and not known: no outcome has arrived yet."


def _of_nothing(monitored: Monitored, notes: tuple[str, ...]) -> Sentence:
    if not monitored.logged:
        return Sentence(f"{_OFF}, so nothing is monitored", "fair", (*_ON, *notes))
    how = "The DAG heart_monitoring writes a report of each day (UTC) in the night after it."
    if monitored.versions:
        return Sentence("This version has no report", "same", (how, *notes))
    return Sentence("No day has been monitored yet", "same", (how, *notes))


def _nothing(report: Report) -> str:
    """Return the sentence of a day without an open alarm."""
    version = f"version {report.version}"
    today = f"On {day(report.date)} nothing {'new ' if _known_harm(report) else ''}needs attention"
    if _known_harm(report):
        return f"{today}: that {version} is worse than at its training was acknowledged"
    if not report.drift.counted:
        return f"{today}: no prediction of {version} has been logged yet"
    drifted = report.drift.highest >= report.drift.threshold
    others = "" if drifted else ", or that its patients differ from those of its training"
    known = " (acknowledged: its patients differ from those of its training)" if drifted else ""
    patients = "" if drifted else ", and there is no sign that its patients differ from those of its training"
    if not report.harm.counted:
        return f"{today}: whether {version} is right is not known before outcomes arrive{patients}{known}"
    if report.harm.counted < FEW:
        return f"{today}: {_too_few(report)}{patients}{known}"
    outcomes = counted(report.harm.counted, "outcome")
    return f"{today}: in {outcomes} there is no sign that {version} is worse than at its training{others}{known}"


def _too_few(report: Report) -> str:
    return f"too few outcomes ({report.harm.counted}) to say whether version {report.version} is worse"


def _known_harm(report: Report) -> bool:
    return report.harm.highest >= report.harm.threshold


def _lower(clause: str) -> str:
    return clause[:1].lower() + clause[1:]


def _of_harm(alarm: Alarm) -> str:
    return f"Since {day(alarm.date)} version {alarm.version} is worse than at its training"


def _of_drift(alarm: Alarm) -> str:
    return f"Since {day(alarm.date)} the patients of version {alarm.version} differ from those of its training"


def _of_week(alarm: Alarm) -> str:
    return f"In the week until {day(alarm.date)} a column differed from the training of version {alarm.version}"


def _of_silence(alarm: Alarm) -> str:
    return f"On {day(alarm.date)} no record arrived"


def _of_input(alarm: Alarm) -> str:
    return f"Since {day(alarm.date)} more requests are refused than before"


def _of_a_newer_release(alarm: Alarm) -> str:
    return f"On {day(alarm.date)} there was an alarm ({alarm.kind}) about version {alarm.version}"


_CLAUSES: Mapping[str, Callable[[Alarm], str]] = {
    HARM: _of_harm,
    DRIFT: _of_drift,
    WEEKLY: _of_week,
    SILENCE: _of_silence,
    COMPLETENESS: _of_input,
}

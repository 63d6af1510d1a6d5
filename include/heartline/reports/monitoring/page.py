"""The page "Monitoring", HTML: today in one sentence, open alarms, and a picture for each question.

A pure function of the reports. The page is one file without scripts and external resources. It shows aggregates: no
values of a patient.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from heartline.monitoring.alarm_entries import OpenAlarm
from heartline.monitoring.report import ColumnDrift, Figures, Report, Shadow
from heartline.reports import rendering
from heartline.reports.monitoring import columns, figures, key_figures, sentence
from heartline.reports.monitoring.axes import share
from heartline.reports.monitoring.history import Monitored
from heartline.reports.monitoring.key_figures import ESTIMATED, interval
from heartline.reports.monitoring.sentence import counted, day

DAYS_IN_TABLE = 31
STRONG = 100  # an e-value of one column that is shown in red
MISSING = "missing fields"  # the column that counts them
HIGHEST = 6  # columns in the table beside the picture
FEWEST = 0.5  # a share of outcomes in a risk band below half of that in another one is called unequal
_ENOUGH = 10  # predictions in a risk band whose share is compared


def render(monitored: Monitored, *, today: date, dag: str = "", form: bool = False, said: str = "") -> bytes:
    """Return the page: HTML in UTF-8, the same bytes for the same input.

    Args:
        monitored: the reports of a version, and the open alarms.
        today: the present day, UTC.
        dag: the DAG beside which the page is shown; its forms pass it on.
        form: whether alarms can be acknowledged on the page.
        said: what was done with the last request, shown above everything.
    """
    report = monitored.latest
    page = (
        rendering.templates()
        .get_template("monitoring.html")
        .render(
            referrer="same-origin",  # a form that names no origin would be refused
            said=said,
            sentence=sentence.of(monitored, today),
            alarms=[_alarm(one) for one in sorted(monitored.alarms, key=lambda one: sentence.by_urgency(one.alarm))],
            form=form,
            dag=dag,
            version=report.version if report else "",
            versions=monitored.versions,
            report=_facts(report) if report else None,
            right=_right(monitored.reports) if report else None,
            patients=_patients(monitored.reports) if report else None,
            complete=_complete(monitored.reports) if report else None,
            candidate=_candidate(monitored.reports) if report else None,
            awaited=_awaited(report) if report else None,
            days=[_day(one) for one in reversed(monitored.reports[-DAYS_IN_TABLE:])],
        )
    )
    return page.encode()


def _alarm(one: OpenAlarm) -> dict[str, Any]:
    alarm = one.alarm
    return {
        "number": one.number,
        "kind": sentence.TITLES.get(alarm.kind, alarm.kind),
        "tone": "bad" if alarm.kind == sentence.HARM else "fair",
        "day": day(alarm.date),
        "version": alarm.version,
        "sentence": alarm.sentence,
        "rate": alarm.rate,
        "actions": sentence.ACTIONS.get(alarm.kind, ()),
        "figures": [
            (name, value if isinstance(value, str) else f"{value:.4g}") for name, value in alarm.figures.items()
        ],
    }


def _facts(report: Report) -> dict[str, Any]:
    return {
        "version": report.version,
        "digest": report.digest[:12],
        "day": day(report.date),
        "first": day(report.first),
        "reference": report.reference_records,
        "rate": report.rate,
        "harm": report.harm,
        "drift": report.drift,
    }


def _right(reports: Sequence[Report]) -> dict[str, Any]:
    report = reports[-1]
    harm = report.harm
    return {
        "answer": _right_in_words(report),
        "counted": harm.counted,
        "calibration": figures.calibration(harm.calibration),
        "bins": [
            {
                "predicted": share(one.predicted),
                "observed": share(one.observed.value),
                "interval": f"{share(one.observed.low)} to {share(one.observed.high)}",
                "count": one.count,
            }
            for one in harm.calibration
        ],
        "brier": figures.brier(reports),
        "e_values": figures.harm(reports),
        "e": figures.number(harm.e),
        "highest": figures.number(harm.highest),
        "threshold": f"{harm.threshold:,.0f}",
        "limit": f"{harm.reference_brier + harm.margin:.3f}",
        "reference": f"{harm.reference_brier:.3f}",
        "standard_error": "" if harm.reference_error is None else f"{harm.reference_error:.3f}",
        "recent": None if harm.recent_brier is None else f"{harm.recent_brier:.3f}",
        "recent_outcomes": counted(harm.recent_outcomes, "outcome"),
        "margin": f"{harm.margin:g}",
        "groups": [_group(one) for one in harm.groups],
        "estimated": [
            (title, f"{harm.estimated[name]:.3f}") for name, title in ESTIMATED.items() if name in harm.estimated
        ],
        "estimated_from": int(harm.estimated.get("predictions", 0)),
    }


def _right_in_words(report: Report) -> str:
    harm = report.harm
    if not harm.counted:
        return "Not known yet: no outcome has arrived."
    outcomes = counted(harm.counted, "outcome")
    if harm.highest >= harm.threshold:
        return f"No. In {outcomes} the errors are larger than at its training, by more than margin and chance explain."
    if harm.counted < sentence.FEW:
        return f"Not known yet: {outcomes} are too few to say whether it is worse than at its training."
    return f"There is no sign that it is worse than at its training, in {outcomes}."


def _group(one: Figures) -> dict[str, Any]:
    scores = {"Brier score": one.brier, "ROC AUC": one.auc, "Slope": one.slope, "Intercept": one.intercept}
    return {
        "name": "all" if one.group == "all" else one.group,
        "count": one.count,
        "positive": one.positive,
        "scores": {title: interval(value) if value else "too few" for title, value in scores.items()},
    }


def _patients(reports: Sequence[Report]) -> dict[str, Any]:
    report = reports[-1]
    drift = report.drift
    return {
        "answer": _patients_in_words(report),
        "picture": figures.drift(reports),
        "e": figures.number(drift.e),
        "highest": figures.number(drift.highest),
        "threshold": f"{drift.threshold:,.0f}",
        "counted": drift.counted,
        "columns": [_column(one, drift.weekly_limit) for one in drift.columns],
        "hidden": any(one.labels and not one.recent for one in drift.columns),
        "highest_columns": [
            _column(one, drift.weekly_limit) for one in sorted(drift.columns, key=lambda one: -one.e)[:HIGHEST]
        ],
    }


def _patients_in_words(report: Report) -> str:
    drift = report.drift
    if not drift.counted:
        return "Not known yet: no prediction was logged."
    records = counted(drift.counted, "prediction")
    if drift.highest < drift.threshold:
        return f"There is no sign of it in {records}."
    found = key_figures.changed(report)
    strong = [one for one in found if one.e >= STRONG] or found[:1]
    names = ", ".join(one.title for one in strong)
    most = f", most in: {names}" if names else ""
    return f"Yes. They differ from those of its training by more than chance explains{most}."


def _column(one: ColumnDrift, limit: float) -> dict[str, Any]:
    weekly = one.weekly_p
    return {
        "title": one.title,
        "picture": columns.draw(one),
        "e": figures.number(one.e),
        "high": one.e >= STRONG,
        "missing": "" if one.name == MISSING else share(one.missing_recent),
        "missing_before": share(one.missing_reference),
        "any_missing": one.name != MISSING and (one.missing_recent > 0 or one.missing_reference > 0),
        "more_missing": one.missing_recent > 2 * one.missing_reference + 0.05,
        "weekly": "" if weekly is None else figures.number(weekly),
        "weekly_alarm": weekly is not None and weekly < limit,
        "bars": [
            (label, share(before), key_figures.NONE if now is None else share(now))
            for label, before, now in columns.shares(one)
        ],
    }


def _complete(reports: Sequence[Report]) -> dict[str, Any]:
    found = reports[-1].completeness
    silence = "" if found.silence is None else figures.number(found.silence)
    return {
        "answer": _complete_in_words(reports[-1]),
        "volume": figures.volume(reports),
        "imputed": figures.imputed(reports),
        "rejected": sorted((one for one in found.rejected.items() if one[1]), key=lambda one: (-one[1], one[0])),
        "silence": silence,
        "rows": [
            (one.name, one.value, one.beside)
            for one in key_figures.of(reports[-1])
            if one.question == key_figures.INPUT
        ],
    }


def _complete_in_words(report: Report) -> str:
    found = report.completeness
    usual = "" if found.usual is None else f"; {found.usual:.1f} are usual for this weekday"
    arrived = f"{counted(found.records, 'prediction')} on the last day{usual}"
    before = share(found.imputed_reference)
    return f"{arrived}. {share(found.imputed)} of the last 28 days have an imputed field, {before} at training."


def _candidate(reports: Sequence[Report]) -> dict[str, Any] | None:
    found = reports[-1].shadow
    if found is None:
        return None
    return {
        "version": found.version,
        "answer": _candidate_in_words(found),
        "sides": figures.sides(found),
        "e_values": figures.shadow(reports, found.version),
        "threshold": f"{found.threshold:,.0f}",
        "outcomes": found.outcomes,
        "rows": [
            ("Records that both answered", f"{found.answered:,}"),
            ("Would change from healthy to disease", f"{found.to_disease:,}"),
            ("Would change from disease to healthy", f"{found.to_healthy:,}"),
            ("Largest difference of two probabilities", f"{found.largest:.3f}"),
            ("Outcomes", f"{found.outcomes:,}"),
            ("Brier score, production − candidate", interval(found.difference)),
            ("Highest e-value of “the candidate is better”", figures.number(found.better)),
            ("Highest e-value of “the candidate is worse”", figures.number(found.worse)),
        ],
    }


def _candidate_in_words(found: Shadow) -> str:
    name, outcomes = f"version {found.version}", counted(found.outcomes, "outcome")
    if found.better >= found.threshold:
        return f"Yes: in {outcomes} {name} made smaller errors than the version in production."
    if found.worse >= found.threshold:
        return f"No: in {outcomes} {name} made larger errors than the version in production."
    if not found.outcomes:
        return f"Not known yet: no outcome has arrived for a record that {name} answered too."
    return f"Not decided yet, after {outcomes} that both answered."


def _awaited(report: Report) -> dict[str, Any]:
    found = report.awaited
    known = found.outcomes / found.predictions if found.predictions else 0.0
    return {
        "answer": f"{found.outcomes:,} of {counted(found.predictions, 'prediction')} have an outcome ({share(known)}).",
        "bias": _bias(report),
        "corrected": found.corrected,
        "delay": "" if found.median_delay is None else f"{found.median_delay:.0f}",
        "picture": figures.awaited(found.bands),
        "bands": [
            {
                "range": f"{share(one.low)} to {share(one.high)}",
                "predictions": one.predictions,
                "outcomes": one.outcomes,
                "share": share(one.outcomes / one.predictions) if one.predictions else key_figures.NONE,
            }
            for one in found.bands
        ],
    }


def _bias(report: Report) -> str:
    """Return whether the predictions with an outcome are a fair sample of all, as far as their risk tells."""
    shares = [one.outcomes / one.predictions for one in report.awaited.bands if one.predictions >= _ENOUGH]
    if len(shares) < 2 or not report.awaited.outcomes:
        return ""
    if min(shares) < FEWEST * max(shares):
        return (
            "Outcomes are known much more often at some risks than at others, so the figures above describe those "
            "patients and not all of them."
        )
    return "Outcomes are known about equally often at each predicted risk."


def _day(report: Report) -> Mapping[str, str]:
    live = report.harm.groups[0].brier if report.harm.groups else None
    return {
        "day": f"{report.date:%Y-%m-%d}",
        "predictions": f"{report.completeness.records:,}",
        "outcomes": f"{report.awaited.outcomes:,}",
        "brier": f"{live.value:.3f}" if live else key_figures.NONE,
        "harm": figures.number(report.harm.e),
        "drift": figures.number(report.drift.e),
        "alarms": ", ".join(sentence.TITLES.get(one.kind, one.kind) for one in report.alarms),
    }

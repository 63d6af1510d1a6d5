"""The page "Versions", HTML: did the model get worse since a date, who approved the changes, and all versions.

A pure function of the history. The page is one file without scripts and external resources; its form asks for another
date.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from heartline.registry.production.alias_history import EXTERNAL
from heartline.reports import rendering, versions_change, versions_figure
from heartline.reports.versions_change import BETTER, NONE, SAME, WORSE, Change
from heartline.reports.versions_figure import in_words
from heartline.reports.versions_history import NOT_ENTERED, ROC_AUC, Decision, History, ModelVersion, Span

NEWEST = 30  # versions that are shown without a click
HOW = {
    "promote": "with ./heartline promote",
    "rollback": "with ./heartline rollback",
    "run": "(promotion if_better)",
    "first up": "with the first ./heartline up",
    "approval": "",
}
_TONES = {WORSE: "bad", BETTER: "", NONE: "same", SAME: "same"}


def render(history: History, *, since: date | None, now: datetime, dag: str = "") -> bytes:
    """Return the page: HTML in UTF-8, the same bytes for the same input.

    Args:
        history: all versions and times in production.
        since: the date of the question; None for the usual one.
        now: the time of the request, UTC.
        dag: the DAG beside which the page is shown; the form passes it on.
    """
    day = since or versions_change.usual_date(history, now.date())
    change = versions_change.since(history, day)
    newest = list(reversed(history.versions))
    titles = _titles(history)
    page = (
        rendering.templates()
        .get_template("versions.html")
        .render(
            headline=_headline(change, history),
            tone=_TONES.get(change.outcome, "fair"),
            sentences=_sentences(change),
            cautions=change.cautions,
            moves=[_move(one, history) for one in reversed(change.moves)],
            since=day.isoformat(),
            today=now.date().isoformat(),
            dag=dag,
            picture=versions_figure.draw(history, since=day, now=now),
            spans=[_span(one, history) for one in reversed(history.spans)],
            titles=titles,
            newest=[_row(one, titles, history) for one in newest[:NEWEST]],
            older=[_row(one, titles, history) for one in newest[NEWEST:]],
        )
    )
    return page.encode()


def _headline(change: Change, history: History) -> str:
    if not history.versions:
        return "No version is registered yet"
    if change.now is None or change.before is None:
        return "No version is in production"
    now = f"version {change.now.number}"
    if change.outcome == SAME:
        again = " again" if change.moves and not change.first else ""
        return f"Nothing changed since {_day(change.since)}: {now} is in production{again}"
    before = f"version {change.before.number}"
    return {
        WORSE: f"Yes, it got worse since {_day(change.since)}: {now} is worse than {before}",
        BETTER: f"No, it got better since {_day(change.since)}: {now} is better than {before}",
        NONE: f"No detectable change since {_day(change.since)}, from {before} to {now}",
    }.get(change.outcome, f"From {before} to {now} since {_day(change.since)}: the change is not known")


def _sentences(change: Change) -> list[str]:
    if change.now is None:
        return ["The alias production points at no version." if change.before else "Nothing was put into production."]
    if change.before is None:
        return []
    found = []
    if change.outcome == SAME:
        found.append(f"Version {change.now.number}: {_score(change.now)}.")
    else:
        when = "No version was in production then; the first one was" if change.first else "In production then:"
        found.append(
            f"{when} version {change.before.number}, {_score(change.before)}. "
            f"In production now: version {change.now.number}, {_score(change.now)}."
        )
    if change.difference is not None:
        delta = change.difference
        ends = f", 95 % interval {delta.low:+.3f} to {delta.high:+.3f}" if delta.low is not None else ""
        found.append(f"Difference in {ROC_AUC}: {delta.value:+.3f}{ends}.".replace("-", "−"))
    return found


def _score(version: ModelVersion) -> str:
    score = version.roc_auc
    if score is None:
        return f"{ROC_AUC} not known"
    ends = f", 95 % interval {score.low:.3f} to {score.high:.3f}" if score.low is not None else ""
    return f"{ROC_AUC} {score.value:.3f}{ends}"


def _move(span: Span, history: History) -> dict[str, Any]:
    """Return a change of production for the first answer: when, from which version to which, and who approved it."""
    position = history.spans.index(span)
    before = history.spans[position - 1].version if position else ""
    approved = span.approval
    return {
        "when": _time(span.start),
        "what": f"version {before} → version {span.version}" if before else f"version {span.version}, the first one",
        "approved": f"approved by {approved.by}" if approved else "",
        "reason": (approved.reason if approved else "") or span.reason,
        "moved": _moved(span),
    }


def _moved(span: Span) -> str:
    if span.how == EXTERNAL:
        return "moved by hand in MLflow (its UI or API), by whom is not recorded"
    if span.how == NOT_ENTERED:
        return f"moved by hand in MLflow, {NOT_ENTERED}"
    how = HOW.get(span.how, span.how)
    return " ".join(["moved by", span.by or "unknown", *([how] if how else []), *(["(forced)"] if span.forced else [])])


def _span(span: Span, history: History) -> dict[str, Any]:
    version = history.version(span.version)
    return {
        "version": span.version,
        "deleted": version.deleted,
        "start": _time(span.start) if span.start else "not recorded",
        "end": _time(span.end) if span.end else ("now" if span.version == history.production else "not recorded"),
        "current": span.end is None and span.version == history.production,
        "score": in_words(version.roc_auc) if version.roc_auc else "not known",
        "moved": _moved(span).removeprefix("moved by "),
        "approval": f"{span.approval.by}, {_time(span.approval.at)}" if span.approval else "",
        "reason": (span.approval.reason if span.approval else "") or span.reason,
        "served": [f"{one.by}, from {_time(one.at)}" for one in span.served],
    }


def _row(version: ModelVersion, titles: Sequence[str], history: History) -> dict[str, Any]:
    scores = version.scores or {}
    return {
        "number": version.number,
        "current": version.number == history.production,
        "deleted": version.deleted,
        "registered": _time(version.registered) if version.registered else "not recorded",
        "family": version.family.replace("_", " ") or "unknown",
        "origin": version.origin or "unknown",
        "scores": [_cell(scores.get(title)) for title in titles],
        "verdict": version.verdict,
        "reason": version.reason,
        "decisions": [_decision(one) for one in version.decisions],
    }


def _cell(score: Any) -> dict[str, str]:
    if score is None:
        return {"value": "–", "interval": ""}
    ends = "" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"
    return {"value": f"{score.value:.3f}", "interval": ends}


def _decision(one: Decision) -> dict[str, str]:
    kind = "approval requested" if one.kind == "requested" else one.kind
    tone = {"approved": "", "rejected": "bad", "refused": "bad"}.get(one.kind, "same")
    return {"kind": kind, "tone": tone, "text": f" by {one.by}, {_time(one.at)}", "reason": one.reason}


def _titles(history: History) -> list[str]:
    """Return the titles of all scores, those of the newest version first."""
    found: dict[str, None] = {ROC_AUC: None}
    for one in reversed(history.versions):
        found |= dict.fromkeys(one.scores or {})
    return list(found)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _time(moment: datetime | None) -> str:
    return f"{moment.day} {moment:%b %Y, %H:%M}" if moment else "at a time that is not recorded"

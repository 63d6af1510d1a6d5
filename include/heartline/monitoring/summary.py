"""A day in one sentence, for the note of a run and the page."""

from collections.abc import Sequence

from heartline.monitoring.report import Report, Shadow


def of_report(report: Report) -> str:
    """Return what a day says of a version, one sentence without a full stop."""
    harm = any(one.kind == "harm" for one in report.alarms) or report.harm.highest >= report.harm.threshold
    drift = report.drift.highest >= report.drift.threshold
    right = (
        "is worse than at its training"
        if harm
        else f"shows no sign of harm in {report.harm.counted:,} outcomes"
        if report.harm.counted
        else "has no outcomes yet"
    )
    patients = "its patients differ from those of its training" if drift else "its patients are as at its training"
    return f"version {report.version} answered {report.completeness.records:,} records, {right}, and {patients}"


BETTER, WORSE, UNDECIDED = "better", "worse", "not decided"


def shadow_verdict(shadow: Shadow) -> str:
    """Return ``BETTER``, ``WORSE`` or ``UNDECIDED``: what the paired comparison says of the candidate."""
    if shadow.better >= shadow.threshold:
        return BETTER
    return WORSE if shadow.worse >= shadow.threshold else UNDECIDED


def of_shadow(shadow: Shadow) -> str:
    """Return in two sentences what the candidate's answers to production's records say."""
    changed = shadow.to_disease + shadow.to_healthy
    same = 1 - changed / shadow.answered if shadow.answered else 1.0
    answers = (
        f"Version {shadow.version} answered {shadow.answered:,} of production's records in the shadow, {same:.1%} of "
        f"them with the same prediction: {shadow.to_disease:,} would change to *heart disease* and "
        f"{shadow.to_healthy:,} to *no heart disease*."
    )
    found = shadow.difference
    difference = (
        f"; its Brier score is lower by {found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if found else ""
    )
    verdict = {
        BETTER: "the candidate is *better*",
        WORSE: "the candidate is *worse*",
        UNDECIDED: "not decided yet",
    }[shadow_verdict(shadow)]
    return (
        f"{answers} Paired comparison after {shadow.outcomes:,} outcomes: {verdict} (e-value {shadow.better:.3g} for "
        f"better and {shadow.worse:.3g} for worse, decided at {shadow.threshold:g}){difference}."
    )


def of_day(reports: Sequence[Report], notes: Sequence[str]) -> str:
    """Return a day of all versions in one line.

    Args:
        reports: of the day.
        notes: why other versions are not monitored.
    """
    if not reports and not notes:
        return "no version answered, and none is in production"
    return "; ".join([*map(of_report, reports), *notes])


def with_alarms(note: str, count: int) -> str:
    """Return the note of a run with the number of open alarms."""
    return f"{count} open {'alarm' if count == 1 else 'alarms'}: {note}" if count else f"no open alarm: {note}"

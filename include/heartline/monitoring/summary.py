"""What the shadow says of a candidate, in words: for the page, and for the request for approval."""

from heartline.monitoring.report import Interval, Shadow

BETTER, WORSE, UNDECIDED = "better", "worse", "not decided"


def shadow_verdict(shadow: Shadow) -> str:
    """Return ``BETTER``, ``WORSE`` or ``UNDECIDED``: what the paired comparison says of the candidate."""
    if shadow.better >= shadow.threshold:
        return BETTER
    return WORSE if shadow.worse >= shadow.threshold else UNDECIDED


def _lower_or_higher(found: Interval) -> str:
    """Return by how much the candidate's Brier score is lower; where it is not, by how much it is higher."""
    if found.value < 0:
        return f"higher by {-found.value:.3f} ({-found.high:.3f} to {-found.low:.3f})"
    return f"lower by {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


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
    difference = f"; its Brier score is {_lower_or_higher(found)}" if found else ""
    verdict = {
        BETTER: "the candidate is *better*",
        WORSE: "the candidate is *worse*",
        UNDECIDED: "not decided yet",
    }[shadow_verdict(shadow)]
    return (
        f"{answers} Paired comparison after {shadow.outcomes:,} outcomes: {verdict} (e-value {shadow.better:.3g} for "
        f"better and {shadow.worse:.3g} for worse, decided at {shadow.threshold:g}){difference}."
    )

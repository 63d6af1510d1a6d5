"""The question that the page "Versions" answers first: did it get worse since a date, and who approved the change?"""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from heartline import origins
from heartline.reports.versions_history import History, ModelVersion, Score, Span

USUAL = timedelta(days=90)

BETTER, WORSE, NONE, SAME, UNKNOWN = "better", "worse", "no detectable change", "same version", "unknown"


@dataclass(frozen=True)
class Change:
    """What changed in production since a date.

    Attributes:
        since: the date.
        outcome: one of ``BETTER``, ``WORSE``, ``NONE``, ``SAME`` and ``UNKNOWN``.
        before: the version in production at the start of that day, or the first one after it; None without any.
        first: whether ``before`` came after the start of that day, as none was in production then.
        now: the version in production now; None for none.
        difference: of their ROC AUC, now minus before; None where it is not known.
        moves: the times in production that began since.
        cautions: sentences on what limits the comparison.
    """

    since: date
    outcome: str
    before: ModelVersion | None = None
    first: bool = False
    now: ModelVersion | None = None
    difference: Score | None = None
    moves: tuple[Span, ...] = ()
    cautions: tuple[str, ...] = ()


def usual_date(history: History, today: date) -> date:
    """Return the date that the page begins with: of the first move, or 90 days ago if that is later."""
    first = min((one.earliest for one in history.spans if one.earliest), default=None)
    ago = today - USUAL
    return max(first.date(), ago) if first else ago


def since(history: History, day: date) -> Change:
    """Return what changed in production since the start of a day, UTC.

    Args:
        history: all versions and times in production.
        day: the date.
    """
    moment = datetime.combine(day, time(), UTC)
    span = history.at(moment)
    later = [one for one in history.spans if one is not span and (one.end is None or one.end > moment)]
    first = span is None
    span = span or next(iter(later), None)
    before = history.version(span.version) if span else None
    now = history.version(history.production) if history.production else None
    found = Change(day, UNKNOWN, before, first, now, moves=tuple(later))
    if before is None or now is None:
        return found
    if before.number == now.number:
        return Change(day, SAME, before, first, now, moves=tuple(later))
    delta = difference(before.roc_auc, now.roc_auc)
    return Change(day, _outcome(delta), before, first, now, delta, tuple(later), _cautions(before, now))


def difference(before: Score | None, now: Score | None) -> Score | None:
    """Return the difference of two scores with its 95 % interval, from their own intervals.

    The interval is that of Zou and Donner (2008) for independent estimates ("MOVER"). Estimates on the same records
    vary together, so there it is wider than needed: it may miss a change, but does not invent one.
    """
    if before is None or now is None:
        return None
    delta = now.value - before.value
    ends = (before.low, before.high, now.low, now.high)
    if None in ends:
        return Score(delta)
    low, high, now_low, now_high = (float(end) for end in ends if end is not None)
    below = math.hypot(now.value - now_low, high - before.value)
    above = math.hypot(now_high - now.value, before.value - low)
    return Score(delta, delta - below, delta + above)


def _outcome(delta: Score | None) -> str:
    if delta is None or delta.low is None or delta.high is None:
        return UNKNOWN
    if delta.high < 0:
        return WORSE
    return BETTER if delta.low > 0 else NONE


def _cautions(before: ModelVersion, now: ModelVersion) -> tuple[str, ...]:
    found = []
    synthetic = [one.number for one in (before, now) if one.origin == origins.SAMPLE]
    if synthetic and before.origin != now.origin:
        found.append(
            f"Version {synthetic[0]} was trained and evaluated on the synthetic sample, the other one was not: their "
            "scores are about different patients."
        )
    if before.profile != now.profile and before.profile and now.profile:
        found.append(
            f"The versions were evaluated with different profiles ({before.profile} and {now.profile}): the folds and "
            "the model sizes differ."
        )
    return tuple(found)

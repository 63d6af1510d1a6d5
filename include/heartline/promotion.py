"""From differences to a verdict with its reasons. Pure: it decides, others act."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heartline.comparison import Difference

BETTER = "better"
WORSE = "worse"
NO_DIFFERENCE = "no detectable difference"


@dataclass(frozen=True)
class Verdict:
    """What a comparison says.

    Attributes:
        winner: the family that ``staging`` goes to.
        incumbent: the family that had to be beaten.
        verdict: *better* where a challenger beat the incumbent; *worse* where each one was worse; else
            *no detectable difference*.
        reason: one sentence for people.
    """

    winner: str
    incumbent: str
    verdict: str
    reason: str


def judge(difference: Difference) -> str:
    """Return *better*, *worse* or *no detectable difference* for one challenger: does the interval exclude zero?"""
    if difference.low > 0:
        return BETTER
    if difference.high < 0:
        return WORSE
    return NO_DIFFERENCE


def choose_incumbent(families: Mapping[str, int], production: str | None) -> str:
    """Return the family to be beaten: production's if it takes part, else the simplest.

    Args:
        families: name to simplicity rank, of those that were trained.
        production: the family of the production version, if there is one.
    """
    if production in families:
        return str(production)
    return min(families, key=lambda name: (families[name], name))


def decide(incumbent: str, differences: Sequence[Difference]) -> Verdict:
    """Return the verdict over all challengers: only one that is *better* replaces the incumbent."""
    better = [one for one in differences if judge(one) == BETTER]
    if better:
        best = max(better, key=lambda one: one.delta)
        return Verdict(best.challenger, incumbent, BETTER, f"{_sentence(best)}: it is better.")
    verdict = WORSE if differences and all(judge(one) == WORSE for one in differences) else NO_DIFFERENCE
    shown = "; ".join(f"{_sentence(one)}: {judge(one)}" for one in differences) or "there was no challenger"
    return Verdict(incumbent, incumbent, verdict, f"{shown}. {incumbent} stays.")


def _sentence(one: Difference) -> str:
    return (
        f"{one.challenger} against {one.incumbent}: ROC AUC {one.delta:+.3f} "
        f"(95 % interval {one.low:+.3f} to {one.high:+.3f})"
    )

"""The text of a verdict: reasons with numbers for reviewers, and one sentence for clinicians.

The sentence explains a ROC AUC of 0.91 as follows: of 100 pairs of one patient with and one without heart disease, the
model gives the patient with the disease the higher probability in 91.
"""

from collections.abc import Sequence

from heartline.comparison.compare import Comparison
from heartline.comparison.paired_tests import Interval

_PAIRS = "of 100 pairs of one patient with and one without heart disease"


def plain(name: str) -> str:
    """Return a family's name as words."""
    return name.replace("_", " ")


def comparison(one: Comparison, verdict: str, why: Sequence[str]) -> str:
    """Return the numbers of a comparison, its verdict, and why the challenger is not better."""
    because = f" ({'; '.join(why)})" if why and one.auc.high >= 0 else ""
    return (
        f"{plain(one.challenger)} against {plain(one.incumbent)}: ROC AUC {one.aucs[0]:.3f} against {one.aucs[1]:.3f}, "
        f"{_interval(one.auc)}; Brier score {one.briers[0]:.3f} against {one.briers[1]:.3f}, {_interval(one.brier)}: "
        f"{verdict}{because}"
    )


def violations(name: str, violated: Sequence[str]) -> str:
    """Return which minimum requirements a model violates."""
    return f"{plain(name)} does not meet the minimum requirements: {'; '.join(violated)}"


def sentence(one: Comparison, why: Sequence[str], challengers: int, *, in_production: str) -> str:
    """Return the result of one comparison for a clinician.

    Args:
        one: the comparison of the winner, or of the challenger with the largest gain.
        why: why that challenger is not better.
        challengers: number of challengers.
        in_production: the version in production, if it is of the incumbent's family; else "".
    """
    challenger, incumbent = plain(one.challenger), plain(one.incumbent)
    best = f", the best of {challengers} challengers," if challengers > 1 else ""
    numbers = (
        f"{_PAIRS}, it ranks the patient with disease higher in {100 * one.aucs[0]:.1f}, "
        f"{incumbent} in {100 * one.aucs[1]:.1f} "
        f"(95 % interval of the difference {100 * one.auc.low:+.1f} to {100 * one.auc.high:+.1f}; {one.rows} patients)"
    )
    stays = (
        f"version {in_production} ({incumbent}) stays in production"
        if in_production
        else f"the simpler model, {incumbent}, is kept"
    )
    if one.auc.high < 0:
        return f"{_capital(challenger)}{best} is worse than {incumbent}: {numbers}, so {stays}."
    if not why:
        return f"{_capital(challenger)}{best} is better than {incumbent}: {numbers}."
    if one.auc.low > 0:
        ahead = f"{_capital(challenger)}{best} looks better than {incumbent}, but {why[0]}"
        return f"{ahead}: {numbers}, so {stays}."
    return f"There is no detectable difference between {challenger}{best} and {incumbent}: {numbers}, so {stays}."


def vetoed(first: str, violated: Sequence[str], winner: str | None) -> str:
    """Return that a model does not meet the minimum requirements, and which one replaces it."""
    outcome = f"{plain(winner)} replaces it" if winner else "and no other model does, so no model is selected"
    joint = ", so " if winner else ", "
    return f"{_capital(plain(first))} does not meet the minimum requirements ({'; '.join(violated)}){joint}{outcome}."


def alone(incumbent: str) -> str:
    """Return that the incumbent had no challenger."""
    return f"{_capital(plain(incumbent))} had no challenger, so it stays."


def _interval(difference: Interval) -> str:
    return f"difference {difference.value:+.3f} (95 % interval {difference.low:+.3f} to {difference.high:+.3f})"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]

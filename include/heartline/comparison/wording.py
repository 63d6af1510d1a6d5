"""The text of a verdict: reasons with numbers for reviewers, and one sentence for clinicians.

The sentence explains a ROC AUC of 0.91 as follows: of 100 pairs of one patient with and one without heart disease, the
model gives the patient with the disease the higher probability in 91.
"""

from collections.abc import Sequence

from heartline.comparison.compare import Comparison
from heartline.comparison.paired_tests import Interval
from heartline.comparison.verdict_names import BETTER, NO_DIFFERENCE, PROBABILITIES, TOO_SMALL, WORSE

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


def sentence(one: Comparison, verdict: str, why: Sequence[str], challengers: int, *, in_production: str) -> str:
    """Return the result of one comparison for a clinician.

    Args:
        one: the comparison of the winner, or of the challenger that the verdict is about.
        verdict: on that challenger.
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
        else f"the simpler model, {incumbent}, is put forward"
    )
    if verdict == NO_DIFFERENCE and one.auc.low <= 0:
        return f"There is no detectable difference between {challenger}{best} and {incumbent}: {numbers}, so {stays}."
    finding = {
        BETTER: f"is better than {incumbent}",
        WORSE: f"is worse than {incumbent}",
        TOO_SMALL: f"ranks patients better than {incumbent}, but by too little to matter ({'; '.join(why)})",
        PROBABILITIES: f"ranks patients better than {incumbent}, but its probabilities may be worse ({'; '.join(why)})",
        NO_DIFFERENCE: f"looks better than {incumbent}, but {'; '.join(why)}",
    }[verdict]
    conclusion = "" if verdict == BETTER else f", so {stays}"
    return f"{_capital(challenger)}{best} {finding}: {numbers}{conclusion}."


def vetoed(first: str, violated: Sequence[str], winner: str | None) -> str:
    """Return that a model does not meet the minimum requirements, and which one is put forward instead."""
    outcome = (
        f"so {plain(winner)} is put forward; production is unchanged until a user promotes a version"
        if winner
        else "and no other model does, so no model is selected"
    )
    return f"{_capital(plain(first))} does not meet the minimum requirements ({'; '.join(violated)}), {outcome}."


def alone(incumbent: str) -> str:
    """Return that the incumbent had no challenger."""
    return f"{_capital(plain(incumbent))} had no challenger, so it stays."


def _interval(difference: Interval) -> str:
    return f"difference {difference.value:+.3f} (95 % interval {difference.low:+.3f} to {difference.high:+.3f})"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]

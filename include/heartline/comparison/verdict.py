"""The verdict of a model comparison with its reasons, and whether a run may move ``production``. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heartline.comparison import compare, wording
from heartline.comparison.compare import Comparison
from heartline.comparison.verdict_names import BETTER, NO_DIFFERENCE, PROBABILITIES, TOO_SMALL, VETOED, WORSE
from heartline.evaluation.intervals import ALPHA

MANUAL = "manual"
"""Promotion mode: a run never moves ``production``."""
APPROVAL = "approval"
"""Promotion mode: a run never moves ``production``, and asks for an approval of its winner."""
IF_BETTER = "if_better"
"""Promotion mode: a run moves ``production`` where its verdict is *better* and nothing holds the move back."""
PROMOTION_MODES = (MANUAL, APPROVAL, IF_BETTER)


@dataclass(frozen=True)
class VerdictRules:
    """The margins of a comparison and the minimum requirements for a winner.

    Attributes:
        margin: a challenger's ROC AUC must be higher by more than this; a smaller gain is irrelevant in practice.
        brier_margin: the upper end of the interval of its Brier score's difference must be below this.
        min_auc: minimum ROC AUC of a winner.
        slope: range of a winner's calibration slope. 1 is perfect; below it probabilities are too extreme, above it not
            extreme enough.
        min_recall: minimum recall of a winner in each subgroup. It is violated where the whole 95 % interval is below.
        min_positives: patients with disease that a subgroup must have before its recall counts.
    """

    margin: float = 0.01
    brier_margin: float = 0.01
    min_auc: float = 0.75
    slope: tuple[float, float] = (0.5, 2.0)
    min_recall: float = 0.5
    min_positives: int = 20


RULES = VerdictRules()


@dataclass(frozen=True)
class Recall:
    """The recall at the contract's threshold in a subgroup.

    Attributes:
        value: the share of its patients with disease that are predicted positive.
        high: upper end of the 95 % interval.
        positives: number of its patients with disease.
    """

    value: float
    high: float
    positives: int


@dataclass(frozen=True)
class Performance:
    """The out-of-fold scores that are compared with the minimum requirements.

    Attributes:
        auc: ROC AUC.
        slope: calibration slope.
        recalls: by subgroup.
    """

    auc: float
    slope: float
    recalls: Mapping[str, Recall] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The verdict over all comparisons of a run.

    Attributes:
        winner: the model that ``staging`` is moved to; None if no model meets the minimum requirements.
        incumbent: the model that the challengers were compared with.
        verdict: *better* if the winner is better than the incumbent; *worse* if every challenger is worse; *vetoed* if
            the model that would have won does not meet the minimum requirements; *probabilities may be worse* or *too
            small to matter* if a challenger's ROC AUC is higher, but this keeps it from being better; else *no
            detectable difference*.
        reasons: one sentence for each comparison and each model that violates minimum requirements.
        sentence: the verdict in words, for clinicians.
    """

    winner: str | None
    incumbent: str
    verdict: str
    reasons: list[str]
    sentence: str


@dataclass(frozen=True)
class MoveDecision:
    """Whether a run may move ``production`` to its winner.

    Attributes:
        move: True where it may.
        reason: why the move is held back although the mode and the verdict allow it; "" otherwise.
    """

    move: bool
    reason: str = ""


def may_move_production(promotion: str, verdict: str, held_back: str, caution: str = "") -> MoveDecision:
    """Decide whether a run may move ``production`` to its winner.

    Args:
        promotion: the run's promotion mode, one of ``PROMOTION_MODES``.
        verdict: the verdict of the run's model comparison, such as ``BETTER``.
        held_back: why the comparison is not about the version in production; "" where it is, or where there is none.
        caution: why the evidence for the winner does not suffice (``looks.cautions``); "" where it does.

    Raises:
        ValueError: the promotion mode is unknown.
    """
    if promotion not in PROMOTION_MODES:
        raise ValueError(f"unknown promotion mode {promotion!r}: expected one of {', '.join(PROMOTION_MODES)}")
    if promotion != IF_BETTER or verdict != BETTER:
        return MoveDecision(move=False)
    reason = held_back or caution
    return MoveDecision(move=not reason, reason=reason)


def choose_incumbent(families: Mapping[str, int], production: str | None) -> str:
    """Return the incumbent: production's family if it takes part, else the simplest family.

    Args:
        families: simplicity rank by name of each family that was trained.
        production: the family of the version in production; None without one.
    """
    if production in families:
        return str(production)
    return min(families, key=lambda name: (families[name], name))


def violations(performance: Performance, rules: VerdictRules) -> list[str]:
    """Return in words which minimum requirements are violated. A score of NaN violates its requirement."""
    low, high = rules.slope
    found = []
    if not performance.auc >= rules.min_auc:
        found.append(f"ROC AUC {performance.auc:.3f}, at least {rules.min_auc:g} required")
    if not low <= performance.slope <= high:
        found.append(f"calibration slope {performance.slope:.2f}, {low:g} to {high:g} required")
    for group, recall in performance.recalls.items():
        if recall.positives >= rules.min_positives and not recall.high >= rules.min_recall:
            found.append(
                f"recall {recall.value:.2f} among {recall.positives} with disease ({group}), 95 % interval up to "
                f"{recall.high:.2f}, at least {rules.min_recall:g} required"
            )
    return found


def obstacles(one: Comparison, p_value: float, rules: VerdictRules) -> list[str]:
    """Return in words why a challenger is not *better*; an empty list if it is.

    Args:
        one: the comparison.
        p_value: corrected for the number of challengers.
        rules: the margins.
    """
    found = []
    if one.auc.low <= 0:
        found.append("the interval is not above 0")
    elif p_value > ALPHA:
        found.append(f"it is not significant among several challengers (p = {p_value:.3f} by Holm's correction)")
    if one.auc.value <= rules.margin:
        found.append(f"the gain does not exceed the margin of {rules.margin:g}")
    if not compare.not_worse(one.brier, rules.brier_margin):
        found.append(f"its Brier score may be worse by {one.brier.high:.3f}, at most {rules.brier_margin:g} is allowed")
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number; a single one is unchanged.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = floor
    return adjusted


# The verdicts on a challenger; the first one that applies to any of them is the verdict of the run.
_ORDER = (BETTER, PROBABILITIES, TOO_SMALL, NO_DIFFERENCE, WORSE)


@dataclass(frozen=True)
class _ChallengerVerdict:
    """A challenger with its verdict, and why it is not better."""

    comparison: Comparison
    verdict: str
    why: list[str]

    @property
    def name(self) -> str:
        return self.comparison.challenger


def _outcomes_of(comparisons: Sequence[Comparison], rules: VerdictRules) -> list[_ChallengerVerdict]:
    """Return the verdict on each challenger, in the order of ``_ORDER`` and then the largest gain first."""
    found = []
    for one, p_value in zip(comparisons, holm([one.p_value for one in comparisons]), strict=True):
        why = obstacles(one, p_value, rules)
        found.append(_ChallengerVerdict(one, _challenger_verdict(one, p_value, why, rules), why))
    return sorted(found, key=lambda one: (_ORDER.index(one.verdict), -one.comparison.auc.value))


def _challenger_verdict(one: Comparison, p_value: float, why: Sequence[str], rules: VerdictRules) -> str:
    if one.auc.high < 0:
        return WORSE
    if not why:
        return BETTER
    if one.auc.low <= 0 or p_value > ALPHA:
        return NO_DIFFERENCE
    return TOO_SMALL if one.auc.value <= rules.margin else PROBABILITIES


def decide(
    incumbent: str,
    comparisons: Sequence[Comparison],
    *,
    performances: Mapping[str, Performance],
    simplicity: Mapping[str, int],
    in_production: str = "",
    rules: VerdictRules = RULES,
) -> Verdict:
    """Return the verdict over all challengers of an incumbent.

    The winner is the *better* challenger with the highest ROC AUC, p-values corrected for the number of challengers;
    without a better one, the incumbent. A model that violates the minimum requirements is replaced by the next one: the
    next better challenger, the incumbent, then the simplest challenger that is neither better nor worse. A challenger
    that is worse never wins.

    Args:
        incumbent: the model that the challengers are compared with.
        comparisons: one for each challenger, all with the incumbent.
        performances: of each model, including the incumbent.
        simplicity: rank of each challenger, the simplest first.
        in_production: the version in production, if it is of the incumbent's family; else "".
        rules: margins and minimum requirements.

    Raises:
        ValueError: a comparison has another incumbent, or a challenger appears twice.
        KeyError: the performance or the rank of a model is missing.
    """
    _check(incumbent, comparisons)
    outcomes = _outcomes_of(comparisons, rules)
    better = [one.name for one in outcomes if one.verdict == BETTER]
    others = (one.name for one in outcomes if one.verdict not in (BETTER, WORSE))
    ranked = [*better, incumbent, *sorted(others, key=lambda name: simplicity[name])]
    violated = {name: violations(performances[name], rules) for name in ranked}
    winner = next((name for name in ranked if not violated[name]), None)
    verdict = _verdict(winner, ranked[0], outcomes)
    reasons = [wording.comparison(one.comparison, one.verdict, one.why) for one in outcomes]
    reasons += [wording.violations(name, found) for name, found in violated.items() if found]
    if verdict == VETOED:
        sentence = wording.vetoed(ranked[0], violated[ranked[0]], winner)
    elif not outcomes:
        sentence = wording.alone(incumbent)
    else:
        shown = next((one for one in outcomes if one.name == winner), outcomes[0])
        sentence = wording.sentence(
            shown.comparison, shown.verdict, shown.why, len(outcomes), in_production=in_production
        )
    return Verdict(winner, incumbent, verdict, reasons, sentence)


def _check(incumbent: str, comparisons: Sequence[Comparison]) -> None:
    names = [one.challenger for one in comparisons]
    if len({incumbent, *names}) <= len(names):
        raise ValueError(f"{incumbent} cannot be compared with {names}: each one takes part once")
    for one in comparisons:
        if one.incumbent != incumbent:
            raise ValueError(f"{one.challenger} was compared with {one.incumbent}, not with {incumbent}")


def _verdict(winner: str | None, first: str, outcomes: Sequence[_ChallengerVerdict]) -> str:
    """Return the verdict from the winner and the model that would have won without minimum requirements."""
    verdicts = {one.name: one.verdict for one in outcomes}
    if winner is not None and verdicts.get(winner) == BETTER:
        return BETTER
    if winner != first:
        return VETOED
    return outcomes[0].verdict if outcomes else NO_DIFFERENCE

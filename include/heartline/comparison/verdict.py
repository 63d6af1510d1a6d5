"""From comparisons to a verdict with its reasons. Pure: it decides, others act."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heartline.comparison import compare, wording
from heartline.comparison.compare import Comparison
from heartline.comparison.paired_tests import ALPHA

BETTER = "better"
WORSE = "worse"
NO_DIFFERENCE = "no detectable difference"
VETOED = "vetoed"

MANUAL = "manual"
"""Promotion mode: a run never moves ``production``."""
IF_BETTER = "if_better"
"""Promotion mode: a run moves ``production`` where its verdict is *better* and nothing holds the move back."""
PROMOTION_MODES = (MANUAL, IF_BETTER)


@dataclass(frozen=True)
class Rules:
    """What a model must show.

    Attributes:
        margin: a challenger's ROC AUC must be higher by more than this: less does not matter to anybody.
        brier_margin: its Brier score must not be worse by as much as this, beyond doubt.
        min_auc: below this ROC AUC nobody wins.
        slope: the range of the calibration slope; 1 is right, below it a model is too sure, above it not sure enough.
        min_recall: below this share of found patients in a subgroup nobody wins.
        min_sick: patients that a subgroup must have before its recall counts.
    """

    margin: float = 0.01
    brier_margin: float = 0.01
    min_auc: float = 0.75
    slope: tuple[float, float] = (0.5, 2.0)
    min_recall: float = 0.5
    min_sick: int = 20


RULES = Rules()


@dataclass(frozen=True)
class Performance:
    """What the minimum bars are held against, all of it out of fold.

    Attributes:
        auc: ROC AUC.
        slope: calibration slope.
        recalls: by subgroup, recall at the contract's threshold and the number of patients with disease in it.
    """

    auc: float
    slope: float
    recalls: Mapping[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the comparisons say.

    Attributes:
        winner: what ``staging`` goes to; None where nobody passes the bars.
        incumbent: what had to be beaten.
        verdict: *better* where the winner beat the incumbent; *worse* where every challenger was worse; *vetoed* where
            the minimum bars kept out what would have won; else *no detectable difference*.
        reasons: one sentence for each comparison and each bar that was not passed.
        sentence: the verdict in words, for people who treat patients.
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


def may_move_production(promotion: str, verdict: str, held_back: str) -> MoveDecision:
    """Decide whether a run may move ``production`` to its winner.

    Args:
        promotion: the run's promotion mode, one of ``PROMOTION_MODES``.
        verdict: the verdict of the run's model comparison, such as ``BETTER``.
        held_back: why the comparison is not about the version in production; "" where it is, or where there is none.

    Raises:
        ValueError: the promotion mode is unknown.
    """
    if promotion not in PROMOTION_MODES:
        raise ValueError(f"unknown promotion mode {promotion!r}: expected one of {', '.join(PROMOTION_MODES)}")
    if promotion != IF_BETTER or verdict != BETTER:
        return MoveDecision(move=False)
    return MoveDecision(move=not held_back, reason=held_back)


def choose_incumbent(families: Mapping[str, int], production: str | None) -> str:
    """Return what is to be beaten: production's family if it takes part, else the simplest.

    Args:
        families: name to simplicity rank, of those that were trained.
        production: the family of the production version, if there is one.
    """
    if production in families:
        return str(production)
    return min(families, key=lambda name: (families[name], name))


def shortfalls(performance: Performance, rules: Rules) -> list[str]:
    """Return which minimum bars are not passed, in words. A number that could not be computed passes no bar."""
    low, high = rules.slope
    found = []
    if not performance.auc >= rules.min_auc:
        found.append(f"ROC AUC {performance.auc:.3f}, at least {rules.min_auc:g} expected")
    if not low <= performance.slope <= high:
        found.append(f"calibration slope {performance.slope:.2f}, {low:g} to {high:g} expected")
    for group, (recall, sick) in performance.recalls.items():
        if sick >= rules.min_sick and not recall >= rules.min_recall:
            found.append(
                f"recall {recall:.2f} among {sick} with disease ({group}), at least {rules.min_recall:g} expected"
            )
    return found


def obstacles(one: Comparison, p_value: float, rules: Rules) -> list[str]:
    """Return what keeps a challenger from being *better*, in words; nothing if it is.

    Args:
        one: the comparison.
        p_value: its own, or the one that takes the other challengers into account.
        rules: the margins.
    """
    found = []
    if one.auc.low <= 0:
        found.append("the interval does not lie above 0")
    elif p_value > ALPHA:
        found.append(f"among several challengers chance would do as much (p = {p_value:.3f} by Holm's correction)")
    if one.auc.value <= rules.margin:
        found.append(f"the gain is not over the margin of {rules.margin:g}")
    if not compare.not_worse(one.brier, rules.brier_margin):
        found.append(f"its Brier score may be worse by {one.brier.high:.3f}, and {rules.brier_margin:g} is too much")
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that take each other into account; one alone stays as it is.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = floor
    return adjusted


@dataclass(frozen=True)
class _Judged:
    """A challenger with its verdict, and what kept it from being better."""

    comparison: Comparison
    verdict: str
    why: list[str]

    @property
    def name(self) -> str:
        return self.comparison.challenger


def _judge(comparisons: Sequence[Comparison], rules: Rules) -> list[_Judged]:
    """Judge each challenger; the one with the largest gain comes first, those that are worse last."""
    found = []
    for one, p_value in zip(comparisons, holm([one.p_value for one in comparisons]), strict=True):
        why = obstacles(one, p_value, rules)
        verdict = WORSE if one.auc.high < 0 else NO_DIFFERENCE if why else BETTER
        found.append(_Judged(one, verdict, why))
    return sorted(found, key=lambda one: (one.verdict == WORSE, -one.comparison.auc.value))


def decide(
    incumbent: str,
    comparisons: Sequence[Comparison],
    *,
    performances: Mapping[str, Performance],
    simplicity: Mapping[str, int],
    in_production: bool = False,
    rules: Rules = RULES,
) -> Verdict:
    """Return the verdict over all challengers of an incumbent.

    Of the challengers that are *better*, their number taken into account, the one with the highest ROC AUC wins;
    without one, the incumbent. Who does not pass the minimum bars gives way to the next: another better challenger, the
    incumbent, then the simplest of those that show no detectable difference. One that is worse never wins.

    Args:
        incumbent: what is to be beaten.
        comparisons: one for each challenger, all against the incumbent.
        performances: of each one that takes part, the incumbent included.
        simplicity: rank of each challenger, the simplest first.
        in_production: whether the incumbent is what is in production, not just the simplest family.
        rules: margins and bars.

    Raises:
        ValueError: a comparison is against something else, or a challenger comes twice.
        KeyError: the performance or the rank of one that takes part is absent.
    """
    _check(incumbent, comparisons)
    judged = _judge(comparisons, rules)
    better = [one.name for one in judged if one.verdict == BETTER]
    equal = sorted((one.name for one in judged if one.verdict == NO_DIFFERENCE), key=lambda name: simplicity[name])
    candidates = [*better, incumbent, *equal]
    short = {name: shortfalls(performances[name], rules) for name in candidates}
    winner = next((name for name in candidates if not short[name]), None)
    verdict = _verdict(winner, candidates[0], judged)
    reasons = [wording.comparison(one.comparison, one.verdict, one.why) for one in judged]
    reasons += [wording.shortfall(name, missed) for name, missed in short.items() if missed]
    if verdict == VETOED:
        sentence = wording.vetoed(candidates[0], short[candidates[0]], winner)
    elif not judged:
        sentence = wording.alone(incumbent)
    else:
        shown = next((one for one in judged if one.name == winner), judged[0])
        sentence = wording.sentence(shown.comparison, shown.why, len(judged), in_production=in_production)
    return Verdict(winner, incumbent, verdict, reasons, sentence)


def _check(incumbent: str, comparisons: Sequence[Comparison]) -> None:
    names = [one.challenger for one in comparisons]
    if len({incumbent, *names}) <= len(names):
        raise ValueError(f"{incumbent} cannot be compared with {names}: each one takes part once")
    for one in comparisons:
        if one.incumbent != incumbent:
            raise ValueError(f"{one.challenger} was compared with {one.incumbent}, not with {incumbent}")


def _verdict(winner: str | None, first: str, judged: Sequence[_Judged]) -> str:
    """Return the verdict, given who wins and who would have won without the bars."""
    verdicts = {one.name: one.verdict for one in judged}
    if winner is not None and verdicts.get(winner) == BETTER:
        return BETTER
    if winner != first:
        return VETOED
    return WORSE if judged and set(verdicts.values()) == {WORSE} else NO_DIFFERENCE

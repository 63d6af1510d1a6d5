"""The comparison page, HTML: the verdict in a sentence, then its evidence.

The page is one file without scripts and external resources. It shares ``tables`` with the model card.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heartline import contract
from heartline.comparison import looks, wording
from heartline.comparison.candidates import Candidate, ProductionModel
from heartline.comparison.compare import Comparison
from heartline.comparison.looks import Look
from heartline.comparison.paired_tests import Interval
from heartline.comparison.verdict import RULES, Verdict, VerdictRules
from heartline.comparison.verdict_names import BETTER, PROBABILITIES, TOO_SMALL, VETOED, WORSE
from heartline.evaluation import subgroups
from heartline.reports import comparison_figures, rendering, tables


def render(
    verdict: Verdict,
    comparisons: Sequence[Comparison],
    candidates: Sequence[Candidate],
    *,
    production: ProductionModel | None,
    about: Mapping[str, str],
    rules: VerdictRules = RULES,
    remarks: Sequence[str] = (),
    look: Look | None = None,
) -> bytes:
    """Return the page: HTML in UTF-8, the same bytes for the same input.

    Args:
        verdict: over all comparisons.
        comparisons: one for each challenger, against ``verdict.incumbent``.
        candidates: the incumbent and each challenger.
        production: the model in production; None without one.
        about: facts about the data: at least ``tables.REQUIRED``; all are shown.
        rules: the margins of the verdict.
        remarks: further reasons, for example which family could not be served.
        look: which look the comparison is; None to leave that out.

    Raises:
        ValueError: a candidate is missing or comes twice, or ``about`` is not complete.
    """
    titles = _checked(verdict, comparisons, candidates)
    ordered = sorted(candidates, key=lambda one: one.name != verdict.incumbent)
    pictures = comparison_figures.draw(
        [(one.title, one.predictions) for one in ordered],
        comparisons,
        margin=rules.margin,
        brier_margin=rules.brier_margin,
    )
    page = (
        rendering.templates()
        .get_template("comparison.html")
        .render(
            headline=_headline(verdict, comparisons, titles),
            tone=tables.tone(verdict),
            verdict=verdict,
            winner=titles[verdict.winner] if verdict.winner else "none",
            reasons=[*verdict.reasons, *remarks],
            warnings=tables.warnings(about),
            models=[_model(one, verdict, position) for position, one in enumerate(ordered)],
            differences=[_differences(one, titles) for one in comparisons],
            rules=rules,
            look=_look(look, comparisons, titles) if look else [],
            new_share=f"{looks.MIN_NEW_SHARE:.0%}".replace("%", " %"),
            error_rate=looks.ERROR_RATE,
            tables=[
                (
                    "Out of fold",
                    _rows(ordered[0], "training"),
                    tables.score_rows([one.evaluation.out_of_fold for one in ordered]),
                ),
                (
                    "Hold-out",
                    _rows(ordered[0], "holdout"),
                    tables.score_rows([one.evaluation.holdout for one in ordered]),
                ),
            ],
            pictures=pictures,
            threshold=f"{contract.THRESHOLD:g}",
            subgroups=tables.subgroup_rows([one.evaluation for one in ordered]),
            scores=subgroups.TITLES,
            production=production,
            production_rows=tables.score_rows([production.holdout, production.unseen]) if production else [],
            facts=[*tables.facts(about), *_grounds(ordered[0], comparisons)],
        )
    )
    return page.encode()


def _checked(verdict: Verdict, comparisons: Sequence[Comparison], candidates: Sequence[Candidate]) -> dict[str, str]:
    titles = {one.name: one.title for one in candidates}
    if len(titles) != len(candidates):
        raise ValueError(f"a candidate comes twice: {[one.name for one in candidates]}")
    needed = {verdict.incumbent, *([verdict.winner] if verdict.winner else [])}
    needed |= {name for one in comparisons for name in (one.challenger, one.incumbent)}
    if missing := sorted(needed - set(titles)):
        raise ValueError(f"not among the candidates: {', '.join(missing)}")
    return titles


def _headline(verdict: Verdict, comparisons: Sequence[Comparison], titles: Mapping[str, str]) -> str:
    if verdict.verdict == VETOED:
        return "Minimum requirements not met"
    if not comparisons:
        return "Nothing to compare with"
    if verdict.verdict == BETTER:
        return f"{titles[str(verdict.winner)]} is better"
    if verdict.verdict == WORSE:
        return f"{titles[verdict.incumbent]} is better than its challengers"
    return {TOO_SMALL: "A difference too small to matter", PROBABILITIES: "Probabilities may be worse"}.get(
        verdict.verdict, "No detectable difference"
    )


def _look(look: Look, comparisons: Sequence[Comparison], titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return which look it is, what it spends, and the evidence that it has, as facts."""
    p_values = looks.p_values(comparisons)
    found = [
        ("Look", f"{look.number} of the last {looks.WINDOW.days} days" if look.number else f"none: {look.why_none}")
    ]
    if look.level:
        found.append(("Level that it spends", f"{looks.figure(look.level)}, one-sided"))
    corrected = f", corrected for {len(p_values)} challengers" if len(p_values) > 1 else ""
    found += [
        (f"p-value of {titles[name]}", f"{looks.figure(p_value)}, one-sided{corrected}")
        for name, p_value in p_values.items()
    ]
    if look.new:
        counted = f"{look.new.count:,} since {look.new.since}; a look needs {look.new.needed:,}"
        found.append(("New training records", look.new.note or counted))
    found += [
        (f"A run may move production to {titles[name]}", "no" if caution else "if the verdict is better")
        for name in p_values
        for caution in [looks.cautions(look, p_values).get(name)]
    ]
    return found


def _model(one: Candidate, verdict: Verdict, position: int) -> dict[str, Any]:
    roles = [role for role, name in (("incumbent", verdict.incumbent), ("winner", verdict.winner)) if name == one.name]
    unconverged = one.evaluation.unconverged
    return {
        "title": one.title,
        "roles": roles or ["challenger"],
        "warning": f"it did not converge in {unconverged} of {len(one.predictions.fold_aucs)} folds"
        if unconverged
        else "",
        "swatch": comparison_figures.swatch(position),
        "folds": f"{one.evaluation.fold_auc_mean:.3f} ± {one.evaluation.fold_auc_sd:.3f}",
        "confusion": tables.confusion(one.predictions),
    }


def _differences(one: Comparison, titles: Mapping[str, str]) -> dict[str, Any]:
    def line(title: str, found: Interval, p_value: float | None) -> tuple[str, str, str, str]:
        shown = "" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
        return title, f"{found.value:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}", shown

    folds = Interval(one.folds.delta, one.folds.low, one.folds.high)
    return {
        "title": f"{titles[one.challenger]} against {wording.plain(one.incumbent)}",
        "lines": [
            line("ROC AUC, bootstrap (decides)", one.auc, one.p_value),
            line("ROC AUC, DeLong", one.delong.auc, one.delong.p_value),
            line("ROC AUC within folds, Nadeau–Bengio", folds, one.folds.p_value),
            line("Brier score, bootstrap", one.brier, None),
        ],
    }


def _rows(one: Candidate, part: str) -> str:
    if part == "training":
        return f"{len(one.predictions.labels):,}"
    return f"{max((estimate.n for estimate in one.evaluation.holdout.values()), default=0):,}"


def _grounds(one: Candidate, comparisons: Sequence[Comparison]) -> Iterator[tuple[str, str]]:
    yield "Single folds", f"{len(one.predictions.fold_aucs):,} for each model, the same for all"
    for seed, draws in sorted({(found.seed, found.draws) for found in comparisons}):
        yield "Bootstrap of the difference", f"{draws:,} draws, seed {seed}"

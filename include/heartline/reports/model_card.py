"""The model card, HTML: intended use, data, recipe, scores and limits of a model.

Its sections are those of Mitchell and others (2019), "Model Cards for Model Reporting", Proceedings of the Conference
on Fairness, Accountability, and Transparency.

The card is HTML, not Markdown: it shows sources and file names, and HTML has one standard way to escape them. MLflow
shows both among a run's artifacts. The card is too long for a version's description, for which MLflow's database has
5,000 characters.
"""

from collections.abc import Iterator, Mapping

from heartline import contract
from heartline.comparison import wording
from heartline.comparison.candidates import Candidate
from heartline.comparison.verdict import Verdict
from heartline.evaluation import metrics, subgroups
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate
from heartline.ingestion import source_catalog
from heartline.reports import rendering, tables


def render(candidate: Candidate, verdict: Verdict, *, about: Mapping[str, str], mapping: str = "") -> bytes:
    """Return the card: HTML in UTF-8, the same bytes for the same input.

    Args:
        candidate: the model.
        verdict: of the comparison that it took part in.
        about: facts about the training data: at least ``tables.REQUIRED``; all are shown.
        mapping: the text of the mapping that the records were read with; empty for none.

    Raises:
        ValueError: ``about`` is not complete.
    """
    found = candidate.evaluation
    source = source_catalog.of_origin(about["origin"])
    page = (
        rendering.templates()
        .get_template("model_card.html")
        .render(
            warnings=tables.warnings(about),
            title=candidate.title,
            name=contract.MODEL_NAME,
            role=_role(candidate, verdict),
            tone="same" if verdict.winner not in (None, candidate.name) else tables.tone(verdict),
            verdict=verdict,
            contract=contract,
            threshold=f"{contract.THRESHOLD:g}",
            parameters=sorted((name, str(value)) for name, value in candidate.parameters.items()),
            tuning=_tuning(found),
            source=source.card,
            facts=tables.facts(about),
            mapping=mapping,
            training=f"{len(candidate.predictions.labels):,}",
            positives=f"{int(candidate.predictions.labels.sum()):,}",
            scores=tables.score_rows([found.out_of_fold, found.holdout]),
            folds=f"{found.fold_auc_mean:.3f} ± {found.fold_auc_sd:.3f}",
            groups=tables.subgroup_rows([found]),
            group_scores=subgroups.TITLES,
            calibration=list(_calibration(found.out_of_fold)),
            limits=list(_limits(candidate, about)),
            citation=source.citation,
        )
    )
    return page.encode()


def _role(candidate: Candidate, verdict: Verdict) -> str:
    if verdict.winner is None:
        return "No model of this comparison was selected."
    if verdict.winner == candidate.name:
        return "This is the selected model."
    return f"This model was not selected; {wording.plain(verdict.winner)} was."


def _tuning(found: Evaluation) -> list[tuple[str, str]]:
    """Return how many folds chose which candidate of the search space, the most frequent first."""
    if not any(found.chosen):
        return []
    total = sum(found.chosen.values())
    ordered = sorted(found.chosen.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(name, f"{count:,} of {total:,} folds") for name, count in ordered]


def _calibration(estimates: Mapping[str, Estimate]) -> Iterator[str]:
    """Explain the calibration slope and the calibration in the large, as far as their intervals allow."""
    for name, best, below, above in (
        (
            "calibration_slope",
            1.0,
            "the model is overconfident: its probabilities are too near to 0 and 1",
            "the model is underconfident: its probabilities are too far from 0 and 1",
        ),
        (
            "calibration_in_the_large",
            0.0,
            "risks are lower than predicted",
            "risks are higher than predicted",
        ),
    ):
        one = estimates.get(name)
        if one is None:  # stored before 0.4
            yield f"{metrics.TITLES[name]}: not measured by the release that trained this model."
            continue
        shown = tables.cell(one)
        if one.low is None or one.high is None or not shown["value"]:
            yield f"{metrics.TITLES[name]}: {shown['value'] or shown['note']}."
            continue
        meaning = below if one.high < best else above if one.low > best else f"no detectable deviation from {best:g}"
        yield f"{metrics.TITLES[name]} {shown['value']} (95 % interval {shown['interval']}): {meaning}."


def _limits(candidate: Candidate, about: Mapping[str, str]) -> Iterator[str]:
    yield source_catalog.of_origin(about["origin"]).limits
    n = len(candidate.predictions.labels)
    yield (
        f"{n:,} training records"
        + (" are few: the intervals are wide, and a relevant difference may stay undetected." if n < 1000 else ".")
    )
    yield (
        "Out-of-fold scores describe the recipe: each fold's model was trained on a part of the records. They do not "
        "cover differences between cohorts. The hold-out's scores describe this model, on fewer records."
    )
    yield (
        "Sex and age are the only attributes for subgroups: the records hold nothing about ethnicity, income or access "
        "to care."
    )
    if candidate.evaluation.unconverged:
        yield (
            f"It did not converge in {candidate.evaluation.unconverged} of "
            f"{len(candidate.predictions.fold_aucs)} folds."
        )
    for group in candidate.evaluation.subgroups:
        yield from (f"{one}." for one in group.warnings)

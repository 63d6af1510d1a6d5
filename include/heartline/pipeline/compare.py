"""The task ``compare``: compares the families on their shared folds, and stores the evidence."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from heartline import contract
from heartline.comparison import looks
from heartline.comparison.candidates import Candidate
from heartline.comparison.looks import Look
from heartline.errors import NoCandidateError, memory_limit
from heartline.packaging import export
from heartline.parameters import training as parameters
from heartline.pipeline import candidates, handovers, model_comparison
from heartline.pipeline import looks as recorded_looks
from heartline.pipeline.handovers import Compared, Decision, Prepared, Refused, Trained
from heartline.pipeline.model_comparison import ComparisonResult
from heartline.registry import mlflow_registry, runs
from heartline.reports import comparison_page, model_card, tables
from heartline.storage import object_store

log = logging.getLogger(__name__)


@memory_limit("task compare")
def compare(
    trained: Sequence[Trained | Refused],
    prepared: Prepared,
    *,
    until: str = parameters.STAGES[-1],
    run: str = "",
) -> Compared:
    """Compare the families on their shared folds, store the evidence, and name the winner.

    Args:
        trained: what ``train`` returned, one entry for each family.
        prepared: what ``preprocess`` returned.
        until: the last task of the run.
        run: Airflow's DAG run id.

    Raises:
        OutOfMemoryError: the records do not fit in memory.
        HandoverError: another version of the code wrote ``trained`` or ``prepared``.
        NoCandidateError: no family converged and can be served.
        ComparisonError: the families were not evaluated on the same snapshot, folds and contract.
        RegistryError: MLflow cannot be reached.
    """
    for one in trained:
        handovers.expect("train", one)
    handovers.expect("preprocess", prepared)
    servable = [one for one in trained if handovers.is_trained(one)]
    refused = [one for one in trained if handovers.is_refused(one)]
    if not servable:
        raise _no_candidate(refused)
    participants = {one["family"]: candidates.read(one) for one in servable}
    production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
    lost = "" if production else mlflow_registry.lost_production()
    outcome = model_comparison.compare(participants, prepared, production, lost)
    verdict = outcome.verdict
    predictions = [object_store.digest_of(one["predictions"]) for one in servable]
    # before anything of the comparison is logged or stored: who has seen it has looked
    look = recorded_looks.take(
        outcome,
        participants[verdict.incumbent].predictions,
        training=prepared["training"],
        digests=predictions,
        origin=prepared["origin"],
        run=run,
    )
    taken = recorded_looks.handover(look, outcome)
    remarks = [
        *(_why_refused(one) for one in refused),
        *_unconverged_folds(list(participants.values())),
        *([outcome.held_back] if outcome.held_back else []),
        taken["note"],
        *prepared.get("about_patients", []),
    ]
    decision: Decision = {
        "winner": verdict.winner,
        "incumbent": verdict.incumbent,
        "verdict": verdict.verdict,
        "reason": verdict.sentence,
        "reasons": [*verdict.reasons, *remarks],
        "held_back": outcome.held_back,
        "look": taken,
        "cautions": looks.cautions(look, taken["p_values"]),
    }
    for line in decision["reasons"]:
        log.info("%s", line)
    comparison_run = _log_run(outcome, decision, look, participants, remarks, prepared, run, predictions)
    mlflow_registry.link_comparison([one["run_id"] for one in servable], comparison_run)
    log.info("verdict: %s. %s", verdict.verdict, verdict.sentence)
    compared: Compared = {
        "trained": list(trained),
        # mypy would have the fields that may be absent set here
        **decision,  # type: ignore[typeddict-item]
        "production": production.number if production else "",
        "comparison_run": comparison_run,
        "fingerprint": prepared.get("fingerprint", ""),
        "note": f"{verdict.verdict}: {verdict.sentence}",
    }
    handovers.end_after(compared, "compare", until)
    return compared


def _no_candidate(refused: Sequence[Refused]) -> NoCandidateError:
    if all(one["cause"] == "not converged" for one in refused):
        return NoCandidateError(
            "no family converged",
            where="".join(f"\n    - {one['family']}: {one['reason']}" for one in refused),
            expected="a family whose final model and most of whose folds converge",
            hint="check that the records are the intended ones, and that the families' entries in "
            "training.families.FAMILIES allow enough iterations; nothing was registered",
        )
    return NoCandidateError(
        "no family can be served",
        where="".join(f"\n    - {one['family']}: {one['error']}" for one in refused),
        expected="a family whose bundle passes the smoke test",
        hint="correct what these errors name, then clear the task train",
    )


def _why_refused(one: Refused) -> str:
    if one["cause"] == "not converged":
        return f"{one['family']} was left out: {one['reason']}"
    return f"{one['family']} cannot be served: {one['reason']}"


def _unconverged_folds(participants: Sequence[Candidate]) -> list[str]:
    """Return which of the families that take part did not converge in some folds."""
    return [
        f"{one.name} did not converge in {one.evaluation.unconverged} of {len(one.predictions.fold_aucs)} folds"
        for one in participants
        if one.evaluation.unconverged
    ]


def _mapping(prepared: Prepared) -> dict[str, str]:
    if "mapping" not in prepared:
        return {}
    digest = object_store.digest_of(prepared["mapping"])
    return {"mapping": f"{prepared['mapping_title']} (sha256 {digest})"}


def _about(prepared: Prepared, run: str) -> dict[str, str]:
    """Return the facts that the comparison page and the model cards show."""
    return {
        "source": prepared["source"],
        "origin": prepared["origin"],
        "profile": prepared["profile"],
        "encoding": prepared["encoding"],
        **_mapping(prepared),
        "seed": str(prepared["seed"]),
        "rows": str(prepared["rows"]),
        "used": str(prepared["used"]),
        "duplicates": str(prepared["duplicates"]),
        "quarantined": str(prepared["quarantined"]),
        "run": run,
        "snapshot": object_store.digest_of(prepared["snapshot"]),
        "folds": object_store.digest_of(prepared["folds"]),
        "contract": contract.VERSION,
    }


def _log_run(
    outcome: ComparisonResult,
    decision: Decision,
    look: Look,
    participants: Mapping[str, Candidate],
    remarks: Sequence[str],
    prepared: Prepared,
    run: str,
    predictions: Sequence[str],
) -> str:
    """Log the comparison with its page and the model cards; return the id of the MLflow run.

    Args:
        outcome: of the comparison.
        decision: the verdict over the families.
        look: which look it is.
        participants: the families that took part, by name.
        remarks: sentences for the page, beside the verdict's reasons.
        prepared: what ``preprocess`` returned, for the facts on page and cards.
        run: Airflow's DAG run id.
        predictions: digests of the families' stored predictions.
    """
    verdict, about = outcome.verdict, _about(prepared, run)
    of_cards = {**about, tables.PATIENTS: " ".join(prepared.get("about_patients", []))}
    mapping = object_store.get(prepared["mapping"]).decode() if "mapping" in prepared else ""
    evidence = {
        **decision,
        "comparisons": [asdict(one) for one in outcome.comparisons],
        "production_model": model_comparison.production_scores(outcome.production),
    }
    page = comparison_page.render(
        verdict,
        outcome.comparisons,
        list(participants.values()),
        production=outcome.production,
        about=about,
        remarks=remarks,
        look=look,
    )
    cards = {
        f"model_card_{name}.html": model_card.render(one, verdict, about=of_cards, mapping=mapping)
        for name, one in participants.items()
    }
    key = json.dumps([about["run"], sorted(predictions), evidence], sort_keys=True)
    return mlflow_registry.log_run(
        runs.Run(
            key=hashlib.sha256(key.encode()).hexdigest(),
            title=f"{verdict.verdict} · {about['profile']}",
            note=verdict.sentence,
            experiment=runs.COMPARISON_EXPERIMENT,
            tags={
                "verdict": verdict.verdict,
                "reason": verdict.sentence,
                "winner": verdict.winner or "none",
                "incumbent": verdict.incumbent,
                "look": decision["look"]["note"],
                "snapshot": about["snapshot"],
                "origin": about["origin"],
                "airflow_run": about["run"],
            },
            parameters={name: about[name] for name in ("profile", "seed", "contract")},
            metrics=model_comparison.metrics_of(outcome.comparisons[0]) if outcome.comparisons else {},
            files={"comparison.json": export.to_json(evidence), runs.COMPARISON_PAGE: page, **cards},
        )
    )

"""The families of a run, and what is in production, against each other: the verdict, its evidence, its page."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.comparison import compare as comparison
from heartline.comparison.candidates import Candidate, ProductionModel
from heartline.comparison.compare import Comparison
from heartline.comparison.verdict import Performance, choose_incumbent, decide
from heartline.errors import ComparisonError, HeartlineError, NoCandidateError
from heartline.evaluation import metrics
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate
from heartline.packaging import export
from heartline.packaging.bundle import open_bundle
from heartline.pipeline import candidates
from heartline.registry import mlflow_registry, runs
from heartline.reports import comparison_page, model_card
from heartline.storage import object_store, record_identity, snapshots, splits
from heartline.training import families

log = logging.getLogger(__name__)

ABOUT = ("source", "origin", "profile", "encoding", "seed", "rows", "used", "duplicates", "quarantined")


def compare(trained: Sequence[Mapping[str, Any]], prepared: Mapping[str, Any], *, run: str) -> dict[str, Any]:
    """Compare the families on their shared folds, keep the evidence, and say which one is the winner.

    What has to be beaten is the family of the version in production, as it is trained in this run; without one, the
    simplest family. Where that is not the recipe of the version in production, the comparison says nothing about it.

    Args:
        trained: what ``candidates.train`` returned, one entry for each family.
        prepared: what the stage ``preprocess`` returned.
        run: the orchestrator's name for this run.

    Returns:
        winner (None where nobody passes the bars), incumbent, verdict, reason, reasons, production (the version that
        was there, "" for none), held_back (why the verdict alone must not move it, "" where it may), and the id of the
        MLflow run.

    Raises:
        NoCandidateError: no family converged and can be served.
        ComparisonError: the families were not evaluated on the same snapshot, folds and contract.
        RegistryError: MLflow cannot be reached.
    """
    admitted = [one for one in trained if "refused" not in one]
    if not admitted:
        raise _no_candidate(trained)
    shown = {one["family"]: candidates.read(one) for one in admitted}
    simplicity = {name: families.family(name).simplicity for name in shown}
    production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
    incumbent = choose_incumbent(simplicity, production.tags.get("family") if production else None)
    profile, seed = families.profile(prepared["profile"]), int(prepared["seed"])
    comparisons = [
        comparison.compare(shown[name].predictions, shown[incumbent].predictions, splits=profile.splits, seed=seed)
        for name in sorted(shown)
        if name != incumbent
    ]
    verdict = decide(
        incumbent,
        comparisons,
        performances={name: _performance(one.evaluation) for name, one in shown.items()},
        simplicity=simplicity,
        in_production=production is not None and production.tags.get("family") == incumbent,
    )
    held_back = _held_back(production, shown, profile) if production else ""
    remarks = [*_left_out(trained), *_cut_off(list(shown.values())), *([held_back] if held_back else [])]
    champion = _champion(production, prepared, seed) if production else None
    log.info("%s: %s", verdict.verdict, verdict.sentence)
    for reason in [*verdict.reasons, *remarks]:
        log.info("%s", reason)
    outcome = {
        "winner": verdict.winner,
        "incumbent": verdict.incumbent,
        "verdict": verdict.verdict,
        "reason": verdict.sentence,
        "reasons": [*verdict.reasons, *remarks],
        "held_back": held_back,
    }
    about = {name: str(prepared[name]) for name in ABOUT}
    about |= {
        "run": run,
        "snapshot": object_store.digest_of(prepared["snapshot"]),
        "folds": object_store.digest_of(prepared["folds"]),
        "contract": contract.VERSION,
    }
    evidence = {**outcome, "comparisons": [asdict(one) for one in comparisons], "production_model": _plain(champion)}
    files = {
        "comparison.json": export.to_json(evidence),
        "comparison.html": comparison_page.render(
            verdict, comparisons, list(shown.values()), production=champion, about=about, remarks=remarks
        ),
        **{f"model_card_{name}.html": model_card.render(one, verdict, about=about) for name, one in shown.items()},
    }
    predictions = sorted(object_store.digest_of(one["answers"]) for one in admitted)
    key = hashlib.sha256(json.dumps([run, predictions, evidence], sort_keys=True).encode()).hexdigest()
    return {
        **outcome,
        "production": production.number if production else "",
        "comparison_run": _log(key, outcome, comparisons, about, files),
    }


def _no_candidate(trained: Sequence[Mapping[str, Any]]) -> NoCandidateError:
    if all("unconverged" in one for one in trained):
        return NoCandidateError(
            "no family converged",
            where="".join(f"\n    - {one['family']}: {one['unconverged']}" for one in trained),
            expected="at least one whose final model and most of whose folds stop by themselves",
            hint="see whether the records are what they were meant to be, and whether the families' entries in "
            "training.families.FAMILIES allow enough iterations; nothing was registered",
        )
    return NoCandidateError(
        "no family can be served",
        where="".join(f"\n    - {one['family']}: {one['refused']}" for one in trained),
        expected="at least one whose bundle the service answers from",
        hint="correct what is said there, then clear the task train",
    )


def _left_out(trained: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which families take no part, and why."""
    return [
        f"{one['family']} was left out: {one['unconverged']}"
        if "unconverged" in one
        else f"{one['family']} cannot be served: {one['refused'].splitlines()[0]}"
        for one in trained
        if "refused" in one
    ]


def _cut_off(shown: Sequence[Candidate]) -> list[str]:
    """Return which of the families that take part did not converge in some folds."""
    return [
        f"{one.name} did not converge in {one.evaluation.unconverged} of {len(one.predictions.fold_aucs)} folds"
        for one in shown
        if one.evaluation.unconverged
    ]


def _held_back(production: mlflow_registry.Version, shown: Mapping[str, Candidate], profile: families.Profile) -> str:
    """Return why the comparison is not about the version in production, "" where its own recipe took part."""
    family = production.tags.get("family", "")
    if family not in shown:
        why = f"its family ({family or 'not known'}) takes no part"
    else:
        today = families.candidates(family, profile, len(shown[family].predictions.labels))
        recorded = production.tags.get("parameters", "")
        if recorded == json.dumps(today):
            return ""
        why = f"its recipe is not today's {family} ({_apart(recorded, today)})"
    return f"version {production.number} in production was not compared, as {why}: only a person moves production now"


def _apart(recorded: str, today: Sequence[Mapping[str, Any]]) -> str:
    """Return in which hyperparameters a version's recorded search space is not today's."""
    try:
        then = [dict(one) for one in json.loads(recorded)]
    except (ValueError, TypeError):
        return "its own is not known"
    before, now = _values(then), _values(today)
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    said = [f"{name} {before.get(name, 'none')}, today {now.get(name, 'none')}" for name in names]
    return "; ".join(said) or "other combinations of the same values"


def _values(space: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return in words which values each hyperparameter has in a search space."""
    names = sorted({name for one in space for name in one})
    return {name: " or ".join(dict.fromkeys(str(one.get(name)) for one in space)) for name in names}


def _performance(found: Evaluation) -> Performance:
    """Return what the minimum bars look at; where a number is not defined, no bar is passed."""
    auc, slope = found.out_of_fold["roc_auc"].value, found.out_of_fold["calibration_slope"].value
    recalls = {
        f"{one.kind} {one.name}": (recall.value, one.positives)
        for one in found.subgroups
        if (recall := one.estimates["recall"]).value is not None
    }
    return Performance(
        auc=float("nan") if auc is None else auc, slope=float("nan") if slope is None else slope, recalls=recalls
    )


def _champion(production: mlflow_registry.Version, prepared: Mapping[str, Any], seed: int) -> ProductionModel:
    """Score production's own model, as it is served, on today's hold-out and on what it was not trained on."""
    origin = production.tags.get("origin", "unknown")
    try:
        bundle = open_bundle(
            object_store.get(object_store.address(production.tags.get("bundle", ""), "bundles", ".tar"))
        )
        _expect_same_contract(json.loads(bundle["manifest.json"]).get("model", {}))
        model = export.from_skops(bundle["model.skops"])
        seen = snapshots.read_snapshot(
            object_store.address(production.tags.get("snapshot", ""), "snapshots", ".parquet")
        )
    except HeartlineError as error:
        log.warning("version %s in production was not scored: %s", production.number, error.what)
        return ProductionModel(production.number, origin, note=f"its own model was not scored: {error.what}")
    trained_on = record_identity.fingerprints(splits.train_test_split(seen)[0])[0]
    today = snapshots.read_snapshot(prepared["snapshot"])
    unseen = today[~np.isin(record_identity.fingerprints(today)[0], trained_on)]
    holdout = snapshots.read_snapshot(prepared["holdout"])
    return ProductionModel(
        production.number,
        origin,
        holdout=_scores(model, holdout, seed),
        holdout_rows=len(holdout),
        unseen=_scores(model, unseen, seed),
        unseen_rows=len(unseen),
    )


def _expect_same_contract(about: Mapping[str, Any]) -> None:
    """Refuse a model of another contract: today's records may lack what it asks for, or mean something else by it."""
    if about.get("contract") != contract.digest():
        theirs = about.get("contract_version", "unknown")
        raise ComparisonError(
            f"it follows another data contract ({theirs}, today's is {contract.VERSION})",
            where=f"family {about.get('family', 'unknown')}",
            expected=f"the contract with the sha256 {contract.digest()}",
            hint="nothing: the families of this run follow today's contract",
        )


def _scores(model: Pipeline, frame: pd.DataFrame, seed: int) -> dict[str, Estimate]:
    if frame.empty:
        return {}
    records = splits.to_labelled(frame)
    probabilities = families.probability(model, records.features)
    return metrics.evaluate(records.labels, probabilities, records.groups, seed=seed)


def _plain(champion: ProductionModel | None) -> dict[str, Any] | None:
    if champion is None:
        return None
    scores = {name: getattr(champion, name) for name in ("holdout", "unseen")}
    plain = {name: {key: one.as_dict() for key, one in found.items()} for name, found in scores.items()}
    return {"version": champion.version, "origin": champion.origin, "note": champion.note, **plain}


def _log(
    key: str,
    outcome: Mapping[str, Any],
    comparisons: Sequence[Comparison],
    about: Mapping[str, str],
    files: Mapping[str, bytes],
) -> str:
    return mlflow_registry.log_run(
        runs.Run(
            key=key,
            title=f"{outcome['verdict']} · {about['profile']}",
            note=outcome["reason"],
            experiment=runs.COMPARISON_EXPERIMENT,
            tags={
                "verdict": outcome["verdict"],
                "reason": outcome["reason"],
                "winner": outcome["winner"] or "nobody",
                "incumbent": outcome["incumbent"],
                "snapshot": about["snapshot"],
                "origin": about["origin"],
                "airflow_run": about["run"],
            },
            parameters={name: about[name] for name in ("profile", "seed", "contract")},
            metrics=_figures(comparisons[0]) if comparisons else {},
            files=files,
        )
    )


def _figures(one: Comparison) -> dict[str, float]:
    return {
        "delta_auc": one.auc.value,
        "delta_auc_low": one.auc.low,
        "delta_auc_high": one.auc.high,
        "p_bootstrap": one.p_value,
        "p_delong": one.delong.p_value,
        "delta_brier": one.brier.value,
    }

"""The steps of ``compare``: the families of a run against each other, and the model in production beside them."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import pandas as pd
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.comparison import compare as comparison
from heartline.comparison.candidates import Candidate, ProductionModel
from heartline.comparison.compare import Comparison
from heartline.comparison.verdict import Performance, Recall, Verdict, choose_incumbent, decide
from heartline.errors import ComparisonError, HeartlineError
from heartline.evaluation import metrics
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate
from heartline.packaging import export
from heartline.packaging.bundle import open_bundle
from heartline.pipeline.handovers import Prepared
from heartline.registry.mlflow_registry import Version
from heartline.storage import object_store, snapshots, splits
from heartline.training import families

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """What a model comparison found.

    Attributes:
        verdict: the verdict with its reasons.
        comparisons: one for each challenger, against the incumbent.
        held_back: why a run must not move ``production`` whatever the verdict; "" where it may.
        production: the model in production, scored on today's records; None without one.
    """

    verdict: Verdict
    comparisons: list[Comparison]
    held_back: str
    production: ProductionModel | None


class ProductionScores(TypedDict):
    """The model in production, as comparison.json holds it; each score is a value with its interval."""

    version: str
    origin: str
    note: str
    holdout: dict[str, dict[str, float | int | str | None]]
    unseen: dict[str, dict[str, float | int | str | None]]


def compare(
    participants: Mapping[str, Candidate], prepared: Prepared, production: Version | None, lost: str = ""
) -> ComparisonResult:
    """Compare the families on their shared folds, and score the model in production beside them.

    The incumbent is the family of the version in production, as it is trained in this run; without a version in
    production, the simplest family. If that version has another recipe than today's, the comparison says nothing about
    it, and ``held_back`` has the reason.

    Args:
        participants: the families that can be served, by name.
        prepared: what ``preprocess`` returned.
        production: the version in production, if there is one.
        lost: what was in production, where the alias is missing although something was; "" otherwise.

    Raises:
        ComparisonError: the families were not evaluated on the same snapshot, folds and contract.
    """
    profile, seed = families.profile(prepared["profile"]), prepared["seed"]
    in_production = production.tags.get("family") if production else None
    simplicity = {name: families.family(name).simplicity for name in participants}
    incumbent = choose_incumbent(simplicity, in_production)
    comparisons = [
        comparison.compare(
            participants[name].predictions, participants[incumbent].predictions, splits=profile.splits, seed=seed
        )
        for name in sorted(participants)
        if name != incumbent
    ]
    verdict = decide(
        incumbent,
        comparisons,
        performances={name: _performance(one.evaluation) for name, one in participants.items()},
        simplicity=simplicity,
        in_production=production.number if production and in_production == incumbent else "",
    )
    return ComparisonResult(
        verdict,
        comparisons,
        held_back=_held_back(production, participants, profile, lost),
        production=_score_production(production, prepared, seed) if production else None,
    )


def _held_back(
    production: Version | None, participants: Mapping[str, Candidate], profile: families.Profile, lost: str
) -> str:
    """Return why the comparison is not about the version in production; "" where its own recipe took part."""
    if production is None:
        return f"{lost}. Only a user can replace it" if lost else ""
    family = production.tags.get("family", "")
    if family not in participants:
        why = f"its family ({family or 'unknown'}) takes no part"
    else:
        today = families.hyperparameter_sets(family, profile, len(participants[family].predictions.labels))
        recorded = production.tags.get("parameters", "")
        if recorded == json.dumps(today):
            return ""
        why = f"its recipe is not today's {family} ({_differences(recorded, today)})"
    return f"version {production.number} in production was not compared: {why}. Only a user can replace it"


def _differences(recorded: str, today: Sequence[Mapping[str, object]]) -> str:
    """Return the hyperparameters in which a version's recorded search space differs from today's."""
    try:
        then = [dict(one) for one in json.loads(recorded)]
    except (ValueError, TypeError):
        return "its own is unknown"
    before, now = _values(then), _values(today)
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    found = [f"{name} {before.get(name, 'none')}, today {now.get(name, 'none')}" for name in names]
    return "; ".join(found) or "other combinations of the same values"


def _values(space: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the values of each hyperparameter in a search space, in words."""
    names = sorted({name for one in space for name in one})
    return {name: " or ".join(dict.fromkeys(str(one.get(name)) for one in space)) for name in names}


def _performance(found: Evaluation) -> Performance:
    """Return what the minimum requirements are about; an undefined score violates its requirement."""
    auc, slope = found.out_of_fold["roc_auc"].value, found.out_of_fold["calibration_slope"].value
    recalls = {
        f"{one.kind} {one.name}": Recall(
            recall.value, recall.value if recall.high is None else recall.high, one.positives
        )
        for one in found.subgroups
        if (recall := one.estimates["recall"]).value is not None
    }
    return Performance(
        auc=float("nan") if auc is None else auc, slope=float("nan") if slope is None else slope, recalls=recalls
    )


def _score_production(production: Version, prepared: Prepared, seed: int) -> ProductionModel:
    """Score the served model on today's hold-out, and on today's records that it was not trained on."""
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
    today = splits.with_groups(snapshots.read_snapshot(prepared["snapshot"]))
    unseen = today[~splits.seen(today, splits.train_test_split(seen)[0])]
    holdout = snapshots.read_snapshot(prepared["holdout"])
    return ProductionModel(
        production.number,
        origin,
        holdout=_scores(model, holdout, seed),
        holdout_rows=len(holdout),
        unseen=_scores(model, unseen, seed),
        unseen_rows=len(unseen),
    )


def _expect_same_contract(about: Mapping[str, str]) -> None:
    """Refuse a model of another contract: today's records may lack its columns, or give them another meaning."""
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


def production_scores(production: ProductionModel | None) -> ProductionScores | None:
    """Return the model in production for comparison.json."""
    if production is None:
        return None
    return {
        "version": production.version,
        "origin": production.origin,
        "note": production.note,
        "holdout": {name: one.as_dict() for name, one in production.holdout.items()},
        "unseen": {name: one.as_dict() for name, one in production.unseen.items()},
    }


def metrics_of(comparison: Comparison) -> dict[str, float]:
    """Return the metrics of the comparison's MLflow run."""
    return {
        "delta_auc": comparison.auc.value,
        "delta_auc_low": comparison.auc.low,
        "delta_auc_high": comparison.auc.high,
        "p_bootstrap": comparison.p_value,
        "p_delong": comparison.delong.p_value,
        "delta_brier": comparison.brier.value,
    }

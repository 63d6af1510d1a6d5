"""The task ``register``: registers each family that can be served, and moves the aliases."""

import hashlib
import json
import logging
from collections.abc import Mapping

from heartline import contract
from heartline.comparison import verdict
from heartline.evaluation.cross_validation import Evaluation
from heartline.ledger import store
from heartline.monitoring import references
from heartline.packaging import bundle
from heartline.pipeline import candidates, handovers, unchanged
from heartline.pipeline.handovers import Compared, Registered, Trained
from heartline.registry import mlflow_registry
from heartline.registry import versions as stored_versions
from heartline.registry.repair import Registration
from heartline.storage import object_store
from heartline.training import families

NO_CAUTION = "none"
"""The tag ``caution`` of a version to which a run may move ``production``."""

log = logging.getLogger(__name__)


def register(compared: Compared, *, promotion: str, run: str = "", by: str = "schedule") -> Registered:
    """Register each family that can be served, point ``staging`` at the winner, and ``production`` where the run may.

    Args:
        compared: what ``compare`` returned.
        promotion: one of ``comparison.verdict.PROMOTION_MODES``.
        run: Airflow's DAG run id; the ledger records it.
        by: who started the run: a user of Airflow, or ``schedule``.

    Raises:
        HandoverError: another version of the code wrote ``compared``.
        StoreError: a bundle is missing or damaged. Nothing is registered then.
        BundleError: a bundle does not match its manifest. Nothing is registered then.
        RegistryError: MLflow cannot be reached.
        LedgerError: the ledger cannot be reached.
    """
    handovers.expect("compare", compared)
    servable = [one for one in compared["trained"] if handovers.is_trained(one)]
    # every bundle is verified before the first version is registered
    bundles = [bundle.open_bundle(object_store.get(one["bundle"])) for one in servable]
    mlflow_registry.record_external_moves()
    registrations = {
        one["family"]: _register_version(one, files, compared, run)
        for one, files in zip(servable, bundles, strict=True)
    }
    versions = {family: one.number for family, one in registrations.items()}
    winner = next((one for one in servable if one["family"] == compared["winner"]), None)
    version = versions[winner["family"]] if winner else None
    promoted, held_back = _move_aliases(version, compared, promotion, run) if version else (False, "")
    production = version if promoted else compared["production"]
    log.info(
        "versions %s; staging is version %s (%s); production is %s%s",
        ", ".join(f"{number} ({family})" for family, number in versions.items()),
        version or "unchanged",
        compared["winner"] or "no family is good enough",
        f"version {production}" if production else "not set",
        ", moved by this run" if promoted else "",
    )
    registered: Registered = {
        "name": contract.MODEL_NAME,
        "version": version,
        "family": compared["winner"],
        "origin": winner["origin"] if winner else None,
        "roc_auc": winner["roc_auc"] if winner else None,
        "versions": versions,
        "repaired": [sentence for one in registrations.values() for sentence in one.repairs],
        "verdict": compared["verdict"],
        "reason": compared["reason"],
        "look": compared["look"]["note"],
        "promoted": promoted,
        "held_back": held_back,
    }
    unchanged.record(registered, compared, promotion=promotion)
    manifests = {one["family"]: files["manifest.json"] for one, files in zip(servable, bundles, strict=True)}
    registered["note"] = _note(registered, compared)
    registered["assets"] = _assets(registered, compared, manifests, promotion=promotion, run=run, by=by)
    if version and "candidate" in registered["assets"]:
        stored_versions.describe_candidate(version, registered["assets"]["candidate"])
    return registered


def _note(registered: Registered, compared: Compared) -> str:
    """Return the verdict and what became of the aliases, in one line."""
    version = registered["version"]
    staging = f"staging is version {version} ({registered['family']})" if version else "staging was not moved"
    if registered["promoted"]:
        production = f"this run moved production to version {version}"
    else:
        production = f"production is version {compared['production']}" if compared["production"] else ""
    held_back = f"production was not moved: {registered['held_back']}" if registered["held_back"] else ""
    verdict = f"{compared['verdict']}: {compared['reason'].removesuffix('.')}"
    return "; ".join(filter(None, [verdict, staging, production, held_back]))


def _assets(
    registered: Registered,
    compared: Compared,
    manifests: Mapping[str, bytes],
    *,
    promotion: str,
    run: str,
    by: str,
) -> dict[str, dict[str, object]]:
    """Return the assets that this run changed: *candidate* where it has a winner, *production* where it moved that."""
    version, family = registered["version"], registered["family"]
    if not version or not family:
        return {}
    production = version if registered["promoted"] else compared["production"]
    candidate: dict[str, object] = {
        "version": version,
        "verdict": compared["verdict"],
        "family": family,
        "digest": hashlib.sha256(manifests[family]).hexdigest(),
        "run_id": run,
        "triggered_by": by,
        "production": production,
        "reason": compared["reason"],
        "requested": promotion == verdict.APPROVAL and version != production,
    }
    moved: dict[str, object] = {"version": version, "before": compared["production"], "by": f"run {run}"}
    return {"candidate": candidate, **({"production": moved} if registered["promoted"] else {})}


def _register_version(trained: Trained, files: Mapping[str, bytes], compared: Compared, run: str) -> Registration:
    """Register a family's bundle, tag the version with the verdict, and enter both into the ledger."""
    about = json.loads(files["manifest.json"])["model"]
    scores = Evaluation.from_dict(json.loads(files["evaluation.json"]))
    title = families.family(trained["family"]).title.lower()
    roc_auc = scores.out_of_fold["roc_auc"]
    described = {
        "roc_auc": str(roc_auc.value),
        "scores": scores.scores_in_words(),
        "verdict": compared["verdict"],
        "reason": compared["reason"],
        "look": compared["look"]["note"],
        # it replaces that of an earlier comparison of this version
        "caution": compared["cautions"].get(trained["family"], NO_CAUTION),
        # the monitoring compares the served predictions with them
        references.PREDICTIONS: object_store.digest_of(trained["predictions"]),
    }
    registered = mlflow_registry.register(
        files,
        run_id=trained["run_id"],
        key=object_store.digest_of(trained["bundle"]),
        tags={
            **candidates.tags(about),
            "bundle": object_store.digest_of(trained["bundle"]),
        },
        described={**described, **mlflow_registry.comparison_tags(compared["comparison_run"])},
    )
    mlflow_registry.describe_version(
        registered.number,
        tags=described,
        description=f"ROC AUC {roc_auc}, cross-validated: {title}, profile {about['profile']}, "
        f"origin {about['origin']}.",
        comparison_run=compared["comparison_run"],
    )
    digest = hashlib.sha256(files["manifest.json"]).hexdigest()
    store.append(
        "registered",
        by=f"run {run}",
        version=registered.number,
        facts={
            "family": trained["family"],
            "run": trained["run_id"],
            "snapshot": about["snapshot"],
            "origin": about["origin"],
            "digest": digest,
            "verdict": compared["verdict"],
            "winner": compared["winner"] == trained["family"],
            "scores": scores.scores_in_words(),
        },
        key=f"registered {registered.number} {digest}",
    )
    return registered


def _move_aliases(version: str, compared: Compared, promotion: str, run: str) -> tuple[bool, str]:
    """Point the aliases at the winner; return whether ``production`` was moved, and why not if it was to be."""
    mlflow_registry.stage(version)
    caution = compared["cautions"].get(compared["winner"] or "", "")
    decision = verdict.may_move_production(promotion, compared["verdict"], compared["held_back"], caution)
    held_back = decision.reason
    if decision.move:
        held_back = mlflow_registry.move_production(version, by=f"run {run}", expected=compared["production"])
    if held_back:
        log.warning("production was not moved: %s", held_back)
    return decision.move and not held_back, held_back

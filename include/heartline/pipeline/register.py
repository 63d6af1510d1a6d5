"""The task ``register``: registers each family that can be served, and moves the aliases."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from heartline import contract
from heartline.comparison import verdict
from heartline.packaging import bundle
from heartline.pipeline import candidates
from heartline.registry import mlflow_registry
from heartline.storage import object_store
from heartline.training import families

log = logging.getLogger(__name__)

PROMOTE_IF_BETTER = "if_better"


def register(compared: Mapping[str, Any], *, promote: str, run: str = "") -> dict[str, Any]:
    """Register each family that can be served, point ``staging`` at the winner, and ``production`` where the run may.

    Args:
        compared: what ``compare`` returned.
        promote: ``manual`` leaves ``production`` to people; ``if_better`` moves it when the verdict is *better*, and
            production's own recipe is what was beaten.
        run: the orchestrator's name for this run: who moved ``production``, in its history.

    Returns:
        version, family, origin and auc of the winner, None where nobody passes the bars; all versions, the verdict, and
        whether ``production`` was moved, with the reason if it might have been and was not.

    Raises:
        StoreError: a bundle is missing or damaged: then nothing is registered.
        BundleError: one is not what its manifest says: then nothing is registered.
        RegistryError: MLflow cannot be reached.
    """
    served = [one for one in compared["trained"] if "refused" not in one]
    opened = [bundle.open_bundle(object_store.get(one["bundle"])) for one in served]
    mlflow_registry.note_moves()
    versions: dict[str, str] = {}
    winner: dict[str, Any] = {"version": None}
    for one, files in zip(served, opened, strict=True):
        about = json.loads(files["manifest.json"])["model"]
        title = families.family(one["family"]).title.lower()
        version = mlflow_registry.register(
            files,
            run_id=one["run_id"],
            key=object_store.digest_of(one["bundle"]),
            tags={
                **candidates.tags(about),
                "bundle": object_store.digest_of(one["bundle"]),
                "cv_roc_auc": f"{one['auc']:.4f}",
            },
            description=f"{one['auc']:.3f} ROC AUC: {title}, profile {about['profile']}, origin {about['origin']}",
        )
        said = {"verdict": compared["verdict"], "reason": compared["reason"]}
        mlflow_registry.tag_version(version, {**said, "comparison_run": compared["comparison_run"]})
        versions[one["family"]] = version
        if one["family"] == compared["winner"]:
            winner = {"version": version, "origin": about["origin"], "auc": one["auc"]}
    promoted, refused = False, ""
    if winner["version"]:
        mlflow_registry.point_alias(mlflow_registry.STAGING, winner["version"])
        if promote == PROMOTE_IF_BETTER and compared["verdict"] == verdict.BETTER:
            refused = compared["held_back"] or mlflow_registry.move_production(
                winner["version"], by=f"run {run}", expected=compared["production"]
            )
            promoted = not refused
    if refused:
        log.warning("production was not moved: %s", refused)
    log.info("versions %s; staging is version %s (%s)", versions, winner["version"], compared["winner"])
    return {
        "name": contract.MODEL_NAME,
        **winner,
        "family": compared["winner"],
        "versions": versions,
        "verdict": compared["verdict"],
        "reason": compared["reason"],
        "promoted": promoted,
        "not_promoted": refused,
    }

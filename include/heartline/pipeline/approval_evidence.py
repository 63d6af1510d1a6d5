"""Collects what a request for approval states: from MLflow, and from the stored records and models."""

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from heartline import addresses, contract
from heartline.errors import HeartlineError, MonitoringError, RegistryError
from heartline.evaluation.metrics import Estimate
from heartline.monitoring import store, summary
from heartline.monitoring.report import Shadow
from heartline.packaging import export
from heartline.packaging.bundle import open_bundle
from heartline.registry import versions
from heartline.registry.mlflow_registry import COMPARISON
from heartline.registry.versions import StoredModel
from heartline.reports.approval_request import NO_SHADOW, ApprovalRequest, Changes, Model
from heartline.storage import object_store, snapshots, splits
from heartline.training import families

NO_CAUTION = "none"

log = logging.getLogger(__name__)


def collect(
    candidate: StoredModel, production: StoredModel | None, *, why: str, until: datetime, not_by: tuple[str, ...]
) -> ApprovalRequest:
    """Collect what a request states.

    Args:
        candidate: the version that is asked about.
        production: the version in production; None without one.
        why: why there is a request.
        until: when it expires.
        not_by: users who may not approve.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    tags = candidate.tags
    training, compared = versions.comparison(tags.get("comparison_run", ""))
    changes, note = (None, "") if production is None else _changes(candidate, production)
    caution = tags.get("caution", NO_CAUTION)
    reasons = [str(one) for one in compared.get("reasons", [])]
    return ApprovalRequest(
        candidate=_model(candidate),
        production=_model(production) if production else None,
        why=why,
        verdict=tags.get("verdict", "not compared"),
        reasons=list(dict.fromkeys([tags.get("reason", ""), *reasons])) if tags.get("reason") else reasons,
        caution="" if caution == NO_CAUTION else caution,
        changes=changes,
        changes_note=note,
        links=_links(candidate, training),
        until=until,
        not_by=not_by,
        shadow=in_the_shadow(candidate, production),
    )


def shadow(candidate: StoredModel, production: StoredModel | None) -> Shadow | None:
    """Return what the monitoring last said of the candidate in the shadow of production; None for nothing.

    Args:
        candidate: the version that is asked about.
        production: the version in production; None without one.

    Raises:
        MonitoringError: its database does not answer.
    """
    if production is None or not store.configured():
        return None
    found = [
        one.shadow
        for one in store.latest()
        if one.digest == production.digest and one.shadow and one.shadow.version == candidate.number
    ]
    return found[0] if found else None


def in_the_shadow(candidate: StoredModel, production: StoredModel | None) -> str:
    """Return that in two sentences, or that there is none, or why it is not known."""
    try:
        found = shadow(candidate, production)
    except MonitoringError as error:
        log.warning("the state of the shadow is not known: %s", error)
        return f"The state of the shadow is not known: {error.what}."
    return summary.of_shadow(found) if found else NO_SHADOW


def _model(found: StoredModel) -> Model:
    family = found.tags.get("family", "unknown")
    return Model(found.number, family.replace("_", " "), found.tags.get("origin", "unknown"), _scores(found.evaluation))


def _scores(evaluation: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return the out-of-fold scores of an evaluation.json; empty where it has none that can be read."""
    try:
        return {str(name): Estimate(**one) for name, one in evaluation["out_of_fold"].items()}
    except (KeyError, TypeError, AttributeError):
        return {}


def _changes(candidate: StoredModel, production: StoredModel) -> tuple[Changes | None, str]:
    """Return how many predictions would change on the candidate's records, or why that is not known."""
    try:
        frame = snapshots.read_snapshot(
            object_store.address(candidate.tags.get("snapshot", ""), "snapshots", ".parquet")
        )
        features = splits.to_labelled(frame).features
        before, after = (
            families.probability(_pipeline(one), features) >= contract.THRESHOLD for one in (production, candidate)
        )
    except RegistryError:
        raise
    except HeartlineError as error:
        log.warning("the changed predictions were not counted: %s", error.what)
        return None, f"How many predictions would change is not known: {error.what}."
    return Changes(len(frame), int((after & ~before).sum()), int((before & ~after).sum())), ""


def _pipeline(found: StoredModel) -> Any:
    bundle = open_bundle(object_store.get(object_store.address(found.tags.get("bundle", ""), "bundles", ".tar")))
    return export.from_skops(bundle["model.skops"])


def _links(candidate: StoredModel, training: str) -> dict[str, str]:
    links = {}
    if page := candidate.tags.get(COMPARISON, ""):
        links["Comparison"] = page
    site = os.environ.get("HEARTLINE_DATA_DOCS_URL", "").rstrip("/")
    if site and training:
        links["Data quality"] = f"{site}/run?id={quote(training, safe='')}"
    links[f"Version {candidate.number} in MLflow"] = f"{addresses.model()}/versions/{candidate.number}"
    if training:
        links["Training run"] = addresses.airflow_run(training)
    return links

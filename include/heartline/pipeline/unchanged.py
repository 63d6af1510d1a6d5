"""Finds out that there is nothing new: the same records, parameters and code are registered, complete and compared.

A run that ends so must leave what a whole run would leave. It is not enough that the versions exist: their files and
runs must be intact, ``staging`` must point at the winner, ``production`` must be the version that they were compared
with, and the run must have nothing to do with ``production``. Where one of these fails, the run trains again, which
repairs it.
"""

import hashlib
import json
import logging
import platform
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heartline import contract
from heartline.comparison import verdict, verdict_names
from heartline.pipeline import handovers
from heartline.pipeline.handovers import Compared, Prepared, Registered
from heartline.registry import completed_runs, mlflow_registry
from heartline.storage import object_store

INCLUDE = Path(__file__).resolve().parents[1]
SERVING = INCLUDE.parents[1] / "serving"  # trains nothing, but its smoke test decides whether a family is refused

log = logging.getLogger(__name__)


def fingerprint(prepared: Prepared) -> str:
    """Return what identifies records, parameters and code: the digest of the code, and that of the others.

    Args:
        prepared: what ``preprocess`` returned. The digests of its tables stand for the parameters of the split.
    """
    parts = {
        "families": prepared["families"],
        "origin": prepared["origin"],
        "encoding": prepared["encoding"],
        "tables": [object_store.digest_of(prepared[name]) for name in ("snapshot", "training", "holdout", "folds")],
        "mapping": object_store.digest_of(prepared["mapping"]) if "mapping" in prepared else "",
        "profile": prepared["profile"],
        "seed": prepared["seed"],
        "contract": contract.digest(),
    }
    return f"{code_digest()}:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"


def code_digest(include: Path = INCLUDE, serving: Path = SERVING) -> str:
    """Return a digest of Heartline's own code, of Python's version, and of the installed packages and their versions.

    A changed comment changes it, too, which costs one training. A digest that left changes out could keep an outdated
    model.

    Args:
        include: the folder of the domain's code.
        serving: the folder of the service's code; it may be missing.
    """
    found = hashlib.sha256(platform.python_version().encode())
    for folder in (include, serving):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"\n{path.relative_to(folder)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    # their folders are named after package and version
    packages = Path(sysconfig.get_paths()["purelib"]).glob("*.dist-info")
    found.update("\n".join(sorted(path.name for path in packages)).encode())
    return found.hexdigest()


def find(prepared: Prepared, *, promotion: str) -> Registered | None:
    """Return what an earlier run registered, where this one has nothing to add; None where it has to train.

    A move of ``production`` in MLflow's UI is recorded, as in any run.

    Args:
        prepared: what ``preprocess`` returned.
        promotion: one of ``comparison.verdict.PROMOTION_MODES``.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    mlflow_registry.record_external_moves()
    completed = completed_runs.find(prepared["fingerprint"])
    if completed is None:
        return None
    why = _why_not(completed, promotion=promotion) or completed_runs.damage(completed)
    if why:
        log.info("trained again on the same records, parameters and code: %s", why)
        return None
    registered: Registered = completed.facts["registered"]
    log.info("nothing new: %s", registered["reason"])
    return {**registered, "note": _note(registered)}


def _why_not(completed: completed_runs.Completed, *, promotion: str) -> str:
    """Return why a run has something to do although its versions are registered; "" where it has not."""
    facts = completed.facts
    registered = facts["registered"]
    version = registered["version"]
    staging, production = (_number(alias) for alias in (mlflow_registry.STAGING, mlflow_registry.PRODUCTION))
    if version and staging != version:
        return f"staging is {staging or 'no version'}, not version {version}"
    if production != facts["production"]:
        before = facts["production"] or "no version"
        return f"they were compared with {before} in production, and {production or 'no version'} is there now"
    if not version or version == production:
        return ""
    if promotion == verdict.IF_BETTER and registered["verdict"] == verdict_names.BETTER:
        return "the verdict is better, and the run may move production"
    if promotion == verdict.APPROVAL and facts["promotion"] != verdict.APPROVAL:
        return "no approval has been asked for"
    return ""


def _number(alias: str) -> str:
    found = mlflow_registry.aliased(alias)
    return found.number if found else ""


def _note(registered: Mapping[str, Any]) -> str:
    versions = sorted(registered["versions"].items(), key=lambda one: int(one[1]))
    named = " and ".join(f"{number} ({family})" for family, number in versions)
    plural = "versions" if len(versions) > 1 else "version"
    return (
        f"nothing new: {plural} {named} {'are' if len(versions) > 1 else 'is'} from the same records, parameters and "
        f"code; {registered['verdict']}: {registered['reason']}"
    )


def record(registered: Registered, compared: Compared, *, promotion: str) -> None:
    """Record that a run has registered its versions and moved the aliases: the last step of ``register``.

    Nothing is recorded where a family was refused, as another run might not refuse it, or where the code was changed
    during the run.

    Args:
        registered: what ``register`` returns.
        compared: what ``compare`` returned.
        promotion: the run's promotion mode.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    found = compared.get("fingerprint", "")
    refused = any(handovers.is_refused(one) for one in compared["trained"])
    if refused or found.partition(":")[0] != code_digest():
        return
    facts = {
        "registered": {**registered, "repaired": []},
        "production": compared["production"],
        "promotion": promotion,
        "comparison_run": compared["comparison_run"],
    }
    completed_runs.record(found, registered["versions"].values(), facts)

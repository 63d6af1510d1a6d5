"""Which training runs were completed, as tags of the versions that they registered, and whether those are intact."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion

from heartline import contract
from heartline.registry import artifact_files, repair, stored_files
from heartline.registry.mlflow_errors import reaching_mlflow

FINGERPRINT = "heartline.fingerprint"  # tag of a version: records, parameters and code of the run
COMPLETED = "heartline.completed"  # tag of a version: what the run did, JSON; its last step writes it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completed:
    """A run that registered all its versions.

    Attributes:
        facts: what it recorded.
        versions: as MLflow has them now.
    """

    facts: Mapping[str, Any]
    versions: tuple[ModelVersion, ...]


def record(fingerprint: str, versions: Iterable[str], facts: Mapping[str, Any]) -> None:
    """Record at each version of a run that the run was completed.

    Args:
        fingerprint: of the run.
        versions: their numbers.
        facts: plain JSON, with ``registered`` and its ``versions``, and the ``comparison_run``.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow("record that the run is complete"):
        client = mlflow.MlflowClient()
        for version in versions:
            # the fingerprint last: a version without it is not found
            for name, value in ((COMPLETED, json.dumps(facts, sort_keys=True)), (FINGERPRINT, fingerprint)):
                client.set_model_version_tag(contract.MODEL_NAME, version, name, value)


def find(fingerprint: str) -> Completed | None:
    """Return the completed run with a fingerprint; None where there is none, or one of its versions is gone.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow("look for a run on the same records"):
        client = mlflow.MlflowClient()
        found = client.search_model_versions(
            f"name = '{contract.MODEL_NAME}' and tags.`{FINGERPRINT}` = '{fingerprint}'"
        )
        texts = {str(one.version): one.tags.get(COMPLETED, "") for one in found}
        for text in {*texts.values()}:
            facts = _parsed(text)
            named = {str(number) for number in facts.get("registered", {}).get("versions", {}).values()}
            if named and all(texts.get(number) == text for number in named):
                return Completed(facts, tuple(one for one in found if str(one.version) in named))
        return None


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def damage(completed: Completed) -> str:
    """Return what a run would have to repair: a deleted run or logged model, a missing or changed file; "" for nothing.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow("check the files of registered versions"):
        client = mlflow.MlflowClient()
        for version in completed.versions:
            if problem := _of_version(client, version):
                return f"version {version.version}: {problem}"
        return _of_run(client, str(completed.facts["comparison_run"]))


def _of_version(client: mlflow.MlflowClient, version: ModelVersion) -> str:
    if problem := _of_run(client, str(version.run_id)):
        return problem
    model_id = str(version.source or "").removeprefix("models:/")
    if model_id != version.source and repair.found(client.get_logged_model, model_id) is None:
        return "its logged model was deleted"
    uri = client.get_model_version_download_uri(contract.MODEL_NAME, version.version)
    with artifact_files.reader(uri) as read:
        return stored_files.examine(read, version.tags).damage


def _of_run(client: mlflow.MlflowClient, run_id: str) -> str:
    run = repair.found(client.get_run, run_id)
    if run is None:
        return f"run {run_id} was deleted for good"
    if repair.is_deleted(run):
        return f"run {run_id} was deleted"
    digests = stored_files.recorded(run.data.tags)
    with artifact_files.reader(run.info.artifact_uri) as read:
        lost = [name for name, digest in digests.items() if hashlib.sha256(read(name) or b"").hexdigest() != digest]
    return f"run {run_id} has lost {', '.join(lost)}" if lost else ""

"""Reads what a decision about a version is made on, and stores the approval of one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from heartline import contract
from heartline.registry import approvals, artifact_files
from heartline.registry.mlflow_errors import reaching_mlflow
from heartline.registry.stored_files import MANIFEST

EVALUATION, COMPARISON = "evaluation.json", "comparison.json"
CANDIDATE = "heartline.candidate"
"""Tag of a version: what the training run that staged it last says of it, JSON."""


@dataclass(frozen=True)
class StoredModel:
    """A registered version with what is stored of its evaluation.

    Attributes:
        number: of the version.
        tags: of the version.
        digest: sha256 of its manifest.json; "" where that is missing.
        evaluation: the content of its evaluation.json; empty where that is missing.
    """

    number: str
    tags: Mapping[str, str]
    digest: str = ""
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def find(number: str) -> StoredModel | None:
    """Return a version; None where there is none of that number.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow(f"read version {number}"):
        client = mlflow.MlflowClient()
        try:
            found = client.get_model_version(contract.MODEL_NAME, number)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        with artifact_files.reader(client.get_model_version_download_uri(contract.MODEL_NAME, number)) as read:
            manifest, evaluation = read(MANIFEST), read(EVALUATION)
    digest = hashlib.sha256(manifest).hexdigest() if manifest is not None else ""
    return StoredModel(str(found.version), dict(found.tags), digest, _json(evaluation))


def comparison(run_id: str) -> tuple[str, Mapping[str, Any]]:
    """Return the training run that made a comparison, and the content of its comparison.json; empty where it is gone.

    Args:
        run_id: of the comparison in MLflow, "" where it is unknown.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    if not run_id:
        return "", {}
    with reaching_mlflow("read the comparison"):
        client = mlflow.MlflowClient()
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return "", {}
            raise
        with artifact_files.reader(str(run.info.artifact_uri)) as read:
            return str(run.data.tags.get("airflow_run", "")), _json(read(COMPARISON))


def describe_candidate(number: str, said: Mapping[str, Any]) -> None:
    """Store what the training run that staged a version says of it: Airflow may lose the event that says the same.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be reached.
    """
    with reaching_mlflow(f"describe version {number} as the candidate"):
        mlflow.MlflowClient().set_model_version_tag(contract.MODEL_NAME, number, CANDIDATE, json.dumps(said))


def approve(number: str, approval: str) -> None:
    """Store the signed approval of a version, as its tag.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be reached.
    """
    with reaching_mlflow(f"store the approval of version {number}"):
        mlflow.MlflowClient().set_model_version_tag(contract.MODEL_NAME, number, approvals.TAG, approval)


def _json(data: bytes | None) -> Mapping[str, Any]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

"""Reads what a decision about a version is made on, and stores the approval of one."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from heartline import addresses, contract
from heartline.errors import ParameterError, RegistryError, RegistryRefusedError
from heartline.registry import artifact_files
from heartline.registry.mlflow_errors import reaching_mlflow
from heartline.registry.production import approvals
from heartline.registry.production.registered_model import PRODUCTION
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


@dataclass(frozen=True)
class PinnedVersion:
    """A version with its files.

    Attributes:
        version: its number.
        files: by name.
    """

    version: str
    files: dict[str, bytes]


def fetch(version: str | None = None, *, approved: bool = True) -> PinnedVersion:
    """Download a version.

    Args:
        version: its number; None for the one in production at this moment.
        approved: whether it needs an approval where the settings ask for one; not where nobody gets its answers.

    Raises:
        ParameterError: there is no such version.
        RegistryRefusedError: no version is in production, its files are gone, or it has no signed approval although
            the settings ask for one.
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow(f"download version {version or PRODUCTION}"):
        client = mlflow.MlflowClient()
        number = version or _in_production(client)
        try:
            uri = client.get_model_version_download_uri(contract.MODEL_NAME, number)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise ParameterError(
                f"there is no version {number}",
                where=f"parameter version; {addresses.model()}",
                expected="the number of a registered version",
                hint="correct it, or leave it out for the version in production",
            ) from None
        try:
            files = artifact_files.downloaded(uri)
            tags = client.get_model_version(contract.MODEL_NAME, number).tags
        except ImportError as error:
            raise RegistryError(
                f"the files of version {number} cannot be read here: {error}",
                where=uri,
                expected="an artifact store that this machine can read",
                hint="install the package that the store needs",
            ) from None
    if not files:
        raise RegistryRefusedError(
            f"the files of version {number} are gone",
            where=uri,
            expected="the files that were registered",
            hint="score with another version, or train again, which repairs it",
        )
    if approved:
        _expect_approved(number, files, str(tags.get(approvals.TAG, "")))
    return PinnedVersion(number, files)


def _expect_approved(number: str, files: Mapping[str, bytes], approval: str) -> None:
    if not approvals.required(os.environ):
        return
    digest = hashlib.sha256(files.get(MANIFEST, b"")).hexdigest()
    if problem := approvals.problem(approval, digest, os.environ.get(approvals.SECRET, "")):
        raise RegistryRefusedError(
            f"version {number} may not score: {problem}",
            where=f"tag {approvals.TAG} of version {number}; setting {approvals.REQUIRED}",
            expected="a version that a person has approved",
            hint="approve it, or score with another version",
        )


def _in_production(client: mlflow.MlflowClient) -> str:
    found = client.search_registered_models(f"name = '{contract.MODEL_NAME}'")
    if not found or PRODUCTION not in found[0].aliases:
        raise RegistryRefusedError(
            "no version is in production",
            where=f"alias {PRODUCTION} of {addresses.model()}",
            expected="a version that was promoted",
            hint="promote a version, or name one with the parameter version",
        )
    return str(found[0].aliases[PRODUCTION])


def _json(data: bytes | None) -> Mapping[str, Any]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

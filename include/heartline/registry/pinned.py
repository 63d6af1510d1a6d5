"""The files of one version, for a run that uses the same version to its end."""

from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException

from heartline import addresses, contract
from heartline.errors import ParameterError, RegistryError, RegistryRefusedError
from heartline.registry import artifact_files
from heartline.registry.mlflow_errors import reaching_mlflow
from heartline.registry.registered_model import PRODUCTION


@dataclass(frozen=True)
class PinnedVersion:
    """A version with its files.

    Attributes:
        version: its number.
        files: by name.
    """

    version: str
    files: dict[str, bytes]


def fetch(version: str | None = None) -> PinnedVersion:
    """Download a version.

    Args:
        version: its number; None for the one in production at this moment.

    Raises:
        ParameterError: there is no such version.
        RegistryRefusedError: no version is in production, or its files are gone.
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
    return PinnedVersion(number, files)


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

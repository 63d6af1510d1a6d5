"""The registered model for ``alias_moves``, through MLflow's client."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager

import mlflow
from mlflow.exceptions import MlflowException

from heartline import contract
from heartline.ledger import store
from heartline.registry import artifact_files, stored_files
from heartline.registry.production import alias_history, alias_lock, approvals, served_model
from heartline.registry.production.alias_moves import VersionFacts
from heartline.registry.stored_files import StoredVersion

STAGING = "staging"
PRODUCTION = "production"


class RegisteredModel:
    """The registered model ``heart-disease``, its aliases, and the history of ``production``.

    Args:
        client: a client of the registry.

    Attributes:
        ledger: the one of this process's environment.
    """

    def __init__(self, client: mlflow.MlflowClient) -> None:
        self._client = client
        self.ledger: store.Ledger = store.Store(store.configured())

    @property
    def approval_secret(self) -> str | None:
        """The secret with which approvals are verified; None where a version needs none."""
        return approvals.secret_if_required(os.environ)

    def lock(self, who: str) -> AbstractContextManager[alias_lock.StillHeld]:
        """Hold the lock of all movers."""
        return alias_lock.hold(
            who, url=os.environ.get(alias_lock.VARIABLE, ""), registry=str(mlflow.get_tracking_uri())
        )

    def production_and_tags(self) -> tuple[str, Mapping[str, str] | None]:
        """Return the version in production ("" for none) and the model's tags, read in one request; None: no model."""
        found = self._client.search_registered_models(f"name = '{contract.MODEL_NAME}'")
        return (str(found[0].aliases.get(PRODUCTION, "")), dict(found[0].tags)) if found else ("", None)

    def history(self) -> Mapping[str, str]:
        """Return the tags of the experiment of looks and of the ledger's noted hash."""
        found = self._client.get_experiment_by_name(alias_history.EXPERIMENT)
        return dict(found.tags) if found else {}

    def facts(self, version: str) -> VersionFacts | None:
        """Return what the registry records of a version; None where there is no such version."""
        try:
            found = self._client.get_model_version(contract.MODEL_NAME, version)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return VersionFacts(
            str(found.tags.get("origin", "")), str(found.source or ""), str(found.tags.get(approvals.TAG, ""))
        )

    def examine(self, version: str) -> StoredVersion:
        """Download the files of a version, and return what is wrong with them."""
        found = self._client.get_model_version(contract.MODEL_NAME, version)
        uri = self._client.get_model_version_download_uri(contract.MODEL_NAME, version)
        try:
            with artifact_files.reader(uri) as read:
                return stored_files.examine(read, found.tags)
        except ImportError as error:
            return StoredVersion(f"its files at {uri} cannot be read here: {error}")

    def served(self) -> tuple[str, str] | None:
        """Return the version that the service serves and its origin; None where that is unknown."""
        return served_model.served(os.environ.get(served_model.VARIABLE, ""))

    def set_production(self, version: str) -> None:
        """Point production at a version, in one request: the alias is never absent in between."""
        self._client.set_registered_model_alias(contract.MODEL_NAME, PRODUCTION, version)

    def set_staging(self, version: str) -> None:
        """Point staging at a version, in one request."""
        self._client.set_registered_model_alias(contract.MODEL_NAME, STAGING, version)

    def set_history(self, key: str, value: str) -> None:
        """Set a tag of that experiment, which is created or restored where needed."""
        found = self._client.get_experiment_by_name(alias_history.EXPERIMENT)
        if found is None:
            experiment = self._client.create_experiment(alias_history.EXPERIMENT, tags=alias_history.EXPERIMENT_TAGS)
        else:
            experiment = found.experiment_id
            if found.lifecycle_stage != "active":
                self._client.restore_experiment(experiment)
        self._client.set_experiment_tag(experiment, key, value)

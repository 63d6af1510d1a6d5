"""The registered model as ``history`` wants it, through the MLflow client that ``registry`` hands in."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from heartline.contract import MODEL_NAME

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Registered:
    """The registered model.

    Args:
        client: a client of the registry.
        alias: the alias that is moved.
    """

    def __init__(self, client: "MlflowClient", alias: str) -> None:
        self._client = client
        self._alias = alias

    def look(self) -> tuple[str, Mapping[str, str]]:
        """Return the version that the alias is at ("" for none), and the model's tags."""
        found = self._client.search_registered_models(f"name = '{MODEL_NAME}'")
        return (str(found[0].aliases.get(self._alias, "")), dict(found[0].tags)) if found else ("", {})

    def origin(self, version: str) -> str:
        """Return where a version's training data came from, "" where that is not known."""
        return str(self._client.get_model_version(MODEL_NAME, version).tags.get("origin", ""))

    def point(self, version: str) -> None:
        """Point the alias at a version, in one step."""
        self._client.set_registered_model_alias(MODEL_NAME, self._alias, version)

    def note(self, key: str, value: str) -> None:
        """Set a tag of the model."""
        self._client.set_registered_model_tag(MODEL_NAME, key, value)

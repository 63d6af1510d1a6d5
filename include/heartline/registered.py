"""The registered model as ``history`` wants it, and MLflow's refusals in words; ``registry`` hands in the client."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from heartline.contract import MODEL_NAME
from heartline.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def refusal(doing: str, error: Exception, uri: str) -> RegistryError:
    """Return what to tell people where MLflow did not do what it was asked.

    Args:
        doing: what it was asked, after "MLflow did not let us".
        error: what its client raised.
        uri: of MLflow.
    """
    said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    expected, do = (
        "an MLflow server that answers",
        "see that MLflow and its database run (./heartline status); the task is retried by itself",
    )
    if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
        expected, do = "that it is there", "see in MLflow's UI whether it was deleted; if so, train again"
    return RegistryError(
        f"MLflow did not let us {doing}: {said}", where=f"MLFLOW_TRACKING_URI {uri}", expected=expected, do=do
    )


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

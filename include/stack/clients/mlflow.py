"""A client of MLflow's model registry over plain HTTP, because importing MLflow takes seconds."""

from collections.abc import Mapping
from typing import Any

import requests

from heartline import addresses
from stack.clients.http import call, session
from stack.errors import UsageError, WorkError
from stack.settings import MODEL

PRODUCTION, STAGING = "production", "staging"

# MLflow reports a missing alias as an invalid parameter, a missing model or version as a missing resource.
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


class Registry:
    """The registered model of the local stack."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = session()

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return call(self._http, method, f"{self.url}/api/2.0/mlflow/{path}", "mlflow", **arguments)

    def _find(self, path: str, **query: str) -> dict[str, Any] | None:
        answer = self._request("GET", path, params={"name": MODEL} | query)
        if answer.ok:
            body = answer.json()
            found: dict[str, Any] = body.get("model_version") or body["registered_model"]
            return found
        if _code(answer) in _ABSENT:
            return None
        raise _refused(answer)

    def at(self, alias: str) -> str | None:
        """Return the version that an alias points to, or None."""
        found = self._find("registered-models/alias", alias=alias)
        return str(found["version"]) if found else None

    def version(self, number: str) -> dict[str, str] | None:
        """Return the tags of a version, or None if there is no such version."""
        found = self._find("model-versions/get", version=number)
        return None if found is None else _tags(found)

    def named(self, text: str) -> str:
        """Return the version number that the user typed, normalized.

        Raises:
            UsageError: there is no such version.
        """
        number = str(int(text)) if text.isdecimal() and text.isascii() else ""
        if not number or self.version(number) is None:
            raise UsageError(
                f"the model {MODEL} has no version {text!r}",
                where=addresses.model(),
                expected="the number of a registered version",
                hint="choose one that MLflow lists, or omit it to use the version at `staging`",
            )
        return number

    def production_and_tags(self) -> tuple[str, Mapping[str, str]]:
        """Return the version in production ("" for none) and the model's tags, read in one request."""
        found = self._find("registered-models/get") or {}
        aliases = {one["alias"]: str(one["version"]) for one in found.get("aliases", [])}
        return aliases.get(PRODUCTION, ""), _tags(found)

    def origin(self, version: str) -> str:
        """Return the origin of a version's training data, "" if unknown."""
        return (self.version(version) or {}).get("origin", "")

    def run_page(self, run_id: str, file: str) -> str | None:
        """Return the address of an artifact of a run in MLflow's UI, or None if there is no such run."""
        answer = self._request("GET", "runs/get", params={"run_id": run_id})
        if not answer.ok:
            return None
        experiment = answer.json()["run"]["info"]["experiment_id"]
        return addresses.mlflow_run(experiment, run_id, file)

    def set_production(self, version: str) -> None:
        """Point production to a version, in one request: the alias exists at every instant."""
        self._post("registered-models/alias", alias=PRODUCTION, version=version)

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag of the model."""
        self._post("registered-models/set-tag", key=key, value=value)

    def _post(self, path: str, **fields: str) -> None:
        answer = self._request("POST", path, json={"name": MODEL} | fields)
        if not answer.ok:
            raise _refused(answer)


def _tags(found: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in found.get("tags", [])}


def _code(answer: requests.Response) -> str:
    try:
        return str(answer.json().get("error_code"))
    except (requests.JSONDecodeError, AttributeError):
        return ""


def _refused(answer: requests.Response) -> WorkError:
    return WorkError(
        f"MLflow refused the request ({answer.status_code}): {answer.text[:300]}",
        where=answer.url.partition("?")[0],
        expected="an answer of the model registry",
        hint="see ./heartline logs mlflow",
    )

"""MLflow's model registry over plain HTTP: importing MLflow would take longer than everything `status` does."""

from typing import Any

import requests

from stack.errors import UsageError, WorkError
from stack.local_http import call, session
from stack.settings import MODEL

PRODUCTION, STAGING = "production", "staging"

# A missing alias is reported as an invalid parameter, a missing model or version as a missing resource.
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
            found: dict[str, Any] = answer.json()["model_version"]
            return found
        if _code(answer) in _ABSENT:
            return None
        raise _refused(answer)

    def at(self, alias: str) -> str | None:
        """Return the version that an alias points at, or None."""
        found = self._find("registered-models/alias", alias=alias)
        return str(found["version"]) if found else None

    def version(self, number: str) -> dict[str, str] | None:
        """Return the tags of a version, or None where there is no such version."""
        found = self._find("model-versions/get", version=number)
        return None if found is None else {tag["key"]: tag["value"] for tag in found.get("tags", [])}

    def point(self, alias: str, number: str) -> None:
        """Move an alias to a version. It is never removed in between.

        Raises:
            UsageError: there is no such version.
        """
        if not number.isdigit() or self.version(number) is None:
            raise UsageError(
                f"the model {MODEL} has no version {number!r}",
                where=f"{self.url}/#/models/{MODEL}",
                expected="the number of a registered version",
                do="choose one that MLflow lists, or leave it out to take the one at `staging`",
            )
        answer = self._request(
            "POST", "registered-models/alias", json={"name": MODEL, "alias": alias, "version": number}
        )
        if not answer.ok:
            raise _refused(answer)


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
        do="see ./heartline logs mlflow",
    )

"""A client of MLflow's model registry over plain HTTP, because importing MLflow takes seconds."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from heartline import addresses
from heartline.ledger.store import Ledger, Store
from heartline.registry import stored_files
from heartline.registry.production import alias_history, alias_lock, approvals, served_model
from heartline.registry.production.alias_lock import AliasLockError, StillHeld
from heartline.registry.production.alias_moves import VersionFacts
from heartline.registry.stored_files import StoredVersion
from stack.clients.http import call, session
from stack.errors import UnhealthyError, UsageError, WorkError
from stack.settings import MODEL

PRODUCTION, STAGING = "production", "staging"

# MLflow reports a missing alias as an invalid parameter, a missing model or version as a missing resource.
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


class Registry:
    """The registered model, as ``heartline.registry.production.alias_moves`` needs it.

    Args:
        url: MLflow's address.
        lock_url: of the PostgreSQL database whose lock all movers of an alias hold; "" for a lock on this machine.
        readyz_url: of the service's ``/readyz``; "" where it is unknown.
        ledger: the one that holds the moves; None for a registry whose moves are neither made nor read.
        approval_secret: with which approvals are verified; None where a version needs none to be moved to.
    """

    def __init__(
        self,
        url: str,
        lock_url: str = "",
        readyz_url: str = "",
        ledger: Ledger | None = None,
        approval_secret: str | None = None,
    ) -> None:
        self.approval_secret = approval_secret
        self.url = url
        self.ledger = ledger or Store("")
        self._lock_url = lock_url
        self._readyz_url = readyz_url
        self._http = session()

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return call(self._http, method, f"{self.url}/api/2.0/mlflow/{path}", "mlflow", **arguments)

    def _find(self, path: str, field: str, **query: str) -> Any:
        """Return a field of the response to a GET; None if what it asks for does not exist."""
        answer = self._request("GET", path, params=query)
        if answer.ok:
            return answer.json()[field]
        if _code(answer) in _ABSENT:
            return None
        raise _refused(answer)

    def at(self, alias: str) -> str | None:
        """Return the version that an alias points to, or None."""
        found = self._find("registered-models/alias", "model_version", name=MODEL, alias=alias)
        return str(found["version"]) if found else None

    def version(self, number: str) -> dict[str, str] | None:
        """Return the tags of a version, or None if there is no such version."""
        found = self._version(number)
        return None if found is None else _tags(found)

    def _version(self, number: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._find("model-versions/get", "model_version", name=MODEL, version=number)
        return found

    def named(self, text: str, *, default: str = STAGING) -> str:
        """Return the version number that the user typed, normalized.

        Args:
            text: what the user typed.
            default: the alias whose version is used without a number; for the message.

        Raises:
            UsageError: there is no such version.
        """
        number = str(int(text)) if text.isdecimal() and text.isascii() else ""
        if not number or self.version(number) is None:
            raise UsageError(
                f"the model {MODEL} has no version {text!r}",
                where=addresses.model(),
                expected="the number of a registered version",
                hint=f"choose one that MLflow lists, or omit it to use the version at `{default}`",
            )
        return number

    @contextmanager
    def lock(self, who: str) -> Iterator[StillHeld]:
        """Hold the lock of all movers.

        Raises:
            UnhealthyError: another mover holds it for too long, or its database does not answer.
        """
        try:
            with alias_lock.hold(who, url=self._lock_url, registry=self.url) as still_held:
                yield still_held
        except AliasLockError as error:
            raise UnhealthyError(error.what, where=error.where, expected=error.expected, hint=error.hint) from error

    def production_and_tags(self) -> tuple[str, Mapping[str, str] | None]:
        """Return the version in production ("" for none) and the model's tags, read in one request; None: no model."""
        found = self._find("registered-models/get", "registered_model", name=MODEL)
        if found is None:
            return "", None
        aliases = {one["alias"]: str(one["version"]) for one in found.get("aliases", [])}
        return aliases.get(PRODUCTION, ""), _tags(found)

    def history(self) -> Mapping[str, str]:
        """Return the tags of the experiment of looks and of the ledger's noted hash."""
        return _tags(self._experiment() or {})

    def _experiment(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._find(
            "experiments/get-by-name", "experiment", experiment_name=alias_history.EXPERIMENT
        )
        return found

    def facts(self, version: str) -> VersionFacts | None:
        """Return what the registry records of a version; None where there is no such version."""
        found = self._version(version)
        if found is None:
            return None
        tags = _tags(found)
        return VersionFacts(tags.get("origin", ""), str(found.get("source") or ""), tags.get(approvals.TAG, ""))

    def examine(self, version: str) -> StoredVersion:
        """Download the files of a version, and return what is wrong with them."""
        try:
            folder = self._folder(version)
        except WorkError as error:
            return StoredVersion(error.what)
        return stored_files.examine(partial(self._file, folder), self.version(version) or {})

    def files(self, version: str, names: Iterable[str]) -> dict[str, bytes | None]:
        """Download files of a version; None for each that is not there.

        Raises:
            WorkError: they are not in the artifact store that the MLflow server serves.
        """
        folder = self._folder(version)
        return {name: self._file(folder, name) for name in names}

    def _folder(self, version: str) -> str:
        found = self._find("model-versions/get-download-uri", "artifact_uri", name=MODEL, version=version)
        uri = urlsplit(str(found))
        if uri.scheme != "mlflow-artifacts":
            raise WorkError(
                f"its files are at {found}, not in the artifact store that the MLflow server serves",
                where=f"version {version} of {addresses.model()}",
                expected="a version that this stack registered",
                hint="name another version",
            )
        return uri.path.strip("/")

    def _file(self, folder: str, name: str) -> bytes | None:
        address = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{quote(f'{folder}/{name}')}"
        answer = call(self._http, "GET", address, "mlflow")
        if answer.ok:
            return answer.content
        if answer.status_code == 404:
            return None
        raise _refused(answer)

    def served(self) -> tuple[str, str] | None:
        """Return the version that the service serves and its origin; None where that is unknown."""
        return served_model.served(self._readyz_url)

    def run_page(self, run_id: str, file: str) -> str | None:
        """Return the address of an artifact of a run in MLflow's UI, or None if there is no such run."""
        answer = self._request("GET", "runs/get", params={"run_id": run_id})
        if not answer.ok:
            return None
        experiment = answer.json()["run"]["info"]["experiment_id"]
        return addresses.mlflow_run(experiment, run_id, file)

    def set_production(self, version: str) -> None:
        """Point production to a version, in one request: the alias exists at every instant."""
        self._post("registered-models/alias", name=MODEL, alias=PRODUCTION, version=version)

    def set_history(self, key: str, value: str) -> None:
        """Set a tag of that experiment, which is created or restored where needed."""
        found = self._experiment()
        if found is None:
            tags = [{"key": key, "value": value} for key, value in alias_history.EXPERIMENT_TAGS.items()]
            found = self._post("experiments/create", name=alias_history.EXPERIMENT, tags=tags)
        elif found.get("lifecycle_stage") == "deleted":
            self._post("experiments/restore", experiment_id=found["experiment_id"])
        self._post("experiments/set-experiment-tag", experiment_id=found["experiment_id"], key=key, value=value)

    def _post(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = self._request("POST", path, json=fields)
        if not answer.ok:
            raise _refused(answer)
        body: dict[str, Any] = answer.json()
        return body


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

"""The few calls to the MLflow server that serving needs, as plain HTTP.

Endpoints of MLflow's REST API: ``registered-models/alias``, ``model-versions/get-download-uri`` and
``mlflow-artifacts/artifacts``. Nothing here is ever called while a request waits.
"""

import time
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import urllib3

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
DOWNLOAD_SECONDS = 300.0
CHUNK_BYTES = 256 * 1024
ANSWER_BYTES = 1024 * 1024
NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow says the latter of an alias


class RegistryError(Exception):
    """The registry could not be heard, or what it said is no answer. Asking again later may help."""


class NotThereError(Exception):
    """The registry was heard: what was asked for does not exist."""


class ModelVersion(msgspec.Struct, frozen=True):
    """A registered version. ``source`` tells two versions of one number apart, in a registry made anew."""

    name: str
    version: str
    source: str = ""


class _Alias(msgspec.Struct):
    model_version: ModelVersion


class _DownloadUri(msgspec.Struct):
    artifact_uri: str


Answer = TypeVar("Answer", _Alias, _DownloadUri)


class _Failure(msgspec.Struct):
    error_code: str = ""
    message: str = ""


class RegistryClient:
    """Reads an MLflow server at ``url`` that serves its artifacts too."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # without retries urllib3 follows no redirect either
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False
        )

    def version_with_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version of model ``name`` that ``alias`` points to.

        Raises:
            NotThereError: the model has no such alias, or does not exist.
            RegistryError: there was no answer.
        """
        body = self._ask(f"{API}/registered-models/alias", {"name": name, "alias": alias})
        return _decode(body, _Alias).model_version

    def artifact_root(self, version: ModelVersion) -> str:
        """Return the path of a version's files in the artifact store of the server.

        Raises:
            NotThereError: the version does not exist, or its files lie outside the server's own store.
            RegistryError: there was no answer.
        """
        body = self._ask(f"{API}/model-versions/get-download-uri", {"name": version.name, "version": version.version})
        uri = _decode(body, _DownloadUri).artifact_uri
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts":
            raise NotThereError(f"its files are at {uri}, not in the artifact store that the MLflow server serves")
        return parts.path.strip("/")

    def read(self, root: str, name: str, limit: int) -> Iterator[bytes]:
        """Yield the content of file ``name`` below ``root``, and stop soon after ``limit`` bytes.

        Raises:
            NotThereError: there is no such file.
            RegistryError: there was no answer, or it broke off.
        """
        return self._stream(f"{ARTIFACTS}/{quote(f'{root}/{name}')}", {}, limit, missing=f"{name} is missing")

    def _ask(self, path: str, fields: dict[str, str]) -> bytes:
        return b"".join(self._stream(path, fields, ANSWER_BYTES))

    def _stream(self, path: str, fields: dict[str, str], limit: int, missing: str = "") -> Iterator[bytes]:
        deadline = time.monotonic() + DOWNLOAD_SECONDS
        received = 0
        try:
            with self._http.request("GET", self._url + path, fields=fields, preload_content=False) as response:
                if response.status != 200:
                    raise _failure(response.status, response.read1(ANSWER_BYTES), missing)
                while received <= limit and (chunk := response.read1(CHUNK_BYTES)):
                    received += len(chunk)
                    yield chunk
                    if time.monotonic() > deadline:
                        raise RegistryError(f"{self._url}{path} was not read within {DOWNLOAD_SECONDS:.0f} seconds")
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"{self._url} does not answer: {_reason(error)}") from error


def _failure(status: int, body: bytes, missing: str) -> Exception:
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError):
        failure = _Failure(message=body[:200].decode(errors="replace"))
    if missing and status in (400, 404):
        return NotThereError(missing)
    if failure.error_code in NOT_THERE:
        return NotThereError(failure.message)
    return RegistryError(f"the registry answered with status {status}: {failure.message or failure.error_code}")


def _decode(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RegistryError(f"the registry answered with something else than was asked for: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError) and isinstance(error.__cause__, OSError):
        return error.__cause__.strerror or str(error.__cause__)
    return str(error)

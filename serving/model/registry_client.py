"""Client of the MLflow server's REST API, for the few calls that serving needs.

Endpoints: ``registered-models/alias``, ``model-versions/get-download-uri``,
``mlflow-artifacts/artifacts`` and ``runs/get``. No request waits for these calls.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import urllib3
from msgspec import Meta

from serving.model import approvals
from serving.model.deadline import Deadline, DeadlineError

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 5.0  # of a single read
RESPONSE_TIMEOUT_SECONDS = 10.0  # of a complete response
DOWNLOAD_TIMEOUT_SECONDS = 300.0  # of a complete file
CHUNK_BYTES = 256 * 1024
RESPONSE_BYTES = 1024 * 1024
REASON_CHARACTERS = 200  # of a message of the registry, in the log and in responses
SAFE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
NOT_FOUND_CODES = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow uses the latter for an alias


class RegistryError(Exception):
    """The registry is unreachable, or its response cannot be used. A later attempt may succeed."""


class NotFoundError(Exception):
    """The registry answered that the object does not exist."""


class ModelVersion(msgspec.Struct, frozen=True):
    """A registered version. ``source`` distinguishes versions with the same number after a registry was recreated."""

    name: str
    version: Annotated[str, Meta(pattern=r"^[0-9]{1,18}\Z")]
    source: str = ""
    run_id: str = ""


class Target(msgspec.Struct, frozen=True):
    """The version that an alias points to, and the value of its tag with the approval; None if it has no such tag."""

    version: ModelVersion
    approval: str | None = None


class Training(msgspec.Struct, frozen=True):
    """The run that trained a version; a field is None where the registry has no value.

    Args:
        run_id: id of the run.
        trained_at: end of the run, ISO 8601 in UTC.
        source: description of the source of its records.
    """

    run_id: str | None = None
    trained_at: str | None = None
    source: str | None = None


class _Tag(msgspec.Struct):
    key: str = ""
    value: str = ""


class _RunInfo(msgspec.Struct):
    end_time: Annotated[int, Meta(ge=0, le=253_402_300_799_000)] | None = None  # milliseconds, up to the year 9999


class _RunData(msgspec.Struct):
    tags: list[_Tag] = []


class _Run(msgspec.Struct):
    info: _RunInfo
    data: _RunData = msgspec.field(default_factory=_RunData)


class _RunResponse(msgspec.Struct):
    run: _Run


class _TaggedVersion(ModelVersion, frozen=True):
    tags: list[_Tag] = []


class _Alias(msgspec.Struct):
    model_version: _TaggedVersion


class _DownloadUri(msgspec.Struct):
    artifact_uri: str


Response = TypeVar("Response", _Alias, _DownloadUri, _RunResponse)


class _Failure(msgspec.Struct):
    error_code: str = ""
    message: str = ""


class RegistryClient:
    """Reads from the MLflow server at ``url``, which must serve its artifacts."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # without retries urllib3 follows no redirect either
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS), retries=False
        )
        self._deadline = Deadline()
        self._deadline.watch(self._http)

    def version_with_alias(self, name: str, alias: str) -> Target:
        """Return the version of model ``name`` that ``alias`` points to, with its approval.

        Raises:
            NotFoundError: the model has no such alias, or does not exist.
            RegistryError: there was no usable response.
        """
        body = self._get(f"{API}/registered-models/alias", {"name": name, "alias": alias})
        found = _decode(body, _Alias).model_version
        if found.name != name:
            raise RegistryError(f"the registry returned another model: {_one_line(found.name)}")
        approval = next((tag.value for tag in found.tags if tag.key == approvals.TAG), None)
        return Target(ModelVersion(found.name, found.version, found.source, found.run_id), approval)

    def training(self, version: ModelVersion) -> Training:
        """Return the run that trained ``version``.

        Raises:
            RegistryError: there was no usable response.
        """
        if not SAFE_ID.fullmatch(version.run_id):
            return Training()
        try:
            run = _decode(self._get(f"{API}/runs/get", {"run_id": version.run_id}), _RunResponse).run
        except NotFoundError:
            return Training(version.run_id)
        ended = run.info.end_time
        source = next((tag.value for tag in run.data.tags if tag.key == "source"), "")
        return Training(
            version.run_id,
            datetime.fromtimestamp(ended / 1000, UTC).isoformat(timespec="milliseconds") if ended else None,
            _one_line(source) or None,
        )

    def artifact_root(self, version: ModelVersion) -> str:
        """Return the path of a version's files in the artifact store of the server.

        Raises:
            NotFoundError: the version does not exist, or its files are outside of the server's artifact store.
            RegistryError: there was no usable response.
        """
        body = self._get(f"{API}/model-versions/get-download-uri", {"name": version.name, "version": version.version})
        uri = _decode(body, _DownloadUri).artifact_uri
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts":
            raise NotFoundError(
                f"its files are at {_one_line(uri)}, not in the artifact store that the MLflow server serves"
            )
        return parts.path.strip("/")

    def read(self, root: str, name: str, limit: int) -> Iterator[bytes]:
        """Yield the content of the file ``name`` below ``root``; stop soon after ``limit`` bytes.

        Raises:
            NotFoundError: the file does not exist.
            RegistryError: there was no usable response, or it was incomplete.
        """
        path = f"{ARTIFACTS}/{quote(f'{root}/{name}')}"
        return self._stream(path, {}, limit, DOWNLOAD_TIMEOUT_SECONDS, missing=f"{name} is missing")

    def _get(self, path: str, fields: dict[str, str]) -> bytes:
        return b"".join(self._stream(path, fields, RESPONSE_BYTES, RESPONSE_TIMEOUT_SECONDS))

    def _stream(
        self, path: str, fields: dict[str, str], limit: int, seconds: float, missing: str = ""
    ) -> Iterator[bytes]:
        received = 0
        try:
            with (
                self._deadline.within(seconds),
                # not decompressed: a small response could expand to any size
                self._http.request(
                    "GET", self._url + path, fields=fields, preload_content=False, decode_content=False
                ) as response,
            ):
                if response.status != 200:
                    raise _failure(response.status, response.read1(RESPONSE_BYTES), missing)
                while received <= limit and (chunk := response.read1(CHUNK_BYTES)):
                    received += len(chunk)
                    yield chunk
        except DeadlineError as error:
            raise RegistryError(f"{self._url}{path} was not read within {seconds:g} seconds") from error
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"{self._url} does not answer: {_reason(error)}") from error


def _failure(status: int, body: bytes, missing: str) -> Exception:
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        failure = _Failure(message=body[: 4 * REASON_CHARACTERS].decode(errors="replace"))
    if missing and status in (400, 404):
        return NotFoundError(missing)
    if failure.error_code in NOT_FOUND_CODES:
        return NotFoundError(_one_line(failure.message))
    return RegistryError(
        f"the registry answered with status {status}: {_one_line(failure.message or failure.error_code)}"
    )


def _decode(body: bytes, kind: type[Response]) -> Response:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"the registry returned an unexpected response: {_one_line(str(error))}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError) and isinstance(error.__cause__, OSError):
        return error.__cause__.strerror or str(error.__cause__)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection within {CONNECT_TIMEOUT_SECONDS:g} seconds"
    return _one_line(str(error))


def _one_line(text: str) -> str:
    """Return ``text`` as one short line, so that a registry cannot write further lines into the log."""
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return line if len(line) <= REASON_CHARACTERS else line[:REASON_CHARACTERS] + "…"

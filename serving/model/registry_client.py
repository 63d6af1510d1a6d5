"""The few calls to the MLflow server that serving needs, as plain HTTP.

Endpoints of MLflow's REST API: ``registered-models/alias``, ``model-versions/get-download-uri``,
``mlflow-artifacts/artifacts``, and ``runs/get`` for what trained a version. Nothing here is ever called while a request
waits.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import urllib3
from msgspec import Meta

from serving.model.deadline import Deadline, DeadlineError

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
ANSWER_SECONDS = 10.0  # for all of an answer
DOWNLOAD_SECONDS = 300.0  # for all of a file
CHUNK_BYTES = 256 * 1024
ANSWER_BYTES = 1024 * 1024
REASON_CHARACTERS = 200  # of what a registry says: it goes into the log and into answers
PLAIN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow says the latter of an alias


class RegistryError(Exception):
    """The registry could not be heard, or what it said is no answer. Asking again later may help."""


class NotThereError(Exception):
    """The registry was heard: what was asked for does not exist."""


class ModelVersion(msgspec.Struct, frozen=True):
    """A registered version. ``source`` tells two versions of one number apart, in a registry made anew."""

    name: str
    version: Annotated[str, Meta(pattern=r"^[0-9]{1,18}\Z")]
    source: str = ""
    run_id: str = ""


class Training(msgspec.Struct, frozen=True):
    """What the registry says of the run that trained a version; None where it says nothing.

    Args:
        run_id: the run.
        trained_at: when it ended, ISO 8601 in UTC.
        source: where its records came from, in words.
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


class _RunAnswer(msgspec.Struct):
    run: _Run


class _Alias(msgspec.Struct):
    model_version: ModelVersion


class _DownloadUri(msgspec.Struct):
    artifact_uri: str


Answer = TypeVar("Answer", _Alias, _DownloadUri, _RunAnswer)


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
        self._deadline = Deadline()
        self._deadline.watch(self._http)

    def version_with_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version of model ``name`` that ``alias`` points to.

        Raises:
            NotThereError: the model has no such alias, or does not exist.
            RegistryError: there was no answer.
        """
        body = self._ask(f"{API}/registered-models/alias", {"name": name, "alias": alias})
        version = _decode(body, _Alias).model_version
        if version.name != name:
            raise RegistryError(f"the registry answered for another model: {_plain(version.name)}")
        return version

    def training(self, version: ModelVersion) -> Training:
        """Return what is known of the run that trained ``version``.

        Raises:
            RegistryError: there was no answer.
        """
        if not PLAIN_ID.fullmatch(version.run_id):
            return Training()
        try:
            run = _decode(self._ask(f"{API}/runs/get", {"run_id": version.run_id}), _RunAnswer).run
        except NotThereError:
            return Training(version.run_id)
        ended = run.info.end_time
        source = next((tag.value for tag in run.data.tags if tag.key == "source"), "")
        return Training(
            version.run_id,
            datetime.fromtimestamp(ended / 1000, UTC).isoformat(timespec="milliseconds") if ended else None,
            _plain(source) or None,
        )

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
            raise NotThereError(
                f"its files are at {_plain(uri)}, not in the artifact store that the MLflow server serves"
            )
        return parts.path.strip("/")

    def read(self, root: str, name: str, limit: int) -> Iterator[bytes]:
        """Yield the content of file ``name`` below ``root``, and stop soon after ``limit`` bytes.

        Raises:
            NotThereError: there is no such file.
            RegistryError: there was no answer, or it broke off.
        """
        path = f"{ARTIFACTS}/{quote(f'{root}/{name}')}"
        return self._stream(path, {}, limit, DOWNLOAD_SECONDS, missing=f"{name} is missing")

    def _ask(self, path: str, fields: dict[str, str]) -> bytes:
        return b"".join(self._stream(path, fields, ANSWER_BYTES, ANSWER_SECONDS))

    def _stream(
        self, path: str, fields: dict[str, str], limit: int, seconds: float, missing: str = ""
    ) -> Iterator[bytes]:
        received = 0
        try:
            with (
                self._deadline.within(seconds),
                # nothing is unpacked: a few bytes of a packed answer can be any number of bytes
                self._http.request(
                    "GET", self._url + path, fields=fields, preload_content=False, decode_content=False
                ) as response,
            ):
                if response.status != 200:
                    raise _failure(response.status, response.read1(ANSWER_BYTES), missing)
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
        return NotThereError(missing)
    if failure.error_code in NOT_THERE:
        return NotThereError(_plain(failure.message))
    return RegistryError(f"the registry answered with status {status}: {_plain(failure.message or failure.error_code)}")


def _decode(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(
            f"the registry answered with something else than was asked for: {_plain(str(error))}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError) and isinstance(error.__cause__, OSError):
        return error.__cause__.strerror or str(error.__cause__)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection within {CONNECT_SECONDS:g} seconds"
    return _plain(str(error))


def _plain(text: str) -> str:
    """Return ``text`` as one short line: nobody writes further lines into the log."""
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return line if len(line) <= REASON_CHARACTERS else line[:REASON_CHARACTERS] + "…"

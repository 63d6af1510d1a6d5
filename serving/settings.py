"""The settings of the service, read from the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PREFIX = "HEARTLINE_"
# not repeated in messages, because they are or contain secrets
SECRET = {PREFIX + "APPROVAL_SECRET", PREFIX + "LEDGER_URL", PREFIX + "PREDICTION_LOG_URL"}
ROOT = Path(__file__).resolve().parents[1]


class SettingError(Exception):
    """An invalid setting.

    Args:
        what: what is wrong, one clause.
        where: the environment variable.
        expected: what would have been right.
        hint: the next step for the reader.
    """

    def __init__(self, what: str, *, where: str, expected: str, hint: str) -> None:
        super().__init__(what, where, expected, hint)
        self.what = what
        self.where = where
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        """Return the four parts as an indented block, one part per line."""
        return f"{self.what}\n  where:    {self.where}\n  expected: {self.expected}\n  hint:     {self.hint}"


Text = Annotated[str, Meta(min_length=1, description="a non-empty text")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings. The environment variable of a field is ``HEARTLINE_`` and its name in capitals."""

    cache: Text
    mlflow_url: Annotated[
        str,
        Meta(
            pattern=r"^https?://[^/\s@]+(/|$)",
            description="http:// or https:// and the host of the MLflow server, no user",
        ),
    ] = "http://127.0.0.1:5000"
    model_name: Text = "heart-disease"
    model_alias: Text = "production"
    bundle: Annotated[str, Meta(description="a folder")] = ""
    poll_seconds: Annotated[float, Meta(ge=0.05, le=3600, description="seconds, from 0.05 to 3600")] = 5.0
    service_host: Text = "127.0.0.1"
    service_port: Annotated[int, Meta(ge=1, le=65535, description="a port from 1 to 65535")] = 8080
    public_service_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^/\s@?#]+(/[^\s?#]*)?)?\Z",
            description="http:// or https://, a host, and a port and a path where it has one",
        ),
    ] = ""
    service_workers: Annotated[int, Meta(ge=1, le=1024, description="processes, from 1 to 1024")] = 1
    service_threads: Annotated[int, Meta(ge=1, le=256, description="threads a worker, from 1 to 256")] = 8
    worker: Annotated[Literal["heartline", "gthread"], Meta(description="heartline or gthread")] = "heartline"
    max_records: Annotated[int, Meta(ge=1, description="records in one request, at least 1")] = 10_000
    max_body_bytes: Annotated[int, Meta(ge=1024, description="bytes, at least 1024")] = 8 * 1024 * 1024
    max_waiting: Annotated[int, Meta(ge=1, le=10_000, description="queued requests of a worker, from 1 to 10000")] = 100
    request_seconds: Annotated[float, Meta(ge=0.1, le=3600, description="seconds, from 0.1 to 3600")] = 30.0
    allowed_hosts: Annotated[
        str,
        Meta(
            pattern=r"^(\*|[A-Za-z0-9._, -]*)\Z", description="names of hosts, separated by commas, without ports, or *"
        ),
    ] = ""
    api_keys: Annotated[str, Meta(description="a file")] = ""
    allow_anonymous: Annotated[Literal["no", "yes"], Meta(description="yes or no")] = "no"
    prediction_log_url: Annotated[
        str,
        Meta(
            pattern=r"^(off|postgres(ql)?://\S+)\Z", description="postgresql://user:password@host:port/database, or off"
        ),
    ] = "off"
    prediction_log_days: Annotated[int, Meta(ge=0, le=36_500, description="days, from 0 (unlimited) to 36500")] = 90
    prediction_log_spill_bytes: Annotated[int, Meta(ge=0, description="bytes, at least 0")] = 256 * 1024 * 1024
    require_approval: Annotated[Literal["no", "yes"], Meta(description="yes or no")] = "no"
    approval_secret: Annotated[
        str, Meta(pattern=r"^([!-~]{32,})?\Z", description="at least 32 ASCII characters without spaces")
    ] = ""
    ledger_url: Annotated[
        str,
        Meta(
            pattern=r"^(off|postgres(ql)?://\S+)\Z", description="postgresql://user:password@host:port/database, or off"
        ),
    ] = "off"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Return the settings in ``environment``. An empty variable counts as unset.

        Raises:
            SettingError: a value is invalid.
        """
        home = environment.get(PREFIX + "HOME") or str(ROOT / ".heartline")
        values: dict[str, Any] = {"cache": str(Path(home) / "model-cache"), "service_workers": _cores()}
        for field in msgspec.structs.fields(cls):
            variable = PREFIX + field.name.upper()
            if raw := environment.get(variable):
                values[field.name] = _parsed(raw, field.type, variable)
        return cls(**values)

    def make_cache_folder(self) -> Path:
        """Create the cache folder if it is missing, check that it is writable, and return it.

        Raises:
            SettingError: it cannot be created or written to.
        """
        folder = Path(self.cache)
        problem = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                problem = "permission denied"
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            raise SettingError(
                f"the model cache {folder} cannot be written to: {problem}",
                where=PREFIX + "CACHE",
                expected="a folder that the service can create and write to",
                hint="set it to such a folder, or change the folder's owner",
            )
        return folder


def _parsed(raw: str, kind: Any, variable: str) -> Any:
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError:
        raise SettingError(
            "the value is invalid" if variable in SECRET else f"{raw!r} is not a valid value",
            where=variable,
            expected=next(meta.description for meta in kind.__metadata__ if meta.description),
            hint="correct the variable, or unset it to use the default",
        ) from None


def _cores() -> int:
    # the cores that this process may use; in a container these are often fewer than those of the machine
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

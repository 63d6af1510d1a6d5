"""Reads the records of a source: the sample cohort, the UCI archive, a file, a URL or a database.

``source_catalog`` lists the sources; ``READERS`` holds the function that reads each. Nothing falls back to
another source: a source that cannot be read is an error.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from heartline import contract, origins
from heartline.errors import DataError, SourceError
from heartline.ingestion import archives, encodings, http, mapping_choice, source_catalog, sql, synthetic, tables, uci
from heartline.ingestion.mapping import FileMapping

DEFAULT_QUERY = f"SELECT {', '.join(contract.COLUMN_NAMES)} FROM patients"  # noqa: S608 - no user input: the names of the contract


@dataclass(frozen=True, eq=False)
class Records:
    """Records as read from a source, not yet validated.

    Attributes:
        table: the records, and the cells and rows that could not be parsed.
        origin: the kind of source, as in ``source_catalog``.
        description: the source for display, without passwords.
        sha256: the digest of the bytes that were read, before unpacking, if the source consists of bytes. A source is
            read once, so the records come from these bytes.
    """

    table: tables.Table
    origin: str
    description: str
    sha256: str | None = None


@dataclass(frozen=True)
class Settings:
    """How sources are reached.

    Attributes:
        uci_url: the UCI archive's zip, or a copy of it.
        uci_sha256: the digest of the Cleveland file in it.
        cache: the folder for copies of downloads, or None.
        database_url: a SQLAlchemy URL, or empty.
        limits: of downloads; ``seconds`` also limits SQL statements, and ``size`` files.
    """

    uci_url: str = source_catalog.UCI_URL
    uci_sha256: str = uci.SHA256
    cache: Path | None = None
    database_url: str = field(default="", repr=False)
    limits: http.Limits = field(default_factory=http.Limits)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings from the ``HEARTLINE_…`` variables; an unset or empty variable keeps the default.

        ``HEARTLINE_UCI_URL``, ``HEARTLINE_CACHE_DIR`` (``HEARTLINE_HOME``/cache), ``HEARTLINE_DATABASE_URL``,
        ``HEARTLINE_SOURCE_SECONDS``, ``HEARTLINE_SOURCE_MAX_BYTES``.

        Raises:
            SourceError: a number cannot be parsed.
        """
        home = environment.get("HEARTLINE_HOME")
        cache = environment.get("HEARTLINE_CACHE_DIR") or (f"{home}/cache" if home else "")
        usual = http.Limits()
        return cls(
            uci_url=environment.get("HEARTLINE_UCI_URL") or source_catalog.UCI_URL,
            cache=Path(cache) if cache else None,
            database_url=environment.get("HEARTLINE_DATABASE_URL", ""),
            limits=http.Limits(
                seconds=_whole_number(environment, "HEARTLINE_SOURCE_SECONDS", int(usual.seconds)),
                size=_whole_number(environment, "HEARTLINE_SOURCE_MAX_BYTES", usual.size),
            ),
        )


@dataclass(frozen=True)
class Request:
    """What a reader needs to know.

    Attributes:
        spec: the parameter ``source``.
        query: the parameter ``query``, or None.
        settings: how sources are reached.
        mapping: how the records are read, as the user states it, or None.
        automatic: whether a shipped mapping may be chosen.
    """

    spec: str
    query: str | None
    settings: Settings
    mapping: FileMapping | None = None
    automatic: bool = True


def read(
    spec: str,
    *,
    query: str | None = None,
    settings: Settings | None = None,
    mapping: FileMapping | None = None,
    automatic: bool = True,
) -> Records:
    """Return the records of a source.

    Args:
        spec: one of the forms in ``source_catalog``; files are CSV, Parquet or Excel, as they are or in gzip or zip.
        query: SQL for a source that takes a query; for ``postgres`` the default is the contract's columns of the table
            ``patients``.
        settings: how sources are reached; by default those of the environment.
        mapping: how the records are read, for a source that takes a mapping.
        automatic: whether a shipped mapping is chosen where it fits exactly.

    Raises:
        SourceError: there is no such source, or it cannot be reached or read.
        DataError: what was read is not a table of records.
    """
    settings = settings or Settings.from_environment()
    spec = spec.strip()
    source = source_catalog.find(spec)
    if query and not (source and source.takes_query):
        raise SourceError(
            "this source takes no query",
            where=f"parameter query, with source {_public(spec)}",
            expected=f"no query, or {source_catalog.taking_queries()}",
            hint="leave the query empty, or choose another source",
        )
    if source is None:
        raise SourceError(
            f"unknown source {_public(spec)!r}",
            where="parameter source",
            expected=source_catalog.choices(),
            hint="choose one of these; a path must be absolute",
        )
    if source.is_address and (kind := source_catalog.unread(spec)):
        raise DataError(
            f"this is {kind}, which is not read",
            where=f"parameter source: {_public(spec)}",
            expected=source_catalog.choices(),
            hint="save it as .xlsx or CSV",
        )
    if mapping and not source.takes_mapping:
        raise DataError(
            "this source takes no mapping",
            where=f"parameter mapping, with source {_public(spec)}",
            expected="no mapping: its columns and codes are known",
            hint="leave the mapping empty, or choose another source",
        )
    return READERS[source.origin](Request(spec, query, settings, mapping, automatic))


def _read_sample(request: Request) -> Records:
    _, _, rows = request.spec.partition(":")
    n = int(rows or synthetic.DEFAULT_ROWS)
    table = tables.Table(synthetic.generate(n), encodings.no_unparseable_cells(), contract.COLUMN_NAMES)
    return Records(table, origins.SAMPLE, f"synthetic cohort of {n:,} records, seed {synthetic.DEFAULT_SEED}")


def _read_uci(request: Request) -> Records:
    settings = request.settings
    where = _public(settings.uci_url)

    def archive() -> bytes:
        if settings.uci_url.startswith(("/", "file://")):
            return _bytes_of(_path(settings.uci_url), settings.limits.size)
        return http.fetch(settings.uci_url, settings.limits)

    data, cached = uci.cleveland(
        archive, where=where, cache=settings.cache, sha256=settings.uci_sha256, size=settings.limits.size
    )
    return _parsed(data, "uci", f"{uci.MEMBER} of {where}{', kept from an earlier run' if cached else ''}", request)


def _read_postgres(request: Request) -> Records:
    settings, query = request.settings, request.query or DEFAULT_QUERY
    if not settings.database_url:
        raise SourceError(
            "no database is configured",
            where="setting HEARTLINE_DATABASE_URL",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            hint="set it where the task runs",
        )
    where = f"{sql.public(settings.database_url)}, query: {sql.shorten(query)}"
    limits = settings.limits
    names, frame = sql.select(
        settings.database_url, query, seconds=limits.seconds, connect_seconds=limits.connect_seconds
    )
    table = mapping_choice.read(
        lambda mapping: tables.from_frame(frame, names, where=where, mapping=mapping),
        request.mapping,
        automatic=request.automatic,
    )
    return Records(table, "postgres", where)


def _read_url(request: Request) -> Records:
    (address, sheet), settings = source_catalog.split_sheet(request.spec), request.settings
    return _parsed(http.fetch(address, settings.limits), "url", http.public(address), request, unquote(sheet))


def _read_file(request: Request) -> Records:
    spec, sheet = source_catalog.split_sheet(request.spec)
    path, settings = _path(spec), request.settings
    return _parsed(_bytes_of(path, settings.limits.size), "file", str(path), request, sheet)


READERS: dict[str, Callable[[Request], Records]] = {
    origins.SAMPLE: _read_sample,
    "uci": _read_uci,
    "postgres": _read_postgres,
    "file": _read_file,
    "url": _read_url,
}  # by origin


def _parsed(data: bytes, origin: str, description: str, request: Request, sheet: str = "") -> Records:
    content = archives.unpack(data, where=description, size=request.settings.limits.size)
    table = mapping_choice.read(
        lambda mapping: tables.parse(content, where=description, mapping=mapping, sheet=sheet),
        request.mapping,
        automatic=request.automatic,
    )
    description = f"{description}#{sheet}" if sheet else description
    return Records(table, origin, description, hashlib.sha256(data).hexdigest())


def _path(spec: str) -> Path:
    if not spec.startswith("file://"):
        return Path(spec)
    parts = urlsplit(spec)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise SourceError(
            f"{spec!r} is not a file on this machine",
            where="parameter source",
            expected="file:///absolute/path",
            hint="write three slashes after file:",
        )
    return Path(unquote(parts.path))


def _bytes_of(path: Path, size: int) -> bytes:
    try:
        found = path.stat()
        if path.is_dir():
            raise IsADirectoryError
        if not path.is_file():
            raise OSError("it is a device or a pipe")
        if found.st_size > size:
            raise http.too_large(str(path), size)
        data = path.read_bytes()
        after = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if _identity(found) != _identity(after):
        raise SourceError(
            "the file changed while it was read",
            where=str(path),
            expected="a file that does not change during the run",
            hint="try again when the file is complete",
        )
    return data


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        problem, hint = "there is no such file", "check the path on the machine that runs the task"
    elif isinstance(error, IsADirectoryError):
        problem, hint = "this is a folder, not a file", "give the path of a file in it"
    elif isinstance(error, PermissionError):
        problem, hint = "the file may not be read", "give the user that runs the task permission to read it"
    else:
        problem, hint = (
            f"the file cannot be read: {error.strerror or error}",
            "check the path and its disk",
        )
    return SourceError(problem, where=str(path), expected="a readable CSV, Parquet or Excel file", hint=hint)


def _public(spec: str) -> str:
    return http.public(spec) if "://" in spec else spec


def _whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise SourceError(
        f"{text!r} is not a positive whole number",
        where=f"setting {name}",
        expected=f"a number such as {default}",
        hint="correct it or leave it unset",
    )

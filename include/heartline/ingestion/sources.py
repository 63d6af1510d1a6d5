"""Reads the records of a source: the sample cohort, the UCI archive, a file, a URL or a database.

``source_catalog`` lists the sources; ``READERS`` holds the function that reads each. Nothing falls back to
another source: a source that cannot be read is an error.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from heartline import contract, origins, visible
from heartline.errors import SourceRefusedError
from heartline.ingestion import encodings, patients, source_catalog, tables
from heartline.ingestion.access import files, http, networks, sql, uci, uploads
from heartline.ingestion.formats import archives
from heartline.ingestion.mapping import choice as mapping_choice
from heartline.ingestion.mapping.file_mapping import FileMapping
from heartline.ingestion.patients import PatientColumn
from heartline.ingestion.sample import synthetic


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
        limits: of downloads; ``seconds`` also limits SQL statements, ``size`` files, and ``rows`` every source.
        folders: the folders whose files may be read.
        reach: the addresses that may be read beside public ones.
        patient_secret: of the stack, with which patients' values are hashed; "" without one.
    """

    uci_url: str = source_catalog.UCI_URL
    uci_sha256: str = uci.SHA256
    cache: Path | None = None
    database_url: str = field(default="", repr=False)
    limits: http.Limits = field(default_factory=http.Limits)
    folders: files.Folders = field(default_factory=files.Folders)
    reach: networks.Reach = field(default_factory=networks.Reach)
    patient_secret: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings from the ``HEARTLINE_…`` variables; an unset or empty variable keeps the default.

        ``HEARTLINE_UCI_URL``, ``HEARTLINE_CACHE_DIR`` (``HEARTLINE_HOME``/cache), ``HEARTLINE_DATABASE_URL``,
        ``HEARTLINE_SOURCE_SECONDS``, ``HEARTLINE_SOURCE_MAX_BYTES``, ``HEARTLINE_SOURCE_MAX_ROWS``,
        ``HEARTLINE_SOURCE_FOLDERS``, ``HEARTLINE_SOURCE_NETWORKS``, ``HEARTLINE_OFFLINE``,
        ``HEARTLINE_PATIENT_SECRET``. The source in ``HEARTLINE_SOURCE`` may be read wherever it is: the stack's owner
        named it.

        Raises:
            SourceError: a number or a network cannot be parsed.
        """
        reach = networks.Reach.from_environment(environment)
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
                rows=_whole_number(environment, "HEARTLINE_SOURCE_MAX_ROWS", usual.rows),
            ),
            folders=files.Folders.from_environment(environment),
            reach=reach.also(environment.get("HEARTLINE_SOURCE", "")),
            patient_secret=environment.get(source_catalog.PATIENT_SECRET, ""),
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
        patient: the column that identifies the patient, or None.
    """

    spec: str
    query: str | None
    settings: Settings
    mapping: FileMapping | None = None
    automatic: bool = True
    patient: PatientColumn | None = None


def read(
    spec: str,
    *,
    query: str | None = None,
    settings: Settings | None = None,
    mapping: FileMapping | None = None,
    automatic: bool = True,
    patient: str = "",
) -> Records:
    """Return the records of a source.

    Args:
        spec: one of the forms in ``source_catalog``; files are in one of ``file_kinds.FORMATS``, as they are or in gzip
            or zip.
        query: SQL for a source that takes a query; for ``postgres`` the default is the contract's columns of the table
            ``patients``.
        settings: how sources are reached; by default those of the environment.
        mapping: how the records are read, for a source that takes a mapping.
        automatic: whether a shipped mapping is chosen where it fits exactly.
        patient: the name of the column that identifies the patient, for a source that takes a mapping; "" for none.

    Raises:
        ParameterError: there is no such source, or it takes no query or no patients' column.
        SourceError: it cannot be reached or read.
        DataError: what was read is not a table of records.
    """
    settings = settings or Settings.from_environment()
    spec = spec.strip()
    source = source_catalog.choose(spec, query)
    column = None
    if patient:
        source_catalog.expect_patients(spec)
        column = PatientColumn(patient, settings.patient_secret)
        column.expect_secret()
    records = READERS[source.origin](Request(spec, query, settings, mapping, automatic, column))
    if records.table.patients is not None:
        patients.expect_patients(records.table.patients, records.table.patient, where=records.description)
    return records


def _read_sample(request: Request) -> Records:
    _, _, rows = request.spec.partition(":")
    n = int(rows or synthetic.DEFAULT_ROWS)
    table = tables.Table(synthetic.generate(n), encodings.no_unparseable_cells(), contract.COLUMN_NAMES)
    return Records(table, origins.SAMPLE, f"synthetic cohort of {n:,} records, seed {synthetic.DEFAULT_SEED}")


def uci_file(settings: Settings) -> tuple[bytes, str]:
    """Return the bytes of the Cleveland file of the UCI archive, and where they come from.

    Raises:
        SourceError: it cannot be reached, or is not that file.
    """
    where = public(settings.uci_url)

    def archive() -> bytes:
        if settings.uci_url.startswith(("/", "file://")):
            return files.read(files.path_of(settings.uci_url).resolve(), settings.limits.size)
        # offline, the archive itself is not one of the hosts that the stack's owner named
        named = settings.reach.public or settings.uci_url != source_catalog.UCI_URL
        return http.fetch(
            settings.uci_url, settings.limits, settings.reach.also(settings.uci_url) if named else settings.reach
        )

    data, cached = uci.cleveland(
        archive, where=where, cache=settings.cache, sha256=settings.uci_sha256, size=settings.limits.size
    )
    return data, f"{uci.MEMBER} of {where}{', kept from an earlier run' if cached else ''}"


def _read_uci(request: Request) -> Records:
    data, description = uci_file(request.settings)
    return _parsed(data, "uci", description, request)


def _read_postgres(request: Request) -> Records:
    settings, column = request.settings, request.patient
    query = request.query or source_catalog.default_query(column.name if column else "")
    if not settings.database_url:
        raise SourceRefusedError(
            "no database is configured",
            where="setting HEARTLINE_DATABASE_URL",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            hint="set it where the task runs",
        )
    where = f"{sql.public(settings.database_url)}, query: {sql.shorten(query)}"

    def parse(mapping: FileMapping | None) -> tables.Table:
        def collect(names: list[str], parts: Iterator[pd.DataFrame]) -> tables.Table:
            return tables.from_frames(
                parts, names, where=where, mapping=mapping, patient=column, rows=settings.limits.rows
            )

        return sql.select(settings.database_url, query, settings.limits, collect, exact=column.name if column else "")

    # the rows are not kept in memory: each attempt with a mapping runs the query, and most end at its columns
    return Records(mapping_choice.read(parse, request.mapping, automatic=request.automatic), "postgres", where)


def _read_url(request: Request) -> Records:
    (address, sheet), settings = source_catalog.split_sheet(request.spec), request.settings
    content = http.fetch(address, settings.limits, settings.reach)
    return _parsed(content, "url", public(address), request, sheet)


def _read_file(request: Request) -> Records:
    settings = request.settings
    spec, sheet = source_catalog.split_sheet(request.spec)
    upload = source_catalog.upload(spec)
    if upload:
        digest, name = upload
        return _parsed(uploads.read(digest, settings.limits.size), "file", visible.path(name), request, sheet)
    path = files.path_of(spec)
    content = files.read(settings.folders.find(path), settings.limits.size)
    return _parsed(content, "file", visible.path(path), request, sheet)


READERS: dict[str, Callable[[Request], Records]] = {
    origins.SAMPLE: _read_sample,
    "uci": _read_uci,
    "postgres": _read_postgres,
    "file": _read_file,
    "url": _read_url,
}  # by origin


def _parsed(data: bytes, origin: str, description: str, request: Request, sheet: str = "") -> Records:
    within = request.settings.limits
    content = archives.unpack(data, where=description, size=within.size)
    table = mapping_choice.read(
        lambda mapping: tables.parse(
            content, where=description, mapping=mapping, patient=request.patient, sheet=sheet, rows=within.rows
        ),
        request.mapping,
        automatic=request.automatic,
    )
    description = f"{description}#{visible.visible(sheet)}" if sheet else description
    return Records(table, origin, description, hashlib.sha256(data).hexdigest())


def public(spec: str) -> str:
    """Return a path or an address for messages, without what may be secret."""
    return visible.path(http.public(spec) if "://" in spec else spec)


def _whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise SourceRefusedError(
        f"'{visible.visible(text)}' is not a positive whole number",
        where=f"setting {name}",
        expected=f"a number such as {default}",
        hint="correct it or leave it unset",
    )

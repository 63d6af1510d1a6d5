"""The input of a scoring run: any source that a training takes, as chunks that are read one after the other."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa

from heartline import origins
from heartline.errors import DataError, SourceRefusedError
from heartline.ingestion import source_catalog, sources
from heartline.ingestion.access import files, http, sql, uploads
from heartline.ingestion.formats import archives, file_kinds, json_text, table_formats, workbooks
from heartline.ingestion.sample import synthetic
from heartline.scoring.reading import cell_values, parquet_input, staging, text_input
from heartline.scoring.reading.batches import Batch
from heartline.scoring.reading.chunks import Chunk, Planned
from heartline.scoring.reading.input_files import opened, size
from heartline.scoring.reading.layout import JSON, KAGGLE, TYPED, Layout, Wanted

CHUNK_BYTES = 64 << 20  # of text
CHUNK_ROWS = 1_000_000  # of Parquet
MOST_CHUNKS = 500  # Airflow's limit for mapped tasks is 1,024
_PARQUET, _GZIP, _ZIP, _UTF16 = b"PAR1", b"\x1f\x8b", b"PK", (b"\xff\xfe", b"\xfe\xff")
_PART = 50_000  # records of JSON in one part


def _no_progress(count: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Request:
    """What is read, and how.

    Attributes:
        source: a value of the parameter ``source``.
        query: SQL, for a source that takes a query.
        wanted: what the run states about its columns.
        folder: the run's folder, for a copy of the input where one is needed.
        settings: how sources are reached.
        progress: is called with the number of bytes of each part that the first pass has read.
    """

    source: str
    query: str | None
    wanted: Wanted
    folder: str
    settings: sources.Settings = field(default_factory=sources.Settings.from_environment)
    progress: Callable[[int], None] = _no_progress


def plan(request: Request) -> Planned:
    """Return the layout and the chunks of an input.

    Raises:
        ParameterError: there is no such source, or it takes no query.
        SourceError: it cannot be reached or read.
        DataError: what was read is no table of records.
        StoreError: the store cannot be written.
    """
    source = request.source.strip()
    origin = source_catalog.choose(source, request.query).origin
    if origin == "postgres":
        return _of_query(request)
    if origin == origins.SAMPLE:
        return _of_sample(request, source)
    if origin == "uci":
        return _of_bytes(request, *sources.uci_file(request.settings))
    address, sheet = source_catalog.split_sheet(source)
    if origin == "url":
        data = http.fetch(address, request.settings.limits, request.settings.reach)
        return _of_bytes(request, data, sources.public(address), sheet)
    if found := source_catalog.upload(address):
        return _of_bytes(request, uploads.read(found[0], request.settings.limits.size), found[1], sheet)
    return _of_path(request, address, sheet)


def read(planned: Planned, chunk: Chunk, *, folders: files.Folders) -> Iterator[Batch]:
    """Yield the rows of a chunk, in parts that fit in memory.

    Raises:
        SourceError: the input cannot be read.
        DataError: it is damaged, or not the one that was planned.
    """
    for batch in _read(planned, chunk, folders):
        if planned.layout.encoding == KAGGLE:
            fields = {name: cell_values.from_kaggle(name, one) for name, one in batch.fields.items()}
            batch = replace(batch, fields=fields)  # noqa: PLW2901
        yield batch


def _read(planned: Planned, chunk: Chunk, folders: files.Folders) -> Iterator[Batch]:
    layout, reader = planned.layout, planned.reader
    if "parts" in chunk.about:
        yield from staging.read(layout, chunk, decimal_comma=bool(reader.get("decimal_comma")))
        return
    with opened(reader["address"], folders) as file:
        if "text" in reader:
            yield from text_input.read(file, layout, chunk, text_input.TextFormat(**reader["text"]))
        else:
            yield from parquet_input.read(file, layout, chunk)


def _of_path(request: Request, address: str, sheet: str) -> Planned:
    path = files.path_of(address)
    where = sources.public(str(path))
    found = str(request.settings.folders.find(path))
    with opened(found, files.ANYWHERE) as file:
        start = file.read(1 << 10)
    if sheet or start.startswith((_GZIP, _ZIP, *_UTF16)) or json_text.is_json(start):
        data = files.read(request.settings.folders.find(path), request.settings.limits.size)
        return _of_bytes(request, data, where, sheet)
    return _streamed(request, str(path), where)


def _of_bytes(request: Request, data: bytes, where: str, sheet: str = "") -> Planned:
    """Return an input that is in memory: its records, or its bytes, are copied into the run's folder."""
    digest = hashlib.sha256(data).hexdigest()
    data = archives.unpack(data, where=where, size=request.settings.limits.size)
    if workbooks.is_workbook(data, where=where):
        return _of_workbook(request, workbooks.Sheet(data, sheet, where=where), digest)
    if sheet:
        table_formats.rows_of(data, where=where, sheet=sheet)  # says what the file is
    if json_text.is_json(data):
        return _of_json(request, data, where, digest)
    if data.startswith(_UTF16):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeDecodeError:
            raise _no_table("the file is binary, or damaged text in UTF-16", where) from None
    planned = _streamed(request, staging.write_file(request.folder, data), where)
    return Planned(planned.layout, planned.chunks, planned.reader, digest)


def _streamed(request: Request, address: str, where: str) -> Planned:
    with opened(address, request.settings.folders) as file:
        start = file.read(1 << 10)
        if start.startswith(_PARQUET):
            planned = parquet_input.plan(
                file, request.wanted, where=where, chunk_rows=CHUNK_ROWS, progress=request.progress
            )
        elif kind := file_kinds.other_than_table(start):
            raise _no_table(f"this is {kind}", where)
        else:
            least = max(CHUNK_BYTES, size(file) // MOST_CHUNKS)
            planned = text_input.plan(file, request.wanted, where=where, chunk_bytes=least, progress=request.progress)
    return Planned(planned.layout, planned.chunks, {**planned.reader, "address": address}, planned.sha256)


def _no_table(what: str, where: str) -> DataError:
    return DataError(
        what,
        where=where,
        expected=f"a {file_kinds.FORMATS} file",
        hint="check where the file comes from, or convert it to one of these formats",
    )


def _of_workbook(request: Request, sheet: workbooks.Sheet, digest: str) -> Planned:
    layout = request.wanted.layout(TYPED, sheet.names, where=sheet.where, other=sheet.other)
    positions = [*layout.features.values(), *(at for at, _ in layout.keys)]
    parts = (_part(layout, list(columns)) for columns in sheet.batches(positions))
    return Planned(layout, staging.write_parts(request.folder, parts), {"decimal_comma": True}, digest)


def _part(layout: Layout, columns: Sequence[pa.Array]) -> staging.Part:
    """Return columns in the order of the layout's fields and own columns as a part."""
    count = len(layout.features)
    return dict(zip(layout.features, columns[:count], strict=True)), columns[count:], None


def _of_query(request: Request) -> Planned:
    settings, wanted = request.settings, request.wanted
    if not settings.database_url:
        raise SourceRefusedError(
            "no database is configured",
            where="setting HEARTLINE_DATABASE_URL",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            hint="set it where the task runs",
        )
    query = request.query or "SELECT * FROM patients"
    where = f"{sql.public(settings.database_url)}, query: {sql.shorten(query)}"

    def own(names: list[str]) -> Sequence[int]:
        return [at for at, _ in wanted.layout(TYPED, names, where=where).keys]

    def collect(names: list[str], frames: Iterator[pd.DataFrame]) -> Planned:
        layout = wanted.layout(TYPED, names, where=where)
        positions = [*layout.features.values(), *(at for at, _ in layout.keys)]
        parts = (_part(layout, [table_formats.as_arrow(frame[at]) for at in positions]) for frame in frames)
        return Planned(layout, staging.write_parts(request.folder, parts), {})

    return sql.select(settings.database_url, query, settings.limits, collect, exact=own)


def _of_sample(request: Request, source: str) -> Planned:
    _, _, rows = source.partition(":")
    frame = synthetic.generate(int(rows or synthetic.DEFAULT_ROWS))
    layout = request.wanted.layout(TYPED, list(frame.columns), where=f"synthetic cohort of {len(frame):,} records")
    positions = [*layout.features.values(), *(at for at, _ in layout.keys)]
    pieces = (frame.iloc[start : start + _PART] for start in range(0, len(frame), _PART))
    parts = (_part(layout, [table_formats.as_arrow(piece.iloc[:, at]) for at in positions]) for piece in pieces)
    return Planned(layout, staging.write_parts(request.folder, parts), {})


def _of_json(request: Request, data: bytes, where: str, digest: str) -> Planned:
    """Return the records of JSON. Without a mapping they are read as the service reads them: a text is no number."""
    names: dict[str, None] = {}
    for record in json_text.records(data, where):
        names.update(dict.fromkeys(record))
    if not names:
        raise _no_table("the JSON holds no records", where)
    spelled = list(names)
    kind = TYPED if request.wanted.mapping else JSON
    layout = request.wanted.layout(kind, spelled, where=where)
    cell: Callable[[Mapping[str, Any], str], str | None] = _text if request.wanted.mapping else _json
    known = {*(spelled[at] for at in layout.features.values()), *(spelled[at] for at, _ in layout.keys)}

    def part(records: Sequence[Mapping[str, Any]]) -> staging.Part:
        fields = {
            name: pa.array([cell(one, spelled[at]) for one in records], pa.string())
            for name, at in layout.features.items()
        }
        keys = [pa.array([_text(one, spelled[at]) for one in records], pa.string()) for at, _ in layout.keys]
        further = [{name: one[name] for name in one if name not in known} for one in records]
        return fields, keys, further if kind == JSON else None

    parts = map(part, _pieces(json_text.records(data, where)))
    return Planned(layout, staging.write_parts(request.folder, parts), {}, digest)


def _pieces(records: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    iterator = iter(records)
    return iter(partial(lambda: list(islice(iterator, _PART))), [])


def _json(record: Mapping[str, Any], name: str) -> str | None:
    return json.dumps(record[name]) if name in record else None


def _text(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    return None if value is None else value if isinstance(value, str) else json.dumps(value)

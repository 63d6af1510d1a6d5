"""Copies an input that no worker can read again, or not from the middle, into the run's folder of the store.

These are the rows of a query, the records of JSON and of a workbook, and downloads and archives when unpacked. The copy
belongs to one run, which deletes it at its end.
"""

import io
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from heartline.scoring.reading import cell_values
from heartline.scoring.reading.batches import Batch
from heartline.scoring.reading.chunks import Chunk
from heartline.scoring.reading.layout import JSON, Layout
from heartline.scoring.reading.parquet_input import damage, key_texts
from heartline.storage import object_store

FOLDER = "scoring"  # in the store
UNKNOWN = "unknown"
PARTS = 20  # in one chunk

Part = tuple[Mapping[str, pa.Array], Sequence[pa.Array], Sequence[Mapping[str, Any] | None] | None]
"""The cells of the fields by name, those of the own columns, and for JSON the further fields of each record."""


def folder(run: str, store: str | None = None) -> str:
    """Return the URI of a run's folder.

    Raises:
        StoreError: no store is configured.
    """
    return posixpath.join((store or object_store.default_uri()).rstrip("/"), FOLDER, quote(run, safe="+:-_."))


def write_file(folder: str, data: bytes) -> str:
    """Write the bytes of an input, and return their URI.

    Raises:
        StoreError: the store cannot be written.
    """
    uri = posixpath.join(folder, "input")
    _write(uri, data)
    return uri


def write_parts(folder: str, parts: Iterable[Part]) -> list[Chunk]:
    """Write the rows of an input, part by part, and return its chunks.

    Raises:
        StoreError: the store cannot be written.
    """
    chunks: list[Chunk] = []
    written: list[str] = []
    row, rows = 1, 0
    for number, (fields, keys, unknown) in enumerate(parts):
        columns = {f"field {name}": column for name, column in fields.items()}
        columns |= {f"key {at}": key_texts(column) for at, column in enumerate(keys)}
        if unknown is not None:
            columns[UNKNOWN] = pa.array([json.dumps(one) if one else None for one in unknown], pa.string())
        table = pa.table(columns)
        uri = posixpath.join(folder, f"input-{number:05}.parquet")
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        _write(uri, buffer.getvalue())
        written.append(uri)
        rows += table.num_rows
        if len(written) == PARTS:
            chunks.append(Chunk(len(chunks), row, rows, {"parts": written}))
            written, row, rows = [], row + rows, 0
    if written or not chunks:
        chunks.append(Chunk(len(chunks), row, rows, {"parts": written}))
    return chunks


def _write(uri: str, data: bytes) -> None:
    with object_store.writing(uri, len(data)) as (fs, path):
        object_store.write(fs, path, data)


def read(layout: Layout, chunk: Chunk, *, decimal_comma: bool) -> Iterator[Batch]:
    """Yield the rows of a chunk.

    Raises:
        SourceError: a part is not in the store.
        DataError: it is damaged.
    """
    from heartline.ingestion.access import files
    from heartline.scoring.reading.input_files import opened

    mapping = layout.file_mapping()
    row = chunk.first_row
    for uri in chunk.about["parts"]:
        with opened(uri, files.Folders()) as file, damage(uri):
            table = pq.read_table(file).combine_chunks()
        columns = {name: _array(table[name]) for name in table.column_names}
        fields = {
            name: cell_values.of_json(columns[f"field {name}"])
            if layout.kind == JSON
            else cell_values.of_cells(
                columns[f"field {name}"], name, mapping, decimal_comma=decimal_comma, where=layout.where
            )
            for name in layout.features
        }
        keys = [columns[f"key {at}"] for at in range(len(layout.keys))]
        unknown = _unknown(columns[UNKNOWN]) if UNKNOWN in columns else {}
        yield Batch(row, table.num_rows, fields, keys, unknown=unknown)
        row += table.num_rows


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _unknown(column: pa.Array) -> dict[int, dict[str, Any]]:
    return {at: json.loads(text) for at, text in enumerate(column.to_pylist()) if text}


def delete(folder: str) -> None:
    """Delete the copy of a run's input, and what else is in the run's folder of the store.

    Raises:
        StoreError: the store cannot be written.
    """
    with object_store.writing(folder) as (fs, path):
        if fs.exists(path):
            fs.rm(path, recursive=True)

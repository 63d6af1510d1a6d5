"""Parquet files as chunks of row groups, and the parts of an input that were copied into the store as Parquet."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from heartline import visible
from heartline.errors import DataError
from heartline.ingestion import limits
from heartline.scoring.reading import cell_values
from heartline.scoring.reading.batches import Batch
from heartline.scoring.reading.chunks import Chunk, Planned
from heartline.scoring.reading.input_files import size
from heartline.scoring.reading.layout import TYPED, Layout, Wanted
from heartline.scoring.reading.text_input import Progress, changed

ROWS = 1 << 16  # read at a time
_TAIL = 1 << 20  # bytes at the end, where Parquet describes the file
_BLOCK = 1 << 20


def plan(file: BinaryIO, wanted: Wanted, *, where: str, chunk_rows: int, progress: Progress) -> Planned:
    """Return the layout and the chunks of a Parquet file.

    Args:
        file: open for reading.
        wanted: what the run states.
        where: the input, for messages.
        chunk_rows: the least number of rows of a chunk but the last.
        progress: is called with the number of bytes of each part that was read.

    Raises:
        DataError: it is damaged, or no table of records.
    """
    with damage(where):
        opened = pq.ParquetFile(file)
        metadata, names = opened.metadata, opened.schema_arrow.names
    if len(names) > limits.COLUMNS:
        raise limits.too_many_columns(where, len(names))
    layout = wanted.layout(TYPED, names, where=where)
    used = [names[at] for at in [*layout.features.values(), *(at for at, _ in layout.keys)]]
    repeated = sorted({name for name in used if used.count(name) > 1})
    if repeated:
        raise DataError(
            f"columns have the same name: {visible.listed(repeated)}",
            where=where,
            expected="each column once",
            hint="rename or remove the duplicate columns",
        )
    tail = _tail(file)
    chunks: list[Chunk] = []
    first, row, rows = 0, 1, 0
    for group in range(metadata.num_row_groups):
        rows += metadata.row_group(group).num_rows
        if rows >= chunk_rows or group + 1 == metadata.num_row_groups:
            about = {"groups": [first, group + 1], "tail": tail}
            chunks.append(Chunk(len(chunks), row, rows, about))
            first, row, rows = group + 1, row + rows, 0
    chunks = chunks or [Chunk(0, 1, 0, {"groups": [0, 0], "tail": tail})]
    return Planned(layout, chunks, {}, _sha256(file, progress))


def read(file: BinaryIO, layout: Layout, chunk: Chunk) -> Iterator[Batch]:
    """Yield the rows of a chunk of a Parquet file, some ten thousand at a time.

    Raises:
        DataError: the file is damaged, or not the one that was planned.
    """
    if _tail(file) != chunk.about["tail"]:
        raise changed(layout.where)
    mapping = layout.file_mapping()
    first, stop = chunk.about["groups"]
    row = chunk.first_row
    if first == stop:
        return
    used = [layout.names[at] for at in [*layout.features.values(), *(at for at, _ in layout.keys)]]
    for batch in _batches(file, list(range(first, stop)), used, layout.where):
        fields = {
            name: cell_values.of_cells(
                batch.column(layout.names[at]), name, mapping, decimal_comma=False, where=layout.where
            )
            for name, at in layout.features.items()
        }
        yield Batch(row, batch.num_rows, fields, [_decoded(batch.column(layout.names[at])) for at, _ in layout.keys])
        row += batch.num_rows


def _batches(file: BinaryIO, groups: Sequence[int], names: list[str], where: str) -> Iterator[pa.RecordBatch]:
    with damage(where):
        opened = pq.ParquetFile(file, buffer_size=_BLOCK, pre_buffer=False)
        yield from opened.iter_batches(ROWS, row_groups=groups, columns=names, use_threads=False)


def _decoded(column: pa.Array) -> pa.Array:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


@contextmanager
def damage(where: str) -> Iterator[None]:
    """Turn what Arrow raises for a damaged file into an error that says so.

    Raises:
        DataError: the block raised such an error.
    """
    try:
        yield
    except MemoryError:  # Arrow's is an ArrowException, too
        raise
    except (pa.ArrowException, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(
            f"the Parquet file cannot be read: {visible.visible(first, visible.LONG)}",
            where=where,
            expected="a complete Parquet file",
            hint="write the file again",
        ) from None


def _tail(file: BinaryIO) -> str:
    """Return the digest of a file's size and its end, which holds the places of all its pages."""
    length = size(file)
    file.seek(max(0, length - _TAIL))
    return hashlib.sha256(f"{length} ".encode() + file.read(_TAIL)).hexdigest()


def _sha256(file: BinaryIO, progress: Progress) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(_BLOCK):
        digest.update(data)
        progress(len(data))
    return digest.hexdigest()


def key_texts(column: pa.Array) -> pa.Array:
    """Return the cells of an own column as text; whole numbers without a point."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        return pa.array([None if one is None else f"{one:.15g}" for one in column.to_pylist()], pa.string())
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pc.cast(pa.array([None if one is None else str(one) for one in column.to_pylist()]), pa.string())

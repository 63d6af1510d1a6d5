"""Opens the bytes of a file as rows: CSV text, JSON, Parquet or an Excel workbook, recognised by their content."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heartline import visible
from heartline.errors import DataError
from heartline.ingestion import limits
from heartline.ingestion.formats import cells, csv_text, file_kinds, json_text, workbooks

_PARQUET = b"PAR1"
_BATCH = 1 << 16  # rows of a Parquet file that are converted at a time
_BATCH_BYTES = 1 << 26  # of a Parquet file that are converted at a time

Batches = Iterable[Iterable[pa.Array]]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a source.

    Attributes:
        names: of all columns; without a header those of the UCI files.
        header: the names as spelled; () without a header.
        expected: their number, or an estimate of it.
        batches: returns the cells of the columns at some positions, a batch of rows at a time; it also takes the words
            that have a meaning of their own and are not missing values. It can be called once.
        decimal_comma: whether a comma in a number is a decimal comma.
        types: of the columns by position, where the file declares them.
        text: the CSV text, whose rows may be malformed.
        sheet: of a workbook, whose rows these are.
    """

    names: Sequence[str]
    header: tuple[str, ...]
    expected: int
    batches: Callable[[Sequence[int], Collection[str]], Batches]
    decimal_comma: bool = False
    types: Mapping[int, pa.DataType] = field(default_factory=dict)
    text: csv_text.Text | None = None
    sheet: workbooks.Sheet | None = None


def rows_of(data: bytes, *, where: str, sheet: str = "", most: int = limits.ROWS) -> Rows:
    """Return the rows of a file.

    Args:
        data: the complete file, unpacked.
        where: the file or address, for messages.
        sheet: the sheet of a workbook; "" for the first one.
        most: the most rows.

    Raises:
        DataError: it is none of these formats, damaged or empty, or has no such sheet.
        TooLargeError: it has too many columns, or says that it has too many rows or bytes.
    """
    if workbooks.is_workbook(data, where=where):
        return _of_sheet(workbooks.Sheet(data, sheet, where=where))
    if kind := file_kinds.other_than_table(data):
        raise DataError(
            f"this is {kind}",
            where=where,
            expected=f"a {file_kinds.FORMATS} file",
            hint="check where the file comes from, or convert it to one of these formats",
        )
    if sheet:
        raise DataError(
            "this file has no sheets",
            where=f"{where}, sheet {visible.visible(sheet)}",
            expected="an Excel workbook (.xlsx) before #",
            hint="leave # and what follows out",
        )
    if data.startswith(_PARQUET):
        return _of_parquet(data, where, most)
    if json_text.is_json(data):
        names, parts = json_text.read(data, where=where)
        return of_frames(parts, names)
    text = csv_text.detect_dialect(data, where=where)
    return Rows(
        text.columns,
        text.header,
        text.most_rows(),
        lambda positions, words: text.rows(positions, words=words),
        decimal_comma=text.decimal_comma,
        text=text,
    )


def of_frames(parts: Iterable[pd.DataFrame], names: Sequence[str]) -> Rows:
    """Return the rows of a table that comes in parts, of shape [n, k], columns numbered from 0, cells of any type."""

    def batches(positions: Sequence[int], words: Collection[str]) -> Iterator[list[pa.Array]]:
        for part in parts:
            yield [as_arrow(part[at]) for at in positions]

    return Rows(names, tuple(names), _BATCH, batches)


def _of_sheet(sheet: workbooks.Sheet) -> Rows:
    return Rows(
        sheet.names,
        sheet.header,
        _BATCH,
        lambda positions, words: sheet.batches(positions),
        decimal_comma=True,
        sheet=sheet,
    )


def _of_parquet(data: bytes, where: str, most: int) -> Rows:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow
    except MemoryError:  # Arrow's is an ArrowException, too
        raise
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error, where) from None
    rows = file.metadata.num_rows
    if len(schema.names) > limits.COLUMNS:
        raise limits.too_many_columns(where, len(schema.names))
    if rows > most:
        raise limits.too_many_rows(where, most, found=rows)
    types = {at: schema.field(at).type for at in range(len(schema.names))}

    def batches(positions: Sequence[int], words: Collection[str]) -> Iterator[list[pa.Array]]:
        spelled = [schema.names[at] for at in positions]
        size = _unpacked_size(file.metadata, set(spelled))
        if size > limits.SIZE:
            raise limits.too_large(where, limits.SIZE, unpacked=True)
        # a dictionary of long texts takes little space in the file, and each row would repeat one of them in memory
        texts = [schema.names[at] for at in positions if cells.is_text(types[at])]
        try:
            coded = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
            for batch in coded.iter_batches(_batch_rows(size, rows), columns=spelled):
                yield [batch.column(name) for name in spelled]
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error, where) from None

    return Rows(schema.names, tuple(schema.names), rows, batches, types=types)


def _unpacked_size(metadata: pq.FileMetaData, names: set[str]) -> int:
    """Return how many bytes the columns with these names take when unpacked, as the file says."""
    chunks = (
        metadata.row_group(group).column(position)
        for group in range(metadata.num_row_groups)
        for position in range(metadata.num_columns)
    )
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.partition(".")[0] in names)


def _batch_rows(size: int, rows: int) -> int:
    """Return how many rows are converted at a time, if ``rows`` rows take ``size`` bytes."""
    return max(1, min(_BATCH, _BATCH_BYTES * rows // max(1, size)))


def _damaged(error: Exception, where: str) -> DataError:
    return DataError(
        f"the Parquet file cannot be read: {visible.visible(str(error).strip().partition(chr(10))[0], visible.LONG)}",
        where=where,
        expected="a complete Parquet file",
        hint="write the file again",
    )


def as_arrow(column: pd.Series) -> pa.Array:
    """Return a column of a frame; cells of mixed types, or numbers that Arrow cannot hold, as text."""
    try:
        found = pa.Array.from_pandas(column)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    except (pa.ArrowException, TypeError, OverflowError):  # mixed types, or a number that Arrow cannot hold
        return pa.array([None if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)])

"""Opens the bytes of a file as rows: CSV text, Parquet or an Excel workbook, recognised by their content."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from heartline.errors import DataError
from heartline.ingestion import csv_text, workbooks

_PARQUET = b"PAR1"
_BATCH = 1 << 16  # rows of a Parquet file that are converted at a time

Batches = Iterable[Iterable[pa.Array]]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a file.

    Attributes:
        names: of all columns; without a header those of the UCI files.
        header: the names as spelled; () without a header.
        most: an upper bound of the number of rows.
        batches: returns the cells of the columns at some positions, a batch of rows at a time; it also takes the words
            that have a meaning of their own and are not missing values.
        decimal_comma: whether a comma in a number is a decimal comma.
        types: of the columns by position, where the file declares them.
        text: the CSV text, whose rows may be malformed.
    """

    names: Sequence[str]
    header: tuple[str, ...]
    most: int
    batches: Callable[[Sequence[int], Collection[str]], Batches]
    decimal_comma: bool = False
    types: Mapping[int, pa.DataType] = field(default_factory=dict)
    text: csv_text.Text | None = None


def rows_of(data: bytes, *, where: str, sheet: str = "") -> Rows:
    """Return the rows of a file.

    Args:
        data: the complete file, unpacked.
        where: the file or address, for messages.
        sheet: the sheet of a workbook; "" for the first one.

    Raises:
        DataError: it is none of these formats, damaged or empty, or has no such sheet.
    """
    if workbooks.is_workbook(data, where=where):
        return _of_sheet(workbooks.Sheet(data, sheet, where=where))
    if sheet:
        raise DataError(
            "this file has no sheets",
            where=f"{where}, sheet {sheet}",
            expected="an Excel workbook (.xlsx) before #",
            hint="leave # and what follows out",
        )
    if data.startswith(_PARQUET):
        return _of_parquet(data, where)
    text = csv_text.detect_dialect(data, where=where)
    return Rows(
        text.columns,
        text.header,
        text.most_rows(),
        lambda positions, words: text.rows(positions, words=words),
        decimal_comma=text.decimal_comma,
        text=text,
    )


def _of_sheet(sheet: workbooks.Sheet) -> Rows:
    return Rows(
        sheet.names,
        sheet.header,
        workbooks.MAX_ROWS,
        lambda positions, words: sheet.batches(positions),
        decimal_comma=True,
    )


def _of_parquet(data: bytes, where: str) -> Rows:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error, where) from None

    def batches(positions: Sequence[int], words: Collection[str]) -> Iterator[list[pa.Array]]:
        spelled = [schema.names[at] for at in positions]
        try:
            for batch in file.iter_batches(_BATCH, columns=spelled):
                yield [batch.column(name) for name in spelled]
        except (pa.ArrowException, OSError) as error:
            raise _damaged(error, where) from None

    types = {at: schema.field(at).type for at in range(len(schema.names))}
    return Rows(schema.names, tuple(schema.names), file.metadata.num_rows, batches, types=types)


def _damaged(error: Exception, where: str) -> DataError:
    return DataError(
        f"the Parquet file cannot be read: {str(error).strip().partition(chr(10))[0]}",
        where=where,
        expected="a complete Parquet file",
        hint="write the file again",
    )

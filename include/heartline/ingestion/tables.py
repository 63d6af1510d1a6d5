"""Parses CSV and Parquet into a table with the contract's columns.

Values are not validated here. Unparseable cells (not a number) and malformed rows (wrong number of fields) are returned
beside the records with their row number, so that the checkpoint can report them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from heartline import contract, visible
from heartline.errors import DataError
from heartline.ingestion import cells, csv_text, encodings, file_kinds, json_text, limits

NOT_A_NUMBER = "not a number"

_PARQUET = b"PAR1"
_BATCH = 1 << 16  # rows of a Parquet file that are converted at a time
_MIN_COLUMNS = len(contract.COLUMNS) / 2  # of the contract, for a table to be accepted as records
_SHOWN_NAMES = 20
_BATCH_BYTES = 1 << 26  # of a Parquet file that are converted at a time


@dataclass(frozen=True, eq=False)
class Table:
    """Records as parsed from a source.

    Attributes:
        frame: shape [n, 14], the contract's columns in its order, float64, NaN for missing and unparseable cells; the
            index ``row`` is the row number in the source, from 1. Malformed rows are not in it, but count in the row
            numbers. A column that the source lacks is all NaN.
        unparseable: shape [k, 4], sorted by row: ``row`` (int64), ``field`` (empty for a malformed row), ``value`` (the
            text as found, at most 200 characters), ``reason``.
        names: the names of the source's columns as spelled; () for a file without a header.
        absent: columns of the contract that the source lacks.
        dropped: columns of the source that the contract lacks.
    """

    frame: pd.DataFrame
    unparseable: pd.DataFrame
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def parse(data: bytes, *, where: str, rows: int = limits.ROWS) -> Table:
    """Return the records in the bytes of a CSV, JSON or Parquet file.

    CSV is text in UTF-8, otherwise Windows-1252, with or without a header, separated by comma, semicolon, tab or
    spaces. Without a header the columns are those of the UCI files, in their order. A decimal comma is accepted if the
    separator is a semicolon or a tab. Columns are matched by name or alias, in any order and case. In a Parquet file
    text is parsed as in CSV, and only a column of the type boolean is read as 0 and 1. JSON is a list of
    records, or JSON Lines.

    Args:
        data: the complete file.
        where: the file or address, for messages.
        rows: the most rows.

    Raises:
        TooLargeError: there are more rows, or more of something else, than ``limits`` allows.
        DataError: the bytes are none of these formats, hold no rows, are not a table of records, have a column twice or
            a column of a type that cannot hold numbers, or no row has the right number of fields.
    """
    if kind := file_kinds.other_than_table(data):
        raise DataError(
            f"this is {kind}",
            where=where,
            expected="a CSV, JSON or Parquet file",
            hint="check where the file comes from, or convert it to one of these formats",
        )
    if data.startswith(_PARQUET):
        return _parse_parquet(data, where, rows)
    if json_text.is_json(data):
        names, parts = json_text.read(data, where=where)
        return from_frames(parts, names, where=where, rows=rows)
    return _parse_text(data, where, rows)


def from_frame(frame: pd.DataFrame, names: Sequence[str], *, where: str) -> Table:
    """Return the records of a table in memory, as ``parse`` does for a file.

    Args:
        frame: shape [n, k], columns numbered from 0, cells of any type.
        names: the k names as spelled in the source.
        where: the source, for messages.

    Raises:
        DataError: see ``parse``.
    """
    return from_frames([frame], names, where=where)


def from_frames(parts: Iterable[pd.DataFrame], names: Sequence[str], *, where: str, rows: int = limits.ROWS) -> Table:
    """Return the records of a table that comes in parts, each shaped as for ``from_frame``; see there.

    Raises:
        TooLargeError: there are more than ``rows`` rows.
        DataError: see ``parse``.
    """
    positions = locate(names, where=where)
    records = _Collector(positions, names, where, most_rows=rows)
    for part in parts:
        columns = {names[position]: _as_arrow(part[position]) for position in positions.values()}
        _expect_readable({name: column.type for name, column in columns.items()}, where)
        records.add(columns.values())
    return records.table()


def locate(names: Sequence[str], *, where: str) -> dict[str, int]:
    """Return the position among ``names`` of each column of the contract that is present.

    Raises:
        DataError: fewer than half of the columns are present, or one is present more than once.
    """
    known = [encodings.ALIASES.get(" ".join(name.split()).lower()) for name in names]
    counts = Counter(name for name in known if name)
    found = f"{where}, whose columns are: {visible.listed(names, items=_SHOWN_NAMES)}"
    if not counts:  # perhaps no table at all: nothing of it is quoted
        found = f"{where}, whose first line has {len(names):,} {'field' if len(names) == 1 else 'fields'}"
    if len(counts) < _MIN_COLUMNS:
        raise DataError(
            f"this is not a table of records: it has {len(counts)} of the {len(contract.COLUMNS)} columns",
            where=found,
            expected=f"the columns {', '.join(contract.COLUMN_NAMES)}",
            hint="check that this is the right source, and rename its columns",
        )
    repeated = [name for name in contract.COLUMN_NAMES if counts[name] > 1]
    if repeated:
        raise DataError(
            f"{'1 column is' if len(repeated) == 1 else f'{len(repeated)} columns are'} present more than once: "
            f"{', '.join(repeated)}",
            where=found,
            expected="each column once, under one of its names",
            hint="remove or rename the duplicate columns",
        )
    return {name: known.index(name) for name in contract.COLUMN_NAMES if name in counts}


class _Collector:
    """Collects batches of cells in one array, so that the records are in memory once."""

    def __init__(
        self,
        positions: dict[str, int],
        names: Sequence[str],
        where: str,
        *,
        most_rows: int,
        expected_rows: int = _BATCH,
        decimal_comma: bool = False,
    ) -> None:
        """Make room for ``expected_rows`` rows; it grows up to ``most_rows``."""
        self._names, self._positions, self._where = names, positions, where
        self._rows = [contract.COLUMN_NAMES.index(name) for name in positions]
        self._most_rows = most_rows
        self._values = np.empty((len(contract.COLUMNS), min(expected_rows, most_rows)))
        self._decimal_comma = decimal_comma
        self._unparseable: list[tuple[int, NDArray[np.int64], list[str]]] = []
        self._unparseable_count = 0
        self.count = 0

    def add(self, batch: Iterable[pa.Array]) -> None:
        """Add the cells of further rows, one array for each field.

        Raises:
            TooLargeError: there are too many rows, or too many cells that are no number.
        """
        columns = list(batch)
        added = len(columns[0])
        self._make_room(self.count + added)
        for row, name, column in zip(self._rows, self._positions, columns, strict=True):
            numbers, unparseable, texts = cells.numbers(column, decimal_comma=self._decimal_comma)
            self._values[row, self.count : self.count + added] = numbers
            if texts:
                self._unparseable.append((row, self.count + unparseable, texts))
                self._unparseable_count += len(texts)
                self._expect_few_unparseable(name, texts)
        self.count += added

    def _make_room(self, rows: int) -> None:
        if rows > self._most_rows:
            raise limits.too_many_rows(self._where, self._most_rows)
        if rows > self._values.shape[1]:
            larger = np.empty((len(self._values), min(2 * rows, self._most_rows)))
            larger[:, : self.count] = self._values[:, : self.count]
            self._values = larger

    def _expect_few_unparseable(self, name: str, texts: list[str]) -> None:
        if self._unparseable_count > limits.UNREADABLE:
            column = visible.visible(self._names[self._positions[name]])
            raise limits.too_many_unreadable(
                self._where,
                f"cells are not numbers, in the column {column} for example: {visible.listed(texts[:1])}",
            )

    def table(self, text: csv_text.Text | None = None) -> Table:
        """Return the table of the added rows.

        Args:
            text: the source of the rows, if some of them may be malformed.

        Raises:
            DataError: no row was added.
        """
        if not self.count:
            raise DataError(
                "there are no records",
                where=self._where,
                expected="at least one row below the header",
                hint="check how the source was made",
            )
        self._values[[row for row in range(len(self._values)) if row not in self._rows], : self.count] = np.nan
        index: pd.Index[int] = pd.RangeIndex(1, self.count + 1, name="row")
        unparseable = []
        if text and text.malformed:
            index = pd.Index(text.numbers(self.count), name="row")
            unparseable.append(_malformed_rows(text))
        unparseable += [_unparseable_cells(index[at], row, texts) for row, at, texts in self._unparseable]
        # pandas uses the transposed array without a copy.
        frame = pd.DataFrame(
            self._values[:, : self.count].T, columns=list(contract.COLUMN_NAMES), index=index, copy=False
        )
        return Table(
            frame,
            _in_order(unparseable),
            text.header if text else tuple(self._names),
            tuple(name for name in contract.COLUMN_NAMES if name not in self._positions),
            tuple(name for position, name in enumerate(self._names) if position not in self._positions.values()),
        )


def _malformed_rows(text: csv_text.Text) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row": [one.number for one in text.malformed],
            "field": "",
            "value": [one.text for one in text.malformed],
            "reason": [
                f"{one.fields} {'field' if one.fields == 1 else 'fields'} instead of {len(text.columns)}"
                for one in text.malformed
            ],
        }
    )


def _unparseable_cells(numbers: "pd.Index[int]", column: int, texts: list[str]) -> pd.DataFrame:
    field = contract.COLUMN_NAMES[column]
    return pd.DataFrame({"row": numbers, "field": field, "value": texts, "reason": NOT_A_NUMBER})


def _in_order(unparseable: Sequence[pd.DataFrame]) -> pd.DataFrame:
    none = encodings.no_unparseable_cells()
    if not unparseable:
        return none
    return pd.concat(unparseable).astype(none.dtypes).sort_values("row", kind="stable", ignore_index=True)


def _parse_text(data: bytes, where: str, rows: int) -> Table:
    text = csv_text.detect_dialect(data, where=where)
    positions = locate(text.columns, where=where)
    records = _Collector(
        positions,
        text.columns,
        where,
        most_rows=rows,
        expected_rows=text.most_rows(),
        decimal_comma=text.decimal_comma,
    )
    for batch in text.rows(list(positions.values())):
        records.add(batch)
    return records.table(text)


def _parse_parquet(data: bytes, where: str, rows: int) -> Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = file.schema_arrow.names
        if len(names) > limits.COLUMNS:
            raise limits.too_many_columns(where, len(names))
        if file.metadata.num_rows > rows:
            raise limits.too_many_rows(where, rows, found=file.metadata.num_rows)
        positions = locate(names, where=where)
        types = {names[at]: file.schema_arrow.field(at).type for at in positions.values()}
        _expect_readable(types, where)
        size = _unpacked_size(file.metadata, set(types))
        if size > limits.SIZE:
            raise limits.too_large(where, limits.SIZE, unpacked=True)
        records = _Collector(positions, names, where, most_rows=rows, expected_rows=file.metadata.num_rows)
        # a dictionary of long texts takes little space in the file, and each row would repeat one of them in memory
        texts = [name for name, kind in types.items() if cells.is_text(kind)]
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        for batch in file.iter_batches(_batch_rows(size, file.metadata.num_rows), columns=list(types)):
            records.add(batch.column(name) for name in types)
    except MemoryError:  # Arrow's is an ArrowException, too
        raise
    except (pa.ArrowException, OSError) as error:
        problem = str(error).strip().partition("\n")[0]
        raise DataError(
            f"the Parquet file cannot be read: {visible.visible(problem, visible.LONG)}",
            where=where,
            expected="a complete Parquet file",
            hint="write the file again",
        ) from None
    return records.table()


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


def _expect_readable(types: dict[str, pa.DataType], where: str) -> None:
    wrong = [
        f"{visible.visible(name)} is {visible.visible(kind)}"
        for name, kind in types.items()
        if not cells.readable(kind)
    ]
    if wrong:
        raise DataError(
            f"the type of {'1 column' if len(wrong) == 1 else f'{len(wrong)} columns'} cannot hold numbers",
            where=f"{where}: {', '.join(wrong)}",
            expected="numbers, or text that is numbers",
            hint="convert the column, or rename it if it is another quantity",
        )


def _as_arrow(column: pd.Series) -> pa.Array:
    try:
        found = pa.Array.from_pandas(column)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    except (pa.ArrowException, TypeError, OverflowError):  # mixed types, or a number that Arrow cannot hold
        return pa.array([None if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)])

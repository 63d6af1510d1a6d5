"""Parses CSV, Parquet and Excel files into a table with the contract's columns.

Values are not validated here. Unparseable cells (not a number) and malformed rows (wrong number of fields) are returned
beside the records with their row number, so that the checkpoint can report them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import cells, csv_text, encodings, mapping_layout, table_formats
from heartline.ingestion.mapping import FileMapping

NOT_A_NUMBER = "not a number"


@dataclass(frozen=True, eq=False)
class Table:
    """Records as parsed from a source.

    Attributes:
        frame: shape [n, 14], the contract's columns in its order, float64, NaN for missing and unparseable cells; the
            index ``row`` is the row number in the source, from 1. Malformed rows are not in it, but count in the row
            numbers. A column that the source lacks is all NaN. A column for whose words the mapping has codes is a
            category of these words: the frame holds what the file holds, and the task ``validate`` decodes it.
        unparseable: shape [k, 4], sorted by row: ``row`` (int64), ``field`` (empty for a malformed row), ``value`` (the
            text as found, at most 200 characters), ``reason``.
        names: the names of the source's columns as spelled; () for a file without a header.
        absent: columns of the contract that the source lacks.
        dropped: columns of the source that neither the contract nor the mapping has.
        mapping: how the columns were read; None for the contract's and Kaggle's names.
    """

    frame: pd.DataFrame
    unparseable: pd.DataFrame
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    mapping: FileMapping | None = None


def parse(data: bytes, *, where: str, mapping: FileMapping | None = None, sheet: str = "") -> Table:
    """Return the records in the bytes of a CSV, Parquet or Excel file.

    CSV is text in UTF-8, otherwise Windows-1252, with or without a header, separated by comma, semicolon, tab or
    spaces. Without a header the columns are those of the UCI files, in their order. A decimal comma is accepted if the
    separator is a semicolon or a tab. Columns are matched by name or alias, in any order and case. In a Parquet file
    text is parsed as in CSV, and only a column of the type boolean is read as 0 and 1.

    Args:
        data: the complete file.
        where: the file or address, for messages.
        mapping: the names, words and units of the file, if they are not the contract's.
        sheet: the sheet of an Excel workbook; "" for the first one.

    Raises:
        DataError: the bytes are neither format, hold no rows, are not a table of records, have a column twice or a
            column of a type that cannot hold numbers, no row has the right number of fields, or the mapping does not
            fit the file.
    """
    rows = table_formats.rows_of(data, where=where, sheet=sheet)
    positions = mapping_layout.locate(rows.names, mapping, where=where)
    _expect_readable({rows.names[at]: rows.types[at] for at in positions.values() if at in rows.types}, where)
    records = _Collector(positions, rows.most, mapping, decimal_comma=rows.decimal_comma)
    for batch in rows.batches(list(positions.values()), mapping.keys() if mapping else ()):
        records.add(batch)
    return records.table(rows.names, where, rows.header, rows.text)


def from_frame(frame: pd.DataFrame, names: Sequence[str], *, where: str, mapping: FileMapping | None = None) -> Table:
    """Return the records of a table in memory, as ``parse`` does for a file.

    Args:
        frame: shape [n, k], columns numbered from 0, cells of any type.
        names: the k names as spelled in the source.
        where: the source, for messages.
        mapping: the names, words and units of the source, if they are not the contract's.

    Raises:
        DataError: see ``parse``.
    """
    positions = mapping_layout.locate(names, mapping, where=where)
    columns = {name: _as_arrow(frame[position]) for name, position in positions.items()}
    _expect_readable({name: column.type for name, column in columns.items()}, where)
    records = _Collector(positions, len(frame), mapping)
    records.add(columns.values())
    return records.table(names, where, tuple(names))


class _Collector:
    """Collects batches of cells in one array, so that the records are in memory once."""

    def __init__(
        self, positions: dict[str, int], most_rows: int, mapping: FileMapping | None, *, decimal_comma: bool = False
    ) -> None:
        self._positions = positions
        self._rows = [contract.COLUMN_NAMES.index(name) for name in positions]
        self._values = np.empty((len(contract.COLUMNS), most_rows))
        self._values[[row for row in range(len(self._values)) if row not in self._rows]] = np.nan
        self._mapping = mapping
        self._decimal_comma = decimal_comma
        self._unparseable: list[tuple[int, NDArray[np.int64], list[str]]] = []
        # by row of the values, which are positions in these words
        self._words: dict[int, dict[str, int]] = {
            contract.COLUMN_NAMES.index(name): {} for name in (mapping.words if mapping else ())
        }
        self.count = 0

    def add(self, batch: Iterable[pa.Array]) -> None:
        """Add the cells of further rows, one array for each field."""
        added = 0
        for row, column in zip(self._rows, batch, strict=True):
            numbers = self._with_words(row, column) if row in self._words else self._numbers(row, column)
            added = len(numbers)
            self._values[row, self.count : self.count + added] = numbers
        self.count += added

    def _numbers(self, row: int, column: pa.Array) -> NDArray[np.float64]:
        numbers, unparseable, texts = cells.numbers(column, decimal_comma=self._decimal_comma)
        if texts:
            self._unparseable.append((row, self.count + unparseable, texts))
        return numbers

    def _with_words(self, row: int, column: pa.Array) -> NDArray[np.float64]:
        places, texts = cells.words(column)
        known = self._words[row]
        numbers = np.array([*(known.setdefault(text, len(known)) for text in texts), np.nan])
        return numbers[places]

    def table(
        self, names: Sequence[str], where: str, header: tuple[str, ...], text: csv_text.Text | None = None
    ) -> Table:
        """Return the table of the added rows.

        Args:
            names: of all columns of the source.
            where: the source, for messages.
            header: the names as spelled; () for a source without a header.
            text: the source of the rows, if some of them may be malformed.

        Raises:
            DataError: no row was added, or many rows hold a word for which the mapping has no code.
        """
        if not self.count:
            raise DataError(
                "there are no records",
                where=where,
                expected="at least one row below the header",
                hint="check how the source was made",
            )
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
        for row, words in self._words.items():
            codes = np.nan_to_num(self._values[row, : self.count], nan=-1).astype("int32")
            frame[contract.COLUMN_NAMES[row]] = pd.Categorical.from_codes(codes, categories=pd.Index(list(words)))
        if self._mapping:
            mapping_layout.expect_known_words(self._mapping, frame, names, self._positions, where=where)
        dropped = [name for at, name in enumerate(names) if at not in self._positions.values()]
        return Table(
            frame,
            _in_order(unparseable),
            header,
            tuple(name for name in contract.COLUMN_NAMES if name not in self._positions),
            tuple(mapping_layout.not_ignored(self._mapping, dropped)),
            self._mapping,
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


def _expect_readable(types: dict[str, pa.DataType], where: str) -> None:
    wrong = [f"{name} is {kind}" for name, kind in types.items() if not cells.readable(kind)]
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

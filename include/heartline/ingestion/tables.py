"""Parses CSV, JSON, Parquet and Excel files into a table with the contract's columns.

Values are not validated here. Unparseable cells (not a number) and malformed rows (wrong number of fields) are returned
beside the records with their row number, so that the checkpoint can report them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from heartline import contract, visible
from heartline.arrays import Hashes
from heartline.errors import DataError
from heartline.ingestion import encodings, limits
from heartline.ingestion.formats import cells, csv_text, table_formats
from heartline.ingestion.mapping import layout as mapping_layout
from heartline.ingestion.mapping.file_mapping import FileMapping
from heartline.ingestion.patients import NOT_SHOWN, PatientColumn
from heartline.ingestion.patients import hidden as hidden_texts

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
        patients: (n,) the key of each row's patient, 0 where it has none; None without a column of patients.
        patient: the name of that column as spelled; "" without one.
    """

    frame: pd.DataFrame
    unparseable: pd.DataFrame
    names: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    mapping: FileMapping | None = None
    patients: Hashes | None = None
    patient: str = ""


def parse(
    data: bytes,
    *,
    where: str,
    mapping: FileMapping | None = None,
    patient: PatientColumn | None = None,
    sheet: str = "",
    rows: int = limits.ROWS,
) -> Table:
    """Return the records in the bytes of a CSV, JSON, Parquet or Excel file.

    CSV is text in UTF-8, otherwise Windows-1252, with or without a header, separated by comma, semicolon, tab or
    spaces. Without a header the columns are those of the UCI files, in their order. A decimal comma is accepted if the
    separator is a semicolon or a tab. Columns are matched by name or alias, in any order and case. In a Parquet file
    text is parsed as in CSV, and only a column of the type boolean is read as 0 and 1. JSON is a list of records, or
    JSON Lines.

    Args:
        data: the complete file.
        where: the file or address, for messages.
        mapping: the names, words and units of the file, if they are not the contract's.
        patient: the column that identifies the patient, or None.
        sheet: the sheet of an Excel workbook; "" for the first one.
        rows: the most rows.

    Raises:
        TooLargeError: there are more rows, or more of something else, than ``limits`` allows.
        DataError: the bytes are none of these formats, hold no rows, are not a table of records, have a column twice or
            a column of a type that cannot hold numbers, no row has the right number of fields, or the mapping or the
            patients' column does not fit the file.
    """
    source = table_formats.rows_of(data, where=where, sheet=sheet, most=rows)
    return _read(source, where, mapping, patient, rows)


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
    return from_frames([frame], names, where=where, mapping=mapping)


def from_frames(
    parts: Iterable[pd.DataFrame],
    names: Sequence[str],
    *,
    where: str,
    mapping: FileMapping | None = None,
    patient: PatientColumn | None = None,
    rows: int = limits.ROWS,
) -> Table:
    """Return the records of a table that comes in parts, each shaped as for ``from_frame``; see there.

    Raises:
        TooLargeError: there are more than ``rows`` rows.
        DataError: see ``parse``.
    """
    return _read(table_formats.of_frames(parts, names), where, mapping, patient, rows)


def _read(
    source: table_formats.Rows, where: str, mapping: FileMapping | None, patient: PatientColumn | None, most: int
) -> Table:
    where, other = (source.sheet.where, source.sheet.other) if source.sheet else (where, "")
    positions = mapping_layout.locate(source.names, mapping, where=where, other=other)
    spelled = [source.names[at] for at in positions.values()]
    declared = {source.names[at]: source.types[at] for at in positions.values() if at in source.types}
    _expect_readable(declared, where)
    keys = _PatientKeys(patient, source, positions, where) if patient else None
    records = _Collector(positions, source, where, mapping, most_rows=most)
    wanted = [*positions.values(), *([keys.position] if keys else [])]
    for batch in source.batches(wanted, mapping.keys() if mapping else ()):
        columns = list(batch)
        if keys:
            keys.add(columns.pop())
        if not declared:
            _expect_readable({name: column.type for name, column in zip(spelled, columns, strict=True)}, where)
        records.add(columns)
    return records.table(keys)


class _PatientKeys:
    """Collects the keys of the rows' patients, a batch at a time: no value is kept."""

    def __init__(
        self, column: PatientColumn, source: table_formats.Rows, positions: dict[str, int], where: str
    ) -> None:
        """Find the column.

        Raises:
            DataError: the source has no such column, or the contract has it.
        """
        self.position = column.locate(source.names, positions, where=where, header=bool(source.header))
        self.name = source.names[self.position]
        self._column, self._where = column, where
        self._parts: list[Hashes] = []

    def add(self, cells_of_column: pa.Array) -> None:
        """Add the cells of further rows.

        Raises:
            DataError: they are of a type that is no text.
        """
        try:
            self._parts.append(self._column.keys(cells_of_column))
        except pa.ArrowException:  # its message may quote a value
            raise DataError(
                f"the column {visible.visible(self.name)} cannot identify patients: "
                f"it is {visible.visible(cells_of_column.type)}",
                where=f"parameter patient; {self._where}",
                expected="text or numbers",
                hint="convert the column to text",
            ) from None

    def all(self) -> Hashes:
        """Return the keys of all rows."""
        return np.concatenate(self._parts)


class _Collector:
    """Collects batches of cells in one array, so that the records are in memory once."""

    def __init__(
        self,
        positions: dict[str, int],
        source: table_formats.Rows,
        where: str,
        mapping: FileMapping | None,
        *,
        most_rows: int,
    ) -> None:
        """Make room for the expected rows; it grows up to ``most_rows``."""
        self._source, self._positions, self._where, self._mapping = source, positions, where, mapping
        self._rows = [contract.COLUMN_NAMES.index(name) for name in positions]
        self._most_rows = most_rows
        self._values = np.empty((len(contract.COLUMNS), min(source.expected, most_rows)))
        self._unparseable: list[tuple[int, NDArray[np.int64], list[str]]] = []
        self._unparseable_count = 0
        # by row of the values, which are positions in these words
        self._words: dict[int, dict[str, int]] = {
            contract.COLUMN_NAMES.index(name): {} for name in (mapping.words if mapping else ())
        }
        self.count = 0

    def add(self, columns: Sequence[pa.Array]) -> None:
        """Add the cells of further rows, one array for each field.

        Raises:
            TooLargeError: there are too many rows, or too many cells that are no number.
        """
        added = len(columns[0])
        self._make_room(self.count + added)
        for row, column in zip(self._rows, columns, strict=True):
            found = self._with_words(row, column) if row in self._words else self._numbers(row, column)
            self._values[row, self.count : self.count + added] = found
        self.count += added

    def _numbers(self, row: int, column: pa.Array) -> NDArray[np.float64]:
        numbers, unparseable, texts = cells.numbers(column, decimal_comma=self._source.decimal_comma)
        if texts:
            self._unparseable.append((row, self.count + unparseable, texts))
            self._unparseable_count += len(texts)
            self._expect_few_unparseable(row, texts)
        return numbers

    def _with_words(self, row: int, column: pa.Array) -> NDArray[np.float64]:
        places, texts = cells.words(column)
        known = self._words[row]
        numbers = np.array([*(known.setdefault(text, len(known)) for text in texts), np.nan])
        if len(known) > limits.UNREADABLE:
            raise limits.too_many_unreadable(self._where, f"different words, in the column {self._spelled(row)}")
        return numbers[places]

    def _hidden(self) -> dict[int, set[str]]:
        """Return by column the texts of unparseable cells that may identify a patient."""
        found: dict[int, list[str]] = {}
        for row, _, texts in self._unparseable:
            found.setdefault(row, []).extend(texts)
        return {row: hidden_texts(texts) for row, texts in found.items()}

    def _make_room(self, rows: int) -> None:
        if rows > self._most_rows:
            raise limits.too_many_rows(self._where, self._most_rows)
        if rows > self._values.shape[1]:
            larger = np.empty((len(self._values), min(2 * rows, self._most_rows)))
            larger[:, : self.count] = self._values[:, : self.count]
            self._values = larger

    def _expect_few_unparseable(self, row: int, texts: list[str]) -> None:
        if self._unparseable_count > limits.UNREADABLE:
            raise limits.too_many_unreadable(
                self._where,
                f"cells are not numbers, in the column {self._spelled(row)} for example: {visible.listed(texts[:1])}",
            )

    def _spelled(self, row: int) -> str:
        return visible.visible(self._source.names[self._positions[contract.COLUMN_NAMES[row]]])

    def table(self, patients: _PatientKeys | None) -> Table:
        """Return the table of the added rows, with their patients' keys.

        Raises:
            DataError: no row was added, or many rows hold a word for which the mapping has no code.
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
        text, names = self._source.text, self._source.names
        if text and text.malformed:
            index = pd.Index(text.numbers(self.count), name="row")
            unparseable.append(_malformed_rows(text, shown=not patients))
        hidden = self._hidden() if patients else {}
        unparseable += [
            _unparseable_cells(index[at], row, [NOT_SHOWN if text in hidden.get(row, ()) else text for text in texts])
            for row, at, texts in self._unparseable
        ]
        # pandas uses the transposed array without a copy.
        frame = pd.DataFrame(
            self._values[:, : self.count].T, columns=list(contract.COLUMN_NAMES), index=index, copy=False
        )
        for row, words in self._words.items():
            codes = np.nan_to_num(self._values[row, : self.count], nan=-1).astype("int32")
            frame[contract.COLUMN_NAMES[row]] = pd.Categorical.from_codes(codes, categories=pd.Index(list(words)))
        if self._mapping:
            mapping_layout.expect_known_words(self._mapping, frame, names, self._positions, where=self._where)
            if patients:
                _hide_words(self._mapping, frame)
        used = {*self._positions.values(), *([patients.position] if patients else [])}
        dropped = [name for at, name in enumerate(names) if at not in used]
        return Table(
            frame,
            _in_order(unparseable),
            self._source.header,
            tuple(name for name in contract.COLUMN_NAMES if name not in self._positions),
            tuple(mapping_layout.not_ignored(self._mapping, dropped)),
            self._mapping,
            patients.all() if patients else None,
            patients.name if patients else "",
        )


def _hide_words(mapping: FileMapping, frame: pd.DataFrame) -> None:
    """Replace the words without a code that may identify a patient, in place."""
    for name, counts in mapping.unknown_words(frame).items():
        words = frame[name]
        if isinstance(words.dtype, pd.CategoricalDtype):
            rare = hidden_texts(np.repeat(counts.index, counts))
            new = [NOT_SHOWN if word in rare else word for word in words.cat.categories]
            codes = pd.Index(dict.fromkeys(new))
            frame[name] = pd.Categorical.from_codes(
                np.append(codes.get_indexer(pd.Index(new)), -1)[words.cat.codes], categories=codes
            )


def _malformed_rows(text: csv_text.Text, *, shown: bool) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row": [one.number for one in text.malformed],
            "field": "",
            "value": [one.text if shown else NOT_SHOWN for one in text.malformed],
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

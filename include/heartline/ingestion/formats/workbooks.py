"""Reads a sheet of an Excel workbook (.xlsx), and names the formats of other spreadsheets.

Values are read, formulas and macros never run. What a sheet says about its own size is not believed.
"""

import datetime
import io
import zipfile
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import openpyxl
import pyarrow as pa

from heartline import contract, visible
from heartline.errors import DataError
from heartline.ingestion.formats.file_kinds import FORMATS

MAX_CELLS = 20_000_000  # of a sheet, filled or between filled ones
MAX_ROWS = 1 << 20  # Excel's own limit
MAX_UNPACKED = 512 << 20  # bytes of all parts of a workbook
MAX_PART = 128 << 20  # bytes of a part that is no sheet, such as the texts: these are read as a whole

OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_SHEETS = "xl/worksheets/"
_BATCH = 1 << 13  # rows
_LEAD = 20  # rows at the top in which a header is looked for
_SHOWN = 10

# A file that only this kind of document has: the kind in words; no words for .xlsx, which is read.
_KINDS = {
    "xl/workbook.xml": "",
    "xl/workbook.bin": "a binary Excel workbook (.xlsb)",
    "content.xml": "an OpenDocument file (.ods)",
    "Index/Document.iwa": "an Apple Numbers document (.numbers)",
    "word/document.xml": "a Word document (.docx)",
    "ppt/presentation.xml": "a PowerPoint document (.pptx)",
}


def kind(names: Sequence[str]) -> str | None:
    """Return what document a zip with these files is, "" for a workbook that is read, None if it is none."""
    return next((words for member, words in _KINDS.items() if member in names), None)


def is_workbook(data: bytes, *, where: str) -> bool:
    """Return whether bytes are an Excel workbook.

    Raises:
        DataError: they are a spreadsheet in a format that is not read, or a zip in a zip.
    """
    if data.startswith(OLD_EXCEL):
        locked = _ENCRYPTED in data
        raise _refused(
            "this is an Excel workbook with a password" if locked else "this is an old Excel workbook (.xls)", where
        )
    if not data.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = kind(archive.namelist())
    except zipfile.BadZipFile:
        found = "a damaged zip"
    if found == "":
        return True
    raise _refused(f"this is {found or 'a zip inside an archive'}", where)


def _refused(what: str, where: str) -> DataError:
    return DataError(
        what,
        where=where,
        expected=f"a {FORMATS} file without a password",
        hint="open it and save it as .xlsx or CSV",
    )


class Sheet:
    """One sheet of a workbook: its header, and the rows below, which can be read once.

    Attributes:
        header: the names as spelled; () if the first row is a record.
        names: the names of the columns; without a header those of the UCI files.
        where: the file or address, and the sheet, for messages.
        other: how another sheet is read, for messages; "" if there is none.
    """

    def __init__(self, data: bytes, sheet: str, *, where: str) -> None:
        """Open a sheet.

        Args:
            data: the workbook.
            sheet: its name; "" for the first one.
            where: the file or address, for messages.

        Raises:
            DataError: the workbook is damaged or too large, there is no such sheet, or it has no header.
        """
        self._data, self._sheet = data, sheet
        book = _opened(data, where, values=True)
        self._found = _sheet(book, sheet, where)
        self.where = f"{where}, sheet {visible.visible(self._found.title)}"
        several = len(book.sheetnames) > 1
        self.other = f"name another sheet after #; the workbook has {_listed(book.sheetnames)}" if several else ""
        rows = self._rows(self._found)
        lead = [row for _, row in zip(range(_LEAD), rows, strict=False)]
        if not lead:
            raise DataError(
                "the sheet is empty",
                where=self.where,
                expected="a header and records",
                hint=self.other or "write the header and the records into it",
            )
        self.header = self._header(lead)
        self.names = self.header or contract.COLUMN_NAMES
        self._body = chain(lead[1:] if self.header else lead, rows)

    def batches(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yield the cells of the columns at some positions, some thousand rows at a time.

        Raises:
            DataError: the sheet is too large or damaged, or a formula's result is not stored in it.
        """
        blanks = False
        while rows := [row for _, row in zip(range(_BATCH), self._body, strict=False)]:
            columns = [[row[at] if at < len(row) else None for row in rows] for at in positions]
            blanks |= any(None in column for column in columns)
            yield [_array(column) for column in columns]
        if blanks:
            self._expect_results(positions)

    def _rows(self, sheet: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that are not blank."""
        sheet.reset_dimensions()
        count = 0
        for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
            count += len(row)
            if count > MAX_CELLS or number > MAX_ROWS:
                raise DataError(
                    f"the sheet has more than {MAX_ROWS if number > MAX_ROWS else MAX_CELLS:,} "
                    f"{'rows' if number > MAX_ROWS else 'cells'}",
                    where=self.where,
                    expected="a sheet of that size at most",
                    hint="save it as CSV or Parquet",
                )
            if any(value not in (None, "") for value in row):
                yield row

    def _header(self, lead: list[tuple[Any, ...]]) -> tuple[str, ...]:
        first = _names(lead[0])
        if sum(isinstance(value, int | float) for value in lead[0]) > len(first) / 2:
            return ()
        best = max(range(len(lead)), key=lambda at: _filled(lead[at]))
        filled, widest = _filled(lead[0]), _filled(lead[best])
        if filled < widest / 2 and all(isinstance(one, str) for one in lead[best] if one):
            raise DataError(
                f"the first row of the sheet is not the header: it fills {filled} of {widest} columns",
                where=f"{self.where}: {', '.join(name for name in map(visible.visible, first) if name)}",
                expected="the names of the columns in the first row",
                hint=f"delete the {'row' if best == 1 else 'rows'} above the names of the columns, and merge no cells"
                f"{self.other and f'; or {self.other}'}",
            )
        return first

    def _expect_results(self, positions: Sequence[int]) -> None:
        """Refuse a sheet with formulas that were never calculated: their cells look empty."""
        formulas = _sheet(_opened(self._data, self.where, values=False), self._sheet, self.where)
        formulas.reset_dimensions()
        self._found.reset_dimensions()
        wanted = set(positions)
        missing = [
            cell.coordinate
            for row, values in zip(formulas.iter_rows(), self._found.iter_rows(values_only=True), strict=False)
            for at, cell in enumerate(row)
            if at in wanted and cell.data_type == "f" and values[at] is None
        ]
        if missing:
            many = len(missing) > 1
            raise DataError(
                f"{len(missing):,} {'cells hold formulas' if many else 'cell holds a formula'} without a stored result",
                where=f"{self.where}, {', '.join(missing[:_SHOWN])}{', …' if len(missing) > _SHOWN else ''}",
                expected="values: formulas are not calculated here",
                hint="open the workbook in Excel or LibreOffice and save it, or save the sheet as CSV",
            )


def _opened(data: bytes, where: str, *, values: bool) -> Any:
    try:
        _expect_small(data, where)
        return openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=values, keep_links=False)
    except DataError:
        raise
    except Exception as error:  # openpyxl raises whatever a damaged part leads to
        raise DataError(
            f"the workbook cannot be opened: {type(error).__name__}",
            where=where,
            expected="a complete Excel workbook (.xlsx)",
            hint="open it in Excel or LibreOffice and save it again, or save the sheet as CSV",
        ) from None


def _expect_small(data: bytes, where: str) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
    largest = max((one.file_size for one in parts if not one.filename.startswith(_SHEETS)), default=0)
    if sum(one.file_size for one in parts) > MAX_UNPACKED or largest > MAX_PART:
        raise DataError(
            "the workbook is too large",
            where=where,
            expected=f"at most {MAX_UNPACKED:,} bytes when unpacked, {MAX_PART:,} of them texts",
            hint="save the sheet as CSV or Parquet",
        )


def _sheet(book: Any, name: str, where: str) -> Any:
    sheets = {one.title: one for one in book.worksheets}
    if not name and sheets:
        return book.worksheets[0]
    if name not in sheets:
        raise DataError(
            f"the workbook has no sheet {visible.visible(name)}" if name else "the workbook has no sheet with cells",
            where=where,
            expected=f"one of its sheets: {_listed(list(sheets))}",
            hint="write the sheet's name after #, for example file.xlsx#Sheet1",
        )
    return sheets[name]


def _listed(names: Sequence[str]) -> str:
    return visible.listed(names)


def _filled(row: Sequence[Any]) -> int:
    return sum(value not in (None, "") for value in row)


def _names(row: Sequence[Any]) -> tuple[str, ...]:
    last = max(at for at, value in enumerate(row) if value not in (None, ""))
    return tuple(
        str(value).strip() if value not in (None, "") else f"column {at}" for at, value in enumerate(row[: last + 1], 1)
    )


def _array(column: list[Any]) -> pa.Array:
    kinds = {type(value) for value in column} - {type(None)}
    if kinds <= {bool}:
        return pa.array(column, pa.bool_())
    if kinds <= {bool, int, float}:
        return pa.array([None if value is None else float(value) for value in column], pa.float64())
    return pa.array([None if value is None else _text(value) for value in column], pa.large_string())


def _text(value: Any) -> str:
    if isinstance(value, datetime.datetime) and value.time() == datetime.time.min:
        return value.date().isoformat()
    return f"{value:.15g}" if isinstance(value, float) else str(value)

"""Text with one record in a line: what divides its fields, whether it has a header, and its rows."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import cells

_BOM = b"\xef\xbb\xbf"
_SPACE = " "
_NOT_COMMA = (";", "\t")
_WIDTH = len(contract.COLUMNS)
_BLOCK = 1 << 20  # bytes parsed at a time: the longest row
_HOPELESS = 10_000  # rows without a single good one, after which nobody reads on
_SHOWN_ROWS = 10
_LINE = re.compile(rb"[^\r\n]*\S[^\r\n]*")  # the first that is not blank
_BREAK = re.compile(rb"[\r\n]")
_END = b"\x04"  # a row of our own after the last: a quote that is never closed swallows it
_NULLS = sorted({spelled for word in cells.MISSING for spelled in (word, word.upper(), word.capitalize())} | {"NaN"})


@dataclass(frozen=True)
class Malformed:
    """A row with too few or too many fields: its number in the source from 1, its text, the number of its fields."""

    number: int
    text: str
    fields: int


@dataclass(eq=False, repr=False)  # patients' data should not end in a traceback
class Text:
    """A text whose first line was looked at.

    Attributes:
        data: the bytes, UTF-8.
        start: where the first record starts.
        separator: what stands between two fields.
        header: the names in the first line, or () if that is a record.
        where: the file or address, for messages.
        malformed: the rows that had to be left out, complete when ``rows`` is exhausted.
    """

    data: bytes
    start: int
    separator: str
    header: tuple[str, ...]
    where: str
    malformed: list[Malformed] = field(default_factory=list)
    _blank: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)
    _quoted: bool = field(init=False)
    _unclosed: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._quoted = self.data.find(b'"', self.start) >= 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the fields of a row; without a header those of the UCI files."""
        return self.header or contract.COLUMN_NAMES

    @property
    def decimal_comma(self) -> bool:
        """Whether a comma in a number can only be its decimal point."""
        return self.separator in _NOT_COMMA

    def most_rows(self) -> int:
        """Return a number of rows that is certainly not exceeded."""
        feeds = self.data.count(b"\n", self.start)
        returns = self.data.count(b"\r", self.start) - self.data.count(b"\r\n", self.start) if b"\r" in self.data else 0
        return feeds + returns + 1

    def rows(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yield the cells of the well-formed rows, some thousand rows at a time.

        Args:
            positions: of the columns that are wanted.

        Yields:
            One array of strings for each position, null where one of the usual words for missing stands.

        Raises:
            DataError: the text cannot be divided into rows, or no row has the right number of fields.
        """
        wanted = [str(position) for position in positions]
        good = 0
        try:
            for batch in self._reader(wanted):
                if self._quoted:
                    self._expect_single_lines(batch, good)
                good += batch.num_rows
                yield batch.columns
        except pa.ArrowInvalid:
            if not self._hopeless():
                raise self._undivided(self._unclosed) from None
        if self.malformed and not good:
            raise self._ragged()
        if self._quoted and not self._ended:
            raise self._undivided()

    def numbers(self, good: int) -> NDArray[np.int64]:
        """Return the numbers in the source, from 1, of the first well-formed rows, as many as were read."""
        left_out = np.array([one.number for one in self.malformed], "int64")
        return np.setdiff1d(np.arange(1, good + len(left_out) + 1), left_out, assume_unique=True)[:good]

    def _undivided(self, row: int | None = None) -> DataError:
        """Return the error for a text whose rows do not end where they should, at ``row`` if that is known."""
        return DataError(
            "the text cannot be divided into rows",
            where=f"{self.where}, row {row:,}" if row else self.where,
            expected=f"each quote closed in its row, and rows of at most {_BLOCK:,} bytes",
            hint="look for a quote that is never closed",
        )

    def _reader(self, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        if self.start == len(self.data):
            return
        rest: bytes | memoryview = memoryview(self.data)[self.start :]
        if self._quoted:
            rest = _closable(self.data, self.start, self.separator)
        yield from arrow.open_csv(
            pa.py_buffer(rest),
            # only one thread knows the number of a row
            read_options=arrow.ReadOptions(
                use_threads=False, block_size=_BLOCK, column_names=[str(n) for n in range(len(self.columns))]
            ),
            parse_options=arrow.ParseOptions(
                delimiter=self.separator, newlines_in_values=self._quoted, invalid_row_handler=self._set_aside
            ),
            convert_options=arrow.ConvertOptions(
                check_utf8=False,
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                strings_can_be_null=True,
                null_values=_NULLS,
            ),
        )

    def _expect_single_lines(self, batch: pa.RecordBatch, before: int) -> None:
        """Raise if a cell has a line break: a quote that was not closed has swallowed rows."""
        for column in batch.columns:
            text = column.buffers()[2]
            if text and _BREAK.search(text):  # one look at all cells costs next to nothing
                row = int(np.flatnonzero(pc.match_substring_regex(column, _BREAK.pattern).fill_null(False))[0])
                raise self._undivided(int(self.numbers(before + row + 1)[-1]))

    def _set_aside(self, row: arrow.InvalidRow) -> str:
        if row.text == _END.decode():
            self._ended = True
        elif not row.text.strip():
            self._blank += 1  # counted by the reader, but not by people
        else:
            number = row.number - self._blank
            if _BREAK.search(row.text.encode()):
                self._unclosed = number
                return "error"  # what is raised here would not arrive
            self.malformed.append(Malformed(number, cells.shown(row.text), row.actual_columns))
            return "error" if self._hopeless() else "skip"
        return "skip"

    def _hopeless(self) -> bool:
        return len(self.malformed) == _HOPELESS and self.malformed[-1].number == _HOPELESS

    def _ragged(self) -> DataError:
        width = len(self.columns)
        shown = ", ".join(f"row {one.number} has {one.fields}" for one in self.malformed[:_SHOWN_ROWS])
        return DataError(
            f"none of the first {_HOPELESS:,} rows has {width} fields"
            if self._hopeless()
            else f"no row has {width} fields",
            where=f"{self.where}: {shown}{', …' if len(self.malformed) > _SHOWN_ROWS else ''}",
            expected=f"{width} fields in each row, {'as in the header' if self.header else 'as in the UCI files'}",
            hint="check what stands between the fields; put a field that holds it in quotes",
        )


def look(data: bytes, *, where: str) -> Text:
    """Return what a text's first line says about it.

    The text is UTF-8, or else Windows-1252, with or without a byte order mark; its fields are divided by comma,
    semicolon, tab or spaces.

    Args:
        data: the whole file.
        where: the file or address, for messages.

    Raises:
        DataError: it is empty, binary or a web page.
    """
    data = _utf8(data, where)
    found = _LINE.search(data)
    if found is None:
        raise DataError(
            "the file is empty",
            where=where,
            expected="a CSV or Parquet file with records in it",
            hint="check how the file was made, and whether it was copied to the end",
        )
    separator = _separator(found[0])
    if separator == _SPACE:
        data = _single_spaced(data)
        found = _LINE.search(data) or found
    try:
        names = _split(found[0].decode(), separator)
    except csv.Error:  # a field of more than 128 KiB
        raise _no_table("the first line is neither names nor values", where) from None
    if _is_record(names, decimal_comma=separator in _NOT_COMMA):
        return Text(data, found.start(), separator, (), where)
    header = tuple(name or f"column {position}" for position, name in enumerate(names, 1))
    return Text(data, found.end(), separator, header, where)


def _utf8(data: bytes, where: str) -> bytes:
    data = data.removeprefix(_BOM)
    if (position := data.find(b"\0")) >= 0:
        raise _no_table("the file is binary, or text in UTF-16", f"{where}, NUL at byte {position + 1:,}")
    if data[:1000].lstrip().startswith(b"<"):
        raise _no_table("this is a web page, not a table", where)
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").encode()
    return data


def _no_table(problem: str, where: str) -> DataError:
    return DataError(
        problem,
        where=where,
        expected="a CSV file in UTF-8, or a Parquet file",
        hint="check where the file comes from, or save it in one of these formats",
    )


def _separator(line: bytes) -> str:
    counts = {sign: line.count(sign.encode()) for sign in (";", "\t", ",")}
    enough = [sign for sign, count in counts.items() if count >= _WIDTH - 1]
    likely = max(counts, key=lambda sign: counts[sign])
    return enough[0] if enough else likely if counts[likely] else _SPACE


def _single_spaced(data: bytes) -> bytes:
    """Return text whose fields are divided by any number of spaces or tabs as one with a single space."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.replace(b"\n ", b"\n").replace(b" \n", b"\n").strip(b" ")


def _closable(data: bytes, start: int, separator: str) -> bytes:
    """Return text from ``start`` on, each quote at the start of its field, and with a last row of our own."""
    rest: bytes | memoryview = memoryview(data)[start:]
    if data.find(b' "', start) >= 0:
        sign = separator.encode()
        rest = re.sub(re.escape(sign) + rb' +"', sign + b'"', rest)
    return b"".join((rest, b"\n", _END))


def _split(line: str, separator: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line.strip(" ")], delimiter=separator, skipinitialspace=True))]


def _is_record(names: Sequence[str], *, decimal_comma: bool) -> bool:
    """Return whether the fields of the first line are values rather than names; a record may have a bad cell."""
    odd = cells.numbers(pa.array(names, pa.string()), decimal_comma=decimal_comma)[1]
    return len(odd) < len(names) / 2

"""Reads CSV text with one record per line: finds the separator and the header, and yields the rows."""

import codecs
import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import limits
from heartline.ingestion.formats import cells
from heartline.ingestion.formats.file_kinds import FORMATS

_BOM = b"\xef\xbb\xbf"
_SPACE = " "
_NOT_COMMA = (";", "\t", "|")
_WIDTH = len(contract.COLUMNS)
_BLOCK = limits.LINE  # bytes parsed at a time: the longest row
_PIECE = 1 << 24  # bytes decoded at a time: text in memory needs up to four bytes a character
_MAX_LEADING_MALFORMED = 10_000  # rows: reading stops if the first ones are all malformed
_SHOWN_ROWS = 10
_INK = re.compile(rb"\S")
_BREAK = re.compile(rb"[\r\n]")
_LINE_END = re.compile(rb"\r\n?|\n")
_STATED = re.compile(rb'"?sep=(.)"?[;,\t|]*', re.IGNORECASE)  # how Excel is told the separator, in the first line
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks; Excel saves "Unicode text" so
_CHUNK = 256  # bytes that are looked at for content at a time, from the end on
_NO_CONTENT = b';,\t|" '  # of a line that Excel writes for an empty row
_END = b"\x04"  # a sentinel row after the last one: it is missing if a quote is never closed
_NULLS = sorted({spelled for word in cells.MISSING for spelled in (word, word.upper(), word.capitalize())} | {"NaN"})


@dataclass(frozen=True)
class Malformed:
    """A row with too few or too many fields.

    Attributes:
        number: the row number in the source, from 1.
        text: the row as found.
        fields: the number of its fields.
    """

    number: int
    text: str
    fields: int


@dataclass(eq=False, repr=False)  # keeps patients' data out of tracebacks
class Text:
    """CSV text whose separator and header are known.

    Attributes:
        data: the bytes, UTF-8.
        start: where the first record starts.
        separator: the character between two fields.
        header: the names in the first line, or () if the first line is a record.
        where: the file or address, for messages.
        trailing: whether each row ends with a separator that the header lacks.
        malformed: rows that were skipped; complete when ``rows`` is exhausted.
        is_part: whether this is a part of a longer text, in which no row needs to be well-formed.
    """

    data: bytes
    start: int
    separator: str
    header: tuple[str, ...]
    where: str
    trailing: bool = False
    malformed: list[Malformed] = field(default_factory=list)
    is_part: bool = False
    _blank: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)
    _quoted: bool = field(init=False)
    _unclosed: int | None = field(default=None, init=False)
    _too_many: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._quoted = self.data.find(b'"', self.start) >= 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the fields; without a header those of the UCI files."""
        names = self.header or contract.COLUMN_NAMES
        return (*names, f"column {len(names) + 1}") if self.trailing else names

    @property
    def decimal_comma(self) -> bool:
        """Whether a comma in a number is a decimal comma."""
        return self.separator in _NOT_COMMA

    def most_rows(self) -> int:
        """Return an upper bound of the number of well-formed rows."""
        feeds = self.data.count(b"\n", self.start)
        returns = self.data.count(b"\r", self.start) - self.data.count(b"\r\n", self.start) if b"\r" in self.data else 0
        shortest = len(self.columns)  # bytes: a separator or line end after each field
        return min(feeds + returns, (len(self.data) - self.start) // shortest) + 1

    def rows(self, positions: Sequence[int], *, words: Collection[str] = ()) -> Iterator[list[pa.Array]]:
        """Yield the cells of the well-formed rows, some thousand rows at a time.

        Args:
            positions: of the columns to read.
            words: in lower case, that have a meaning of their own in this file and are not taken as missing.

        Yields:
            One array of strings for each position, null for each word that means missing.

        Raises:
            DataError: the text cannot be split into rows, or no row has the right number of fields.
        """
        wanted = [str(position) for position in positions]
        good = 0
        try:
            for batch in self._reader(dict.fromkeys(wanted, pa.string()), words):
                if self._quoted:
                    self._expect_single_lines(batch, good)
                good += batch.num_rows
                yield batch.columns
        except pa.ArrowInvalid:
            if self._too_many:
                raise limits.too_many_unreadable(self.where, self._too_many) from None
            if not self._all_malformed():
                raise self._unsplittable(self._unclosed) from None
        if self.malformed and not good:
            raise self._ragged()
        if self._quoted and not self._ended:
            raise self._unsplittable()

    def table(self, types: Mapping[int, pa.DataType], *, decimal_point: str = ".") -> pa.Table | None:
        """Return the well-formed rows of a part of a text.

        Args:
            types: by position of the columns to read: float64, for which the words that mean missing are null, or
                string, whose texts are all kept.
            decimal_point: of the numbers.

        Returns:
            The columns, named by their positions; None if a cell is not of its type.

        Raises:
            DataError: the text cannot be split into rows.
        """
        named = {str(position): kind for position, kind in types.items()}
        batches: list[pa.RecordBatch] = []
        good = 0
        try:
            for batch in self._reader(named, (), decimal_point=decimal_point, as_table=True):
                if self._quoted:
                    self._expect_single_lines(batch, good)
                good += batch.num_rows
                batches.append(batch)
        except pa.ArrowInvalid:
            self.malformed.clear()
            self._blank = 0
            if self._too_many or self._unclosed or all(kind == pa.string() for kind in named.values()):
                raise self._unsplittable(self._unclosed) from None
            return None
        if self._quoted and not self._ended and self.start < len(self.data):
            raise self._unsplittable()
        schema = pa.schema(list(named.items()))
        return pa.Table.from_batches(batches, schema=batches[0].schema if batches else schema).select(list(named))

    def numbers(self, good: int) -> NDArray[np.int64]:
        """Return the row numbers in the source, from 1, of the first ``good`` well-formed rows."""
        left_out = np.array([one.number for one in self.malformed], "int64")
        return np.setdiff1d(np.arange(1, good + len(left_out) + 1), left_out, assume_unique=True)[:good]

    def _unsplittable(self, row: int | None = None) -> DataError:
        """Return the error for text whose rows have no clear end, at ``row`` if that is known."""
        return DataError(
            "the text cannot be split into rows",
            where=f"{self.where}, row {row:,}" if row else self.where,
            expected=f"each quote closed in its row, and rows of at most {_BLOCK:,} bytes",
            hint="look for a quote that is never closed",
        )

    def _reader(
        self,
        types: Mapping[str, pa.DataType],
        words: Collection[str],
        *,
        decimal_point: str = ".",
        as_table: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        if self.start == len(self.data):
            return
        rest: bytes | memoryview = memoryview(self.data)[self.start :]
        if self._quoted:
            rest = _closable(self.data, self.start, self.separator)
        yield from arrow.open_csv(
            pa.py_buffer(rest),
            # row numbers are known with one thread only
            read_options=arrow.ReadOptions(
                use_threads=False,
                block_size=max(_BLOCK, len(rest)) if as_table else _BLOCK,
                column_names=[str(n) for n in range(len(self.columns))],
            ),
            parse_options=arrow.ParseOptions(
                delimiter=self.separator, newlines_in_values=self._quoted, invalid_row_handler=self._on_invalid_row
            ),
            convert_options=arrow.ConvertOptions(
                check_utf8=False,
                include_columns=list(types),
                column_types=types,
                strings_can_be_null=not as_table,
                decimal_point=decimal_point,
                null_values=[word for word in _NULLS if word.lower() not in words],
            ),
        )

    def _expect_single_lines(self, batch: pa.RecordBatch, before: int) -> None:
        """Raise if a cell has a line break: a quote was not closed, and rows were merged."""
        for column in (one for one in batch.columns if pa.types.is_string(one.type)):
            text = column.buffers()[2]
            found = text.to_pybytes() if text else b""
            if b"\n" in found or b"\r" in found:  # a search for one character is cheap, an expression is not
                row = int(np.flatnonzero(pc.match_substring_regex(column, _BREAK.pattern).fill_null(False))[0])
                raise self._unsplittable(int(self.numbers(before + row + 1)[-1]))

    def _on_invalid_row(self, row: arrow.InvalidRow) -> str:
        if row.text == _END.decode():
            self._ended = True
        elif not row.text.strip():
            self._blank += 1  # Arrow counts blank lines, users do not
            return self._skip_up_to_limit(self._blank, "lines hold nothing but blanks")
        else:
            number = row.number - self._blank
            if _BREAK.search(row.text.encode()):
                self._unclosed = number
                return "error"  # an exception would not leave the callback
            self.malformed.append(Malformed(number, cells.shown(row.text), row.actual_columns))
            if self._all_malformed():
                return "error"
            return self._skip_up_to_limit(len(self.malformed), "rows have too few or too many fields")
        return "skip"

    def _skip_up_to_limit(self, count: int, what: str) -> str:
        if count <= limits.UNREADABLE:
            return "skip"
        self._too_many = what
        return "error"  # an exception would not leave the callback

    def _all_malformed(self) -> bool:
        """Return whether the first rows, up to the limit, are all malformed."""
        limit = _MAX_LEADING_MALFORMED
        return not self.is_part and len(self.malformed) == limit and self.malformed[-1].number == limit

    def _ragged(self) -> DataError:
        width = len(self.columns)
        shown = ", ".join(f"row {one.number} has {one.fields}" for one in self.malformed[:_SHOWN_ROWS])
        return DataError(
            f"none of the first {_MAX_LEADING_MALFORMED:,} rows has {width} fields"
            if self._all_malformed()
            else f"no row has {width} fields",
            where=f"{self.where}: {shown}{', …' if len(self.malformed) > _SHOWN_ROWS else ''}",
            expected=f"{width} fields in each row, {'as in the header' if self.header else 'as in the UCI files'}",
            hint="check the separator; put a field that contains it in quotes",
        )


def detect_dialect(data: bytes, *, where: str) -> Text:
    """Return the text with the separator and header that its first line shows.

    The text is UTF-8 with or without a byte order mark, UTF-16 with one, otherwise Windows-1252. The separator is
    comma, semicolon, tab, a vertical bar or spaces, or the one that a first line such as ``sep=;`` states. Lines of
    comment above the header, which start with ``#``, and empty rows around the table are skipped.

    Args:
        data: the complete file.
        where: the file or address, for messages.

    Raises:
        DataError: it is empty, binary or a web page.
    """
    data = without_empty_rows(_utf8(data, where))
    found, stated = _first_line(data)
    if found is None:
        raise DataError(
            "the file is empty",
            where=where,
            expected=f"a {FORMATS} file with records",
            hint="check how the file was made, and whether it was copied completely",
        )
    _expect_short(found, where)
    separator = stated or _separator(data[found])
    if separator == _SPACE:
        data = single_spaced(data)
        found = _first_line(data)[0] or found
    try:
        names = _split(data[found].removeprefix(b"#").decode(), separator)
    except csv.Error:  # a field of more than 128 KiB
        raise _no_table("the first line is neither names nor values", where) from None
    if len(names) > limits.COLUMNS:
        raise limits.too_many_columns(where, len(names))
    if _is_record(names, decimal_comma=separator in _NOT_COMMA):
        trailing = len(names) == _WIDTH + 1 and not names[-1]
        return Text(data, found.start, separator, (), where, trailing)
    header = tuple(name or f"column {position}" for position, name in enumerate(names, 1))
    return Text(data, found.stop, separator, header, where, _has_trailing(data, found.stop, separator, len(names)))


def _has_trailing(data: bytes, start: int, separator: str, width: int) -> bool:
    """Return whether the first line from ``start`` on has one field more than ``width``, and that one is empty."""
    line = _next_line(data, start)
    if line is None or line.stop - line.start > _BLOCK:
        return False
    try:
        fields = _split(data[line].decode(), separator)
    except csv.Error:  # reading the rows says what is wrong
        return False
    return len(fields) == width + 1 and not fields[-1]


def _first_line(data: bytes) -> tuple[slice | None, str]:
    """Return the first line that belongs to the table, and the separator that a line above it states, or ""."""
    stated, at = "", 0
    while (found := _next_line(data, at)) and found.stop - found.start <= _BLOCK:
        line = data[found].strip()
        separator = _STATED.fullmatch(data[found].strip(b" "))  # the separator may be a tab
        comment = line.startswith(b"#") and max(map(line.count, (b",", b";", b"\t", b"|", b" "))) < _WIDTH - 1
        if separator and not stated:
            stated = separator[1].decode()
        elif not comment and line.strip(_NO_CONTENT):
            break
        at = found.stop
    return found, stated


def _next_line(data: bytes, at: int) -> slice | None:
    """Return where the first line from ``at`` on is that is not blank, in time proportional to the text before its end.

    ``at`` is the start or the end of a line.
    """
    ink = _INK.search(data, at)
    if ink is None:
        return None
    start = max(data.rfind(b"\n", at, ink.start()) + 1, data.rfind(b"\r", at, ink.start()) + 1, at)
    end = _BREAK.search(data, ink.start())
    return slice(start, end.start() if end else len(data))


def _expect_short(line: slice, where: str) -> None:
    if line.stop - line.start > _BLOCK:
        raise _no_table(f"the first line has {line.stop - line.start:,} bytes", where)


def without_empty_rows(data: bytes) -> bytes:
    """Return text without the rows of separators at its end, in time proportional to their length."""
    end = _LINE_END.search(data, _content_end(data))
    return data[: end.end()] if end else data


def _content_end(data: bytes) -> int:
    """Return where the last cell that is not empty ends; 0 if there is none."""
    end = len(data)
    while end:
        chunk = data[max(0, end - _CHUNK) : end]
        if kept := len(chunk.rstrip(_NO_CONTENT + b"\r\n")):
            return end - len(chunk) + kept
        end -= len(chunk)
    return 0


def _utf8(data: bytes, where: str) -> bytes:
    data = data.removeprefix(_BOM)
    if data.startswith(_UTF16):
        data = _from_utf16(data, where)
    if (position := data.find(b"\0")) >= 0:
        raise _no_table(
            "the file is binary, or UTF-16 without a byte order mark", f"{where}, NUL at byte {position + 1:,}"
        )
    if data.isascii():
        return data
    pieces = [memoryview(data)[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in pieces:
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return b"".join(str(piece, "cp1252", "replace").encode() for piece in pieces)
    return data


def _from_utf16(data: bytes, where: str) -> bytes:
    try:
        return data.decode("utf-16").encode()
    except UnicodeDecodeError:
        raise _no_table("the file is binary, or damaged text in UTF-16", where) from None


def _no_table(problem: str, where: str) -> DataError:
    return DataError(
        problem,
        where=where,
        expected=f"a {FORMATS} file, with text in UTF-8",
        hint="check where the file comes from, or convert it to one of these formats",
    )


def _separator(line: bytes) -> str:
    counts = {sign: line.count(sign.encode()) for sign in (";", "\t", ",", "|")}
    enough = [sign for sign, count in counts.items() if count >= _WIDTH - 1]
    likely = max(counts, key=lambda sign: counts[sign])
    return enough[0] if enough else likely if counts[likely] else _SPACE


def single_spaced(data: bytes) -> bytes:
    """Return text with every run of spaces or tabs replaced by a single space."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.replace(b"\n ", b"\n").replace(b" \n", b"\n").strip(b" ")


def _closable(data: bytes, start: int, separator: str) -> bytes:
    """Return text from ``start`` on, without spaces before a quote, and with the sentinel row at the end."""
    rest: bytes | memoryview = memoryview(data)[start:]
    if data.find(b" ", start) >= 0 and data.find(b' "', start) >= 0:  # the first search is the faster one
        sign = separator.encode()
        rest = re.sub(re.escape(sign) + rb' +"', sign + b'"', rest)
    return b"".join((rest, b"\n", _END))


def _split(line: str, separator: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line.strip(" ")], delimiter=separator, skipinitialspace=True))]


def _is_record(names: Sequence[str], *, decimal_comma: bool) -> bool:
    """Return whether most fields of the first line are numbers: a record may have an unparseable cell."""
    unparseable = cells.numbers(pa.array(names, pa.string()), decimal_comma=decimal_comma)[1]
    return len(unparseable) < len(names) / 2

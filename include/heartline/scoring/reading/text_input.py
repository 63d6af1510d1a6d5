"""CSV as chunks of bytes: one pass finds where they start and counts their rows, then each is read for itself.

A row is a line: a cell with a line break is refused, as in training. So a chunk may begin after any line break, and
the memory does not depend on the size of the file.
"""

import codecs
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from heartline.errors import DataError
from heartline.ingestion import limits
from heartline.ingestion.formats import csv_text
from heartline.scoring.reading import cell_values
from heartline.scoring.reading.batches import Batch
from heartline.scoring.reading.chunks import Chunk, Planned
from heartline.scoring.reading.fields import Field
from heartline.scoring.reading.layout import TEXT, Layout, Wanted

HEAD = 4 << 20  # bytes in which the header is looked for
PART = 1 << 20  # bytes parsed at a time
_TAIL = 1 << 16
_SPACE = " "
_FEED, _BLANK = 10, 32  # characters: a line feed; up to this one all are blank
_NOTHING = b';,\t|" \r\n'

Progress = Callable[[int], None]


@dataclass(frozen=True)
class TextFormat:
    """How the text of an input is split into rows and fields; plain data.

    Attributes:
        separator: between fields.
        width: the number of fields of a row.
        utf8: whether the text is UTF-8, not Windows-1252.
        trailing: whether each row ends with a separator that the header lacks.
    """

    separator: str
    width: int
    utf8: bool
    trailing: bool

    @property
    def decimal_comma(self) -> bool:
        """Whether a comma in a number is a decimal comma."""
        return self.separator != ","

    def text(self, data: bytes, names: tuple[str, ...], where: str) -> csv_text.Text:
        """Return some lines as text."""
        if not self.utf8:
            data = str(data, "cp1252", "replace").encode()
        if self.separator == _SPACE:
            data = csv_text.single_spaced(data)
        return csv_text.Text(data, 0, self.separator, names, where, is_part=True)

    def is_row(self, line: bytes) -> bool:
        """Return whether a line is a row: a blank one is none, unless its tabs separate the right number of fields."""
        if line.strip():
            return True
        return self.separator == "\t" and line.count(b"\t") == self.width - 1


def plan(file: BinaryIO, wanted: Wanted, *, where: str, chunk_bytes: int, progress: Progress) -> Planned:
    """Return the layout and the chunks of a CSV file.

    Args:
        file: open for reading.
        wanted: what the run states.
        where: the input, for messages.
        chunk_bytes: the least size of a chunk but the last.
        progress: is called with the number of bytes of each part that was read.

    Raises:
        DataError: it is empty or binary, or no table of records.
    """
    end = _content_end(file)
    utf8, whole = _is_utf8(file, end, where)
    text, names, start = _header(file, end, where, utf8=utf8, features=wanted.contract.features)
    layout = wanted.layout(TEXT, names, where=where)
    form = TextFormat(text.separator, len(names), utf8, text.trailing)
    chunks: list[Chunk] = []
    first = at = start
    row = 1
    rows = 0
    digest = 0
    for part in _parts(file, start, end, where):
        digest = zlib.crc32(part, digest)
        rows += _count_rows(part, form)
        at += len(part)
        progress(len(part))
        if at - first >= chunk_bytes or at == end:
            about = {"start": first, "stop": at, "crc32": digest}
            chunks.append(Chunk(len(chunks), row, rows, about))
            row, rows, first, digest = row + rows, 0, at, 0
    if not chunks:  # a header and no rows
        chunks.append(Chunk(0, 1, 0, {"start": end, "stop": end, "crc32": digest}))
    return Planned(layout, chunks, {"text": vars(form)}, whole)


def read(file: BinaryIO, layout: Layout, chunk: Chunk, form: TextFormat) -> Iterator[Batch]:
    """Yield the rows of a chunk, some ten thousand at a time.

    Raises:
        DataError: the text cannot be split into rows, or is not the one that was planned.
    """
    digest = 0
    reader = _Reader(layout, form)
    first = chunk.first_row
    for part in _parts(file, chunk.about["start"], chunk.about["stop"], layout.where):
        digest = zlib.crc32(part, digest)
        if found := reader.batch(part, first):
            first += found.count
            yield found
    if digest != chunk.about["crc32"]:
        raise changed(layout.where)
    if first - chunk.first_row != chunk.rows:
        raise DataError(
            f"the rows of the text cannot be counted: {chunk.rows:,} lines, {first - chunk.first_row:,} rows",
            where=f"{layout.where}, from row {chunk.first_row:,}",
            expected="lines that are rows or blank",
            hint="remove the lines that hold nothing but unusual blanks",
        )


def changed(where: str) -> DataError:
    """Return the error for an input that is not the one that was planned."""
    return DataError(
        "the input changed after the run had started",
        where=where,
        expected="a file that does not change during the run",
        hint="trigger a new run when the file is complete",
    )


class _Reader:
    """Reads parts of one chunk; it keeps the decimal point that fitted last."""

    def __init__(self, layout: Layout, form: TextFormat) -> None:
        self._layout, self._form = layout, form
        self._mapping = layout.file_mapping()
        self._points = [",", "."] if form.decimal_comma else ["."]

    def batch(self, data: bytes, first_row: int) -> Batch | None:
        """Return the rows in some lines; None if there are none."""
        layout = self._layout
        text = self._form.text(data, layout.names, layout.where)
        table = self._numbers(text) if not self._mapping else None
        if table is None:
            table = _expected(text.table(dict.fromkeys(self._positions(), pa.string())))
            fields = {name: self._of_texts(table, name, at) for name, at in layout.features.items()}
        else:
            originals = _Originals(text, list(layout.features.values()))
            fields = {
                name: cell_values.of_numbers(_array(table, at).to_numpy(zero_copy_only=False), originals.at(at))
                for name, at in layout.features.items()
            }
        if not table.num_rows and not text.malformed:
            return None
        keys = [_array(table, at) for at, _ in layout.keys]
        return self._assembled(text, table.num_rows, first_row, fields, keys)

    def _assembled(
        self, text: csv_text.Text, good: int, first_row: int, fields: dict[str, Field], keys: list[pa.Array]
    ) -> Batch:
        if not text.malformed:
            return Batch(first_row, good, fields, keys)
        malformed = {
            one.number - 1: [
                {
                    "pointer": "",
                    "detail": f"the row has {one.fields} cells, the header {len(text.columns)}",
                    "allowed": f"{len(text.columns)} cells",
                    "value": one.text,
                }
            ]
            for one in text.malformed
        }
        return Batch(first_row, good + len(malformed), fields, keys, text.numbers(good) - 1, malformed=malformed)

    def _positions(self) -> list[int]:
        return list(dict.fromkeys([*self._layout.features.values(), *(at for at, _ in self._layout.keys)]))

    def _numbers(self, text: csv_text.Text) -> pa.Table | None:
        """Return the rows if all cells of the fields are numbers or missing, which takes a fraction of the time."""
        types = {at: pa.string() for at, _ in self._layout.keys}
        types |= dict.fromkeys(self._layout.features.values(), pa.float64())
        for point in list(self._points):
            found = text.table(types, decimal_point=point)
            if found is not None:
                self._points.sort(key=lambda one: one != point)
                return found
        return None

    def _of_texts(self, table: pa.Table, name: str, at: int) -> Field:
        return cell_values.of_cells(
            _array(table, at),
            name,
            self._mapping,
            decimal_comma=self._form.decimal_comma,
            where=self._layout.where,
        )


class _Originals:
    """The texts of cells that were parsed as numbers; they are read when a message shows the first one."""

    def __init__(self, text: csv_text.Text, positions: list[int]) -> None:
        self._text, self._positions = text, positions
        self._table: pa.Table | None = None

    def at(self, column: int) -> Callable[[int], Any]:
        def original(position: int) -> Any:
            if self._table is None:
                again = csv_text.Text(
                    self._text.data, 0, self._text.separator, self._text.header, self._text.where, is_part=True
                )
                self._table = _expected(again.table(dict.fromkeys(self._positions, pa.string())))
            return cell_values.of_text(_array(self._table, column)[position].as_py())

        return original


def _expected(table: pa.Table | None) -> pa.Table:
    assert table is not None  # noqa: S101 - texts fit every cell
    return table


def _array(table: pa.Table, position: int) -> pa.Array:
    column = table.column(str(position))
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _parts(file: BinaryIO, start: int, stop: int, where: str) -> Iterator[bytes]:
    """Yield the bytes from ``start`` to ``stop`` in parts that end behind a line break.

    Raises:
        DataError: a line is too long.
    """
    file.seek(start)
    rest = b""
    left = stop - start
    while left:
        data = file.read(min(PART, left))
        if not data:
            break  # the file is shorter than it was; its digest will differ
        left -= len(data)
        data = rest + data
        cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1) if b"\n" not in data else -1) + 1
        if left == 0:
            cut = len(data)
        rest = data[cut:]
        if len(rest) > 2 * limits.LINE:
            raise DataError(
                "the text cannot be split into rows",
                where=f"{where}, byte {stop - left - len(rest) + 1:,}",
                expected=f"rows of at most {limits.LINE:,} bytes",
                hint="check where the file comes from",
            )
        if cut:
            yield data[:cut]
    if rest:
        yield rest


def _count_rows(part: bytes, form: TextFormat) -> int:
    characters = np.frombuffer(part, np.uint8)
    ends = characters == _FEED
    ordinary = b"\r" not in part and characters[0] > _BLANK and not (ends[:-1] & (characters[1:] <= _BLANK)).any()
    if not ordinary:  # a line may be blank
        return sum(map(form.is_row, part.splitlines()))
    return int(np.count_nonzero(ends)) + (not ends[-1])


def _content_end(file: BinaryIO) -> int:
    """Return where the last line ends that is not empty; 0 if there is none."""
    end = file.seek(0, 2)
    while end:
        start = max(0, end - _TAIL)
        file.seek(start)
        tail = file.read(end - start)
        kept = csv_text.without_empty_rows(tail)
        if kept.strip(_NOTHING):
            return start + len(kept)
        end = start
    return 0


def _is_utf8(file: BinaryIO, end: int, where: str) -> tuple[bool, str]:
    """Return whether a file is UTF-8, else it is Windows-1252, and the sha256 of all its bytes.

    Raises:
        DataError: it is binary.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    left, utf8, plain = end, True, True
    digest = hashlib.sha256()
    while left and (data := file.read(min(PART, left))):
        digest.update(data)
        if b"\0" in data:
            raise DataError(
                "the file is binary, or UTF-16 without a byte order mark",
                where=f"{where}, NUL at byte {end - left + data.index(0) + 1:,}",
                expected="a file with text in UTF-8",
                hint="check where the file comes from, or convert it",
            )
        left -= len(data)
        if utf8 and not (plain and data.isascii()):
            plain = False
            try:
                decoder.decode(data, final=not left)
            except UnicodeDecodeError:
                utf8 = False
    while data := file.read(PART):
        digest.update(data)
    return utf8, digest.hexdigest()


def _header(
    file: BinaryIO, end: int, where: str, *, utf8: bool, features: tuple[str, ...]
) -> tuple[csv_text.Text, tuple[str, ...], int]:
    """Return the text at the top, the names of the columns, and the byte at which the first row starts."""
    file.seek(0)
    head = file.read(min(HEAD, end))
    if len(head) < end:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head
    text = csv_text.detect_dialect(head if utf8 else str(head, "cp1252", "replace").encode(), where=where)
    # the text differs from the file in its length, but it has the same lines
    before = len(text.data[: text.start].splitlines())
    start = sum(map(len, head.splitlines(keepends=True)[:before]))
    if head.startswith(codecs.BOM_UTF8):
        start = max(start, len(codecs.BOM_UTF8))
    if text.header:
        return text, text.columns, start
    width = len(text.data[text.start :].splitlines()[0].split(text.separator.encode()))
    names = features if width == len(features) else text.columns
    return text, names, start

"""From bytes to records: CSV and Parquet as they are found, brought into the contract's columns.

What a value means is not judged here. A cell that is not a number stays as text, and with it its column, so that
the quality checks can report it by its row.
"""

import csv
import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from heartline import contract
from heartline.errors import DataError

MISSING = ("", "?", "na", "nan")  # in any case

_BOM = b"\xef\xbb\xbf"
_SPACES = r"\s+"
_SHOWN_ROWS = 10
_WIDTH = len(contract.COLUMNS)

_log = logging.getLogger(__name__)


def parse(data: bytes, *, where: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the records in the bytes of a CSV or Parquet file, and the names of the columns that were left out.

    CSV is UTF-8 text with or without a header line, its fields divided by comma, semicolon, tab or spaces; without a
    header its columns are those of the UCI files, in their order. Columns are matched by name, in any order and case.

    Args:
        data: the whole file.
        where: the file or address, for messages.

    Returns:
        Shape [n, 14], rows numbered from 1 as in the file: the contract's columns, float64 with NaN for missing, or
        object, all text with None for missing, where a cell is not a number.

    Raises:
        DataError: the bytes are neither, hold no rows, lack a column or have one twice, or rows differ in length.
    """
    frame, names = _parse_parquet(data, where) if data.startswith(b"PAR1") else _parse_csv(data, where)
    return conform(frame, names, where=where)


def conform(frame: pd.DataFrame, names: Sequence[str], *, where: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the contract's columns of a table, as ``parse`` does.

    Args:
        frame: shape [n, k], columns in the order of ``names``; those that the contract has not may be absent.
        names: the k or more names as the source spells them.
        where: the source, for messages.

    Raises:
        DataError: there are no rows, a column is missing, or one occurs twice.
    """
    positions = locate(names, where=where)
    if frame.empty:
        raise DataError(
            "there are no records",
            where=where,
            expected="at least one row below the names of the columns",
            do="check how the source was made",
        )
    index = pd.RangeIndex(1, len(frame) + 1, name="row")
    columns = {name: _numbers(frame[position]).set_axis(index) for name, position in positions.items()}
    dropped = tuple(name for position, name in enumerate(names) if position not in positions.values())
    if dropped:
        _log.warning("%s: columns that the contract does not have are left out: %s", where, ", ".join(dropped))
    return pd.DataFrame(columns, index=index), dropped


def locate(names: Sequence[str], *, where: str) -> dict[str, int]:
    """Return the position of each of the contract's columns among ``names``.

    Raises:
        DataError: one is missing or occurs twice.
    """
    plain = [name.strip().lower() for name in names]
    counts = Counter(plain)
    missing = [name for name in contract.COLUMN_NAMES if name not in counts]
    if missing:
        raise DataError(
            f"{_count(len(missing), 'column')} missing: {', '.join(missing)}",
            where=f"{where}, whose columns are: {', '.join(names)}",
            expected=f"the columns {', '.join(contract.COLUMN_NAMES)}",
            do="add what is missing, or rename the columns that hold it",
        )
    repeated = [name for name in contract.COLUMN_NAMES if counts[name] > 1]
    if repeated:
        raise DataError(
            f"{_count(len(repeated), 'column')} there more than once: {', '.join(repeated)}",
            where=where,
            expected="each column once",
            do="remove or rename the columns that should not count",
        )
    return {name: plain.index(name) for name in contract.COLUMN_NAMES}


def _parse_parquet(data: bytes, where: str) -> tuple[pd.DataFrame, list[str]]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = list(file.schema_arrow.names)
        positions = sorted(locate(names, where=where).values())
        table = file.read(columns=[names[position] for position in positions])
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the Parquet file cannot be read: {_first_line(error)}",
            where=where,
            expected="a complete Parquet file",
            do="write the file again",
        ) from None
    # Without the index that pandas may have stored: it would take a column out of the table.
    frame = table.to_pandas(ignore_metadata=True)
    return frame.set_axis(positions, axis=1), names


def _parse_csv(data: bytes, where: str) -> tuple[pd.DataFrame, list[str]]:
    data = _plain_text(data, where)
    start, first = _first_row(data)
    separator = _separator(first)
    fields = _split(first, separator)
    if _is_record(fields):
        names, width = list(contract.COLUMN_NAMES), _WIDTH
    else:
        names, width = [name or f"column {position}" for position, name in enumerate(fields, 1)], len(fields)
        start += len(first)
    positions = sorted(locate(names, where=where).values())
    if not any(line.strip() for line in _from(data, start)):
        return pd.DataFrame(), names
    _check_lengths(data, start, separator, width, where)
    frame = pd.read_csv(
        _from(data, start),
        header=None,
        names=range(width),
        usecols=positions,
        sep=separator,
        skipinitialspace=True,
        na_values=[*MISSING, "NA", "NaN"],
        keep_default_na=False,
        encoding_errors="replace",
        low_memory=False,
    )
    return frame, names


def _plain_text(data: bytes, where: str) -> bytes:
    """Return the bytes without a byte order mark, lines ending in a line feed.

    Raises:
        DataError: they are empty, binary or a web page.
    """
    data = data.removeprefix(_BOM)
    problem = ""
    if not data or data.isspace():
        problem = "the file is empty"
    elif b"\0" in data:
        problem = "the file is binary, or text in UTF-16"
    elif data[:1000].lstrip().startswith(b"<"):
        problem = "this is a web page, not a table"
    if problem:
        raise DataError(
            problem,
            where=where,
            expected="a CSV file in UTF-8, or a Parquet file",
            do="check where the file comes from, or save it in one of these formats",
        )
    return data if b"\n" in data else data.replace(b"\r", b"\n")


def _first_row(data: bytes) -> tuple[int, bytes]:
    """Return the first line that is not blank, and where it starts."""
    start = 0
    for line in io.BytesIO(data):
        if line.strip():
            return start, line
        start += len(line)
    return start, b""


def _separator(line: bytes) -> str:
    counts = {sign: line.count(sign.encode()) for sign in (";", "\t", ",")}
    enough = [sign for sign, count in counts.items() if count >= _WIDTH - 1]
    likely = max(counts, key=lambda sign: counts[sign])
    return enough[0] if enough else likely if counts[likely] else _SPACES


def _split(line: bytes, separator: str) -> list[str]:
    text = line.decode("utf-8", errors="replace").strip()
    if separator == _SPACES:
        return text.split()
    return [field.strip() for field in next(csv.reader([text], delimiter=separator, skipinitialspace=True))]


def _is_record(fields: Sequence[str]) -> bool:
    """Return whether the fields of the first line are values rather than names; a record may have a bad cell."""
    values = pd.to_numeric(pd.Series(fields, dtype=object), errors="coerce").notna()
    return sum(value or field.lower() in MISSING for value, field in zip(values, fields, strict=True)) > len(fields) / 2


def _check_lengths(data: bytes, start: int, separator: str, width: int, where: str) -> None:
    """Compare the number of fields in each row with ``width``: pandas would fill a short row up.

    Raises:
        DataError: rows differ; the first ten are named.
    """
    wrong = [(row, length) for row, length in enumerate(_lengths(data, start, separator), 1) if length != width]
    if not wrong:
        return
    shown = ", ".join(f"row {row} has {length}" for row, length in wrong[:_SHOWN_ROWS])
    raise DataError(
        f"{_count(len(wrong), 'row')} not of {width} fields",
        where=f"{where}: {shown}{', …' if len(wrong) > _SHOWN_ROWS else ''}",
        expected=f"{width} fields in each row",
        do="complete or remove these rows; put a field that holds a separator in quotes",
    )


def _lengths(data: bytes, start: int, separator: str) -> Iterator[int]:
    """Yield the number of fields of each row that is not blank."""
    lines = _from(data, start)
    blanks = b" \r\n" if separator == "\t" else None
    if separator == _SPACES:
        yield from (len(line.split()) for line in lines if line.strip())
    elif b'"' in data:
        text = io.TextIOWrapper(lines, encoding="utf-8", errors="replace", newline="")
        yield from (
            len(row) for row in csv.reader(text, delimiter=separator) if len(row) > 1 or any(map(str.strip, row))
        )
    else:
        sign = separator.encode()
        yield from (line.count(sign) + 1 for line in lines if line.strip(blanks))


def _from(data: bytes, start: int) -> io.BytesIO:
    stream = io.BytesIO(data)
    stream.seek(start)
    return stream


def _numbers(cells: pd.Series) -> pd.Series:
    """Return cells as float64, or all as text, None for missing, if one of them is neither a number nor missing."""
    if is_numeric_dtype(cells) and not is_bool_dtype(cells):
        return cells.astype("float64")
    words = cells[cells.notna()].map(str).str.strip()
    words = words[~words.str.lower().isin(MISSING)]
    numbers = pd.to_numeric(words, errors="coerce").astype("float64")
    if numbers.notna().all():
        return numbers.reindex(cells.index)
    # As a whole, because a column of numbers and words cannot be stored as Parquet.
    return words.astype(object).reindex(cells.index, fill_value=None)


def _count(n: int, noun: str) -> str:
    return f"1 {noun} is" if n == 1 else f"{n} {noun}s are"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]

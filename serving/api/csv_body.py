"""Records as CSV: validated against the same contract as a JSON list."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from serving.model.records import Contract, FieldError, MalformedError, Record

MEDIA_TYPE = "text/csv"
CHARSETS = {"", "utf-8", "utf8", "us-ascii"}
# numbers as in JSON, so that both formats have the same values
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?")
_CELL_CHARACTERS = 1000  # more than any number needs


class TooManyRowsError(Exception):
    """A table with too many rows; ``found`` is their number."""

    def __init__(self, found: int) -> None:
        super().__init__(f"{found} rows")
        self.found = found


def parse(body: bytes, contract: Contract, max_records: int) -> tuple[list[Record], list[FieldError]]:
    """Return the records in ``body``, and their bad fields.

    The first row names the columns, in any order. An empty cell is a missing value. Errors of the header are reported
    once, not for each row.

    Args:
        body: the table, comma-separated, in UTF-8.
        contract: of the served model.
        max_records: maximum number of rows below the header.

    Raises:
        MalformedError: it is not such a table; the text names the line.
        TooManyRowsError: it has more than ``max_records`` rows.
    """
    rows, count = rows_of(body, max_records + 1)
    if not rows:
        raise MalformedError("there is no header: the body is empty")
    (_, header), *below = rows
    header = [name.strip() for name in header]
    _check_header(header, contract)
    for line, cells in below:
        if len(cells) != len(header):
            raise MalformedError(f"line {line} has {len(cells)} cells, the header {len(header)}")
    if count - 1 > max_records:
        raise TooManyRowsError(count - 1)
    if not below:
        return [], [FieldError("", "there is no row below the header", "a row for each record")]
    if errors := _header_errors(header, contract):
        return [], errors
    records = [_record(header, cells, contract) for _, cells in below]
    return records, _errors(records, [line for line, _ in below], contract)


def rows_of(body: bytes, limit: int) -> tuple[list[tuple[int, list[str]]], int]:
    """Return the first ``limit`` non-empty rows, each with the number of its last line, and the count of all rows.

    Further rows are only counted: two million rows of two cells would take 300 MB.

    Raises:
        MalformedError: it is not CSV in UTF-8.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedError(f"byte {error.start} is not UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, count = [], 0
    try:
        for cells in reader:
            if cells:
                count += 1
                if count <= limit:
                    rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise MalformedError(f"the row at line {reader.line_num} is not CSV: {error}") from None
    return rows, count


def _check_header(header: Sequence[str], contract: Contract) -> None:
    if not set(header) & set(contract.properties):
        raise MalformedError(
            "there is no header: the first row has no field of the contract; "
            f"the fields, separated by commas, are {', '.join(contract.features)}"
        )
    if repeated := [name for name, times in Counter(header).items() if times > 1]:
        raise MalformedError(f"the header names the column {repeated[0][:100]!r} twice")


def _header_errors(header: Sequence[str], contract: Contract) -> list[FieldError]:
    """Return an error for each unknown or missing column, with a pointer into the first record."""
    unknown = contract.errors(dict.fromkeys(name for name in header if name not in contract.properties), "/0")
    absent = [name for name in contract.features if name not in header]
    found = [
        error
        for error in unknown
        if (name := error.pointer.removeprefix("/0/")) not in contract.properties or name in absent
    ]
    for error in found:
        error.detail += " (in the header)"
        error.value = msgspec.UNSET
    return found


def _record(header: Sequence[str], cells: Sequence[str], contract: Contract) -> Record:
    record: Record = {}
    for name, cell in zip(header, cells, strict=True):
        text = cell.strip(" \t")
        if text:
            record[name] = _value(text)  # type: ignore[assignment]
        elif name in contract.nullable:
            record[name] = None
    return record


def _value(text: str) -> float | int | str:
    """Return the number in ``text``; else the text itself, which validation refuses and reports."""
    found = _NUMBER.fullmatch(text) if len(text) <= _CELL_CHARACTERS else None
    if not found:
        return text
    if found["fraction"] or found["exponent"]:
        number = float(text)
        return text if math.isinf(number) else number
    return int(text)


def _errors(records: Sequence[Record], lines: Sequence[int], contract: Contract) -> list[FieldError]:
    errors = contract.list_errors(records)
    for error in errors:
        if error.pointer:  # of a field, not the count at the end
            error.detail += f" (line {lines[int(error.pointer.split('/')[1])]})"
    return errors

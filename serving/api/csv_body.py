"""Records as CSV: the same table of fields and values as a JSON list, and checked by the same contract."""

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
# a number as JSON writes it, so that both forms of a record hold the same values
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?")
_CELL_CHARACTERS = 1000  # more than any number needs


class TooManyRowsError(Exception):
    """A table with more rows than one request may have; ``found`` is how many."""

    def __init__(self, found: int) -> None:
        super().__init__(f"{found} rows")
        self.found = found


def parse(body: bytes, contract: Contract, max_records: int) -> tuple[list[Record], list[FieldError]]:
    """Return the records in ``body``, and every bad field of them.

    The first row names the columns, in any order. A cell that is empty is a missing value. Where the header is wrong,
    only that is told: each row would repeat it.

    Args:
        body: the table, with commas, in UTF-8.
        contract: of the model that is to answer.
        max_records: rows below the header that one request may have.

    Raises:
        MalformedError: it is no such table; says in which line.
        TooManyRowsError: it has more than ``max_records`` rows.
    """
    rows, count = _rows(body, max_records + 1)
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


def _rows(body: bytes, most: int) -> tuple[list[tuple[int, list[str]]], int]:
    """Return the first ``most`` rows that are not empty, each with the number of its last line, and the count of all.

    The others are only counted: two million rows of two cells would take 300 MB.
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
                if count <= most:
                    rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise MalformedError(f"the row at line {reader.line_num} is not CSV: {error}") from None
    return rows, count


def _check_header(header: Sequence[str], contract: Contract) -> None:
    if not set(header) & set(contract.properties):
        raise MalformedError(
            "there is no header: the first row names no field of the contract, with commas in between; "
            f"they are {', '.join(contract.features)}"
        )
    if twice := [name for name, times in Counter(header).items() if times > 1]:
        raise MalformedError(f"the header names the column {twice[0][:100]!r} twice")


def _header_errors(header: Sequence[str], contract: Contract) -> list[FieldError]:
    """Return a finding for each column that is unknown or missing; it lies in the first record, as in every other."""
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
    """Return the number in ``text``, or the text where it holds none: the contract allows no text, and shows it."""
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
        if error.pointer:  # that of a field, and not a count at the end
            error.detail += f" (line {lines[int(error.pointer.split('/')[1])]})"
    return errors

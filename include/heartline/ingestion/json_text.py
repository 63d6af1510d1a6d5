"""Reads JSON: a list of records, or JSON Lines (one record after the other). A record is an object of plain values.

Records are decoded one at a time from the bytes, so that a document of any shape needs no more memory than its bytes.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from heartline import visible
from heartline.errors import DataError
from heartline.ingestion import limits

_BOM = b"\xef\xbb\xbf"
_CHUNK = 10_000  # records handed over at a time
_ENDS = 100  # closing braces that are tried as the end of a record: some may stand in a text
_INK = re.compile(rb"[^ \t\r\n]")


class _RepeatedKeyError(ValueError):
    """A record has a key twice."""


def is_json(data: bytes) -> bool:
    """Return whether a file begins as JSON that could hold records: with a bracket or a brace."""
    ink = _INK.search(data, len(_BOM) if data.startswith(_BOM) else 0)
    return ink is not None and ink[0] in (b"[", b"{")


def read(data: bytes, *, where: str) -> tuple[list[str], Iterator[pd.DataFrame]]:
    """Return the names of the columns, in the order of their first appearance, and the records, part by part.

    A record without a column has a missing value there.

    Args:
        data: the complete file, UTF-8.
        where: the file or address, for messages.

    Returns:
        the k names, and frames of shape [n, k] with consecutive records; the columns are numbered from 0.

    Raises:
        DataError: it is no list of records; nothing of its content but names of fields is quoted.
        TooLargeError: a record is too long, or has too many columns.
    """
    names: dict[str, int] = {}
    for record in _records(data, where):
        for name in record:
            names.setdefault(name, len(names))
        if len(names) > limits.COLUMNS:
            raise limits.too_many_columns(where, len(names))
    return [name.strip() for name in names], _frames(data, where, list(names))


def _frames(data: bytes, where: str, names: list[str]) -> Iterator[pd.DataFrame]:
    waiting: list[dict[str, Any]] = []
    for record in _records(data, where):
        waiting.append(record)
        if len(waiting) == _CHUNK:
            yield _frame(waiting, names)
            waiting = []
    yield _frame(waiting, names)


def _frame(records: list[dict[str, Any]], names: list[str]) -> pd.DataFrame:
    columns = {at: pd.Series([one.get(name) for one in records], dtype="object") for at, name in enumerate(names)}
    return pd.DataFrame(columns)


def _records(data: bytes, where: str) -> Iterator[dict[str, Any]]:
    """Yield each record of the document."""
    at = _skip(data, len(_BOM) if data.startswith(_BOM) else 0)
    in_list = data[at : at + 1] == b"["
    at = _skip(data, at + in_list)
    number = 0
    while at < len(data) and not (in_list and data[at : at + 1] == b"]"):
        number += 1
        record, at = _record(data, at, number, where)
        yield record
        at = _skip(data, at)
        if in_list and data[at : at + 1] == b",":
            at = _skip(data, at + 1)
        elif in_list and data[at : at + 1] != b"]":
            raise _broken(number, where)
    if in_list and at >= len(data):
        raise _broken(number, where)


def _skip(data: bytes, at: int) -> int:
    """Return the position of the next character that is not blank."""
    ink = _INK.search(data, at)
    return ink.start() if ink else len(data)


def _record(data: bytes, at: int, number: int, where: str) -> tuple[dict[str, Any], int]:
    """Return the record that begins at a position, and the position after it."""
    if data[at : at + 1] != b"{":
        raise _refused(f"element {number:,} of the JSON is not a record", where)
    end, tries = at, 0
    while (end := data.find(b"}", end, at + limits.RECORD) + 1) and tries < _ENDS:
        tries += 1
        try:
            record = json.loads(data[at:end], object_pairs_hook=_object)
        except _RepeatedKeyError as error:
            raise _refused(f"record {number:,} has the field {error} more than once", where) from None
        except (ValueError, RecursionError):  # a brace in a text, or of an inner object; or no JSON at all
            continue
        for name, value in record.items():
            if isinstance(value, list | dict):
                kind = "a list" if isinstance(value, list) else "an object"
                raise _refused(f"the field {visible.visible(name)} of record {number:,} holds {kind}", where)
        return record, end
    if len(data) - at > limits.RECORD:
        raise _refused(f"record {number:,} is no JSON object of at most {limits.RECORD:,} bytes", where)
    raise _broken(number, where)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(visible.visible(next(name for name in names if names.count(name) > 1)))
    return found


def _broken(number: int, where: str) -> DataError:
    return _refused(f"the JSON cannot be read at record {number:,}", where)


def _refused(problem: str, where: str) -> DataError:
    return DataError(
        problem,
        where=where,
        expected="a JSON list of records, or one record per line, with numbers or text as values",
        hint="with pandas: frame.to_json(path, orient='records'); or write a CSV or Parquet file",
    )

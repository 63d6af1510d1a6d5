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
_START = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[ \t\r\n\0]*[\[{]")
_INK = re.compile(rb"[^ \t\r\n]")
_OUTER = re.compile(rb'\{\s*"(?:[^"\\]|\\.){0,1000}"\s*:\s*([\[{])', re.DOTALL)  # of objects or of lists


class _RepeatedKeyError(ValueError):
    """A record has a key twice."""


class _UnreadableError(ValueError):
    """No record can be read at its place."""


def is_json(data: bytes) -> bool:
    """Return whether a file, in any Unicode, begins as JSON that could hold records: with a bracket or a brace."""
    return _START.match(data) is not None


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
    encoding = json.detect_encoding(data[:4])
    if not encoding.startswith("utf-8"):
        raise _refused(f"the JSON is in {encoding[:6].upper()}, not in UTF-8", where)
    names: dict[str, int] = {}
    for record in records(data, where):
        for name in record:
            names.setdefault(name, len(names))
        if len(names) > limits.COLUMNS:
            raise limits.too_many_columns(where, len(names))
    if not names:
        raise _refused("the JSON holds no records", where)
    return [name.strip() for name in names], _frames(data, where, list(names))


def _frames(data: bytes, where: str, names: list[str]) -> Iterator[pd.DataFrame]:
    waiting: list[dict[str, Any]] = []
    for record in records(data, where):
        waiting.append(record)
        if len(waiting) == _CHUNK:
            yield _frame(waiting, names)
            waiting = []
    yield _frame(waiting, names)


def _frame(records: list[dict[str, Any]], names: list[str]) -> pd.DataFrame:
    columns = {at: pd.Series([one.get(name) for one in records], dtype="object") for at, name in enumerate(names)}
    return pd.DataFrame(columns)


def records(data: bytes, where: str) -> Iterator[dict[str, Any]]:
    """Yield each record of a document, as ``read`` accepts it.

    Raises:
        DataError, TooLargeError: see ``read``.
    """
    at = _skip(data, len(_BOM) if data.startswith(_BOM) else 0)
    in_list = data[at : at + 1] == b"["
    at = _skip(data, at + in_list)
    outer = None if in_list else _OUTER.match(data, at)
    number = 0
    while at < len(data) and not (in_list and data[at : at + 1] == b"]"):
        number += 1
        record, at = _plain_record(data, at, number, where, outer if number == 1 else None)
        yield record
        at = _skip(data, at)
        if in_list and data[at : at + 1] == b",":
            at = _skip(data, at + 1)
        elif in_list and data[at : at + 1] != b"]":
            raise _refused(_broken(number), where)
    if in_list and at >= len(data):
        raise _refused(_broken(number), where)


def _skip(data: bytes, at: int) -> int:
    """Return the position of the next character that is not blank."""
    ink = _INK.search(data, at)
    return ink.start() if ink else len(data)


def _plain_record(
    data: bytes, at: int, number: int, where: str, outer: re.Match[bytes] | None
) -> tuple[dict[str, Any], int]:
    """Return the record of plain values that begins at a position, and the position after it.

    ``outer`` is the begin of a document whose first value is an object or a list, which may hold all the records.
    """
    try:
        record, end = _record(data, at, number, where)
    except _UnreadableError as error:
        raise _nested(outer[1], where) if outer else _refused(str(error), where) from None
    if outer and all(isinstance(value, dict) for value in record.values()):
        raise _nested(outer[1], where)
    for name, value in record.items():
        if isinstance(value, list | dict):
            kind = "a list" if isinstance(value, list) else "an object"
            raise _refused(f"the field {visible.visible(name)} of record {number:,} holds {kind}", where)
    return record, end


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
        return record, end
    if len(data) - at > limits.RECORD:
        raise _UnreadableError(f"record {number:,} is no JSON object of at most {limits.RECORD:,} bytes")
    raise _UnreadableError(_broken(number))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(visible.visible(next(name for name in names if names.count(name) > 1)))
    return found


def _broken(number: int) -> str:
    return f"the JSON cannot be read at record {number:,}"


def _nested(first: bytes, where: str) -> DataError:
    """Return the error for a document like those of pandas with another ``orient``; ``first`` opens its first value."""
    return _refused(f"the JSON is an object of {'objects' if first == b'{' else 'lists'}, not a list of records", where)


def _refused(problem: str, where: str) -> DataError:
    return DataError(
        problem,
        where=where,
        expected="a JSON list of records, or one record per line, with numbers or text as values",
        hint="with pandas: frame.to_json(path, orient='records'); or write a CSV or Parquet file",
    )

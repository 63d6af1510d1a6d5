"""Converts cells to numbers, and finds the missing and the unparseable cells."""

import math
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MISSING = ("", "?", "na", "n/a", "nan", "null", "none")  # in any case

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"  # neither inf nor hex, and no thousands separator
MINUS_NINE = -9.0  # a missing value in the archive's unprocessed files
LONGEST = 200  # characters of an unparseable cell that are kept


def numbers(
    cells: pa.Array, *, decimal_comma: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Return the numbers in cells, and the unparseable cells.

    Infinity and words such as "true" are unparseable. Cells of the type boolean are 0 or 1.

    Args:
        cells: (n,) numbers, booleans, nulls or text.
        decimal_comma: whether 2,3 is 2.3.

    Returns:
        (n,) numbers, NaN for missing and unparseable cells; the k positions of the unparseable cells; their k texts, as
        shortened by ``shown``.
    """
    kind = cells.type
    if pa.types.is_dictionary(kind):
        return _coded(cells, decimal_comma)
    if not is_text(kind):
        return _typed(cells)
    # The fast path: nearly always all cells are numbers or missing.
    try:
        values = _floats(_with_points(cells) if decimal_comma else cells)
    except pa.ArrowInvalid:
        return _texts(cells, decimal_comma)
    if np.isfinite(values).sum() == len(cells) - cells.null_count:
        return values, np.empty(0, "int64"), []
    return _texts(cells, decimal_comma)


def number(text: str) -> float | None:
    """Return the number that a text is, with a decimal point; None if it is none."""
    return float(text) if re.match(_NUMBER, text) and math.isfinite(float(text)) else None


def words(cells: pa.Array) -> tuple[NDArray[np.int64], list[str]]:
    """Return cells of any readable type as text: the position (n,) of each among the distinct texts, and those texts.

    A null has the position -1. Texts are shortened by ``shown``; true and false are the texts of booleans.
    """
    if not pa.types.is_dictionary(cells.type):
        cells = cells.cast(pa.large_string()).dictionary_encode()
    texts = [shown(text) for text in cells.dictionary.cast(pa.large_string()).to_pylist()]
    distinct = {text: position for position, text in enumerate(dict.fromkeys(texts))}
    places = np.array([*(distinct[text] for text in texts), -1], "int64")
    return places[cells.indices.fill_null(len(texts)).to_numpy()], list(distinct)


def readable(kind: pa.DataType) -> bool:
    """Return whether cells of a type can be numbers: dates, bytes and nested values cannot."""
    if pa.types.is_dictionary(kind):
        return readable(kind.value_type)
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)
    return is_text(kind) or any(test(kind) for test in tests)


def shown(text: str) -> str:
    """Return a text without surrounding blanks, cut to the length that fits in a message."""
    text = text.strip()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def is_text(kind: pa.DataType) -> bool:
    """Return whether cells of a type are text, not coded by a dictionary."""
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _coded(cells: pa.DictionaryArray, decimal_comma: bool) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Return the numbers of cells that are positions in a dictionary; each of its texts is looked at once."""
    values, unparseable, texts = numbers(cells.dictionary, decimal_comma=decimal_comma)
    codes = cells.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)  # null takes the appended element
    words = dict(zip(unparseable.tolist(), texts, strict=True))
    wrong = np.flatnonzero(np.append(np.isin(np.arange(len(values)), unparseable), False)[codes])
    return np.append(values, np.nan)[codes], wrong, [words[code] for code in codes[wrong].tolist()]


def _floats(cells: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_float16(cells.type):
        return _from_halves(cells)
    values: NDArray[np.float64] = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _from_halves(cells: pa.Array) -> NDArray[np.float64]:
    """Return float16 as the shortest decimals that they stand for: too few digits are exact to be rounded later."""
    halves, places = np.unique(cells.to_numpy(zero_copy_only=False).astype("float16"), return_inverse=True)
    return np.array([float(str(one)) for one in halves])[places]


def _with_points(texts: pa.Array) -> pa.Array:
    return pc.replace_substring(texts, pattern=",", replacement=".")


def _typed(cells: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    values = _floats(cells)
    unparseable = np.flatnonzero(np.isinf(values))
    if not len(unparseable):
        return values, unparseable, []
    texts = [str(value) for value in values[unparseable]]
    values = values.copy()  # Arrow's memory is read only
    values[unparseable] = np.nan
    return values, unparseable, texts


def _texts(cells: pa.Array, decimal_comma: bool) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    coded = cells.cast(pa.large_string()).dictionary_encode()
    texts = pc.utf8_trim_whitespace(coded.dictionary)
    plain = _with_points(texts) if decimal_comma else texts
    matches = pc.match_substring_regex(plain, _NUMBER)
    values = _floats(pc.if_else(matches, plain, pa.scalar(None, plain.type)))
    finite = np.isfinite(values)
    missing = pc.is_in(pc.utf8_lower(texts), pa.array(MISSING, texts.type)).to_numpy(zero_copy_only=False)

    codes = coded.indices.fill_null(len(texts)).to_numpy()  # null takes the appended element
    unparseable = np.flatnonzero(np.append(~finite & ~missing, False)[codes])
    words = [shown(text) for text in texts.to_pylist()] if len(unparseable) else []
    found = np.append(np.where(finite, values, np.nan), np.nan)[codes]
    return found, unparseable, [words[code] for code in codes[unparseable]]

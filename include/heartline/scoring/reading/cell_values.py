"""Reads the cells of a column as the values of a field: as training reads them, or as the service reads JSON."""

import json
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from heartline import visible
from heartline.arrays import Floats, Positions
from heartline.errors import DataError
from heartline.ingestion import encodings
from heartline.ingestion.formats import cells
from heartline.ingestion.mapping.file_mapping import NO_CODE, FileMapping
from heartline.scoring.reading.fields import NOT_ALLOWED, Field

# a number as JSON writes it, so that a message shows 500 and not 500.0
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def of_numbers(values: Floats, original: Any) -> Field:
    """Return the field of numbers that were parsed already; -9 is a missing value.

    Args:
        values: (n,) NaN where a value is missing.
        original: returns what the source holds at a position.
    """
    minus_nine = values == cells.MINUS_NINE
    if minus_nine.any():
        values = np.where(minus_nine, np.nan, values)
    return Field(values, original)


def of_cells(column: pa.Array, name: str, mapping: FileMapping | None, *, decimal_comma: bool, where: str) -> Field:
    """Return the field in a column of text, or of numbers, booleans or nulls.

    Args:
        column: (n,) cells.
        name: of the contract's field.
        mapping: the words and units of the file, or None.
        decimal_comma: whether 2,3 is 2.3.
        where: the input, for messages.

    Raises:
        DataError: the column is of a type that cannot hold numbers.
    """
    if not cells.readable(column.type):
        raise DataError(
            "the type of a column cannot hold numbers",
            where=f"{where}: {name} is {visible.visible(column.type)}",
            expected="numbers, or text that is numbers",
            hint="convert the column, or rename it if it is another quantity",
        )
    if mapping and name in mapping.columns:
        return _mapped(column, name, mapping, decimal_comma)
    values, wrong, _ = cells.numbers(column, decimal_comma=decimal_comma)
    found = of_numbers(values, _original(column))
    return Field(found.values, found.original, wrong)


def _mapped(column: pa.Array, name: str, mapping: FileMapping, decimal_comma: bool) -> Field:
    wrong: Positions = np.empty(0, np.int64)
    if name in mapping.words:
        places, texts = cells.words(column)
        series: pd.Series[Any] = pd.Series(pd.Categorical.from_codes(places, categories=pd.Index(texts)), name=name)
    else:
        values, unparseable, found = cells.numbers(column, decimal_comma=decimal_comma)
        kept = [not mapping.is_missing(name, text) for text in found]
        wrong = unparseable[np.array(kept, np.bool_)]
        series = pd.Series(values, name=name)
    decoded, unknown = mapping.decoded(series)
    without_code = np.flatnonzero(unknown.to_numpy())
    return Field(
        np.asarray(decoded, dtype=np.float64),
        _original(column),
        np.union1d(wrong, without_code),
        detail=NO_CODE if len(without_code) else NOT_ALLOWED,
    )


def _original(column: pa.Array) -> Any:
    def original(position: int) -> Any:
        value = column[position].as_py()
        return of_text(value) if isinstance(value, str) else value if isinstance(value, int | float) else str(value)

    return original


def of_text(text: str) -> Any:
    """Return the number that a text is in JSON, else the text without blanks around it."""
    text = text.strip()
    found = _JSON_NUMBER.fullmatch(text) if len(text) <= cells.LONGEST else None
    if not found:
        return text
    value = json.loads(text)
    return text if isinstance(value, float) and math.isinf(value) else value


def of_json(column: pa.Array) -> Field:
    """Return the field in a column of JSON texts, null where a record lacks the field: a text is no number."""
    coded = column.dictionary_encode()
    originals = [json.loads(text) for text in coded.dictionary.to_pylist()]
    numbers = np.array([*map(_json_number, originals), np.nan])
    places = coded.indices.fill_null(len(originals)).to_numpy(zero_copy_only=False)
    null = np.array([*(one is None for one in originals), False])
    wrong = np.array([one is not None and math.isnan(_json_number(one)) for one in originals] + [False])
    return Field(
        numbers[places],
        lambda position: originals[places[position]],
        np.flatnonzero(wrong[places]),
        np.flatnonzero(null[places]),
    )


def _json_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def from_kaggle(name: str, field: Field) -> Field:
    """Return a field in the contract's codes, from Kaggle's; a value that is no code of Kaggle's is wrong."""
    codes = encodings.KAGGLE_CODES.get(name)
    if codes is None:
        return field
    values = np.full(len(field.values), np.nan)
    known = np.isnan(field.values)
    for code, meant in codes.items():
        here = field.values == code
        values[here] = meant
        known |= here
    return Field(values, field.original, np.union1d(field.wrong, np.flatnonzero(~known)), field.nulls, field.detail)

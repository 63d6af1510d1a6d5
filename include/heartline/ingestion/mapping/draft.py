"""Writes the first draft of a mapping for a file: what is certain is filled in, the rest is left open.

Of the file's values only the distinct words of columns with few of them are shown, cut and escaped.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from heartline import contract
from heartline.contract import Column
from heartline.ingestion.formats import cells, table_formats
from heartline.ingestion.mapping import parser as mapping_parser
from heartline.ingestion.mapping import vocabulary
from heartline.ingestion.mapping.file_mapping import BY_NAME, LABEL, key

MAX_WORDS = 12  # distinct values of a column that are shown
OPEN = '"?"'
_MANY = 50  # distinct values that are counted: more are certainly measurements
_MMOL = (1.0, 20.0)  # cholesterol in mmol/l; in mg/dl it is far above
_PLAIN = re.compile(r"[A-Za-z_][\w.-]*( [\w.-]+)*")


@dataclass
class _Column:
    """What a column of a file holds.

    Attributes:
        name: as spelled.
        words: distinct values; of a column with very many only the first ones.
        medians: of its numbers, one for each batch of rows.
        numeric: whether all its values are numbers or missing.
    """

    name: str
    words: dict[str, None] = field(default_factory=dict)
    medians: list[float] = field(default_factory=list)
    numeric: bool = True

    @property
    def few(self) -> bool:
        """Whether the column has few distinct values."""
        return len(self.words) <= MAX_WORDS

    @property
    def keys(self) -> list[str]:
        """The distinct values, compared as a mapping does, without the missing ones."""
        return [key(word) for word in self.words if key(word) not in (*cells.MISSING, key(cells.MINUS_NINE))]

    def add(self, column: pa.Array, decimal_comma: bool) -> None:
        if not cells.readable(column.type):
            self.numeric = False
            return
        numbers, unparseable, _ = cells.numbers(column, decimal_comma=decimal_comma)
        self.numeric &= not len(unparseable)
        if np.isfinite(numbers).any():
            self.medians.append(float(np.nanmedian(numbers)))
        for word in cells.words(column)[1]:
            if len(self.words) > _MANY:
                break
            self.words.setdefault(word if cells.number(key(word)) is None else key(word))

    @property
    def median(self) -> float:
        return float(np.median(self.medians)) if self.medians else math.nan


def draft(data: bytes, *, where: str, name: str, sheet: str = "") -> str:
    """Return the draft of a mapping for a file, as YAML with comments.

    Args:
        data: the file, unpacked.
        where: the file, for messages.
        name: of the mapping.
        sheet: the sheet of a workbook; "" for the first one.

    Raises:
        DataError: the file is not a table.
    """
    columns = _columns(data, where, sheet)
    return "\n".join(_Draft(columns).lines(name)) + "\n"


def _columns(data: bytes, where: str, sheet: str) -> list[_Column]:
    rows = table_formats.rows_of(data, where=where, sheet=sheet)
    found = [_Column(name) for name in rows.names]
    every = range(len(found))
    # a word that means missing in most files may be a code in this one: all are seen
    for batch in rows.batches(list(every), cells.MISSING):
        for column, values in zip(found, batch, strict=True):
            column.add(values, rows.decimal_comma)
    return found


class _Draft:
    """The draft for the columns of one file."""

    def __init__(self, columns: Sequence[_Column]) -> None:
        self._found = _recognised(columns)
        used = [column.name for column in self._found.values()]
        self._rest = [column.name for column in columns if column.name not in used]
        self._uci = any(_proves(name, self._found.get(name)) for name in vocabulary.PROOF)

    def lines(self, name: str) -> Iterator[str]:
        yield f"# A first draft. Replace each {OPEN}, or delete the lines of a column that the file does not have."
        yield "# A value may be a code, or the word missing. docs/mapping.md describes every field."
        yield f"name: {_quoted(Path(name).stem)}"
        yield "columns:"
        for column in contract.FEATURES:
            yield from self._feature(column)
        yield from self._label()
        if self._rest:
            yield "ignore:  # columns that no record needs; move one up if it is meant"
            yield from (f"  - {_quoted(one)}" for one in self._rest)

    def _feature(self, column: Column) -> Iterator[str]:
        about = f"{column.description}{f', in {column.unit}' if column.unit else ''}"
        yield f"  {column.name}:  # {about}"
        found = self._found.get(column.name)
        if found is None:
            near = mapping_parser.nearest(column.name, self._rest)
            yield f"    column: {OPEN}  # no column was recognised{f'; {_escaped(near)}' if near else ''}"
            return
        yield f"    column: {_quoted(found.name)}"
        if column.codes:
            yield from self._codes(column.name, found)
        else:
            yield from self._measurement(column, found)

    def _measurement(self, column: Column, found: _Column) -> Iterator[str]:
        low, high = column.usual or (column.minimum, column.maximum)
        if column.name == "chol" and _MMOL[0] <= found.median <= _MMOL[1]:
            yield f"    factor: {OPEN}  # the values look like mmol/l: then 38.67"
        elif not math.isnan(found.median) and not low <= found.median <= high:
            yield f"    factor: {OPEN}  # most values are not usual in {column.unit}: state what to multiply them by"
        if not found.numeric:
            words = [word for word in found.words if cells.number(key(word)) is None]
            certain = [word for word in words if key(word) in vocabulary.MISSING]
            if certain:
                yield f"    missing: [{', '.join(map(_quoted, certain[:MAX_WORDS]))}]"
            else:
                yield "    # missing: []  # some values are not numbers; list here those that mean a missing value"

    def _codes(self, name: str, found: _Column) -> Iterator[str]:
        if not found.keys:
            yield "    # it has no values"
            return
        if self._is_contracts(name, found):
            yield f"    # its values are the contract's codes: {mapping_parser.codes_of(name)}"
            return
        yield f"    codes:  # {mapping_parser.codes_of(name)}"
        if not found.few:
            yield f"      {OPEN}: {OPEN}  # it has more than {MAX_WORDS} different values: is this the right column?"
            return
        for word in sorted(found.words):
            if key(word) in cells.MISSING and key(word) not in vocabulary.WORDS.get(name, {}):
                continue
            yield f"      {_quoted(word)}: {self._code(name, key(word))}"

    def _code(self, name: str, word: str) -> str:
        certain = vocabulary.WORDS.get(name, {}).get(word)
        if certain is not None:
            return str(certain)
        return "missing" if word in (*vocabulary.MISSING, key(cells.MINUS_NINE)) else OPEN

    def _is_contracts(self, name: str, found: _Column) -> bool:
        """Return whether the values are certain to be the contract's codes: other layouts use the same numbers."""
        legal = {str(code) for code in BY_NAME[name].codes}
        if not found.keys or not set(found.keys) <= legal:
            return False
        return name in ("sex", "fbs", "exang", "ca") or _proves(name, found) or (name == "restecg" and self._uci)

    def _label(self) -> Iterator[str]:
        yield "label:  # which values mean disease is never guessed"
        found = self._found.get(LABEL)
        if found is None:
            yield f"  column: {OPEN}  # no column was recognised"
            yield f"  disease: {OPEN}"
            yield f"  no_disease: {OPEN}"
            return
        yield f"  column: {_quoted(found.name)}"
        disease = [word for word in found.words if key(word) in vocabulary.DISEASE]
        no_disease = [word for word in found.words if key(word) in vocabulary.NO_DISEASE]
        if found.name.strip().lower() == LABEL and set(found.keys) <= {str(code) for code in BY_NAME[LABEL].codes}:
            disease, no_disease = (
                sorted((word for word in found.keys if word != "0"), key=float),
                ["0"],
            )  # as in the UCI archive
        if len(disease) + len(no_disease) == len(found.keys) and disease and no_disease:
            yield f"  disease: [{', '.join(map(_quoted, disease))}]"
            yield f"  no_disease: [{', '.join(map(_quoted, no_disease))}]"
            return
        seen = ", ".join(map(_escaped, list(found.words)[:MAX_WORDS])) if found.few else "many different values"
        yield f"  disease: {OPEN}  # a list; the file has {seen}"
        yield f"  no_disease: {OPEN}"


def _proves(name: str, found: "_Column | None") -> bool:
    """Return whether a column has codes that only the UCI archive's files have, and no others."""
    if found is None or name not in vocabulary.PROOF:
        return False
    legal = {str(code) for code in BY_NAME[name].codes}
    return set(found.keys) <= legal and f"{vocabulary.PROOF[name]:g}" in found.keys


def _recognised(columns: Sequence[_Column]) -> dict[str, _Column]:
    """Return the columns whose name is the contract's or a known other one; none where two could be meant."""
    found = {}
    for name in contract.COLUMN_NAMES:
        exact = [one for one in columns if one.name.strip().lower() == name]
        others = [one for one in columns if _bare(one.name) in (name, *vocabulary.NAMES[name])]
        for candidates in (exact, others):
            if len(candidates) == 1:
                found[name] = candidates[0]
                break
    return found


def _bare(name: str) -> str:
    """Return a name without a unit in brackets, case and signs between words."""
    return re.sub(r"[(\[].*?[)\]]|[\W_]", "", name).lower()


def _quoted(text: str) -> str:
    """Return a word as YAML that every reader takes for this text."""
    text = cells.shown(text)
    reserved = text.lower() in ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
    return text if _PLAIN.fullmatch(text) and text.isascii() and not reserved else json.dumps(text)


def _escaped(text: str) -> str:
    return json.dumps(text[:60]) if not _PLAIN.fullmatch(text) else text

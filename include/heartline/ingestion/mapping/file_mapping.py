"""A mapping: how the columns, words and units of a file become those of the contract, stated by a user.

A mapping is checked against the contract when it is read, and against the file when it is used. What it leaves open is
refused and never guessed.
"""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import yaml

from heartline import contract, resolution
from heartline.arrays import Flags, Floats, Positions
from heartline.ingestion.formats import cells
from heartline.ingestion.mapping.text import Tree

NO_CODE = "the mapping has no code for this value"
MISSING = "missing"  # as a code: the word stands for a missing value
LABEL = contract.LABEL.name
BY_NAME = {column.name: column for column in contract.COLUMNS}


def key(value: object) -> str:
    """Return what a word or number is compared by: without case and surplus blanks; 1, 1.0 and "01" are equal."""
    text = " ".join(str(value).split()).casefold()
    number = cells.number(text)
    return text if number is None else f"{number:.15g}"


@dataclass(frozen=True)
class ColumnMapping:
    """How one column of the contract is read.

    Attributes:
        names: the file's column; several names are alternatives, of which a file has one; none for the contract's name.
        codes: the file's words and the contract's codes, NaN for a missing value; empty where the file has the
            contract's codes or a measurement.
        missing: further words and numbers that stand for a missing value.
        factor: what a measurement is multiplied by, to have the contract's unit.
    """

    names: tuple[str, ...] = ()
    codes: dict[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    factor: float = 1.0

    @property
    def by_key(self) -> dict[str, float]:
        """The codes by the ``key`` of their word."""
        return {key(word): code for word, code in self.codes.items()} | dict.fromkeys(map(key, self.missing), math.nan)

    @property
    def has_words(self) -> bool:
        """Whether cells have to be read as text."""
        return any(cells.number(key(word)) is None for word in self.codes)


@dataclass(frozen=True)
class FileMapping:
    """A checked mapping; ``mapping_parser`` makes it from a text.

    Attributes:
        title: its name or path for display.
        columns: by the name of the contract's column; the label is among them if the mapping states it.
        ignored: columns of the file that are left out on purpose.
    """

    title: str
    columns: dict[str, ColumnMapping]
    ignored: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The sha256 of ``text``."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    @property
    def words(self) -> frozenset[str]:
        """The contract's columns whose cells are read as text."""
        return frozenset(name for name, one in self.columns.items() if one.has_words)

    def keys(self) -> frozenset[str]:
        """Return the ``key`` of every word that has a code."""
        return frozenset(key(word) for one in self.columns.values() for word in one.codes)

    def text(self) -> str:
        """Return the mapping as YAML: the same text for the same meaning, without the comments of its source."""
        features = {name: _plain(one) for name, one in self.columns.items() if name != LABEL}
        found: dict[str, object] = {"columns": features}
        if LABEL in self.columns:
            label = self.columns[LABEL]
            found["label"] = _plain(
                label,
                disease=[word for word, code in label.codes.items() if code > 0],
                no_disease=[word for word, code in label.codes.items() if code == 0],
            )
        if self.ignored:
            found["ignore"] = list(self.ignored)
        return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100)

    def decode(self, frame: pd.DataFrame, unparseable: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return records in the contract's codes and units, and the cells that are neither.

        Args:
            frame: (n, 14) as read: numbers, or for ``words`` categories of texts; the index is the row number.
            unparseable: row, field, value, reason of the cells that are not numbers.

        Returns:
            (n, 14) float64, and the unparseable cells: those given without the words that stand for a missing value,
            and those whose word has no code.
        """
        decoded, rest = {}, [unparseable]
        for name in frame.columns:
            values, unknown = self.decoded(frame[name])
            decoded[name] = values
            if unknown.any():
                places, texts = _texts(frame.loc[unknown, name])
                rest.append(
                    pd.DataFrame(
                        {
                            "row": frame.index[unknown].to_numpy("int64"),
                            "field": name,
                            "value": np.array(texts, "object")[places],
                            "reason": NO_CODE,
                        }
                    )
                )
        found = pd.concat(rest, ignore_index=True)
        known = [self.is_missing(name, value) for name, value in zip(found["field"], found["value"], strict=True)]
        found = found[~np.array(known, dtype=np.bool_)].sort_values("row", kind="stable", ignore_index=True)
        return pd.DataFrame(decoded, index=frame.index), found

    def unknown_words(self, frame: pd.DataFrame) -> dict[str, "pd.Series[int]"]:
        """Return by column how many rows hold each value that has no code, the most frequent first."""
        found = {}
        for name in frame.columns:
            unknown = self.decoded(frame[name])[1]
            if unknown.any():
                places, texts = _texts(frame.loc[unknown, name])
                counts = pd.Series(np.bincount(places), index=texts)
                found[str(name)] = counts.sort_values(ascending=False, kind="stable")
        return found

    def is_missing(self, name: str, value: str) -> bool:
        """Return whether a text in a column of the contract stands for a missing value."""
        column = self.columns.get(name)
        return bool(column and column.missing) and key(value) in map(key, column.missing if column else ())

    def decoded(self, values: "pd.Series[float]") -> tuple["pd.Series[float]", "pd.Series[bool]"]:
        """Return a column in the contract's codes and unit, and which of its cells have no code."""
        column = self.columns.get(str(values.name), ColumnMapping())
        known = column.by_key
        if not column.codes:
            absent = [float(word) for word in known if cells.number(word) is not None]
            numbers = values.mask(_is_any_of(np.asarray(values, dtype=np.float64), [*absent, cells.MINUS_NINE]))
            return _scaled(numbers, column.factor, str(values.name)), pd.Series(False, index=values.index)
        distinct = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values.dropna().unique()
        for word in distinct:
            if key(word) in (*cells.MISSING, key(cells.MINUS_NINE)):
                known.setdefault(key(word), math.nan)
        table = {word: known[key(word)] for word in distinct if key(word) in known}
        unknown = values.notna() & ~values.isin(list(table))
        return values.map(table).astype("float64"), unknown


def _is_any_of(values: Floats, numbers: list[float]) -> Flags:
    """Return (n,) whether values are one of some numbers, beyond the noise of their storage type."""
    found = np.zeros(len(values), dtype=np.bool_)
    for number in numbers:
        found |= ~resolution.differ(values, np.float64(number)) & np.isfinite(values)
    return found


def _scaled(values: "pd.Series[float]", factor: float, name: str) -> "pd.Series[float]":
    """Return measurements in the contract's unit, rounded to its resolution: the same for each storage type."""
    if factor == 1:
        return values
    single = resolution.single(np.asarray(values, dtype=np.float64))
    return pd.Series(resolution.nearest(single * factor, BY_NAME[name]), index=values.index, name=values.name)


def _plain(one: ColumnMapping, **label: object) -> object:
    column = one.names[0] if len(one.names) == 1 else list(one.names)
    found: dict[str, object] = {"column": column} if one.names else {}
    if label:
        found.update(label)
    elif one.codes:
        found["codes"] = {word: MISSING if math.isnan(code) else int(code) for word, code in one.codes.items()}
    if one.missing:
        found["missing"] = list(one.missing)
    if one.factor != 1:
        found["factor"] = one.factor
    return column if list(found) == ["column"] else found


def _texts(values: "pd.Series[Any]") -> tuple[Positions, list[str]]:
    """Return the position (n,) of each value among the distinct ones, and their texts: a long one is kept once."""
    places, distinct = pd.factorize(values)
    return places, [_shown(one) for one in distinct]


def _shown(value: object) -> str:
    return cells.shown(value) if isinstance(value, str) else f"{value:.15g}"


def is_open(value: Tree) -> bool:
    """Return whether a value of a mapping's text was left open."""
    return isinstance(value, str) and value.strip() in ("", "?", "~", "null")


def plain(name: str) -> str:
    """Return a column's name without case and surplus blanks."""
    return " ".join(name.split()).lower()

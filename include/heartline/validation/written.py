"""How a source writes the records: its column names, codes and values. Messages about it quote these."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from heartline import contract, visible
from heartline.contract import Column
from heartline.ingestion import encodings
from heartline.ingestion.mapping import layout as mapping_layout
from heartline.ingestion.mapping.file_mapping import FileMapping, key

_NUMBER_OF_SIGNIFICANT_DIGITS = 15  # all that a decimal number keeps in float64, without rounding noise
_DIGITS_OF_FLOAT32 = 7  # all that a decimal number may have to be told apart in float32
_LARGEST_SHOWN = 1e6  # beyond it, seven digits leave no decimal
_ALIKE = 0.6  # difflib's ratio from which two names are taken to be similar


@dataclass(frozen=True, eq=False)
class Written:
    """How a source writes the records; by default as the contract does.

    Attributes:
        names: the source's name of each column of the contract that it has; () without a header.
        others: the names of the columns that the contract lacks.
        fields: the number of fields in each row of the source.
        recoded: for each column with other codes, the contract's code of each of the source's; NaN means missing.
        words: for each column that the source writes in words, the contract's code of each; NaN means missing.
        factors: for each measurement in another unit, what it is multiplied by to have the contract's.
        whose: whose codes these are, such as ``Kaggle's``; empty for the contract's own.
        values: (n, 14) numbers and words as they stand in the source, if they differ from the decoded ones.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()
    fields: int = len(contract.COLUMNS)
    recoded: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    whose: str = ""
    values: pd.DataFrame | None = None

    def name(self, column: str) -> str:
        """Return the source's name of a column."""
        return self.names.get(column, column)

    def title(self, column: str) -> str:
        """Return a column for messages: the source's name, with the contract's if that differs."""
        return encodings.titled(column, self.names)

    def codes(self, column: Column) -> dict[float, str]:
        """Return the legal codes of a column in the checks, with their labels: the source's, for words the contract's.

        Words are decoded before the checks; those without a code are unparseable cells.
        """
        if column.name not in self.recoded:
            return {float(code): label for code, label in column.codes.items()}
        recoded = sorted(self.recoded[column.name].items())
        return {code: column.codes[int(meant)] for code, meant in recoded if meant == meant}

    def labels(self, column: Column) -> dict[str, str]:
        """Return the legal codes or words of a column as the source writes them, with the contract's labels."""
        if column.name in self.words:
            words = self.words[column.name].items()
            return {visible.visible(word): column.codes[int(meant)] for word, meant in words if meant == meant}
        return {f"{code:g}": label for code, label in self.codes(column).items()}

    def missing_codes(self, column: str) -> list[float]:
        """Return the codes that mean a missing value in the source."""
        return [encodings.MISSING, *(code for code, meant in self.recoded.get(column, {}).items() if meant != meant)]

    def legal(self, column: Column) -> str:
        """Return the legal codes in words, such as ``the codes 1, 2, 3, 4``."""
        codes = ", ".join(self.labels(column))
        missing = [f"{code:g}" for code in self.missing_codes(column.name)[1:]]
        kind = "codes"
        if column.name in self.words:
            missing = [visible.visible(word) for word in self._missing_words(column.name)]
            kind = "words"
        return f"{self.whose or 'the'} {kind} {codes}" + (f", and {', '.join(missing)} for missing" if missing else "")

    def cells(self, decoded: pd.DataFrame) -> pd.DataFrame:
        """Return (n, 14) the numbers of the source, NaN for missing ones: those of the checks of single cells."""
        if self.values is None or not self.recoded:
            return decoded
        values = self.values
        return decoded.assign(
            **{name: values[name].mask(values[name].isin(self.missing_codes(name))) for name in self.recoded}
        )

    def shown(self, row: int, column: str, value: Any) -> str:
        """Return the value of a cell for display, as it stands in the source."""
        if isinstance(value, str):
            return shown(value)
        if not pd.isna(value):
            return self._measured(row, column, value)
        known = self.values is not None and column in self.values and row in self.values.index
        found: Any = self.values.at[row, column] if known and self.values is not None else value
        return shown(value) if pd.isna(found) else f"{shown(found)}, which means missing"

    def meaning_missing(self, column: str) -> str:
        """Return how many rows hold which code that means missing, in words; empty if none does."""
        if self.values is None:
            return ""
        whose = self.whose or "UCI's"
        counts = {f"{code:g}": int((self.values[column] == code).sum()) for code in self.missing_codes(column)}
        if column in self.words:
            found = self.values[column].map(key)
            counts = {visible.quoted(word): int((found == key(word)).sum()) for word in self._missing_words(column)}
        return ", ".join(
            f"{count:,} {'row holds' if count == 1 else 'rows hold'} {code}, which means missing in {whose} codes"
            for code, count in counts.items()
            if count
        )

    def lacks(self, columns: Sequence[str]) -> str:
        """Return in words that columns are absent, and which unknown columns there are instead."""
        lacking = f"none of {', '.join(columns)}"
        if not self.others:
            return lacking
        return f"{lacking}; unknown columns: {guesses(self.others, columns)}"

    def _missing_words(self, column: str) -> list[str]:
        return [word for word, meant in self.words[column].items() if meant != meant]

    def _measured(self, row: int, column: str, value: float) -> str:
        """Return a measurement as it stands in the source, with its value in the contract's unit if that differs."""
        about = next(one for one in contract.COLUMNS if one.name == column)
        rounded = not about.whole or column in self.factors
        if self.values is None or not rounded or row not in self.values.index:
            return shown(value)
        found = shown(self.values.at[row, column])
        return f"{found}, which is {shown(value)} {about.unit}".rstrip() if column in self.factors else found


def shown(value: Any) -> str:
    """Return the value of a cell for display: text in quotes, a number without superfluous digits."""
    if isinstance(value, str):
        return value if visible.is_number(value) else visible.quoted(value)
    if pd.isna(value):
        return "missing"
    digits = _DIGITS_OF_FLOAT32 if _is_noisy(float(value)) else _NUMBER_OF_SIGNIFICANT_DIGITS
    return f"{value:.{digits}g}"


def _is_noisy(value: float) -> bool:
    """Return whether a fraction is the float32 of a number of few digits, such as 2.29999995231628 of 2.3."""
    if not math.isfinite(value) or value.is_integer():
        return False
    few = float(f"{value:.{_DIGITS_OF_FLOAT32}g}")
    return abs(value) < _LARGEST_SHOWN and value == float(np.float32(value)) == float(np.float32(few))


def guesses(names: Sequence[str], columns: Sequence[str]) -> str:
    """Return unknown columns of a source as a list, each with the similar one among some columns of the contract."""
    return _listed([_guessed(name, columns) for name in names])


def _guessed(name: str, columns: Sequence[str]) -> str:
    plain = visible.plain(name).strip().lower()
    known = {alias: column for alias, column in encodings.ALIASES.items() if column in columns}
    prefixes = [alias for alias in known if plain.startswith(alias) or alias.startswith(plain)] if plain else []
    close = prefixes or difflib.get_close_matches(plain, known, n=1, cutoff=_ALIKE)
    return f"{visible.visible(name)} ({known[close[0]]}?)" if close else visible.visible(name)


def of_mapping(mapping: FileMapping, names: Sequence[str], others: Sequence[str], values: pd.DataFrame) -> Written:
    """Return how a source writes its records, as a mapping states it.

    Args:
        mapping: of its columns, codes, words and units.
        names: its header as spelled; empty without one.
        others: the names in it that neither the contract nor the mapping has.
        values: (n, 14) the numbers and words as read.
    """
    codes = {name: one for name, one in mapping.columns.items() if one.codes and name not in mapping.words}
    words = {name: one for name, one in mapping.columns.items() if name in mapping.words}
    positions = mapping_layout.locate(names, mapping, where="the source") if names else {}
    return Written(
        names={column: names[at] for column, at in positions.items()},
        others=others,
        fields=len(names) or len(contract.COLUMNS),
        recoded={
            name: {float(word): code for word, code in one.by_key.items() if visible.is_number(word)}
            for name, one in codes.items()
        },
        words={name: {**one.codes, **dict.fromkeys(one.missing, math.nan)} for name, one in words.items()},
        factors={name: one.factor for name, one in mapping.columns.items() if one.factor != 1},
        whose="the mapping's",
        values=values,
    )


def of_source(names: Sequence[str], others: Sequence[str], values: pd.DataFrame, encoding: str) -> Written:
    """Return how a source writes its records.

    Args:
        names: its header as spelled; empty without one.
        others: the names in it that the contract lacks.
        values: (n, 14) the numbers as read.
        encoding: ``uci`` or ``kaggle``; empty if it is undecided: the codes are then compared with UCI's.
    """
    kaggle = encoding == encodings.KAGGLE
    return Written(
        names=encodings.spelled(names),
        others=others,
        fields=len(names) or len(contract.COLUMNS),
        recoded=encodings.KAGGLE_CODES if kaggle else {},
        whose="Kaggle's" if kaggle else "" if encoding else "UCI's",
        values=values,
    )


def _listed(names: Sequence[str]) -> str:
    more = f" … and {len(names) - visible.ITEMS:,} more" if len(names) > visible.ITEMS else ""
    return ", ".join(names[: visible.ITEMS]) + more

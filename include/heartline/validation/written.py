"""How a source writes the records: its column names, codes and values. Messages about it quote these."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from heartline import contract, visible
from heartline.contract import Column
from heartline.ingestion import encodings

_NUMBER_OF_SIGNIFICANT_DIGITS = 15  # all that a decimal number keeps in float64, without rounding noise
_ALIKE = 0.6  # difflib's ratio from which two names are taken to be similar


@dataclass(frozen=True, eq=False)
class Written:
    """How a source writes the records; by default as the contract does.

    Attributes:
        names: the source's name of each column of the contract that it has; () without a header.
        others: the names of the columns that the contract lacks.
        fields: the number of fields in each row of the source.
        recoded: for each column with other codes, the contract's code of each of the source's; NaN means missing.
        whose: whose codes these are, such as ``Kaggle's``; empty for the contract's own.
        values: (n, 14) numbers as they stand in the source, if they differ from the decoded ones.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()
    fields: int = len(contract.COLUMNS)
    recoded: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    whose: str = ""
    values: pd.DataFrame | None = None

    def name(self, column: str) -> str:
        """Return the source's name of a column."""
        return self.names.get(column, column)

    def title(self, column: str) -> str:
        """Return a column for messages: the source's name, with the contract's if that differs."""
        return encodings.titled(column, self.names)

    def codes(self, column: Column) -> dict[float, str]:
        """Return the legal codes of a column as the source writes them, with their labels."""
        if column.name not in self.recoded:
            return {float(code): label for code, label in column.codes.items()}
        recoded = sorted(self.recoded[column.name].items())
        return {code: column.codes[int(meant)] for code, meant in recoded if meant == meant}

    def missing_codes(self, column: str) -> list[float]:
        """Return the codes that mean a missing value in the source."""
        return [encodings.MISSING, *(code for code, meant in self.recoded.get(column, {}).items() if meant != meant)]

    def legal(self, column: Column) -> str:
        """Return the legal codes in words, such as ``the codes 1, 2, 3, 4``."""
        codes = ", ".join(f"{code:g}" for code in self.codes(column))
        missing = [f"{code:g}" for code in self.missing_codes(column.name)[1:]]
        return f"{self.whose or 'the'} codes {codes}" + (f", and {', '.join(missing)} for missing" if missing else "")

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
        if isinstance(value, str) or not pd.isna(value):
            return shown(value)
        known = self.values is not None and column in self.values and row in self.values.index
        found: Any = self.values.at[row, column] if known and self.values is not None else value
        return shown(value) if pd.isna(found) else f"{shown(found)}, which means missing"

    def meaning_missing(self, column: str) -> str:
        """Return how many rows hold which code that means missing, in words; empty if none does."""
        if self.values is None:
            return ""
        whose = self.whose or "UCI's"
        counts = {code: int((self.values[column] == code).sum()) for code in self.missing_codes(column)}
        return ", ".join(
            f"{count:,} {'row holds' if count == 1 else 'rows hold'} {code:g}, which means missing in {whose} codes"
            for code, count in counts.items()
            if count
        )

    def lacks(self, columns: Sequence[str]) -> str:
        """Return in words that columns are absent, and which unknown columns there are instead."""
        lacking = f"none of {', '.join(columns)}"
        if not self.others:
            return lacking
        return f"{lacking}; unknown columns: {_listed([self._guessed(name, columns) for name in self.others])}"

    def _guessed(self, name: str, columns: Sequence[str]) -> str:
        plain = visible.plain(name).strip().lower()
        known = {alias: column for alias, column in encodings.ALIASES.items() if column in columns}
        prefixes = [alias for alias in known if plain.startswith(alias) or alias.startswith(plain)] if plain else []
        close = prefixes or difflib.get_close_matches(plain, known, n=1, cutoff=_ALIKE)
        return f"{visible.visible(name)} ({known[close[0]]}?)" if close else visible.visible(name)


def shown(value: Any) -> str:
    """Return the value of a cell for display: text in quotes, a number without superfluous digits."""
    if isinstance(value, str):
        return value if visible.is_number(value) else visible.quoted(value)
    return "missing" if pd.isna(value) else f"{value:.{_NUMBER_OF_SIGNIFICANT_DIGITS}g}"


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

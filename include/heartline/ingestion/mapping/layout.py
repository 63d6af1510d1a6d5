"""Finds the columns of the contract among those of a file: by their names, or as a mapping states them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

import pandas as pd

from heartline import contract, visible
from heartline.errors import DataError
from heartline.ingestion import encodings
from heartline.ingestion.mapping import parser as mapping_parser
from heartline.ingestion.mapping.file_mapping import LABEL, ColumnMapping, FileMapping, plain

_SHOWN_NAMES = 20
_DRAFT = "./heartline mapping FILE writes a mapping for it"


def locate(
    names: Sequence[str],
    mapping: FileMapping | None = None,
    *,
    where: str,
    other: str = "",
    columns: Sequence[str] = contract.COLUMN_NAMES,
) -> dict[str, int]:
    """Return the position among ``names`` of each column of the contract that is present.

    Args:
        names: the header as spelled.
        mapping: states names that are not the contract's.
        where: the source, for messages.
        other: how another table of the source is read, for messages.
        columns: those that are looked for: of another contract, or without the label.

    Raises:
        DataError: fewer than half of the columns are present, one is present more than once, or the mapping names a
            column that the file does not have.
    """
    places = _Names(names, where, other, mapping.columns.values() if mapping else (), columns)
    found = places.as_stated(mapping) if mapping else places.as_usual()
    if len(found) < len(columns) / 2:
        raise DataError(
            f"this is not a table of records: it has {len(found)} of the {len(columns)} columns",
            where=places.where,
            expected=f"the columns {', '.join(columns)}",
            hint=f"{other or 'check that this is the right source'}; if its columns only have other names, {_DRAFT}",
        )
    return {name: found[name] for name in columns if name in found}


class _Names:
    """The header of one file."""

    def __init__(
        self, names: Sequence[str], where: str, other: str, mapped: Iterable[ColumnMapping], columns: Sequence[str]
    ) -> None:
        self._spelled, self._other, self._columns = names, other, columns
        self._plain = [plain(name) for name in names]
        self._aliases = {name: one for name, one in encodings.ALIASES.items() if one in columns} | {
            name: name for name in columns
        }
        known = {*self._aliases, *(plain(one) for column in mapped for one in column.names)}
        self._is_table = not known.isdisjoint(self._plain)
        self.where = f"{where}, whose columns are: {visible.listed(names, items=_SHOWN_NAMES)}"
        if not self._is_table:  # perhaps no table at all: nothing of it is quoted
            self.where = f"{where}, whose first line has {len(names):,} {'field' if len(names) == 1 else 'fields'}"

    def as_usual(self) -> dict[str, int]:
        """Return the columns that have the contract's or Kaggle's names."""
        known = [self._aliases.get(name) for name in self._plain]
        counts = Counter(name for name in known if name)
        if len(counts) >= len(self._columns) / 2:
            self._expect_once([name for name in self._columns if counts[name] > 1])
        return {name: known.index(name) for name in counts}

    def as_stated(self, mapping: FileMapping) -> dict[str, int]:
        """Return the columns that a mapping names; those that it does not mention, by the contract's name."""
        several = [name for name in self._columns if len(self._candidates(name, mapping)) > 1]
        self._expect_once(several, ", or name those that are not meant under ignore")
        found = {}
        for name in self._columns:
            candidates = self._candidates(name, mapping)
            if candidates:
                found[name] = candidates[0]
            elif name in mapping.columns:
                self._refuse_absent(name, mapping)
        if LABEL in self._columns and LABEL not in found:
            self._refuse_without_label(mapping)
        return found

    def _candidates(self, name: str, mapping: FileMapping) -> list[int]:
        """Return the positions of the columns that are called as the mapping, or the contract, calls a column."""
        stated = mapping.columns.get(name)
        wanted = {plain(one) for one in stated.names} if stated and stated.names else set()
        elsewhere = {plain(one) for other in mapping.columns.values() if other is not stated for one in other.names}
        elsewhere |= {plain(one) for one in mapping.ignored}
        if name not in elsewhere:
            wanted.add(name)
        return [position for position, one in enumerate(self._plain) if one in wanted]

    def _expect_once(self, repeated: Sequence[str], more: str = "") -> None:
        if repeated:
            raise DataError(
                f"{'1 column is' if len(repeated) == 1 else f'{len(repeated)} columns are'} present more than once: "
                f"{', '.join(repeated)}",
                where=self.where,
                expected="each column once, under one of its names",
                hint=f"remove or rename the duplicate columns{more}",
            )

    def _refuse_absent(self, name: str, mapping: FileMapping) -> NoReturn:
        stated = mapping.columns[name].names or (name,)
        field = "label.column" if name == LABEL else f"columns.{name}.column"
        near = mapping_parser.nearest(stated[0], self._spelled) if self._is_table else self._other
        raise DataError(
            f"the file has no column {' or '.join(map(visible.visible, stated))}",
            where=f"mapping {mapping.title}, field {field}; {self.where}",
            expected="the name of a column of the file",
            hint=near or "correct the name, or remove the field if the file does not have this column",
        )

    def _refuse_without_label(self, mapping: FileMapping) -> NoReturn:
        raise DataError(
            "the mapping does not state the label",
            where=f"mapping {mapping.title}, field label; {self.where}",
            expected="label.column, label.disease and label.no_disease",
            hint="state which values of which column mean disease; it is never guessed",
        )


def not_ignored(mapping: FileMapping | None, names: Sequence[str]) -> Iterator[str]:
    """Yield the names of columns that a mapping does not ignore on purpose."""
    ignored = {plain(one) for one in mapping.ignored} if mapping else set()
    yield from (name for name in names if plain(name) not in ignored)


def expect_known_words(
    mapping: FileMapping, frame: pd.DataFrame, names: Sequence[str], positions: Mapping[str, int], *, where: str
) -> None:
    """Refuse a file in which a value without a code is too frequent to be a slip in single rows.

    Args:
        mapping: how the file is read.
        frame: (n, 14) as read.
        names: the header.
        positions: the result of ``locate``.
        where: the source, for messages.

    Raises:
        DataError: names the field of the mapping, the values and the nearest words.
    """
    allowed = contract.MAX_QUARANTINE_SHARE * len(frame)
    for name, counts in mapping.unknown_words(frame).items():
        frequent = counts[counts > allowed]
        if frequent.empty:
            continue
        field = "label" if name == LABEL else f"columns.{name}.codes"
        words = ", ".join(f"{visible.visible(str(word))} ({count} rows)" for word, count in frequent.head(5).items())
        known = list(mapping.columns[name].codes)
        raise DataError(
            f"the mapping has no code for {words}",
            where=f"mapping {mapping.title}, field {field}; {where}, column {visible.visible(names[positions[name]])}",
            expected=f"a code for each value; the mapping has {', '.join(map(visible.visible, known))}",
            hint=mapping_parser.nearest(str(frequent.index[0]), known) or f"add it to {field}, or to its missing",
        )

"""Makes a mapping from its text and checks it against the contract; what it leaves open is named and refused."""

import difflib
import math
from collections.abc import Collection, Iterable, Iterator
from typing import NoReturn

from heartline import contract, visible
from heartline.errors import DataError
from heartline.ingestion.formats import cells
from heartline.ingestion.mapping import file_mapping as mapping
from heartline.ingestion.mapping import text as mapping_text
from heartline.ingestion.mapping.file_mapping import BY_NAME, LABEL, ColumnMapping, FileMapping, key
from heartline.ingestion.mapping.text import Tree

_FIELDS = ("name", "description", "columns", "label", "ignore")
_COLUMN_FIELDS = ("column", "codes", "missing", "factor")
_LABEL_FIELDS = ("column", "disease", "no_disease", "missing")
_SHOWN = 10
_DISEASE = 1.0  # the code of a word that means disease and is no code of the contract itself


def parse(text: str, *, title: str) -> FileMapping:
    """Return the mapping that a YAML or JSON text states.

    Args:
        text: the mapping.
        title: its name or path, for messages.

    Raises:
        DataError: it cannot be parsed, leaves something open, or does not fit the contract; names the field.
    """
    return _Parser(title).mapping(mapping_text.parse(text, where=f"mapping {title}"))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the most similar of some names, or "" if none is similar."""
    by_plain = {mapping.plain(one): one for one in known}
    near = difflib.get_close_matches(mapping.plain(name), by_plain, n=1)
    return f"did you mean {by_plain[near[0]]}?" if near else ""


def codes_of(name: str) -> str:
    """Return the codes of a column of the contract with their meanings."""
    return ", ".join(f"{code} {meaning}" for code, meaning in BY_NAME[name].codes.items())


class _Parser:
    """Checks the tree of one mapping."""

    def __init__(self, title: str) -> None:
        self._title = title

    def mapping(self, tree: Tree) -> FileMapping:
        fields = self._fields(tree, "", _FIELDS)
        if isinstance(name := fields.get("name"), str) and not mapping.is_open(name):
            self._title = visible.visible(name)
        if found := list(_open(fields, "")):
            more = ", …" if len(found) > _SHOWN else ""
            self._refuse(
                f"{'1 field is' if len(found) == 1 else f'{len(found)} fields are'} left open",
                f"{', '.join(found[:_SHOWN])}{more}",
                "a value for each",
                "fill in each ?, or remove the line of a column that the file does not have",
            )
        columns = self._fields(fields.get("columns", {}), "columns", contract.FEATURE_NAMES)
        read = {name: self._feature(name, one) for name, one in columns.items()}
        if "label" in fields:
            read[LABEL] = self._label(fields["label"])
        if not read:
            self._refuse("the mapping states no column", "columns", "at least one column", "see docs/mapping.md")
        ignored = self._list(fields.get("ignore", []), "ignore")
        self._expect_one_use(read, ignored)
        order = {name: read[name] for name in contract.COLUMN_NAMES if name in read}
        return FileMapping(self._title, order, tuple(ignored))

    def _feature(self, name: str, tree: Tree) -> ColumnMapping:
        where = f"columns.{name}"
        if not isinstance(tree, dict):
            return ColumnMapping(tuple(self._list(tree, where)))
        given = self._fields(tree, where, _COLUMN_FIELDS)
        if "codes" in given and not BY_NAME[name].codes:
            self._refuse(f"{name} is a measurement and has no codes", f"{where}.codes", "no codes", "remove them")
        codes = {
            word: self._code(name, code, f"{where}.codes.{_shown(word)}")
            for word, code in self._dictionary(given.get("codes", {}), f"{where}.codes").items()
        }
        return self._column(where, given, codes, self._factor(name, given.get("factor", "1"), f"{where}.factor"))

    def _label(self, tree: Tree) -> ColumnMapping:
        given = self._fields(tree, "label", _LABEL_FIELDS)
        if lacking := [name for name in ("column", "disease", "no_disease") if not given.get(name)]:
            self._refuse(
                "the label is not stated completely",
                ", ".join(f"label.{name}" for name in lacking),
                "label.column, and the values that mean disease and no disease in it",
                "a label of 0 and 1 is written both ways round by people, so state it",
            )
        legal = {f"{code}": float(code) for code in BY_NAME[LABEL].codes if code}
        codes = {word: legal.get(key(word), _DISEASE) for word in self._list(given["disease"], "label.disease")}
        without = self._list(given["no_disease"], "label.no_disease")
        if both := [word for word in without if key(word) in map(key, codes)]:
            self._refuse(
                f"{_shown(both[0])} means both disease and no disease",
                "label.disease and label.no_disease",
                "each value in one of them",
                "remove it from one",
            )
        return self._column("label", given, codes | dict.fromkeys(without, 0.0), 1.0)

    def _column(self, where: str, given: dict[str, Tree], codes: dict[str, float], factor: float) -> ColumnMapping:
        missing = self._list(given.get("missing", []), f"{where}.missing")
        seen: dict[str, str] = {}
        for word in [*codes, *missing]:
            if key(word) in seen:
                self._refuse(
                    f"{_shown(word)} and {_shown(seen[key(word)])} are the same value, stated twice",
                    where,
                    "each value once, whatever its case",
                    "remove one",
                )
            seen[key(word)] = word
        return ColumnMapping(
            tuple(self._list(given.get("column", []), f"{where}.column")), codes, tuple(missing), factor
        )

    def _code(self, name: str, tree: Tree, where: str) -> float:
        if tree == mapping.MISSING:
            return math.nan
        number = cells.number(tree.strip()) if isinstance(tree, str) else None
        if number not in BY_NAME[name].codes or number is None:
            words = {meaning: code for code, meaning in BY_NAME[name].codes.items()}
            near = nearest(tree, words) if isinstance(tree, str) else ""
            self._refuse(
                f"{_shown(tree)} is not a code of {name}",
                where,
                f"{codes_of(name)}, or {mapping.MISSING}",
                near or "write one of these codes",
            )
        return number

    def _factor(self, name: str, tree: Tree, where: str) -> float:
        number = cells.number(tree.strip()) if isinstance(tree, str) else None
        if number is None or not 1e-6 <= number <= 1e6:
            self._refuse(f"{_shown(tree)} is not a factor", where, "a number above 0", "write it with a decimal point")
        if number != 1 and BY_NAME[name].kind != "measurement":
            self._refuse(f"{name} is not a measurement", where, "no factor", "remove it")
        return number

    def _expect_one_use(self, columns: dict[str, ColumnMapping], ignored: Collection[str]) -> None:
        used: dict[str, str] = {}
        for name, one in columns.items():
            field = "label" if name == LABEL else f"columns.{name}"
            for spelled in one.names or (name,):
                other = used.setdefault(mapping.plain(spelled), field)
                if other != field:
                    self._refuse(
                        f"the column {_shown(spelled)} of the file is used twice",
                        f"{other} and {field}",
                        "each column of the file for one column of the contract",
                        "correct one of them",
                    )
        for spelled in ignored:
            if mapping.plain(spelled) in used:
                self._refuse(
                    f"the column {_shown(spelled)} of the file is both used and ignored",
                    f"{used[mapping.plain(spelled)]} and ignore",
                    "one of them",
                    "remove it from ignore",
                )

    def _fields(self, tree: Tree, where: str, known: Collection[str]) -> dict[str, Tree]:
        given = self._dictionary(tree, where)
        for name in given:
            if name in known:
                continue
            label = name == LABEL and where == "columns"
            self._refuse(
                f"unknown {'column' if where == 'columns' else 'field'} {_shown(name)}",
                f"{where}.{_shown(name)}" if where else _shown(name),
                f"{', '.join(known)}",
                "state the label under label" if label else nearest(name, known) or "correct or remove it",
            )
        return given

    def _dictionary(self, tree: Tree, where: str) -> dict[str, Tree]:
        if tree == "":
            return {}
        if not isinstance(tree, dict):
            expected = "fields such as columns and label" if not where else "names with a value each"
            self._refuse(
                "this is not a mapping of names to values", where or "the whole text", expected, "see docs/mapping.md"
            )
        return tree

    def _list(self, tree: Tree, where: str) -> list[str]:
        listed = tree if isinstance(tree, list) else [tree]
        if not all(isinstance(one, str) for one in listed):
            self._refuse(
                "this is neither a value nor a list of values", where, "one value, or [one, two]", "correct it"
            )
        return [str(one).strip() for one in listed]

    def _refuse(self, what: str, field: str, expected: str, hint: str) -> NoReturn:
        raise DataError(what, where=f"mapping {self._title}, field {field}", expected=expected, hint=hint)


def _open(tree: Tree, where: str) -> Iterator[str]:
    """Yield the fields that are left open."""
    if isinstance(tree, dict):
        for name, one in tree.items():
            yield from _open(one, f"{where}.{_shown(name)}" if where else name)
    elif isinstance(tree, list):
        if any(mapping.is_open(one) for one in tree):
            yield where
    elif mapping.is_open(tree):
        yield where


def _shown(value: Tree) -> str:
    text = value if isinstance(value, str) else "a list" if isinstance(value, list) else "a group of fields"
    return visible.visible(text)

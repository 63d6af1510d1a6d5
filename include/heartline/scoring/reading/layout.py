"""Which columns of an input are the model's fields, which are its own, and how the cells are read."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from heartline import visible
from heartline.errors import DataError, ParameterError
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ingestion.mapping import layout as mapping_layout
from heartline.ingestion.mapping import parser as mapping_parser
from heartline.ingestion.mapping.file_mapping import FileMapping, plain
from heartline.scoring.record_contract import RecordContract

TEXT, TYPED, JSON = "text", "typed", "json"
CONTRACT, KAGGLE = "contract", "kaggle"
ENCODINGS = {
    CONTRACT: "the codes of the model's contract, or those that the mapping makes of the file's",
    KAGGLE: "the codes of Kaggle's `heart.csv`",
}
RESULTS = ("row", "probability", "has_heart_disease", "imputed", "version", "snapshot", "reason", "errors")
"""The columns of the output beside the input's own."""


@dataclass(frozen=True)
class Layout:
    """How the rows of an input are read. It is plain data: a task hands it over to others.

    Attributes:
        kind: ``text`` for cells that are text, as of CSV; ``typed`` for cells of Arrow's types; ``json`` for JSON.
        names: of all columns.
        features: the position of each field of the model's contract that the input has.
        keys: the position of each own column, and its name in the output.
        mapping: how the cells become the contract's, YAML; "" without one.
        mapping_title: its name for messages.
        encoding: a key of ``ENCODINGS``.
        where: the input, for messages.
    """

    kind: str
    names: tuple[str, ...]
    features: dict[str, int]
    keys: tuple[tuple[int, str], ...]
    mapping: str
    mapping_title: str
    encoding: str
    where: str

    def as_dict(self) -> dict[str, Any]:
        """Return the layout as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Layout":
        """Return the layout that ``as_dict`` returned, also after a way through JSON."""
        keys = tuple((int(position), str(name)) for position, name in given["keys"])
        return cls(**{**given, "names": tuple(given["names"]), "keys": keys})

    def file_mapping(self) -> FileMapping | None:
        """Return the mapping, parsed."""
        return mapping_parser.parse(self.mapping, title=self.mapping_title) if self.mapping else None


@dataclass(frozen=True)
class Wanted:
    """What a run states about its input.

    Attributes:
        contract: of the model.
        mapping: how the columns, words and units become the contract's, or None.
        keys: names of the input's columns that the output repeats; None for all that the contract does not have.
        encoding: a key of ``ENCODINGS``.
    """

    contract: RecordContract
    mapping: FileMapping | None = None
    keys: tuple[str, ...] | None = None
    encoding: str = CONTRACT

    def layout(self, kind: str, names: Sequence[str], *, where: str, other: str = "") -> Layout:
        """Return how an input with these columns is read.

        Args:
            kind: of its cells.
            names: of its columns, as spelled.
            where: the input, for messages.
            other: how another table of the source is read, for messages.

        Raises:
            DataError: this is no table of records, it lacks a field that each record must have, or the mapping does
                not fit it.
            ParameterError: it lacks a column that ``keys`` names.
        """
        found = self._as_spelled(names) if kind == JSON else None
        if found is None:
            found = self._located(names, where, other)
        absent = [name for name in self.contract.required() if name not in found]
        if absent:
            raise DataError(
                f"the records have no {' and no '.join(absent)}: each of them would be refused",
                where=f"{where}, whose columns are: {visible.listed(names, items=20)}",
                expected=f"the columns {', '.join(self.contract.required())}",
                hint="add the columns, or state their names with a mapping: ./heartline mapping FILE writes one",
            )
        return Layout(
            kind,
            tuple(names),
            found,
            self._keys(names, set(found.values()), where),
            self.mapping.text() if self.mapping else "",
            self.mapping.title if self.mapping else "",
            self.encoding,
            where,
        )

    def _as_spelled(self, names: Sequence[str]) -> dict[str, int] | None:
        """Return the fields that have the contract's names to the letter, as in the service; None if one is missing."""
        if not set(self.contract.required()) <= set(names):
            return None
        return {name: names.index(name) for name in self.contract.features if name in names}

    def _located(self, names: Sequence[str], where: str, other: str) -> dict[str, int]:
        try:
            return mapping_layout.locate(names, self.mapping, where=where, other=other, columns=self.contract.features)
        except DataError as error:
            raise self._with_shipped(error, names) from None

    def _with_shipped(self, error: DataError, names: Sequence[str]) -> DataError:
        """Return the error, with the shipped mapping in its hint whose columns these are."""
        if self.mapping:
            return error
        given = {plain(name) for name in names}
        fitting = [
            one.title
            for one in mapping_catalog.shipped()
            if all(
                given & {plain(name) for name in one.columns[feature].names}
                for feature in self.contract.features
                if feature in one.columns
            )
        ]
        if not fitting or {*self.contract.required()} <= given:
            return error
        hint = f"the shipped mapping {' or '.join(fitting)} has these columns: state it as mapping"
        return DataError(error.what, where=error.where, expected=error.expected, hint=hint)

    def _keys(self, names: Sequence[str], used: set[int], where: str) -> tuple[tuple[int, str], ...]:
        if self.keys is None:
            positions = [at for at in range(len(names)) if at not in used]
        else:
            places = {plain(name): at for at, name in reversed(list(enumerate(names)))}
            missing = [name for name in self.keys if plain(name) not in places]
            if missing:
                raise ParameterError(
                    f"the input has no column {visible.listed(missing)}",
                    where=f"parameter keys; {where}, whose columns are: {visible.listed(names, items=20)}",
                    expected="names of the input's columns",
                    hint="correct the names, or leave keys out to keep every column that the contract does not have",
                )
            positions = list(dict.fromkeys(places[plain(name)] for name in self.keys))
        return tuple(zip(positions, _distinct([names[at] for at in positions]), strict=True))


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names for the output: one that the output has already gets ``input_`` in front, or a number behind."""
    taken = set(RESULTS)
    found = []
    for name in names:
        new = f"input_{name}" if name.lower() in RESULTS else name
        count = 1
        while new.lower() in taken:
            count += 1
            new = f"{name}_{count}"
        taken.add(new.lower())
        found.append(new)
    return found


def key_names(given: str | None) -> tuple[str, ...] | None:
    """Return the names in the parameter ``keys``: separated by commas, or a JSON list; None if it is not set.

    Raises:
        ParameterError: it is a JSON value of another form.
    """
    if given is None:
        return None
    if not given.strip().startswith("["):
        return tuple(name.strip() for name in given.split(",") if name.strip())
    try:
        found = json.loads(given)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ParameterError(
            f"keys is no list of names: {visible.visible(given)}",
            where="parameter keys",
            expected='names separated by commas, or a JSON list such as ["patient id", "visit"]; [] for none',
            hint="correct it, or leave it out to keep every column that the contract does not have",
        )
    return tuple(found)

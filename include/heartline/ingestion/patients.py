"""The column of a source that identifies the patient, and its values as keys: hashed with a secret of the stack.

A value leaves this module as 64 bits only. It is in no file, log, message or model.
"""

import hmac
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from heartline import contract, origins, visible
from heartline.arrays import Hashes
from heartline.errors import DataError, SourceRefusedError
from heartline.ingestion import source_catalog
from heartline.ingestion.formats import cells
from heartline.ingestion.mapping.file_mapping import plain

NO_KEY = 0  # of a row without a value
NOT_SHOWN = "not shown: the row may identify a patient"
MIN_ROWS_SHOWN = 3  # with a text that is no value of its column: rarer ones may identify a patient, as in a shifted row
MIN_SECRET = 32  # characters: fewer could be guessed, and with them the values
MIN_PATIENTS = 50  # different values: fewer are groups of patients, such as hospitals or sexes

_MISSING = {*cells.MISSING, f"{cells.MINUS_NINE:g}"}
_WHOLE = re.compile(r"0*([0-9]+)(?:\.0*)?")
_SHOWN_NAMES = 20


@dataclass(frozen=True)
class PatientColumn:
    """The column that identifies the patient.

    Attributes:
        name: as the source writes it; case and surplus blanks do not matter.
        secret: of the stack, with which values are hashed.
    """

    name: str
    secret: str = field(repr=False)

    def expect_secret(self) -> None:
        """Raise if values cannot be hashed.

        Raises:
            SourceRefusedError: this process has no secret, or one that could be guessed.
        """
        if len(self.secret) < MIN_SECRET:
            raise SourceRefusedError(
                "patients cannot be told apart: this process has no secret to hash them with",
                where=f"parameter patient, setting {source_catalog.PATIENT_SECRET}",
                expected=f"the secret that the stack generates, at least {MIN_SECRET} characters",
                hint="restart the stack: ./heartline up; with docker compose ./heartline init, then "
                "docker compose up --wait",
            )

    def locate(self, names: Sequence[str], columns: Mapping[str, int], *, where: str, header: bool = True) -> int:
        """Return the position of the column among the names of a source.

        Args:
            names: of the source's columns.
            columns: the positions of the contract's columns among them.
            where: the source, for messages.
            header: whether the source has names.

        Raises:
            DataError: there is no such column, there are several, or it is one of the contract.
        """
        found = [at for at, name in enumerate(names) if name == self.name]
        found = found or [at for at, name in enumerate(names) if plain(name) == plain(self.name)]
        shown = visible.visible(self.name)
        if len(found) == 1 and found[0] not in columns.values():
            return found[0]
        what = f"the source has no column {shown} for the patients"
        hint = "correct the parameter patient, or add the column to the file or query"
        if len(found) > 1:
            what, hint = f"the source has {len(found)} columns {shown}", "rename the one that is not meant"
        elif found:
            (feature,) = (name for name, at in columns.items() if at == found[0])
            what = f"the column {shown} cannot identify patients: it is {feature} of the contract"
            hint = "name a column with the number of the patient, or leave the parameter patient out"
        listed = visible.listed(
            (name for at, name in enumerate(names) if at not in columns.values()), items=_SHOWN_NAMES
        )
        others = f"the columns beside the contract's are: {listed}" if listed else "it has the contract's columns only"
        raise DataError(
            what,
            where=f"parameter patient; {where}; {others if header else 'it has no header'}",
            expected="the name of one column that identifies the patient",
            hint=hint,
        )

    def keys(self, column: pa.Array) -> Hashes:
        """Return the key (n,) of each cell: HMAC-SHA256 of its text, cut to 64 bits; ``NO_KEY`` for a missing one.

        RFC 2104. Each distinct text is hashed once. Two of ten million patients have the same key with a probability
        of 3 in a million.

        Args:
            column: (n,) text, numbers, booleans or dates.

        Raises:
            pa.ArrowInvalid, pa.ArrowNotImplementedError: the type cannot be text.
        """
        values = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        secret = self.secret.encode()
        found = [_key(text, secret) for text in _texts(values.dictionary)]
        table = np.array([*found, NO_KEY], dtype=np.uint64)
        keys: Hashes = table[values.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)]
        return keys


def hidden(texts: Iterable[str]) -> set[str]:
    """Return which texts may identify a patient: those of fewer than ``MIN_ROWS_SHOWN`` rows.

    Args:
        texts: of the cells of one column that hold no value of it.
    """
    return {text for text, rows in Counter(texts).items() if rows < MIN_ROWS_SHOWN}


def _key(text: str | None, secret: bytes) -> int:
    known = normal(text or "")
    if known in _MISSING:
        return NO_KEY
    return int.from_bytes(hmac.digest(secret, known.encode(), "sha256")[:8], "big") or 1


def normal(text: str) -> str:
    """Return what a patient's value is compared by, so that 1, 1.0, "01" and " 1 " are the same patient.

    Unicode's compatibility form (NFKC), without case and surplus blanks; of a whole number its digits, without zeros
    in front and behind the point. Digits are not calculated with, so that long numbers stay different.
    """
    words = " ".join(unicodedata.normalize("NFKC", text).split()).casefold()
    number = _WHOLE.fullmatch(words)
    return number[1] if number else words


def _texts(distinct: pa.Array) -> list[str | None]:
    """Return the texts of distinct cells, whole numbers without an exponent."""
    if pa.types.is_floating(distinct.type):
        return [None if value is None else _number(float(value)) for value in distinct.to_pylist()]
    texts: list[str | None] = distinct.cast(pa.large_string()).to_pylist()
    return texts


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else repr(value)


def of_nightly(source: str) -> str:
    """Return the patients' column of the nightly runs (``HEARTLINE_PATIENT``) if ``source`` is theirs; else ""."""
    theirs = os.environ.get("HEARTLINE_SOURCE") or origins.SAMPLE
    return os.environ.get(source_catalog.PATIENT_SETTING, "") if source == theirs else ""


def expect_patients(keys: Hashes, name: str, *, where: str) -> None:
    """Refuse keys that are those of no patients: none at all, or too few.

    Args:
        keys: (n,) of the rows.
        name: of the column.
        where: the source, for messages.

    Raises:
        DataError: no row has a value, or there are few different ones.
    """
    known = keys[keys != NO_KEY]
    distinct = len(np.unique(known))
    if distinct >= MIN_PATIENTS or len(keys) < contract.MIN_ROWS:  # a set that small is refused by the checkpoint
        return
    shown = visible.visible(name)
    raise DataError(
        f"the column {shown} does not identify patients: it has {distinct} different values in {len(keys):,} rows"
        if len(known)
        else f"the column {shown} does not identify patients: no row has a value",
        where=f"parameter patient; {where}",
        expected=f"at least {MIN_PATIENTS} patients",
        hint="name a column with the number of the patient, or leave the parameter patient out",
    )

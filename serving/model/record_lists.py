"""Lists of records: decoded and validated column by column, at half the cost of one record after the other.

Only a complete list of valid records is accepted here. Everything else is left to ``records``, which reports errors.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

# What this module knows of JSON Schema; a contract with other keywords is validated record by record.
_OF_A_FIELD = {"type", "enum", "minimum", "maximum", "title", "description", "examples", "default"}
_NUMBER = int | float | None | UnsetType
_OF_A_RECORD = {"$schema", "$id", "title", "description", "type", "properties", "required", "additionalProperties"}


class ListDecoder:
    """Decodes and validates lists of records of one contract.

    Args:
        schema: JSON Schema of a record, as ``records.Contract`` accepts it.
        features: the names of its fields, in the order of the model's input.
    """

    def __init__(self, schema: Mapping[str, Any], features: Sequence[str]) -> None:
        fields = [_Field(schema["properties"][name]) for name in features]
        required = set(schema["required"])
        kind = msgspec.defstruct(
            "Record",
            [(name, _NUMBER) if name in required else (name, _NUMBER, UNSET) for name in features],
            forbid_unknown_fields=True,
            gc=False,
            kw_only=True,
        )
        self._decoder: Any = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self._minimum = np.array([field.minimum for field in fields])
        self._maximum = np.array([field.maximum for field in fields])
        self._nullable = np.array([field.nullable for field in fields])
        self._whole = np.array([field.whole for field in fields])
        # codes without gaps are whole numbers within limits
        self._codes = [(column, field.codes) for column, field in enumerate(fields) if field.codes is not None]

    @staticmethod
    def supports(schema: Mapping[str, Any]) -> bool:
        """Return whether this class knows every keyword of ``schema``."""
        known = all(
            name.startswith("x-") or name in _OF_A_FIELD for field in schema["properties"].values() for name in field
        )
        return known and all(name.startswith("x-") or name in _OF_A_RECORD for name in schema)

    def decode(self, body: bytes) -> tuple[list[Any], NDArray[np.float32]] | None:
        """Return the records in ``body`` and the model's input, float32 (n, features), NaN where a value is missing.

        Returns:
            None if ``body`` is not a list of at least one record, all of them valid.
        """
        try:
            found = self._decoder.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        # The decoder keeps the last of several equal keys without an error. All values are numbers or null, so every
        # quote belongs to a key: with a repeated key there are more than the fields that are set.
        absent = len(self._whole) * len(found) - _count(body, b'"') // 2
        if not found or absent < 0:
            return None
        try:
            values = self._values(found, absent)
        except (TypeError, OverflowError):  # a repeated key beside an absent one; an integer of hundreds of digits
            return None
        return (found, values.astype(np.float32)) if self._accepts(values) else None

    def _values(self, found: list[Any], absent: int) -> NDArray[np.float64]:
        rows = list(map(msgspec.structs.astuple, found))
        if absent:
            if sum(row.count(UNSET) for row in rows) != absent:
                raise TypeError
            rows = [tuple(None if value is UNSET else value for value in row) if UNSET in row else row for row in rows]
        return np.array(rows, dtype=np.float64)

    def _accepts(self, values: NDArray[np.float64]) -> bool:
        missing = np.isnan(values)
        allowed = (values >= self._minimum) & (values <= self._maximum) | missing & self._nullable
        if not allowed.all():
            return False
        whole = values[:, self._whole]
        if not ((whole == np.rint(whole)) | missing[:, self._whole]).all():
            return False
        return all((np.isin(values[:, column], codes) | missing[:, column]).all() for column, codes in self._codes)


def _count(body: bytes, character: bytes) -> int:
    """Return how often ``character`` occurs: faster than ``bytes.count`` where it is frequent."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


class _Field:
    """What the schema of one field says, in numbers."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        kinds = schema.get("type", ())
        kinds = {kinds} if isinstance(kinds, str) else set(kinds)
        listed = schema.get("enum")
        codes = sorted({float(code) for code in listed if code is not None}) if listed is not None else []
        self.nullable = None in listed if listed is not None else "null" in kinds
        self.whole = all(map(float.is_integer, codes)) if listed is not None else "number" not in kinds
        self.minimum = codes[0] if codes else schema["minimum"]
        self.maximum = codes[-1] if codes else schema["maximum"]
        gaps = bool(codes) and codes != list(np.arange(codes[0], codes[-1] + 1))
        self.codes = codes if gaps else None

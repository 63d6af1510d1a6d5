"""The contract that a model carries, checked on whole columns: the same records pass as in the service.

Reasons have the words of the service's problem details (``serving/model/records.py``). No code is shared: a test
compares both.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heartline.arrays import Flags
from heartline.errors import RegistryRefusedError
from heartline.scoring.reading.fields import NOT_ALLOWED, Field

MISSING = "the field is missing"
UNKNOWN = "the contract has no such field"
SHOWN_CHARACTERS = 100
_PATTERNS = 256  # of missing values, above which those that do not occur are dropped
_EXACT = 2**53  # larger whole numbers are shown as text, as JSON readers would round them

Error = dict[str, Any]
"""One bad field: pointer, detail, allowed, and value where there is one."""


@dataclass(frozen=True, eq=False)
class Checked:
    """Records after the check.

    Attributes:
        matrix: (n, features) float32, the model's input; NaN where a value is missing. Rows of refused records are of
            no use.
        refused: (n,) whether each record is refused.
        errors: by position the bad fields of each refused record, in the contract's order.
    """

    matrix: NDArray[np.float32]
    refused: Flags
    errors: Mapping[int, list[Error]]


class _Rule:
    """What the schema of one field says."""

    def __init__(self, name: str, schema: Mapping[str, Any], required: bool) -> None:
        self.name = name
        kinds = schema.get("type", ())
        kinds = {kinds} if isinstance(kinds, str) else set(kinds)
        self.codes = sorted({float(one) for one in schema["enum"] if one is not None}) if "enum" in schema else None
        self.nullable = None in schema["enum"] if "enum" in schema else "null" in kinds
        self.required = required
        if self.codes is not None:
            self.low, self.high = self.codes[0], self.codes[-1]
            self.whole = all(one.is_integer() for one in self.codes)
            gapless = self.whole and len(self.codes) == self.high - self.low + 1
            self.listed = None if gapless else np.array(self.codes)
        else:
            if not kinds & {"integer", "number"}:
                raise KeyError("type")
            self.low, self.high = float(schema["minimum"]), float(schema["maximum"])
            self.whole = "number" not in kinds
            self.listed = None
        self.allowed = _described(schema, self.nullable)

    def refused(self, field: Field) -> Flags:
        """Return (n,) whether the contract refuses each cell."""
        values = field.values
        with np.errstate(invalid="ignore"):
            bad: Flags = (values < self.low) | (values > self.high)
            if self.whole:
                bad |= values != np.rint(values)  # NaN differs from itself
            if self.listed is not None:
                bad |= ~np.isin(values, self.listed)
        missing = np.isnan(values)
        if missing.any():
            bad[missing] = self.required
            bad[field.nulls] = not self.nullable
        bad[field.wrong] = True
        return bad


class RecordContract:
    """The contract of one model.

    Args:
        schema: the bundle's ``contract.json``: JSON Schema of a record, with ``x-features`` and ``x-version``.

    Raises:
        RegistryRefusedError: it is something else.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            self.features: tuple[str, ...] = tuple(schema["x-features"])
            self.version = str(schema["x-version"])
            required = set(schema["required"])
            self._rules = [_Rule(name, schema["properties"][name], name in required) for name in self.features]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RegistryRefusedError(
                f"the contract of the version cannot be used: {error}",
                where="contract.json of the version",
                expected="the JSON Schema of a record, with limits or codes for each field",
                hint="train again, or score with another version",
            ) from None

    def required(self) -> list[str]:
        """Return the names of the fields that each record must have."""
        return [one.name for one in self._rules if one.required]

    def check(
        self, fields: Mapping[str, Field], count: int, unknown: Mapping[int, Mapping[str, Any]] | None = None
    ) -> Checked:
        """Check records.

        Args:
            fields: the contract's fields by name; one that is not there is absent in all records.
            count: the number of records.
            unknown: by position the fields of a record that the contract does not have.
        """
        matrix = np.empty((count, len(self._rules)), np.float32)
        refused = np.zeros(count, np.bool_)
        bad: list[tuple[_Rule, Flags]] = []
        for column, rule in enumerate(self._rules):
            field = fields.get(rule.name)
            if field is None:
                matrix[:, column] = np.nan
                found = np.full(count, rule.required)
            else:
                with np.errstate(over="ignore"):
                    matrix[:, column] = field.values
                found = rule.refused(field)
            if found.any():
                refused |= found
                bad.append((rule, found))
        errors: dict[int, list[Error]] = {}
        for rule, found in bad:
            self._add(errors, rule, fields.get(rule.name), found)
        for position, extra in (unknown or {}).items():
            errors.setdefault(position, []).extend(self._unknown(extra))
            refused[position] = True
        return Checked(matrix, refused, errors)

    def imputed(self, matrix: NDArray[np.float32]) -> tuple[NDArray[np.int32], list[str]]:
        """Return which fields the model imputes: for each row a position in the list of texts, and that list."""
        missing = np.isnan(matrix)
        columns = np.flatnonzero(missing.any(axis=0))
        places: NDArray[np.int32] = np.zeros(len(matrix), np.int32)
        patterns: list[tuple[str, ...]] = [()]
        for column in columns:  # each column splits the patterns of those before it
            places += missing[:, column] * np.int32(len(patterns))
            patterns += [(*one, self.features[column]) for one in patterns]
            if len(patterns) > _PATTERNS:
                used, inverse = np.unique(places, return_inverse=True)
                places = inverse.astype(np.int32)
                patterns = [patterns[one] for one in used]
        return places, [" ".join(one) for one in patterns]

    @staticmethod
    def _add(errors: dict[int, list[Error]], rule: _Rule, field: Field | None, found: Flags) -> None:
        wrong = set() if field is None else set(field.wrong.tolist())
        nulls = set() if field is None else set(field.nulls.tolist())
        for position in np.flatnonzero(found).tolist():
            error: Error = {"pointer": pointer(rule.name), "detail": NOT_ALLOWED, "allowed": rule.allowed}
            if field is None or (np.isnan(field.values[position]) and position not in wrong and position not in nulls):
                error["detail"] = MISSING
            else:
                error["detail"] = field.detail if position in wrong else NOT_ALLOWED
                error["value"] = shown(None if position in nulls else field.original(position))
            errors.setdefault(position, []).append(error)

    def _unknown(self, extra: Mapping[str, Any]) -> Iterable[Error]:
        allowed = f"only {', '.join(self.features)}"
        return (
            {"pointer": pointer(name), "detail": UNKNOWN, "allowed": allowed, "value": shown(value)}
            for name, value in extra.items()
        )


def sentence(errors: Iterable[Error]) -> str:
    """Return bad fields as one sentence: the field and what is wrong, as ``errors`` has them."""
    return "; ".join(f"{one['pointer'].removeprefix('/') or 'record'}: {one['detail']}" for one in errors)


def shown(value: Any) -> Any:
    """Return a value in a form that an error may repeat: short, and valid JSON."""
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < _EXACT):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode(errors="replace").decode()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def pointer(name: str) -> str:
    """Return the JSON pointer (RFC 6901) to a field of a record."""
    return f"/{shown(name.replace('~', '~0').replace('/', '~1'))}"


def _described(schema: Mapping[str, Any], nullable: bool) -> str:
    if "enum" in schema:
        labels = schema.get("x-codes", {})
        codes = [code for code in schema["enum"] if code is not None]
        text = ", ".join(f"{code} ({labels[str(code)]})" if str(code) in labels else str(code) for code in codes)
    else:
        kind = "whole number" if "integer" in schema["type"] else "number"
        unit = f" {schema['x-unit']}" if schema.get("x-unit") else ""
        text = f"a {kind} from {schema['minimum']} to {schema['maximum']}{unit}"
    return f"{text}, or null" if nullable else text

"""Records: strict parsing, validation against the served model's contract, conversion to its input matrix."""

import json
import math
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import jsonschema_rs
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from serving.model.record_lists import ListDecoder

Record = dict[str, int | float | None]
Matrix = NDArray[np.float32]

SHOWN_CHARACTERS = 100
MAX_ERRORS = 500  # in one response; a body of the maximum size could have a million


class MalformedError(Exception):
    """A body that is not unambiguous JSON or CSV; the text says where."""


class ContractError(Exception):
    """A contract that cannot be used for validation; the text says why."""


class FieldError(msgspec.Struct, omit_defaults=True):
    """One bad field, or the number of bad fields that are left out."""

    pointer: Annotated[str, Meta(description="JSON pointer (RFC 6901) to the field in the body.")]
    detail: Annotated[str, Meta(description="What is wrong.")]
    allowed: Annotated[str, Meta(description="What the field may hold.")]
    value: Annotated[Any, Meta(description="What the field holds; absent if the field is missing.")] = msgspec.UNSET


def parse(body: bytes) -> Any:
    """Return the JSON value in ``body``.

    Raises:
        MalformedError: it is not JSON in UTF-8, a number is not finite, or a key occurs twice.
    """
    found = parse_fast(body)
    return _strict(body) if found is None else found


def parse_fast(body: bytes) -> list[Record] | Record | None:
    """Return the records in ``body`` in a quarter of the time; None where the strict parser must decide.

    The fast decoder keeps the last of several equal keys without an error. All values are numbers or null, so every
    quote belongs to a key: if there are more than two quotes per key, a key was repeated.
    """
    try:
        found = _FAST.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    keys = len(found) if isinstance(found, dict) else sum(map(len, found))
    return found if body.count(b'"') == 2 * keys else None


def _strict(body: bytes) -> Any:
    if b"\0" in body[:4] or body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise MalformedError("the body is in UTF-16 or UTF-32, not in UTF-8")
    if not body.strip():
        raise MalformedError("the body is empty")
    try:
        return _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise MalformedError("the body is nested too deeply") from None
    except ValueError:  # Python refuses to read integers of more than some thousand digits
        raise MalformedError("a number has too many digits") from None


def count_containers(body: bytes, limit: int) -> int:
    """Return the number of objects and arrays in the JSON of ``body``, without parsing it.

    Brackets inside strings are counted too, as long as the sum does not exceed ``limit``.
    """
    found = body.count(b"{") + body.count(b"[")
    if found <= limit:
        return found
    tokens = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHER_BYTES)
    return sum(map(len, tokens.split(b'"')[::2]))  # every other part is inside a string


class Contract:
    """The contract of one model: the JSON Schema of a record, and the order of the model's input columns.

    Args:
        schema: JSON Schema 2020-12 of a flat record of numbers, with ``x-features`` and ``x-version``.

    Raises:
        ContractError: the schema is something else.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            self._validator = jsonschema_rs.Draft202012Validator(dict(schema), retriever=_refuse_to_fetch)
            self.properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
            self.features: tuple[str, ...] = tuple(schema["x-features"])
            self.version = str(schema["x-version"])
            required = schema["required"]
        except KeyError as error:
            raise ContractError(f"{error.args[0]} is missing") from error
        except (TypeError, ValueError) as error:
            raise ContractError(str(error).partition("\n")[0]) from error
        if sorted(self.features) != sorted(self.properties):
            raise ContractError("x-features and properties name different fields")
        if schema.get("additionalProperties") is not False:
            raise ContractError("it allows unknown fields")
        for name in self.features:
            if not _is_bounded_number(self.properties[name]):
                raise ContractError(f"{name} is not a number with limits or codes")
        self.schema = schema
        self._list_validator = jsonschema_rs.Draft202012Validator(
            {"type": "array", "items": dict(schema)}, retriever=_refuse_to_fetch
        )
        self._lists = ListDecoder(schema, self.features) if ListDecoder.supports(schema) else None
        self.optional = tuple(
            name for name in self.features if name not in required or _may_be_null(self.properties[name])
        )
        self.nullable = frozenset(name for name in self.features if _may_be_null(self.properties[name]))
        self._allowed = {name: _describe(self.properties[name]) for name in self.features}

    def errors(self, record: Any, pointer: str = "", limit: int = MAX_ERRORS) -> list[FieldError]:
        """Return the bad fields of ``record``, in the contract's order; unknown fields come last.

        Args:
            record: any JSON value.
            pointer: JSON pointer of the record in the body.
            limit: maximum number of entries; beyond it, the last entry says how many fields are left out.
        """
        if not isinstance(record, dict):
            fields = ", ".join(self.features)
            return [FieldError(pointer, "a record is an object", f"an object with the fields {fields}", shown(record))]
        if _accepts(self._validator, record):
            return []
        # No string or container is valid, so none reaches the validator: some cannot be converted for it.
        known = {name: value if _is_scalar(value) else "" for name, value in record.items() if name in self.properties}
        bad: dict[str, FieldError] = {}
        for error in self._validator.iter_errors(known):
            name = _field_of(error)
            bad.setdefault(name, self._field_error(record, name, pointer, error.message))
        found = [bad[name] for name in ("", *self.features) if name in bad]
        fields = ", ".join(self.features)
        unknown = [name for name in record if name not in self.properties]
        named = unknown[: max(limit - len(found), 0)]
        found += [
            FieldError(join(pointer, name), "the contract has no such field", f"only {fields}", shown(record[name]))
            for name in named
        ]
        if more := len(unknown) - len(named):
            found.append(FieldError(pointer, f"the contract has no such field: {more} more of them", f"only {fields}"))
        return found

    def list_errors(self, records: Sequence[Any]) -> list[FieldError]:
        """Return the bad fields of a list of records.

        Beyond ``MAX_ERRORS``, the last entry says how many of the remaining records have bad fields.
        """
        if self.allows(list(records)):
            return []
        found: list[FieldError] = []
        for row, record in enumerate(records):
            found += self.errors(record, f"/{row}", MAX_ERRORS - len(found))
            if len(found) >= MAX_ERRORS:
                more = sum(not _accepts(self._validator, other) for other in records[row + 1 :])
                allowed = "records as the contract describes them"
                return [*found, FieldError("", f"bad fields in {more} more records", allowed)] if more else found
        return found

    def allows(self, body: Record | list[Record]) -> bool:
        """Return whether ``body``, a record or a list of records, is valid."""
        return _accepts(self._validator if isinstance(body, dict) else self._list_validator, body)

    def decode_list(self, body: bytes) -> tuple[Sequence[Any], Matrix] | None:
        """Return the records in the JSON list ``body``, encodable as JSON, and the model's input for them.

        Returns:
            None if it is not a list of valid records, or if the contract is validated record by record only.
        """
        return self._lists.decode(body) if self._lists else None

    def imputed(self, matrix: Matrix) -> list[list[str]]:
        """Return the names of the features that the model imputes, for each row of its input."""
        nothing: list[str] = []  # shared, because most rows are complete
        found = [nothing] * len(matrix)
        for row, column in zip(*np.nonzero(np.isnan(matrix)), strict=True):
            found[row] = [*found[row], self.features[column]]
        return found

    def matrix(self, records: Sequence[Record]) -> Matrix:
        """Return valid records as the model's input, float32 (n, features), NaN where a value is missing."""
        try:
            values = [record[name] for record in records for name in self.features]
        except KeyError:  # an optional field is absent: takes twice the time
            values = [record.get(name) for record in records for name in self.features]
        return np.array(values, dtype=np.float32).reshape(len(records), len(self.features))

    def _field_error(self, record: dict[str, Any], name: str, pointer: str, message: str) -> FieldError:
        if not name:
            return FieldError(pointer, message, "a record as the contract describes it")
        if name not in record:
            return FieldError(join(pointer, name), "the field is missing", self._allowed[name])
        return FieldError(join(pointer, name), "the value is not allowed", self._allowed[name], shown(record[name]))


def _accepts(validator: jsonschema_rs.Draft202012Validator, value: Any) -> bool:
    try:
        return validator.is_valid(value)
    except ValueError:  # nested too deeply, or a string that UTF-8 cannot hold
        return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedError(f"the key {shown(twice)!r} occurs twice in one object")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise MalformedError(f"the number {shown(digits)} is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise MalformedError(f"{name} is not a JSON number")


_OTHER_BYTES = bytes(set(range(256)) - set(b'"{['))
_FAST = msgspec.json.Decoder(Record | list[Record])
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_constant)


def _refuse_to_fetch(uri: str) -> NoReturn:
    raise ValueError(f"it refers to {uri}, outside itself")


def _field_of(error: jsonschema_rs.ValidationError) -> str:
    """Return the field of ``error``; empty where the error concerns the record itself."""
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        return error.kind.property
    return str(error.instance_path[0]) if error.instance_path else ""


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _is_bounded_number(field: Mapping[str, Any]) -> bool:
    if "enum" in field:
        return all(isinstance(code, int | float) or code is None for code in field["enum"])
    kinds = field.get("type")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds or ())
    return (
        bool(kinds & {"number", "integer"})
        and kinds <= {"number", "integer", "null"}
        and {
            "minimum",
            "maximum",
        }
        <= set(field)
    )


def _describe(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        labels = field.get("x-codes", {})
        codes = [code for code in field["enum"] if code is not None]
        texts = [f"{code} ({labels[str(code)]})" if str(code) in labels else str(code) for code in codes]
        text = ", ".join(texts)
    else:
        kind = "whole number" if "integer" in field["type"] else "number"
        unit = f" {field['x-unit']}" if field.get("x-unit") else ""
        text = f"a {kind} from {field['minimum']} to {field['maximum']}{unit}"
    return f"{text}, or null" if _may_be_null(field) else text


def _may_be_null(field: Mapping[str, Any]) -> bool:
    return None in field["enum"] if "enum" in field else "null" in field["type"]


def shown(value: Any) -> Any:
    """Return ``value`` in a form that an error may repeat: short, and valid JSON."""
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**53):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.encode(errors="replace").decode()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def join(pointer: str, name: str) -> str:
    """Return the JSON pointer to a field of the value at ``pointer``."""
    return f"{pointer}/{shown(name.replace('~', '~0').replace('/', '~1'))}"

"""Example records made from a contract, for the OpenAPI document, its page, and the Postman collection."""

from collections.abc import Mapping, Sequence
from typing import Any

OBSERVED = "2026-03-02T09:30:00+01:00"


def example_record(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a valid record of the contract ``schema`` with every field, in the order of its features."""
    return {name: _example(schema["properties"][name]) for name in schema["x-features"]}


def example_outcome(prediction_id: str) -> dict[str, Any]:
    """Return a valid outcome of a prediction."""
    return {"prediction_id": prediction_id, "outcome": 1, "num": 2, "observed_at": OBSERVED, "source": "angiography"}


def required_only(schema: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``record`` without optional fields."""
    return {name: value for name, value in record.items() if name in schema["required"]}


def invalid(schema: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of a field, and ``record`` with an invalid value in it."""
    name = schema["x-features"][0]
    field = schema["properties"][name]
    limits = [code for code in field["enum"] if code is not None] if "enum" in field else [field["maximum"]]
    return name, {**record, name: max(limits) + 1}


def csv_of(records: Sequence[Mapping[str, Any]]) -> str:
    """Return ``records`` as CSV with a header; a missing value is an empty cell."""
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = [[record.get(name) for name in names] for record in records]
    lines = [names, *([("" if value is None else str(value)) for value in row] for row in rows)]
    return "".join(",".join(line) + "\n" for line in lines)


def _example(field: Mapping[str, Any]) -> Any:
    if field.get("examples"):
        return field["examples"][0]
    if "enum" in field:
        return next(code for code in field["enum"] if code is not None)
    return field["minimum"]

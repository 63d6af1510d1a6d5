"""The data contract: the one place where a column, code, range, unit or label is written.

Everything else is derived from here: the Great Expectations suite, the column groups of the preprocessing, the sample
cohort, the JSON Schema that travels with each model, and the error messages. The codes are those of the UCI archive's
heart-disease files (Janosi, Steinbrunn, Pfisterer, Detrano 1989, https://doi.org/10.24432/C52P4X).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

VERSION = "1.0.0"
MODEL_NAME = "heart-disease"
THRESHOLD = 0.5  # a probability from here on is answered as heart disease

Kind = Literal["measurement", "count", "code"]


@dataclass(frozen=True)
class Column:
    """One column of a record.

    Attributes:
        name: its name in the UCI files.
        title: a short name for people.
        description: what was recorded, and how.
        unit: the physical unit; empty for codes.
        kind: ``measurement`` and ``count`` are ordered numbers, ``code`` is a category without an order.
        minimum: the smallest possible value; what lies below is an error, not an outlier.
        maximum: the largest possible value.
        whole: whether fractions are impossible.
        codes: the legal codes with their labels; empty for measurements.
        optional: whether a value may be missing (it is then imputed).
        example: a plausible value for documentation and examples.
    """

    name: str
    title: str
    description: str
    kind: Kind
    minimum: float
    maximum: float
    example: float
    unit: str = ""
    whole: bool = True
    codes: Mapping[int, str] = field(default_factory=dict)
    optional: bool = False


def _code(name: str, title: str, description: str, codes: dict[int, str], *, optional: bool = False) -> Column:
    low, high = min(codes), max(codes)
    return Column(name, title, description, "code", low, high, low, codes=codes, optional=optional)


FEATURES: tuple[Column, ...] = (
    Column("age", "Age", "Age of the patient", "measurement", 1, 120, 54, unit="years"),
    _code("sex", "Sex", "Sex as recorded", {0: "female", 1: "male"}),
    _code(
        "cp",
        "Chest pain",
        "Type of chest pain",
        {1: "typical angina", 2: "atypical angina", 3: "non-anginal pain", 4: "asymptomatic"},
    ),
    Column(
        "trestbps",
        "Resting blood pressure",
        "Systolic pressure on admission",
        "measurement",
        50,
        300,
        130,
        unit="mm Hg",
    ),
    Column("chol", "Cholesterol", "Serum cholesterol", "measurement", 50, 1000, 242, unit="mg/dl"),
    _code("fbs", "Fasting blood sugar", "Fasting blood sugar above 120 mg/dl", {0: "no", 1: "yes"}),
    _code(
        "restecg",
        "Resting ECG",
        "Resting electrocardiogram",
        {0: "normal", 1: "ST-T wave abnormality", 2: "left ventricular hypertrophy"},
    ),
    Column(
        "thalach",
        "Maximum heart rate",
        "Highest heart rate reached in the exercise test",
        "measurement",
        40,
        250,
        152,
        unit="beats/min",
    ),
    _code("exang", "Exercise angina", "Angina brought on by exercise", {0: "no", 1: "yes"}),
    Column(
        "oldpeak",
        "ST depression",
        "ST depression in exercise relative to rest",
        "measurement",
        0,
        10,
        0.8,
        unit="mm",
        whole=False,
    ),
    _code("slope", "ST slope", "Slope of the peak exercise ST segment", {1: "upsloping", 2: "flat", 3: "downsloping"}),
    Column(
        "ca",
        "Coloured vessels",
        "Major vessels coloured by fluoroscopy",
        "count",
        0,
        3,
        0,
        codes={0: "none", 1: "one", 2: "two", 3: "three"},
        optional=True,
    ),
    _code(
        "thal",
        "Thallium scan",
        "Result of the thallium stress test",
        {3: "normal", 6: "fixed defect", 7: "reversible defect"},
        optional=True,
    ),
)

LABEL = Column(
    "num",
    "Diagnosis",
    "Angiographic disease status: 0 is no vessel narrowed by more than half, 1 to 4 is heart disease",
    "count",
    0,
    4,
    0,
    codes={0: "no disease", 1: "disease", 2: "disease", 3: "disease", 4: "disease"},
)

COLUMNS: tuple[Column, ...] = (*FEATURES, LABEL)
FEATURE_NAMES: tuple[str, ...] = tuple(column.name for column in FEATURES)
COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
NUMERIC: tuple[str, ...] = tuple(column.name for column in FEATURES if column.kind != "code")
CATEGORICAL: tuple[str, ...] = tuple(column.name for column in FEATURES if column.kind == "code")

# What a set must be for a model to be worth training on it; about the whole set, not about a row.
MIN_ROWS = 100
MIN_CLASS_SHARE = 0.05
MAX_MISSING_SHARE = 0.2


def digest() -> str:
    """Return the sha256 of the contract's content: columns, ranges, codes, set-wide limits and threshold."""
    content = {
        "version": VERSION,
        "columns": [asdict(column) for column in COLUMNS],
        "limits": [MIN_ROWS, MIN_CLASS_SHARE, MAX_MISSING_SHARE],
        "threshold": THRESHOLD,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one record as ``POST /predict`` takes it.

    ``x-features`` holds the feature names in the order of the model's input columns, ``x-version`` and ``x-digest``
    the contract's version and digest.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:heartline:contract:{VERSION}",
        "title": "Heart-disease record",
        "description": "One patient, in the codes of the UCI heart-disease files.",
        "type": "object",
        "properties": {column.name: _property(column) for column in FEATURES},
        "required": [column.name for column in FEATURES if not column.optional],
        "additionalProperties": False,
        "x-features": list(FEATURE_NAMES),
        "x-version": VERSION,
        "x-digest": digest(),
    }


def _property(column: Column) -> dict[str, Any]:
    schema: dict[str, Any] = {"title": column.title, "description": column.description, "examples": [column.example]}
    if column.unit:
        schema["x-unit"] = column.unit
    if column.codes:
        schema["enum"] = [*column.codes, *([None] if column.optional else [])]
        schema["x-codes"] = {str(code): label for code, label in column.codes.items()}
        return schema
    kind = "integer" if column.whole else "number"
    schema["type"] = [kind, "null"] if column.optional else kind
    schema["minimum"], schema["maximum"] = column.minimum, column.maximum
    return schema


def markdown() -> str:
    """Return the contract as a page for people: ``docs/contract.md``."""
    rows = [
        f"| `{column.name}` | {column.description} | {column.unit or '–'} | {_allowed(column)} "
        f"| {'yes' if column.optional else 'no'} |"
        for column in COLUMNS
    ]
    return (
        f"# The data contract, version {VERSION}\n\n"
        "Written by `heartline.contract`, the one place where a column, code or range stands; a test keeps this page\n"
        "current. A prediction takes the features; a training file has the label too.\n\n"
        "| column | what it is | unit | allowed | may be missing |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + f"\n\nA training set has at least {MIN_ROWS} records, at least {MIN_CLASS_SHARE:.0%} of each class, and at "
        f"most {MAX_MISSING_SHARE:.0%} missing\nvalues in a column that may have them. A probability of "
        f"{THRESHOLD} or more is answered as heart disease.\n"
    )


def _allowed(column: Column) -> str:
    if column.codes:
        return ", ".join(f"{code} {label}" for code, label in column.codes.items())
    return f"{column.minimum:g} to {column.maximum:g}{', whole' if column.whole else ''}"


if __name__ == "__main__":
    print(markdown(), end="")

"""The data contract: the one place where a column, code, range, resolution, unit or label is written.

Everything else is derived from here: the Great Expectations suite, the column groups of the preprocessing, the sample
cohort, the JSON Schema that travels with each model, and the error messages. The codes are those of the UCI archive's
heart-disease files (Janosi, Steinbrunn, Pfisterer, Detrano 1989, https://doi.org/10.24432/C52P4X).
"""

import hashlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

VERSION = "1.2.0"
MODEL_NAME = "heart-disease"
THRESHOLD = 0.5  # at or above this probability the prediction is heart disease

Kind = Literal["measurement", "count", "code"]


@dataclass(frozen=True)
class Column:
    """One column of a record.

    Attributes:
        name: its name in the UCI files.
        title: a short name for display.
        description: what was recorded, and how.
        kind: ``measurement`` and ``count`` are ordered numbers, ``code`` is a category without an order.
        minimum: the smallest possible value; a value below it is an error, not an outlier.
        maximum: the largest possible value.
        example: a plausible value for documentation and examples.
        unit: the physical unit; empty for codes.
        usual: the range outside which a value is possible but rare, which gives a warning; None for codes.
        decimals: the resolution: digits after the point that a value keeps, 0 for integers. ``heartline.resolution``
            brings values to it, so that a record is the same however its numbers were stored.
        codes: the legal codes with their labels; empty for measurements.
        optional: whether a value may be missing (it is then imputed).
        risk: 1 if higher values go with disease in every published cohort, -1 if lower values do, 0 if neither is
            certain. A label that contradicts these signs is taken to be inverted.
    """

    name: str
    title: str
    description: str
    kind: Kind
    minimum: float
    maximum: float
    example: float
    unit: str = ""
    usual: tuple[float, float] | None = None
    decimals: int = 0
    codes: Mapping[int, str] = field(default_factory=dict)
    optional: bool = False
    risk: Literal[-1, 0, 1] = 0

    @property
    def whole(self) -> bool:
        """Whether values are integers."""
        return self.decimals == 0

    @property
    def dtype(self) -> str:
        """The smallest numpy type that holds every legal value exactly; a missing one is NaN."""
        if not self.whole:
            return "float64"
        if self.optional:
            return "float32"
        return "int8" if self.maximum < 128 else "int16"


def _code(
    name: str,
    title: str,
    description: str,
    codes: dict[int, str],
    *,
    optional: bool = False,
    risk: Literal[-1, 0, 1] = 0,
) -> Column:
    low, high = min(codes), max(codes)
    return Column(name, title, description, "code", low, high, low, codes=codes, optional=optional, risk=risk)


FEATURES: tuple[Column, ...] = (
    Column("age", "Age", "Age of the patient", "measurement", 1, 120, 54, unit="years", usual=(18, 100), risk=1),
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
        usual=(80, 220),
    ),
    Column(
        "chol",
        "Cholesterol",
        "Serum cholesterol",
        "measurement",
        50,
        1000,
        242,
        unit="mg/dl",
        usual=(100, 500),
    ),
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
        usual=(60, 210),
        risk=-1,
    ),
    _code("exang", "Exercise angina", "Angina brought on by exercise", {0: "no", 1: "yes"}, risk=1),
    Column(
        "oldpeak",
        "ST depression",
        "ST depression in exercise relative to rest",
        "measurement",
        0,
        10,
        0.8,
        unit="mm",
        usual=(0, 6.5),
        # The published files have one decimal, and ECG devices report steps of 0.05 or 0.01 mm.
        decimals=2,
        risk=1,
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
        risk=1,
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
RISKS: tuple[Column, ...] = tuple(column for column in FEATURES if column.risk)
DTYPES: dict[str, str] = {column.name: column.dtype for column in COLUMNS}

# Two records of one patient may differ by as much, without a patient key: what a measurement changes by between two
# visits within two years. They are no part of the digest: the meaning of a record does not depend on them.
TOLERANCES: dict[str, float] = {"age": 2, "trestbps": 15, "chol": 25, "thalach": 12, "oldpeak": 0.5}

# Requirements on a dataset as a whole: the run stops if one of them is not met.
MIN_ROWS = 100
MIN_CLASS_SHARE = 0.05
MAX_MISSING_SHARE = 0.2  # of a column that may have missing values
MAX_DUPLICATE_SHARE = 0.2  # of rows that repeat an earlier one; real cohorts have next to none
MAX_CONTRADICTIONS = 1  # number of columns with a risk sign that may contradict the label

# Defaults of the limits that a run may change.
MAX_QUARANTINE_SHARE = 0.05  # of all rows
MAX_DRIFT = 0.25  # Kullback-Leibler divergence (nats) of a column from production's snapshot


def digest() -> str:
    """Return the sha256 of the content: version, columns, ranges, resolutions, codes, set-wide limits and threshold.

    The two limits that a run may change are not part of it: runs with different limits use the same contract, and the
    evidence of each run holds its limits.
    """
    content = {
        "version": VERSION,
        "columns": [asdict(column) for column in COLUMNS],
        "limits": [MIN_ROWS, MIN_CLASS_SHARE, MAX_MISSING_SHARE, MAX_DUPLICATE_SHARE, MAX_CONTRADICTIONS],
        "threshold": THRESHOLD,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one record, as accepted by ``POST /predict``.

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
    if column.usual:
        schema["x-usual"] = list(column.usual)
    if column.codes:
        schema["enum"] = [*column.codes, *([None] if column.optional else [])]
        schema["x-codes"] = {str(code): label for code, label in column.codes.items()}
        return schema
    kind = "integer" if column.whole else "number"
    schema["type"] = [kind, "null"] if column.optional else kind
    schema["minimum"], schema["maximum"] = column.minimum, column.maximum
    if column.decimals:
        schema["x-decimals"] = column.decimals  # no multipleOf: a finer value is no error
    return schema


def markdown() -> str:
    """Return the contract as a Markdown page: ``docs/contract.md``."""
    rows = [
        f"| `{column.name}` | {column.description} | {column.unit or '–'} | {_allowed(column)} "
        f"| {_range(column.usual) if column.usual else '–'} | {_resolution(column)} "
        f"| {'yes' if column.optional else 'no'} | `{column.dtype}` |"
        for column in COLUMNS
    ]
    paragraphs = (
        "A row with a value outside the possible range goes to quarantine. A value outside the usual range gives a "
        "warning.",
        "## Resolution",
        "Each value is brought to the resolution of its column before records are compared, counted, split or stored. "
        "So 2.3 is the same value as text, float32, float64 or DECIMAL, and a record has the same identity, snapshot "
        "and side of the train/test split however its numbers were stored. Differences of up to 0.5 millionths of the "
        "value (of 1, for smaller values) are noise of the storage and are dropped.",
        "A value finer than its resolution is rounded, halves upwards. The rows are counted in a warning, in the log "
        "and on the Data Docs page. In an integer column such a value is an error: the row goes to quarantine.",
        "A prediction request may have finer values, and they are not rounded: the model calculates with float32.",
        "## Requirements on the dataset",
        "A run stops if its records do not meet one of these requirements. The parameters `max_quarantine` and "
        "`max_drift` of a run change the last two.",
        _bullets(
            f"At least {MIN_ROWS} records.",
            f"At least {MIN_CLASS_SHARE:.0%} of the records in each class.",
            f"At most {MAX_MISSING_SHARE:.0%} missing values in a column that may have missing values.",
            f"At most {MAX_DUPLICATE_SHARE:.0%} duplicate rows.",
            f"Disease goes with {risk_signs()}. If more than {MAX_CONTRADICTIONS} of these {len(RISKS)} columns "
            "contradict the label, the label is taken to be inverted.",
            f"At most {MAX_QUARANTINE_SHARE:.0%} of the rows in quarantine.",
            f"A drift of at most {MAX_DRIFT} in each column: the Kullback-Leibler divergence from the snapshot of the "
            "model in production. Only gross changes are above it; smaller ones give a "
            "[warning](data.md#drift).",
        ),
        "## Decision threshold",
        f"A probability of {THRESHOLD} or more is predicted as heart disease. This threshold is a convention: it "
        "counts a missed disease and a false alarm as equally bad.",
    )
    return (
        f"# The data contract, version {VERSION}\n\n"
        "This page is generated from `heartline.contract`, the one place that defines columns, codes and ranges; a\n"
        "test keeps it current. A prediction request has the features. A training file also has the label `num`.\n\n"
        "## Columns\n\n"
        "| column | description | unit | possible values | usual range | resolution | may be missing | stored as |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + "".join(f"\n\n{text if text.startswith('- ') else textwrap.fill(text, 120)}" for text in paragraphs)
        + "\n"
    )


def _bullets(*texts: str) -> str:
    return "\n".join(textwrap.fill(f"- {text}", 120, subsequent_indent="  ") for text in texts)


def _allowed(column: Column) -> str:
    if column.codes:
        return ", ".join(f"{code} {label}" for code, label in column.codes.items())
    return f"{_range((column.minimum, column.maximum))}{', integer' if column.whole else ''}"


def _resolution(column: Column) -> str:
    return f"{column.decimals} decimals" if column.decimals else "integer"


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"


def risk_signs(names: Mapping[str, str] | None = None) -> str:
    """Return the direction in which each of ``RISKS`` goes with disease, in words.

    Args:
        names: other names of columns, for display.
    """
    shown = names or {}
    return ", ".join(
        f"{'higher' if column.risk > 0 else 'lower'} {shown.get(column.name, column.name)}" for column in RISKS
    )


if __name__ == "__main__":
    print(markdown(), end="")

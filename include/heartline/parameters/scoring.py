"""The parameters of a scoring run: one description each, as ``training`` has those of a training run."""

import re
from collections.abc import Mapping
from typing import Any

from heartline import origins, visible
from heartline.errors import ParameterError
from heartline.ingestion import limits, source_catalog
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.parameters import parameter
from heartline.parameters.parameter import Parameter

DATA, MODEL, OUTPUT = "Data", "Model", "Output"
TABLE = r"postgres:(?:[a-z_][a-z0-9_]{0,50}\.)?[a-z_][a-z0-9_]{0,50}"

PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "source",
        "text",
        None,
        "Source of the records",
        f"{source_catalog.form_description()} The records need no label.",
        DATA,
        "/data/admissions.csv",
        max_length=2000,
        pattern=source_catalog.pattern(),
        examples=("/data/admissions.csv", *source_catalog.examples()),
    ),
    Parameter(
        "query",
        "text",
        None,
        "Query",
        "For the source `postgres`: SQL that returns the model's columns, and any others.",
        DATA,
        "SELECT * FROM admissions",
        max_length=10_000,
        pattern=r".*\S.*",
        multiline=True,
        default_words="`SELECT * FROM patients`",
    ),
    Parameter(
        "mapping",
        "text",
        None,
        "Mapping",
        "How the input's columns, words and units become those of the contract, as for training: YAML or JSON, the "
        f"path of such a file, or one of {', '.join(f'`{name}`' for name in mapping_catalog.NAMES)}. Its label is not "
        "used. Empty: the input has the contract's columns; no mapping is chosen by itself.",
        DATA,
        "heart-918",
        max_length=limits.MAPPING,
        pattern=mapping_catalog.pattern(),
        multiline=True,
    ),
    Parameter(
        "encoding",
        "choice",
        "contract",
        "Encoding",
        "How the codes of the input are meant.",
        DATA,
        "contract",
        choices={
            "contract": "the codes of the model's contract, or those that the mapping makes of the file's; the run "
            "stops if the first rows show Kaggle's codes",
            "kaggle": "the codes of Kaggle's `heart.csv`",
        },
    ),
    Parameter(
        "keys",
        "text",
        None,
        "Own columns",
        "Names of the input's columns that the output repeats, such as a patient's number: separated by commas, or a "
        "JSON list; `[]` for none. Empty: every column that the contract does not have.",
        DATA,
        "patient_id, visit",
        max_length=10_000,
        pattern=r"\S(?:.*\S)?",
        examples=("patient_id, visit", '["patient id", "visit"]'),
        default_words="every column that the contract does not have",
    ),
    Parameter(
        "version",
        "text",
        None,
        "Version",
        "Number of the registered version that scores. Empty: the one in production when the run starts.",
        MODEL,
        "3",
        max_length=10,
        pattern=r"[1-9][0-9]*",
        examples=("3",),
        default_words="the one in production",
    ),
    Parameter(
        "output",
        "text",
        None,
        "Output",
        "Folder or address below which the run writes its own folder `run=<run id>`, or `postgres:TABLE` for a table "
        "in the database at `HEARTLINE_DATABASE_URL`. Empty: the folder `scores` of the store.",
        OUTPUT,
        "postgres:scores",
        max_length=2000,
        pattern=rf"{TABLE}|(?:/|[a-z][a-z0-9+.-]*://)\S.*",
        examples=("postgres:scores", "/srv/scores"),
        default_words="`scores` in `HEARTLINE_STORE`",
    ),
    Parameter(
        "format",
        "choice",
        "parquet",
        "Format",
        "Of the files in a folder; a table has none.",
        OUTPUT,
        "parquet",
        choices={
            "parquet": "Parquet, compressed with zstd",
            "csv": "CSV in UTF-8, with a header in each part",
            "both": "each part in both formats",
        },
    ),
)


def by_name() -> dict[str, Parameter]:
    """Return the parameters by name."""
    return {one.name: one for one in PARAMETERS}


def check(given: Mapping[str, object]) -> None:
    """Check a run's configuration.

    Args:
        given: the parameters that are set, by name; the others have their defaults.

    Raises:
        ParameterError: there is no such parameter, a value is none that it takes, or two do not go together.
    """
    parameter.check_values(PARAMETERS, given)
    for name, one in by_name().items():
        if problem := _pattern_problem(one, given.get(name)):
            raise ParameterError(
                f"the parameter {name} has a wrong value: {problem}",
                where=f"parameter {name}",
                expected=_EXPECTED[name],
                hint="correct it, or leave it out for the default",
            )
    _check_source(given)


_EXPECTED = {
    "version": "the number of a registered version, such as 3",
    "output": "an absolute path, an address such as s3://bucket/scores, or postgres:TABLE in lower case",
}


def _pattern_problem(one: Parameter, value: object) -> str:
    if one.name not in _EXPECTED or value is None or re.fullmatch(one.pattern, str(value), re.DOTALL):
        return ""
    expected = "a number" if one.name == "version" else "a path, an address or a table"
    return f"{visible.quoted(str(value))} is not {expected}"


def _check_source(given: Mapping[str, object]) -> None:
    if given.get("source") is None:
        raise ParameterError(
            "the run has no source",
            where="parameter source",
            expected=source_catalog.choices(),
            hint="name the records that are to be scored",
        )
    source, query = str(given["source"]), given.get("query")
    found = source_catalog.choose(source, None if query is None else str(query))
    if found.origin == origins.SAMPLE and (rows := found.rows(source)) and rows > source_catalog.SAMPLE_MAX_ROWS:
        raise ParameterError(
            f"{source} has too many records",
            where="parameter source",
            expected=f"at most {source_catalog.SAMPLE_MAX_ROWS:,}",
            hint="choose another number",
        )
    if given.get("mapping") is not None:
        encoding = "auto" if given.get("encoding") in (None, "contract") else str(given["encoding"])
        mapping_catalog.expect_usable(str(given["mapping"]), source, encoding)


def markdown() -> str:
    """Return the parameters as a Markdown table: for the documentation."""
    return parameter.table(PARAMETERS)


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter: the given one, else the default."""
    return parameter.values(PARAMETERS, given)

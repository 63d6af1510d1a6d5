"""The parameters of a training run: one description each, from which everything that takes or shows them is derived.

The fields of the DAG's form, the check of a run's configuration (in Airflow's API, on the command line, and in the
task ``ingest``) and the table in ``dags/README.md`` come from ``PARAMETERS``.
"""

import os
from collections.abc import Mapping
from typing import Any

from heartline import contract, dag_ids
from heartline.errors import ParameterError
from heartline.ingestion import limits, source_catalog
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.parameters import parameter
from heartline.parameters.parameter import Parameter
from heartline.training.family_names import FAMILY_NAMES, LOGISTIC_REGRESSION

DATA, CHECKS, TRAINING, PROMOTION = "Data", "Checks", "Training", "Promotion"  # the sections of the form
STAGES = ("ingest", "validate", "preprocess", "compare", "register")
"""The tasks after which a run may end, in their order."""

PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "source",
        "text",
        os.environ.get("HEARTLINE_SOURCE") or "sample",
        "Source of the records",
        source_catalog.form_description(),
        DATA,
        "sample:500",
        max_length=2000,
        pattern=source_catalog.pattern(),
        examples=source_catalog.examples(),
        default_words="`HEARTLINE_SOURCE`, else the source of the first `up`; with compose `sample`",
    ),
    Parameter(
        "query",
        "text",
        None,
        "Query",
        source_catalog.query_description(),
        DATA,
        source_catalog.DEFAULT_QUERY,
        max_length=10_000,
        pattern=r".*\S.*",
        multiline=True,
    ),
    Parameter(
        "encoding",
        "choice",
        "auto",
        "Encoding",
        "How the records are coded.",
        DATA,
        "kaggle",
        choices={
            "auto": "decided from the file's codes, names and label; the run stops if these conflict",
            "uci": "the codes of the UCI archive",
            "kaggle": "the codes of Kaggle's `heart.csv`, whose label is inverted",
        },
    ),
    Parameter(
        "mapping",
        "text",
        None,
        "Mapping",
        mapping_catalog.form_description(),
        DATA,
        "heart-918",
        max_length=limits.MAPPING,
        pattern=mapping_catalog.pattern(),
        multiline=True,
        default_words="with the source of the nightly runs `HEARTLINE_MAPPING`, else the mapping of the first `up`; "
        "with other sources none",
    ),
    Parameter(
        "patient",
        "text",
        None,
        "Patient",
        "Name of the source's column that identifies the patient, if a patient may have several rows. Its values are "
        "hashed before anything is stored. All records of a patient are on the same side of the split and in the same "
        "fold. Empty: each row is a patient of its own.",
        DATA,
        "patient_id",
        max_length=200,
        pattern=r"\S(?:.*\S)?",
        default_words="with the source of the nightly runs `HEARTLINE_PATIENT`; with other sources none",
    ),
    Parameter(
        "max_quarantine",
        "number",
        contract.MAX_QUARANTINE_SHARE,
        "Largest share of rows in quarantine",
        "Rows that violate the contract are quarantined. Above this share the run stops.",
        CHECKS,
        "0.1",
        low=0,
        high=1,
    ),
    Parameter(
        "max_drift",
        "number",
        contract.MAX_DRIFT,
        "Largest drift",
        "Kullback-Leibler divergence of a column from the snapshot of the version in production, above which the run "
        "stops. 0.25 sees only gross changes; smaller ones give a warning. Raise it if a change is intended, for "
        "example for the records of another hospital.",
        CHECKS,
        "1",
        above=0,
        high=100,
    ),
    Parameter(
        "profile",
        "choice",
        "full",
        "Profile",
        "How thoroughly the families are evaluated.",
        TRAINING,
        "quick",
        choices={
            "quick": "5 × 2 folds, forests of 100 trees, for experiments; reports label its numbers as quick",
            "full": "10 × 10 folds, forests of 300 trees",
        },
    ),
    Parameter(
        "seed",
        "whole number",
        0,
        "Seed",
        "Seed of the folds and of the models.",
        TRAINING,
        "7",
        low=0,
        high=2**31 - 1,
    ),
    Parameter(
        "families",
        "choices",
        FAMILY_NAMES,
        "Model families",
        "Which model families are trained and compared. A comparison with the version in production needs its family.",
        TRAINING,
        f'["{LOGISTIC_REGRESSION}"]',
        choices={name: name.replace("_", " ") for name in FAMILY_NAMES},
    ),
    Parameter(
        "until",
        "choice",
        "register",
        "Last task",
        "After which task the run ends. The tasks after it are skipped, and the run succeeds.",
        TRAINING,
        "validate",
        choices={
            "ingest": "the source is read and parsed",
            "validate": "the records are checked: used, duplicate and quarantined rows, findings",
            "preprocess": "training set, hold-out and folds are stored",
            "compare": "the families are trained and compared; nothing is registered",
            "register": "the whole run",
        },
    ),
    Parameter(
        "force",
        "flag",
        False,
        "Train again",
        "Train also if versions from the same records, parameters and code are registered, complete and compared with "
        "the version in production. Without it such a run ends after `preprocess` as *nothing new*.",
        TRAINING,
        "true",
    ),
    Parameter(
        "promotion",
        "choice",
        "manual",
        "Promotion",
        "Who moves the alias `production`.",
        PROMOTION,
        "approval",
        choices={
            "manual": "only a user",
            "approval": f"a user, whom the DAG {dag_ids.APPROVAL} asks in Airflow, under *Required Actions*",
            "if_better": "the run, if the verdict is *better*, the comparison included the family and search space "
            "of the version in production, and it is a look whose p-value is at most the look's level",
        },
    ),
)


def names() -> list[str]:
    """Return the names of the parameters, in their order in the form."""
    return [one.name for one in PARAMETERS]


def by_name() -> dict[str, Parameter]:
    """Return the parameters by name."""
    return {one.name: one for one in PARAMETERS}


def check(given: Mapping[str, object], *, usual_source: str | None = None) -> None:
    """Check a run's configuration.

    Args:
        given: the parameters that are set, by name; the others have their defaults.
        usual_source: the source of the nightly runs, if that is not the default of this process.

    Raises:
        ParameterError: there is no such parameter, a value is none that it takes, or two do not go together.
    """
    parameter.check_values(PARAMETERS, given)
    usual = usual_source or by_name()["source"].default
    values = chosen(given, "mapping", "encoding", "patient")
    source = str(usual if given.get("source") is None else given["source"])
    if values["mapping"] is not None:
        mapping_catalog.expect_usable(values["mapping"], source, values["encoding"])
    if values["patient"] is not None:
        source_catalog.expect_patients(source)
    _check_source(**chosen(given, "source", "query"), usual=usual)
    _check_promotion(**chosen(given, "until", "promotion"))


def _check_source(source: str, query: str | None, usual: object) -> None:
    found = source_catalog.choose(source, query)
    rows = found.rows(source)
    least, most = contract.MIN_ROWS, source_catalog.SAMPLE_MAX_ROWS
    if rows is not None and not least <= rows <= most:
        raise ParameterError(
            f"{source} has too {'few' if rows < least else 'many'} records: training needs {least}, "
            f"and the sample has at most {most:,}",
            where="parameter source",
            expected=f"sample:N with N from {least} to {most}",
            hint="choose another number, for example source=sample:500",
        )
    if found.takes_query and query is None and source != usual:
        raise ParameterError(
            f"the source {source} needs a query",
            where="parameter query",
            expected="SQL that returns the contract's columns",
            hint=f'set the parameter query, for example "query={source_catalog.DEFAULT_QUERY}"',
        )


def _check_promotion(until: str, promotion: str) -> None:
    if until != "register" and promotion != "manual":
        raise ParameterError(
            f"promotion={promotion} needs a registered version, and until={until} ends the run before that",
            where="parameter promotion",
            expected="until=register, or promotion=manual",
            hint="leave one of the two out",
        )


def chosen(given: Mapping[str, Any], *wanted: str) -> dict[str, Any]:
    """Return the values of these parameters: the given ones, else the defaults.

    Args:
        given: the parameters that are set, by name.
        wanted: names of parameters.
    """
    return parameter.values([by_name()[name] for name in wanted], given)


def markdown() -> str:
    """Return the parameters as a Markdown table: for the documentation."""
    return parameter.table(PARAMETERS)

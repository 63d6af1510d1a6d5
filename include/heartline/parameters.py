"""The parameters of a training run: one description each, from which everything that takes or shows them is derived.

The fields of the DAG's form, the check of a run's configuration (in Airflow's API, on the command line, and in the
task ``ingest``) and the table in ``dags/README.md`` come from ``PARAMETERS``. It imports the standard library, the
catalogues of sources and mappings and the names of the families only, so that DAG files, plugins and the launcher can
import it.
"""

import difflib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from heartline import contract, dag_ids
from heartline.errors import ParameterError
from heartline.ingestion import limits, source_catalog
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.training.family_names import FAMILY_NAMES, LOGISTIC_REGRESSION

DATA, CHECKS, TRAINING, PROMOTION = "Data", "Checks", "Training", "Promotion"  # the sections of the form
STAGES = ("ingest", "validate", "preprocess", "compare", "register")
"""The tasks after which a run may end, in their order."""
MAX_SHOWN = 60  # characters of a refused value that a message repeats

Kind = Literal["text", "choice", "choices", "flag", "number", "whole number"]
_JSON_TYPES = {
    "text": "string",
    "choice": "string",
    "choices": "array",
    "flag": "boolean",
    "number": "number",
    "whole number": "integer",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a training run.

    Attributes:
        name: in the run's configuration.
        kind: of its values. None is allowed for every kind and means the default.
        default: of a run that does not set it.
        title: the label in the form.
        description: what it is for, Markdown.
        section: the group in the form.
        example: a value, as it is written in JSON or, for texts, without quotes.
        choices: of a ``choice`` or ``choices``, each value with its meaning.
        low, high: bounds of a number, included.
        above: bound of a number, not included.
        max_length: of a text.
        pattern: regular expression of a whole text, for the form's schema.
        multiline: whether a text may have several lines.
        examples: values that the form proposes for a text.
        default_words: the default for the documentation, where it depends on a setting.
    """

    name: str
    kind: Kind
    default: str | float | tuple[str, ...] | None
    title: str
    description: str
    section: str
    example: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    above: float | None = None
    max_length: int | None = None
    pattern: str = ""
    multiline: bool = False
    examples: tuple[str, ...] = ()
    default_words: str = ""

    def bounds(self) -> str:
        """Return which values are allowed, in words."""
        if self.kind == "choice":
            return _either([*self.choices])
        if self.kind == "choices":
            return f"a list of one or more of {', '.join(self.choices)}"
        if self.kind == "flag":
            return "true or false"
        if self.kind == "text":
            return f"text of at most {self.max_length} characters"
        low = f"above {_plain(self.above)}" if self.above is not None else f"from {_plain(self.low)}"
        article = "a whole number" if self.kind == "whole number" else "a number"
        return f"{article} {low} {'and at most' if self.above is not None else 'to'} {_plain(self.high)}"

    def markdown(self) -> str:
        """Return the description for the form, with choices, bounds, default and example."""
        choices = "".join(f"\n- `{value}`: {meaning}" for value, meaning in self.choices.items())
        facts = [] if self.kind == "choice" else [f"{_capital(self.bounds())}."]
        if self.default is not None:
            facts.append(f"Default: `{_plain(self.default)}`.")
        if self.example:
            facts.append(f"Example: `{self.example}`.")
        text = f"{self.description}{choices}" + ("\n\n" if choices else " ") + " ".join(facts)
        return re.sub(r"`([^`]+)`", r"**\1**", text.strip())  # the boxes of code would cover the lines around them

    def form(self) -> dict[str, Any]:
        """Return the keyword arguments of Airflow's ``Param``: default, JSON Schema, and what its form shows."""
        shown: dict[str, Any] = {
            "default": [*self.default] if isinstance(self.default, tuple) else self.default,
            "type": [_JSON_TYPES[self.kind], "null"],
            "title": self.title,
            "description_md": self.markdown(),
            **({"section": self.section} if self.section else {}),
        }
        if self.kind == "choice":
            # the form can always be emptied, which is None
            empty = {"null": f"{self.default} (the default)"}
            return {**shown, "enum": [*self.choices, None], "values_display": empty}
        if self.kind == "choices":  # `examples` makes it a field for several values
            one = {"type": "string", "enum": [*self.choices]}
            return {**shown, "items": one, "minItems": 1, "uniqueItems": True, "examples": [*self.choices]}
        if self.kind == "flag":
            return shown
        if self.kind == "text":
            shown |= {"minLength": 1, "maxLength": self.max_length}
            # a wrong default must fail the run with its message, not the import of the DAG
            fits = self.default is None or re.fullmatch(self.pattern, str(self.default), re.DOTALL)
            shown |= {"pattern": rf"^(?s:{self.pattern})\Z"} if fits else {}
            shown |= {"format": "multiline"} if self.multiline else {}
            return shown | ({"examples": list(self.examples)} if self.examples else {})
        return shown | self._number_schema()

    def _number_schema(self) -> dict[str, Any]:
        # Not `minimum` and `maximum` of the schema itself: the form would replace a value beyond them by the bound.
        low = {"exclusiveMinimum": self.above} if self.above is not None else {"minimum": self.low}
        # NaN violates no bound; it is the only number that is beyond both.
        return {
            "allOf": [{**low, "maximum": self.high}],
            "not": {"type": "number", "minimum": (self.high or 0) + 1, "maximum": (self.low or 0) - 1},
        }

    def problem(self, value: object) -> str:
        """Return what is wrong with a value, "" for a good one. None is good: it means the default."""
        if value is None:
            return ""
        if self.kind == "text":
            return self._text_problem(value)
        if self.kind == "choice":
            return self._choice_problem(value)
        if self.kind == "choices":
            return self._choices_problem(value)
        if self.kind == "flag":
            return "" if isinstance(value, bool) else f"{_shown(value)} is neither true nor false"
        return self._number_problem(value)

    def _choice_problem(self, value: object) -> str:
        return "" if isinstance(value, str) and value in self.choices else f"{_shown(value)} is not a choice"

    def _choices_problem(self, value: object) -> str:
        if not isinstance(value, list):
            return f"{_shown(value)} is not a list"
        if not value:
            return "the list is empty"
        if problem := next(filter(None, map(self._choice_problem, value)), ""):
            return problem
        return "" if len({*value}) == len(value) else f"{_shown(value)} names one of them twice"

    def _text_problem(self, value: object) -> str:
        if not isinstance(value, str):
            return f"{_shown(value)} is not text"
        if not value.strip():
            return "it is empty" if not value else "it holds only spaces"
        if len(value) > (self.max_length or math.inf):
            return f"it has {len(value):,} characters"
        if not self.multiline and value != value.strip():
            return f"{_shown(value)} starts or ends with a space"
        return ""

    def _number_problem(self, value: object) -> str:
        wanted = int if self.kind == "whole number" else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            return f"{_shown(value)} is not a {self.kind}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{_shown(value)} is not a finite number"
        low, high = self.low if self.low is not None else -math.inf, self.high if self.high is not None else math.inf
        if value < low or value > high or (self.above is not None and value <= self.above):
            return f"{_shown(value)} is out of bounds"
        return ""


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
    known = by_name()
    for name in given:
        if name not in known:
            raise _unknown(name)
    for name, value in given.items():
        if problem := known[name].problem(value):
            raise ParameterError(
                f"the parameter {name} has a wrong value: {problem}",
                where=f"parameter {name}",
                expected=known[name].bounds(),
                hint="correct it, or leave it out for the default"
                + _did_you_mean(str(value), known[name].choices if isinstance(value, str) else ()),
            )
    usual = usual_source or by_name()["source"].default
    values = chosen(given, "mapping", "encoding", "patient")
    source = str(usual if given.get("source") is None else given["source"])
    if values["mapping"] is not None:
        mapping_catalog.expect_usable(values["mapping"], source, values["encoding"])
    if values["patient"] is not None:
        source_catalog.expect_patients(source)
    _check_source(**chosen(given, "source", "query"), usual=usual)


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


def chosen(given: Mapping[str, Any], *wanted: str) -> dict[str, Any]:
    """Return the values of these parameters: the given ones, else the defaults.

    Args:
        given: the parameters that are set, by name.
        wanted: names of parameters.
    """
    defaults = {name: by_name()[name].form()["default"] for name in wanted}
    return {name: default if given.get(name) is None else given[name] for name, default in defaults.items()}


def markdown() -> str:
    """Return the parameters as a Markdown table: for the documentation."""
    rows = [
        f"| `{one.name}` | {one.default_words or _default_words(one)} | {_table_bounds(one)} | {one.description} "
        f"Example: `{one.example}`. |\n"
        for one in PARAMETERS
    ]
    return "| parameter | default | values | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _default_words(one: Parameter) -> str:
    return "none" if one.default is None else f"`{_plain(one.default)}`"


def _table_bounds(one: Parameter) -> str:
    if one.choices:
        return "<br>".join(f"`{value}`: {meaning}" for value, meaning in one.choices.items())
    return one.bounds()


def _unknown(name: str) -> ParameterError:
    return ParameterError(
        f"there is no parameter {_shown(name)}",
        where="the run's parameters (its configuration, conf)",
        expected="only these: " + ", ".join(names()),
        hint="correct the name" + _did_you_mean(name, names()),
    )


def _did_you_mean(given: str, possible: Mapping[str, str] | tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(given.strip().lower(), list(possible), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _shown(value: object) -> str:
    """Return a value for a message: cut, and with invisible characters made visible."""
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _either(values: list[str]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"

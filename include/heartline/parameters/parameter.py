"""A parameter of a run, from which its field in the trigger form, its checks and its documentation are derived."""

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from heartline.errors import ParameterError

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
    """One parameter of a run.

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


def check_values(parameters: Sequence[Parameter], given: Mapping[str, object]) -> None:
    """Check each value of a run's configuration by itself.

    Args:
        parameters: those that a run takes.
        given: the parameters that are set, by name.

    Raises:
        ParameterError: there is no such parameter, or a value is none that it takes.
    """
    known = {one.name: one for one in parameters}
    for name in given:
        if name not in known:
            raise ParameterError(
                f"there is no parameter {_shown(name)}",
                where="the run's parameters (its configuration, conf)",
                expected="only these: " + ", ".join(known),
                hint="correct the name" + _did_you_mean(name, known),
            )
    for name, value in given.items():
        if problem := known[name].problem(value):
            raise ParameterError(
                f"the parameter {name} has a wrong value: {problem}",
                where=f"parameter {name}",
                expected=known[name].bounds(),
                hint="correct it, or leave it out for the default"
                + _did_you_mean(str(value), known[name].choices if isinstance(value, str) else {}),
            )


def values(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter: the given one, else the default.

    Args:
        parameters: whose values are wanted.
        given: the parameters that are set, by name.
    """
    defaults = {one.name: one.form()["default"] for one in parameters}
    return {name: default if given.get(name) is None else given[name] for name, default in defaults.items()}


def table(parameters: Sequence[Parameter]) -> str:
    """Return parameters as a Markdown table, for the documentation."""
    rows = [
        f"| `{one.name}` | {one.default_words or _default_words(one)} | {_table_bounds(one)} | {one.description} "
        f"Example: `{one.example}`. |\n"
        for one in parameters
    ]
    return "| parameter | default | values | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _default_words(one: Parameter) -> str:
    return "none" if one.default is None else f"`{_plain(one.default)}`"


def _table_bounds(one: Parameter) -> str:
    if one.choices:
        return "<br>".join(f"`{value}`: {meaning}" for value, meaning in one.choices.items())
    return one.bounds()


def _did_you_mean(given: str, possible: Mapping[str, object]) -> str:
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

"""The parameters of a monitoring run: one description each, as ``training`` has those of a training run."""

import datetime
import os
import re
from collections.abc import Mapping
from typing import Any

from heartline import visible
from heartline.errors import ParameterError
from heartline.parameters import parameter
from heartline.parameters.parameter import Parameter

SOURCE_SETTING, QUERY_SETTING = "HEARTLINE_OUTCOMES", "HEARTLINE_OUTCOMES_QUERY"
DAYS, OUTCOMES = "Days", "Outcomes"
SOURCE_PATTERN = (
    r"postgres(?::(?:[a-z_][a-z0-9_]{0,50}\.)?[a-z_][a-z0-9_]{0,50})?|(?:/|https?://|file://|upload:)\S(?:.*\S)?"
)

PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "day",
        "text",
        None,
        "Day",
        "The last day (UTC) that is computed; days before it that are missing are computed first. A day that is stored "
        "is not computed again. Empty: yesterday.",
        DAYS,
        "2026-03-01",
        max_length=10,
        pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
        default_words="yesterday (UTC)",
    ),
    Parameter(
        "outcomes",
        "text",
        os.environ.get(SOURCE_SETTING) or None,
        "Source of outcomes",
        "The path or http(s) URL of a table with the columns `prediction_id`, `observed_at`, `outcome` (0 or 1) or "
        "`num` (0 to 4), and if known `source`; `postgres:TABLE`, or `postgres` with a query. Empty: outcomes come by "
        "`POST /outcomes` only.",
        OUTCOMES,
        "/data/outcomes.csv",
        max_length=2000,
        pattern=SOURCE_PATTERN,
        examples=("/data/outcomes.csv", "postgres:outcomes", "postgres"),
        default_words=f"`{SOURCE_SETTING}`",
    ),
    Parameter(
        "query",
        "text",
        os.environ.get(QUERY_SETTING) or None,
        "Query",
        "For the source `postgres`: SQL that returns these columns from the database at `HEARTLINE_DATABASE_URL`.",
        OUTCOMES,
        "SELECT * FROM outcomes WHERE observed_at > now() - interval '90 days'",
        max_length=10_000,
        pattern=r".*\S.*",
        multiline=True,
        default_words=f"`{QUERY_SETTING}`, else `SELECT * FROM outcomes`",  # noqa: S608
    ),
)


def check(given: Mapping[str, object]) -> None:
    """Check a run's configuration.

    Args:
        given: the parameters that are set, by name; the others have their defaults.

    Raises:
        ParameterError: there is no such parameter, or a value is none that it takes.
    """
    parameter.check_values(PARAMETERS, given)
    if (text := given.get("day")) is not None:
        day(str(text))
    if (source := given.get("outcomes")) is not None:
        _check_source(str(source), given.get("query"))


def _check_source(source: str, query: object) -> None:
    if not re.fullmatch(SOURCE_PATTERN, source, re.DOTALL):
        raise ParameterError(
            f"{visible.quoted(source)} is no source of outcomes",
            where="parameter outcomes",
            expected="a path that begins with /, an http(s) URL, postgres:TABLE in lower case, or postgres",
            hint="correct it, or leave it out for the usual source",
        )
    if query is not None and source != "postgres":
        raise ParameterError(
            f"the source {visible.quoted(source)} takes no query",
            where="parameter query",
            expected="a query with the source postgres only",
            hint="leave one of the two out",
        )


def day(text: str) -> datetime.date:
    """Return the day that a value of the parameter ``day`` names.

    Raises:
        ParameterError: it names none.
    """
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ParameterError(
            f"{visible.quoted(text)} is no day",
            where="parameter day",
            expected="a day such as 2026-03-01",
            hint="correct it, or leave it out for yesterday (UTC)",
        ) from None


def markdown() -> str:
    """Return the parameters as a Markdown table: for the documentation."""
    return parameter.table(PARAMETERS)


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter: the given one, else the default; another source has no usual query."""
    found = parameter.values(PARAMETERS, given)
    usual = next(one.default for one in PARAMETERS if one.name == "outcomes")
    if given.get("query") is None and found["outcomes"] != usual:
        found["query"] = None
    return found

"""Findings: expectations that were not met, with the expected and found values and the rows, in words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from heartline.validation import suite
from heartline.validation.suite import Layer

SHOWN_ROWS = 10
RANGE = "expect_column_values_to_be_between"
DRIFT = "expect_column_kl_divergence_to_be_less_than"
MALFORMED = "rows_that_can_be_read"  # the name of the check for malformed rows, which is no GX expectation
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One expectation that the records do not meet.

    Attributes:
        expectation: its Great Expectations type.
        column: the column, or the empty string for an expectation about the dataset.
        layer: ``set`` stops the run, ``row`` quarantines rows, ``unusual`` gives a warning.
        expected: what was expected, in words.
        found: what was found, in words.
        rows: up to ten rows that do not meet it: (row number in the source, value).
        count: the number of such rows; 0 for an expectation about the dataset.
    """

    expectation: str
    column: str
    layer: Layer
    expected: str
    found: str
    rows: list[tuple[int, str]]
    count: int

    def __str__(self) -> str:
        """Return the finding on one line."""
        by_value: dict[str, list[str]] = {}
        for row, value in self.rows:
            by_value.setdefault(value, []).append(str(row))
        shown = "; ".join(
            f"{value} in {'row' if len(rows) == 1 else 'rows'} {', '.join(rows)}" for value, rows in by_value.items()
        )
        more = ", …" if self.count > len(self.rows) else ""
        found = f"{self.found}: {shown}{more}" if shown else self.found
        return f"{self.column or 'all records'}: expected {self.expected}; found {found} [{self.expectation}]"


def of_results(failed: Iterable[Any]) -> list[Finding]:
    """Return the findings of failed expectation results, in the order of the layers: set, row, unusual."""
    found = [_of_result(one) for one in failed]
    impossible = {one.column: one for one in found if (one.layer, one.expectation) == ("row", RANGE)}
    for position, one in enumerate(found):
        same = impossible.get(one.column)
        if (one.layer, one.expectation) == (
            "unusual",
            RANGE,
        ) and same is not None:
            # an impossible value is not reported as unusual too
            rows = [row for row in one.rows if row not in same.rows]
            found[position] = _about_rows(one, rows, one.count - same.count)
    layers: tuple[Layer, ...] = ("set", "row", "unusual")
    return sorted(
        (one for one in found if one.count or one.layer == "set"),
        # drift is the last of its layer, because it often follows from other findings
        key=lambda one: (layers.index(one.layer), one.expectation == DRIFT),
    )


def _about_rows(finding: Finding, rows: list[tuple[int, str]], count: int) -> Finding:
    return replace(finding, rows=rows, count=count, found=_violating_rows(count))


def _violating_rows(count: int) -> str:
    return "1 row that does not meet this" if count == 1 else f"{count} rows that do not meet this"


def _of_result(result: Any) -> Finding:
    config, details = result.expectation_config, result.result or {}
    about = Finding(
        expectation=config.type,
        column=config.meta["column"],
        layer=config.meta["layer"],
        expected=config.meta["expected"],
        found="",
        rows=[],
        count=0,
    )
    if about.layer == "set":
        return replace(about, found=_of_set(config, details, result.exception_info))
    numbers, values = details["partial_unexpected_index_list"], details["partial_unexpected_list"]
    rows = [(int(row), shown(value)) for row, value in zip(numbers, values, strict=True)]
    return _about_rows(about, rows, int(details["unexpected_count"]))


def of_malformed(rows: pd.DataFrame, width: int) -> list[Finding]:
    """Return a finding about the malformed rows, if there are any.

    Args:
        rows: row, field, value, reason.
        width: the expected number of fields.
    """
    if rows.empty:
        return []
    first = rows.head(SHOWN_ROWS)
    return [
        Finding(
            expectation=MALFORMED,
            column="",
            layer="row",
            expected=f"{width} fields in each row",
            found=_violating_rows(len(rows)),
            rows=[(int(row), reason) for row, reason in zip(first["row"], first["reason"], strict=True)],
            count=len(rows),
        )
    ]


def shown(value: Any) -> str:
    """Return the value of a cell for display: text in quotes, a number without superfluous digits."""
    if isinstance(value, str):
        return value if _NUMBER.fullmatch(value) else repr(value)
    return "missing" if pd.isna(value) else f"{value:.15g}"  # all significant digits, without rounding noise


def _of_set(config: Any, details: Any, problem: Any) -> str:
    column, observed = config.kwargs.get("column"), details.get("observed_value")
    if config.type == "expect_table_columns_to_match_set":
        return f"none of {', '.join(details['details']['mismatched']['missing'])}"
    if config.type == "expect_column_values_to_not_be_null":
        return f"{1 - details['unexpected_percent'] / 100:.1%}"
    if observed is None:
        return f"no result ({problem.get('exception_message') or 'no values'})"
    if column in (suite.DISEASE, suite.REPEATS) and config.type == "expect_column_mean_to_be_between":
        return f"{observed:.1%}"
    if column == suite.CONTRADICTIONS:
        return f"{observed:g} of them contradict the label"
    return f"{observed:.3g}" if isinstance(observed, float) else str(observed)

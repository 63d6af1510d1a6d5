"""Findings: expectations that were not met, with the expected and found values and the rows, in words."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from heartline import contract
from heartline.validation import suite
from heartline.validation.drift import Divergence
from heartline.validation.suite import Layer
from heartline.validation.written import Written

SHOWN_ROWS = 10
RANGE = "expect_column_values_to_be_between"
DRIFT = "expect_column_kl_divergence_to_be_less_than"
WORDS = "expect_column_values_to_be_null"  # of the helper column with the texts of unparseable cells
FOREIGN_CODES = "expect_column_values_to_be_in_set"
MALFORMED = "rows_that_can_be_read"  # the name of the check for malformed rows, which is no GX expectation
_CODES = {column.name: column for column in contract.COLUMNS if column.codes}


@dataclass(frozen=True)
class Finding:
    """One expectation that the records do not meet.

    Attributes:
        expectation: its Great Expectations type.
        column: the column, or the empty string for an expectation about the dataset.
        layer: ``set`` stops the run, ``row`` quarantines rows, ``unusual`` and ``drift`` give a warning.
        expected: what was expected, in words.
        found: what was found, in words.
        rows: up to ten rows that do not meet it: (row number in the source, value).
        count: the number of such rows; 0 for an expectation about the dataset.
        name: the column as the source has it, for display.
        codes: the legal codes of the column as the source writes them, with their labels; empty for other columns.
    """

    expectation: str
    column: str
    layer: Layer
    expected: str
    found: str
    rows: list[tuple[int, str]]
    count: int
    name: str = ""
    codes: str = ""

    @property
    def subject(self) -> str:
        """What the finding is about: a column, under its name in the source, or all records."""
        return self.name or self.column or "all records"

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
        return f"{self.subject}: expected {self.expected}; found {found} [{self.expectation}]"


def of_results(failed: Iterable[Any], rows: int, written: Written) -> list[Finding]:
    """Return the findings of failed expectation results, in the order of the layers: set, row, unusual.

    Args:
        failed: results of Great Expectations.
        rows: the number of rows in the source, with the malformed ones.
        written: how the source writes the records.
    """
    found = [_of_result(one, rows, written) for one in failed]
    impossible = {one.column: one for one in found if (one.layer, one.expectation) == ("row", RANGE)}
    for position, one in enumerate(found):
        same = impossible.get(one.column)
        if (one.layer, one.expectation) == ("unusual", RANGE) and same is not None:  # not reported as unusual too
            others = [row for row in one.rows if row not in same.rows]
            found[position] = _about_rows(one, others, one.count - same.count)
    layers: tuple[Layer, ...] = ("set", "row", "unusual")
    return sorted(
        (one for one in found if one.count or one.layer == "set"),
        # drift is the last of its layer, because it often follows from other findings
        key=lambda one: (layers.index(one.layer), one.expectation == DRIFT),
    )


def of_drift(divergences: Iterable[Divergence], written: Written, *, max_drift: float) -> list[Finding]:
    """Return a warning for each column that differs from production's snapshot by more than chance.

    Args:
        divergences: of the columns from the snapshot.
        written: how the source writes the records.
        max_drift: the stop level.
    """
    return [
        Finding(
            expectation=DRIFT,
            column=one.column,
            layer="drift",
            expected=(
                f"a divergence from production's snapshot up to the chance level of {one.chance:.3f} ({one.records:,} "
                f"records against {one.referenced:,}; the run stops above {max_drift:g})"
            ),
            found=f"{one.value:.3f}",
            rows=[],
            count=0,
            name=written.title(one.column),
        )
        for one in divergences
        if one.value > one.chance
    ]


def is_about_codes(finding: Finding) -> bool:
    """Return whether cells of a column of codes, or of the label, hold words or other codes."""
    return finding.column in _CODES and finding.expectation in (WORDS, FOREIGN_CODES)


def is_about_a_range(finding: Finding) -> bool:
    """Return whether measurements are out of the range of what is possible."""
    return (finding.layer, finding.expectation) == ("row", RANGE)


def _about_rows(finding: Finding, rows: list[tuple[int, str]], count: int) -> Finding:
    return replace(finding, rows=rows, count=count, found=_violating_rows(count))


def _violating_rows(count: int) -> str:
    return "1 row that does not meet this" if count == 1 else f"{count} rows that do not meet this"


def _of_result(result: Any, rows: int, written: Written) -> Finding:
    config, details = result.expectation_config, result.result or {}
    about = Finding(
        expectation=config.type,
        column=config.meta["column"],
        layer=config.meta["layer"],
        expected=config.meta["expected"],
        found="",
        rows=[],
        count=0,
        name=written.title(config.meta["column"]) if config.meta["column"] else "",
        codes=_labelled(config.meta["column"], written),
    )
    if about.layer == "set":
        return replace(about, found=_of_set(config, details, result.exception_info, rows, written))
    numbers, values = details["partial_unexpected_index_list"], details["partial_unexpected_list"]
    first = [(int(row), written.shown(row, about.column, value)) for row, value in zip(numbers, values, strict=True)]
    return _about_rows(about, first, int(details["unexpected_count"]))


def _labelled(column: str, written: Written) -> str:
    codes = written.labels(_CODES[column]) if column in _CODES else {}
    return ", ".join(f"{code} {label}" for code, label in codes.items())


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


def _of_set(config: Any, details: Any, problem: Any, rows: int, written: Written) -> str:
    column, observed = config.kwargs.get("column"), details.get("observed_value")
    if config.type == "expect_table_columns_to_match_set":
        return written.lacks(details["details"]["mismatched"]["missing"])
    if config.type == "expect_column_values_to_not_be_null":
        marked = written.meaning_missing(config.meta["column"])
        return f"{1 - details['unexpected_percent'] / 100:.1%}" + (f"; {marked}" if marked else "")
    if column == suite.DISEASE and (observed is None or pd.isna(observed)):
        return "no row with a label that can be read"
    if observed is None:
        return f"no result ({problem.get('exception_message') or 'no values'})"
    if column in (suite.DISEASE, suite.REPEATS) and config.type == "expect_column_mean_to_be_between":
        return f"{observed:.1%}"
    if column == suite.CONTRADICTIONS:
        return f"{observed:g} of them contradict the label"
    if config.type == "expect_table_row_count_to_be_between" and observed < rows:
        return f"{observed} with the right number of fields, of {rows} rows"
    return f"{observed:.3g}" if isinstance(observed, float) else str(observed)

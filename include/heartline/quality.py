"""The contract as a Great Expectations suite, and the checkpoint that stops a run on bad records."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column as Cell

from heartline import contract
from heartline.contract import COLUMNS, Column
from heartline.errors import DataError

ROW = "row"
DISEASE = "has disease"
SHOWN_ROWS = 10


@dataclass(frozen=True)
class Failure:
    """One expectation that the records do not meet.

    Attributes:
        expectation: its Great Expectations type.
        column: the column, or the empty string for the whole set.
        expected: what was expected, in words.
        found: what was found, in words.
        rows: up to ten offending (row number in the source, value).
        count: how many rows offend; 0 for an expectation about the whole set.
    """

    expectation: str
    column: str
    expected: str
    found: str
    rows: list[tuple[int, str]]
    count: int


@dataclass(frozen=True)
class Report:
    """The outcome of the checkpoint.

    Attributes:
        expectations: how many were evaluated.
        failures: those that were not met.
    """

    expectations: int
    failures: list[Failure]

    @property
    def passed(self) -> bool:
        """Whether every expectation was met."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {"passed": self.passed, **asdict(self)}


def check(frame: pd.DataFrame) -> Report:
    """Run the contract's checkpoint on records as they came from a source.

    Args:
        frame: (n, 14) the contract's columns, float64 or text where a cell is no number; the index is the row number
            in the source.

    Returns:
        which expectations failed, in which rows.
    """
    context = gx.get_context(mode="ephemeral")
    batch = (
        context.data_sources.add_pandas("records")
        .add_dataframe_asset("batch")
        .add_batch_definition_whole_dataframe("all")
    )
    suite = context.suites.add(gx.ExpectationSuite("heart-records", expectations=[one for one, _ in _expectations()]))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="contract", data=batch, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="heart-records",
            validation_definitions=[definition],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [ROW]},
        )
    )
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    outcome = checkpoint.run(batch_parameters={"dataframe": _batch(frame)})
    results = next(iter(outcome.run_results.values())).results
    words = {_key(one): text for one, text in _expectations()}
    failures = [_failure(result, words) for result in results if not result.success]
    return Report(len(results), failures)


def clean(frame: pd.DataFrame) -> pd.DataFrame:
    """Return checked records as float64.

    Raises:
        ValueError: a cell is no number; ``check`` would have reported it.
    """
    return frame[list(contract.COLUMN_NAMES)].astype("float64")


def stop_on(report: Report, *, source: str) -> None:
    """Raise when ``report`` has failures.

    Raises:
        DataError: names each failed expectation with its column, count and offending rows.
    """
    if report.passed:
        return
    raise DataError(
        f"{len(report.failures)} of {report.expectations} expectations are not met",
        where=f"source {source}" + "".join(f"\n    - {_line(one)}" for one in report.failures),
        expected=f"records as contract {contract.VERSION} describes them",
        do="mend these rows in the source and run again; nothing was trained on them",
    )


def _line(one: Failure) -> str:
    head = f"{one.column or 'all records'}: expected {one.expected}; found {one.found}"
    shown = ", ".join(f"row {row}: {value}" for row, value in one.rows)
    more = ", …" if one.count > len(one.rows) else ""
    return f"{head}{' in ' if shown else ''}{shown}{more} [{one.expectation}]"


def _words_column(name: str) -> str:
    return f"{name} (not a number)"


def _batch(frame: pd.DataFrame) -> pd.DataFrame:
    """Add to the numbers one column for each text that should have been a number: an expectation can then show it."""
    batch = pd.DataFrame({ROW: frame.index.to_numpy()})
    for name in contract.COLUMN_NAMES:
        numbers = pd.to_numeric(frame[name], errors="coerce").astype("float64")
        batch[name] = numbers.to_numpy()
        batch[_words_column(name)] = (
            frame[name].astype("object").where(numbers.isna() & frame[name].notna(), None).to_numpy()
        )
    batch[DISEASE] = (batch[contract.LABEL.name] > 0).astype("float64")
    return batch


def _expectations() -> list[tuple[Expectation, str]]:
    suite: list[tuple[Expectation, str]] = [
        (
            gxe.ExpectTableRowCountToBeBetween(min_value=contract.MIN_ROWS),
            f"at least {contract.MIN_ROWS} records",
        )
    ]
    for column in COLUMNS:
        suite.extend(_column_expectations(column))
    share = contract.MIN_CLASS_SHARE
    suite.append(
        (
            gxe.ExpectColumnMeanToBeBetween(column=DISEASE, min_value=share, max_value=1 - share),
            f"a share of patients with disease between {share:.0%} and {1 - share:.0%}",
        )
    )
    return suite


def _column_expectations(column: Column) -> list[tuple[Expectation, str]]:
    name = column.name
    allowed = 1 - contract.MAX_MISSING_SHARE if column.optional else 1.0
    unit = f" {column.unit}" if column.unit else ""
    suite: list[tuple[Expectation, str]] = [
        (gxe.ExpectColumnValuesToBeNull(column=_words_column(name)), "numbers"),
        (
            # what is there but is no number was reported by the expectation before
            gxe.ExpectColumnValuesToNotBeNull(
                column=name, mostly=allowed, row_condition=Cell(_words_column(name)).is_null()
            ),
            "a value in every row" if allowed == 1.0 else f"a value in at least {allowed:.0%} of the rows",
        ),
    ]
    if column.codes:
        codes = [float(code) for code in column.codes]
        legal = ", ".join(str(code) for code in column.codes)
        suite.append((gxe.ExpectColumnValuesToBeInSet(column=name, value_set=codes), f"one of the codes {legal}"))
    else:
        suite.append(
            (
                gxe.ExpectColumnValuesToBeBetween(column=name, min_value=column.minimum, max_value=column.maximum),
                f"{column.minimum:g} to {column.maximum:g}{unit}",
            )
        )
    return suite


def _key(expectation: Expectation) -> tuple[str, str]:
    return expectation.expectation_type, getattr(expectation, "column", "")


def _failure(result: Any, words: dict[tuple[str, str], str]) -> Failure:
    config = result.expectation_config
    column = config.kwargs.get("column", "")
    details = result.result or {}
    rows = [(int(one[ROW]), _shown(one[column])) for one in details.get("unexpected_index_list") or []]
    count = int(details.get("unexpected_count") or 0)
    if count:
        found = f"{count} other" if count > 1 else "another"
    elif "observed_value" in details:
        found = f"{details['observed_value']:g}"
    else:
        found = f"an error: {result.exception_info}"
    return Failure(
        expectation=config.type,
        column=column.removesuffix(_words_column("")),
        expected=words[(config.type, column)],
        found=found,
        rows=rows[:SHOWN_ROWS],
        count=count,
    )


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value)
    return "missing" if pd.isna(value) else f"{value:g}"

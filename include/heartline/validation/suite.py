"""The contract as typed Great Expectations, in three layers with different consequences.

``set`` is about the dataset: a failure stops the run. ``row`` is about single cells: their rows are quarantined.
``unusual`` is about values that are possible but rare: a failure gives a warning. Findings have one layer more,
``drift``: a column that differs from production's snapshot by more than chance, also a warning (``drift.divergences``).
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation

from heartline import contract
from heartline.contract import Column
from heartline.validation.written import Written

Layer = Literal["set", "row", "unusual", "drift"]

# Helper columns of the batch, about a row or about the dataset, in addition to those of the contract.
DISEASE = "has disease"
REPEATS = "repeats an earlier row"
CONTRADICTIONS = "columns that contradict the label"


def not_a_number(name: str) -> str:
    """Return the name of the batch's column with the texts of the unparseable cells of ``name``."""
    return f"{name} (not a number)"


def finer(column: Column) -> str:
    """Return the name of the batch's column with the values that were rounded to the resolution of ``column``."""
    return f"{column.name} (more than {column.decimals} decimals)"


def with_a_value(name: str) -> str:
    """Return the name of the batch's column that is missing where the source has no value of ``name``."""
    return f"{name} (has a value)"


def decoded(name: str) -> str:
    """Return the name of the batch's column with the contract's codes of ``name``, if the source has others."""
    return f"{name} (decoded)"


def build(
    *,
    present: Collection[str],
    unparseable: Collection[str] = (),
    empty: Collection[str] = (),
    written: Written | None = None,
    reference: Mapping[str, Mapping[str, list[float]]] | None = None,
    max_drift: float = contract.MAX_DRIFT,
) -> list[Expectation]:
    """Return the expectations; the ``meta`` of each has ``layer``, ``column`` and ``expected``, in words.

    Args:
        present: the contract's columns that the source has.
        unparseable: the present columns with unparseable cells.
        empty: columns without any number, which cannot drift.
        written: how the source writes the records: the cells are checked as they stand in it.
        reference: the distribution of each column in production's snapshot, as ``drift.reference`` gives it.
        max_drift: the largest accepted Kullback-Leibler divergence from it.
    """
    written = written or Written()
    suite = [*_about_the_set(present, written)]
    for column in contract.COLUMNS:
        if column.name in present:
            suite += _about_rows(column, written, has_unparseable_cells=column.name in unparseable)
    for name, partition in (reference or {}).items():
        if (name in present and name not in empty) or name == DISEASE:
            suite.append(_drift(name, decoded(name) if name in written.recoded else name, partition, max_drift))
    return suite


def _about_the_set(present: Collection[str], written: Written) -> list[Expectation]:
    share = contract.MIN_CLASS_SHARE
    shown = {column.name: written.title(column.name) for column in contract.RISKS}
    suite: list[Expectation] = [
        gxe.ExpectTableColumnsToMatchSet(
            column_set=list(contract.COLUMN_NAMES),
            exact_match=False,
            **_about("set", "", f"the columns {', '.join(contract.COLUMN_NAMES)}"),
        ),
        gxe.ExpectTableRowCountToBeBetween(
            min_value=contract.MIN_ROWS, **_about("set", "", f"at least {contract.MIN_ROWS} records")
        ),
        gxe.ExpectColumnMeanToBeBetween(
            column=REPEATS,
            max_value=contract.MAX_DUPLICATE_SHARE,
            **_about("set", "", f"at most {contract.MAX_DUPLICATE_SHARE:.0%} duplicate rows"),
        ),
    ]
    if contract.LABEL.name in present:
        suite += [
            gxe.ExpectColumnMeanToBeBetween(
                column=DISEASE,
                min_value=share,
                max_value=1 - share,
                **_about(
                    "set",
                    contract.LABEL.name,
                    f"a share of patients with disease between {share:.0%} and {1 - share:.0%}",
                ),
            ),
            gxe.ExpectColumnMaxToBeBetween(
                column=CONTRADICTIONS,
                max_value=contract.MAX_CONTRADICTIONS,
                **_about(
                    "set",
                    contract.LABEL.name,
                    f"disease to go with {contract.risk_signs(shown)}, with at most {contract.MAX_CONTRADICTIONS} "
                    "exception: otherwise the label is inverted",
                ),
            ),
        ]
    return suite


def _about_rows(column: Column, written: Written, *, has_unparseable_cells: bool) -> list[Expectation]:
    name, companion = column.name, not_a_number(column.name)
    whole = "whole numbers" if column.whole else "numbers"
    readable = f"one of {written.legal(column)}" if name in written.words else whole
    allowed = 1 - contract.MAX_MISSING_SHARE if column.optional else 1.0
    suite: list[Expectation] = [
        gxe.ExpectColumnValuesToBeNull(column=companion, **_about("row", name, readable)),
        gxe.ExpectColumnValuesToNotBeNull(
            # an unparseable cell is a value, which the expectation before reports
            column=with_a_value(name) if has_unparseable_cells else name,
            mostly=allowed,
            **(
                _about("set", name, f"a value in at least {allowed:.0%} of the rows")
                if column.optional
                else _about("row", name, "a value in every row")
            ),
        ),
    ]
    if column.codes:
        suite.append(
            gxe.ExpectColumnValuesToBeInSet(
                column=name,
                value_set=list(written.codes(column)),
                **_about("row", name, f"one of {written.legal(column)}"),
            )
        )
    else:
        suite.append(_between(column, "row", (column.minimum, column.maximum)))
    if column.usual:
        suite.append(_between(column, "unusual", column.usual))
    if column.decimals:
        about = _about("unusual", name, f"at most {column.decimals} decimals (finer values are rounded)")
        suite.append(gxe.ExpectColumnValuesToBeNull(column=finer(column), **about))
    return suite


def _between(column: Column, layer: Layer, limits: tuple[float, float]) -> Expectation:
    low, high = limits
    unit = f" {column.unit}" if column.unit else ""
    words = f"{low:g} to {high:g}{unit}"
    return gxe.ExpectColumnValuesToBeBetween(
        column=column.name,
        min_value=low,
        max_value=high,
        **_about(layer, column.name, words if layer == "row" else f"usually {words}"),
    )


def _drift(name: str, column: str, partition: Mapping[str, list[float]], max_drift: float) -> Expectation:
    return gxe.ExpectColumnKLDivergenceToBeLessThan(
        column=column,
        partition_object={key: value for key, value in partition.items() if key != "counts"},
        threshold=max_drift,
        # a value that is not in the reference must count, but not make the divergence infinite
        tail_weight_holdout=0.001,
        **_about(
            "set",
            contract.LABEL.name if name == DISEASE else name,
            f"a distribution like that of production's snapshot (Kullback-Leibler divergence up to {max_drift:g})",
        ),
    )


def _about(layer: Layer, column: str, expected: str) -> dict[str, Any]:
    return {
        "severity": "warning" if layer == "unusual" else "critical",
        "notes": expected,
        "meta": {"layer": layer, "column": column, "expected": expected},
    }

"""Computes the tables of docs/data.md; run as a program, it rewrites them."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
from great_expectations.expectations.expectation import Expectation

from heartline import contract
from heartline.ingestion import encodings, source_catalog, sources
from heartline.ingestion.access import files
from heartline.ingestion.sample import synthetic
from heartline.validation import checkpoint, drift, suite
from heartline.validation.findings import Finding
from tests.running import ROOT

PAGE = ROOT / "docs" / "data.md"
REFRESH = "HEARTLINE_REAL_DATA=… PYTHONPATH=include .venv/bin/python -m tests.data_page"
DRAWS, SEED = 1000, 0  # of the table of divergence by chance

_OUTCOMES = {
    "set": "the run stops",
    "row": "those rows go to quarantine",
    "unusual": "a warning",
    "drift": "a warning",
}
_OF_THE_COLUMN = {
    ("row", "expect_column_values_to_be_in_set"): "one of the contract's codes",
    ("row", "expect_column_values_to_be_between"): "a possible value, as the contract has it",
    ("unusual", "expect_column_values_to_be_between"): "a usual value, as the contract has it",
}


def section(name: str) -> str:
    """Return the text between the markers of a table."""
    (found,) = _between_markers(name).findall(PAGE.read_text())
    return str(found[1])


def _between_markers(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


def checks() -> str:
    """Return the expectations of the suite, with those that differ only in their column in one row."""
    expectations = suite.build(present=contract.COLUMN_NAMES, reference=drift.reference(synthetic.generate(303)))
    columns: dict[tuple[str, str, str], list[str]] = {}
    for one in expectations:
        columns.setdefault(_kind(one), []).append(one.meta["column"])
    order = sorted(columns, key=lambda kind: list(_OUTCOMES).index(kind[0]))
    rows = [
        f"| {expected} | {_named(columns[layer, name, expected])} | {_OUTCOMES[layer]} | `{name}` |"
        for layer, name, expected in order
    ]
    return _table("| expected | column | if not met | Great Expectations' type |", rows)


def _kind(expectation: Expectation) -> tuple[str, str, str]:
    meta, name = expectation.meta, expectation.expectation_type
    return meta["layer"], name, _OF_THE_COLUMN.get((meta["layer"], name), meta["expected"])


def _named(columns: list[str]) -> str:
    if columns == [""]:
        return "all records"
    others = [name for name in contract.COLUMN_NAMES if name not in columns]
    if not others:
        return "each column"
    if len(others) <= 2:
        return f"each but {_quoted(others)}"
    return _quoted([name for name in contract.COLUMN_NAMES if name in columns])


def _quoted(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


ANY_FILE = sources.Settings(folders=files.ANYWHERE)


def cleveland(folder: Path) -> pd.DataFrame:
    """Return the decoded records of the Cleveland file."""
    return encodings.decode(
        sources.read(str(folder / "processed.cleveland.data"), settings=ANY_FILE).table.frame, encodings.UCI
    )


def check_hungary(folder: Path, *, with_reference: bool) -> checkpoint.Checked:
    """Return the outcome for the Hungarian file, with or without Cleveland's records as the reference for drift."""
    table = sources.read(str(folder / "processed.hungarian.data"), settings=ANY_FILE).table
    decision = encodings.decide_encoding(table.frame, table.names, encodings.AUTO)
    frame = encodings.decode(table.frame, decision.encoding)
    reference = drift.reference(cleveland(folder)) if with_reference else None
    return checkpoint.check(frame, table.unparseable, reference=reference)


def hungary(folder: Path) -> str:
    """Return the findings for the Hungarian file without a reference, and those that Cleveland's records add."""
    alone = check_hungary(folder, with_reference=False).findings
    known = {(one.column, one.expectation, one.layer) for one in alone}
    compared = check_hungary(folder, with_reference=True).findings
    added = [one for one in compared if (one.column, one.expectation, one.layer) not in known]
    assert len(compared) == len(alone) + len(added)
    head = "| column | expectation | found | outcome |"
    return (
        f"{_table(head, [_fired(one) for one in alone])}\nWith a model of Cleveland's records in production, also:\n\n"
        f"{_table(head, [_fired(one) for one in added])}"
    )


def _fired(one: Finding) -> str:
    found = one.found if one.layer in ("set", "drift") else f"{one.count} {'row' if one.count == 1 else 'rows'}"
    if one.expectation == "expect_column_values_to_not_be_null":
        found = f"{one.found} have a value" if one.layer == "set" else f"{found} without a value"
    return f"| `{one.column}` | `{one.expectation}` | {found} | {_OUTCOMES[one.layer]} |"


def largest_divergence(reference: pd.DataFrame, records: pd.DataFrame) -> float:
    """Return the largest divergence over the columns, as Great Expectations computes it."""
    return max(one.value for one in drift.divergences(records, drift.reference(reference)))


def chance(*, draws: int = DRAWS, seed: int = SEED, sizes: tuple[int, ...] = (100, 200, 303, 1000)) -> str:
    """Return the divergence by chance between two sets of one population; a row does not depend on the other sizes."""
    population = synthetic.generate(100_000, seed=5)
    rows = []
    for size in sizes:
        random = np.random.default_rng([seed, size])
        pairs = (random.choice(len(population), (2, size)) for _ in range(draws))
        found = np.array([largest_divergence(*(population.iloc[rows] for rows in pair)) for pair in pairs])
        figures = " | ".join(f"{figure:.3f}" for figure in np.quantile(found, [0.5, 0.95, 0.99, 1]))
        beyond = (found > contract.MAX_DRIFT).mean()
        rows.append(f"| {size:,} | {figures} | {f'{beyond:.1%}' if beyond else 'none'} |")
    head = f"| rows in each set | median | 95 % of the draws | 99 % | largest | above {contract.MAX_DRIFT:g} |"
    return f"{_table(head, rows).replace('---', '---:')}\n{draws:,} draws for each size, seed {seed}.\n"


def _table(head: str, rows: list[str]) -> str:
    return "\n".join([head, f"|{' --- |' * (head.count('|') - 1)}", *rows]) + "\n"


def write(folder: Path) -> None:
    """Write the tables to the page."""
    tables = {"sources": source_catalog.markdown(), "checks": checks(), "hungary": hungary(folder), "chance": chance()}
    for name, table in tables.items():
        PAGE.write_text(_between_markers(name).sub(rf"\g<1>{table}\g<3>", PAGE.read_text()))


if __name__ == "__main__":
    write(Path(os.environ["HEARTLINE_REAL_DATA"]).resolve())

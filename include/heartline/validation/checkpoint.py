"""The contract's checkpoint: every row of a source ends as used, as a duplicate, or in quarantine, or the run stops."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations.expectation import Expectation

from heartline import contract
from heartline.arrays import Flags
from heartline.ingestion import label_polarity
from heartline.storage import record_identity
from heartline.validation import drift, findings, suite
from heartline.validation.findings import Finding

ROW = "row"
QUARANTINE = [ROW, "field", "value", "reason"]


@dataclass(frozen=True)
class Report:
    """The outcome of the checkpoint; rows = used + duplicates + quarantined.

    Attributes:
        rows: in the source.
        used: distinct records that passed.
        duplicates: rows that repeat one of these.
        quarantined: rows that were set aside.
        max_quarantine: the share of rows that may be.
        encoding: ``uci`` or ``kaggle``; empty where it could not be decided.
        evidence: sentences that led to it.
        notes: what else is worth knowing.
        expectations: how many were evaluated.
        findings: those that were not met.
        stopped: why the run stops; empty where it goes on.
    """

    rows: int
    used: int
    duplicates: int
    quarantined: int
    max_quarantine: float
    encoding: str
    evidence: list[str]
    notes: list[str]
    expectations: int
    findings: list[Finding]
    stopped: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Checked:
    """Records after the checkpoint.

    Attributes:
        records: canonical, without duplicates and quarantined rows; none where the source lacks a column.
        used: how many rows were neither repeated nor set aside.
        quarantine: row, field, value, reason; a row may have several.
        duplicates: numbers of the rows that repeat an earlier one.
        result: what Great Expectations returned.
        findings: expectations that were not met.
        rows: in the source.
    """

    records: pd.DataFrame
    used: int
    quarantine: pd.DataFrame
    duplicates: list[int]
    result: ExpectationSuiteValidationResult
    findings: list[Finding]
    rows: int

    @property
    def quarantined(self) -> int:
        """How many rows are in quarantine."""
        return int(self.quarantine[ROW].nunique())


def check(
    frame: pd.DataFrame,
    odd: pd.DataFrame,
    *,
    absent: Collection[str] = (),
    reference: Mapping[str, drift.Partition] | None = None,
    max_drift: float = contract.MAX_DRIFT,
) -> Checked:
    """Run the contract's checkpoint on decoded records.

    Args:
        frame: (n, 14) float64 in UCI's codes; the index is the row number in the source.
        odd: cells that are not numbers, missing in ``frame``, and, with an empty field, rows that could not be read
            and are not in ``frame``: row, field, value, reason.
        absent: columns that the source lacks.
        reference: the distributions of production's snapshot; without it drift is not looked at.
        max_drift: the largest divergence from them.

    Raises:
        RuntimeError: the rows do not add up, which would be a fault of this function.
    """
    frame, odd = _without_fractions(frame, odd)
    cells, unreadable = odd[odd["field"] != ""], odd[odd["field"] == ""]
    present = [name for name in contract.COLUMN_NAMES if name not in absent]
    expectations = suite.build(present=present, odd=set(cells["field"]), reference=reference, max_drift=max_drift)
    order, repeats = record_identity.distinct(frame)
    batch = _batch(frame, cells, present, repeats)
    run = _Run(expectations, batch)
    failed: list[Any] = [one for one in run.result.results if not one.success]
    offenders = [run.offenders(one, cells) for one in failed if one.expectation_config.meta["layer"] == "row"]
    quarantine = pd.concat([unreadable, *offenders])[QUARANTINE]
    quarantine = quarantine.sort_values([ROW, "field"], ignore_index=True, kind="stable")
    good = frame
    if offenders:  # a row may repeat one that was set aside
        good = frame[~frame.index.isin(quarantine[ROW])]
        order, repeats = record_identity.distinct(good)
    checked = Checked(
        records=record_identity.canonical(good, order) if not absent else record_identity.canonical(good.iloc[:0]),
        used=int(len(good) - repeats.sum()),
        quarantine=quarantine,
        duplicates=good.index[repeats].tolist(),
        result=run.result,
        findings=[*findings.of_unreadable(unreadable, len(present)), *findings.of_results(failed)],
        rows=len(frame) + len(unreadable),
    )
    _expect_that_rows_add_up(checked, len(checked.records) if not absent else checked.used)
    return checked


def reasons_to_stop(checked: Checked, max_quarantine: float) -> list[str]:
    """Return why nothing may be trained on these records, in words; empty where nothing speaks against it."""
    reasons = [
        f"{one.column or 'all records'}: expected {one.expected}" for one in checked.findings if one.layer == "set"
    ]
    share = checked.quarantined / checked.rows
    if share > max_quarantine:
        of = f"{checked.quarantined} of {checked.rows} rows ({share:.1%})"
        reasons.insert(0, f"all records: {of} are in quarantine, at most {max_quarantine:.1%} may be")
    return reasons


def _expect_that_rows_add_up(checked: Checked, records: int) -> None:
    counts = f"{checked.used} used, {len(checked.duplicates)} duplicates, {checked.quarantined} set aside"
    if checked.used + len(checked.duplicates) + checked.quarantined != checked.rows or records != checked.used:
        raise RuntimeError(f"{checked.rows} rows in, but {counts}, {records} records out")


def _without_fractions(frame: pd.DataFrame, odd: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Move fractions in columns of whole numbers to the odd cells, infinite values too."""
    moved = []
    for column in contract.COLUMNS:
        values = frame[column.name].to_numpy()
        wrong = np.isinf(values)
        if column.whole:  # a missing value is unlike itself, and no fraction
            wrong |= (np.trunc(values) != values) & ~np.isnan(values)
        if not wrong.any():
            continue
        rows = frame.index[wrong]
        reason = "not a whole number" if column.whole else "not a number"
        shown = [findings.shown(value) for value in values[wrong]]
        moved.append(pd.DataFrame({ROW: rows, "field": column.name, "value": shown, "reason": reason}))
        frame = frame.assign(**{column.name: frame[column.name].mask(wrong)})
    return frame, pd.concat([odd, *moved], ignore_index=True) if moved else odd


def _batch(frame: pd.DataFrame, cells: pd.DataFrame, present: Collection[str], repeats: Flags) -> pd.DataFrame:
    """Return what the expectations look at: the present columns and what is said about each row and about the set."""
    columns: dict[str, Any] = {name: frame[name] for name in present}
    texts = dict(iter(cells.groupby("field")))
    nothing = _texts(frame.index, cells.iloc[:0])
    for name in present:
        columns[suite.not_a_number(name)] = _texts(frame.index, texts[name]) if name in texts else nothing
    columns[suite.REPEATS] = repeats.view("int8")
    if contract.LABEL.name in present:
        columns[suite.DISEASE] = (frame[contract.LABEL.name].to_numpy() > 0).view("int8")
        against = len(label_polarity.contradictions(label_polarity.aucs(frame)))
        columns[suite.CONTRADICTIONS] = np.full(len(frame), against, dtype="int8")
    # an index with a name would come back as a dictionary for each row
    return pd.DataFrame(columns, index=frame.index, copy=False).rename_axis(None)


def _texts(rows: "pd.Index[int]", cells: pd.DataFrame) -> pd.Categorical:
    """Return the texts of a column's odd cells by row, as categories: they cost a byte a row, and texts eight."""
    numbers, texts = pd.factorize(cells["value"])
    codes = np.full(len(rows), -1, dtype="int8" if len(texts) < 127 else "int32")
    codes[rows.get_indexer(pd.Index(cells[ROW]))] = numbers
    return pd.Categorical.from_codes(codes, categories=texts)


class _Run:
    """One run of the checkpoint, and the questions that follow where an expectation is not met."""

    def __init__(self, expectations: list[Expectation], batch: pd.DataFrame) -> None:
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        # without a site of its own: the default one leaves a folder in /tmp for each run
        defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = DataContextConfig(
            store_backend_defaults=defaults, progress_bars=ProgressBarsConfig(globally=False), analytics_enabled=False
        )
        context = gx.get_context(mode="ephemeral", project_config=config)
        asset = context.data_sources.add_pandas("records").add_dataframe_asset("batch")
        self._definition = asset.add_batch_definition_whole_dataframe("all")
        self._expectations = expectations
        self._batch = batch
        validation = gx.ValidationDefinition(
            name="contract",
            data=self._definition,
            suite=context.suites.add(gx.ExpectationSuite("heart-records", expectations=expectations)),
        )
        checkpoint = gx.Checkpoint(
            name="heart-records",
            validation_definitions=[context.validation_definitions.add(validation)],
            # some values and rows, for people; all of them are asked for only where an expectation is not met
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": findings.SHOWN_ROWS},
        )
        outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": batch})
        self.result: ExpectationSuiteValidationResult = next(iter(outcome.run_results.values()))

    def offenders(self, failed: Any, cells: pd.DataFrame) -> pd.DataFrame:
        """Return every row that does not meet one expectation: row, field, value, reason."""
        config = failed.expectation_config
        (expectation,) = [
            one for one in self._expectations if (one.expectation_type, one.meta) == (config.type, config.meta)
        ]
        batch = self._definition.get_batch({"dataframe": self._batch})
        details = batch.validate(expectation, result_format={"result_format": "COMPLETE"}).result
        rows, name = pd.Index(details["unexpected_index_list"]), config.meta["column"]
        if config.kwargs["column"] != name:
            return pd.DataFrame(cells[(cells["field"] == name) & cells[ROW].isin(rows)])
        values = [findings.shown(value) for value in self._batch.loc[rows, name]]
        return pd.DataFrame(
            {ROW: rows, "field": name, "value": values, "reason": f"expected {config.meta['expected']}"}
        )

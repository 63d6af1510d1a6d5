"""The contract's checkpoint: each row of a source is used, a duplicate or quarantined, or the run stops."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
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
from heartline.arrays import Flags, Positions
from heartline.ingestion import label_polarity
from heartline.storage import record_identity
from heartline.validation import drift, findings, suite
from heartline.validation import written as source
from heartline.validation.findings import Finding
from heartline.validation.written import Written

ROW = "row"
QUARANTINE = [ROW, "field", "value", "reason"]


@dataclass(frozen=True)
class Report:
    """The outcome of the checkpoint; rows = used + duplicates + quarantined.

    Attributes:
        rows: number of rows in the source.
        used: number of distinct valid records.
        duplicates: number of rows that repeat one of these.
        quarantined: number of rows in quarantine.
        max_quarantine: the largest accepted share of rows in quarantine.
        encoding: ``uci``, ``kaggle`` or ``mapping``; empty if it could not be decided.
        evidence: sentences about the decision on the encoding.
        notes: further information.
        expectations: number of evaluated expectations.
        findings: the expectations that were not met.
        stopped: the reasons why the run stops; empty if it continues.
        names: the source's name of each column, as spelled; empty without a header.
        mapping: the text of the mapping that the records were read with; empty for none.
        warnings: sentences about all records, for readers of the scores too.
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
    names: dict[str, str] = field(default_factory=dict)
    mapping: str = ""
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Checked:
    """Records after the checkpoint.

    Attributes:
        records: canonical, without duplicates and quarantined rows; empty if the source lacks a column.
        used: number of rows that are neither duplicates nor quarantined.
        quarantine: row, field, value, reason; a row may have several entries.
        duplicates: numbers of the rows that repeat an earlier row.
        result: the result of Great Expectations.
        findings: the expectations that were not met.
        rows: number of rows in the source.
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
        """The number of rows in quarantine."""
        return int(self.quarantine[ROW].nunique())


def check(
    frame: pd.DataFrame,
    unparseable: pd.DataFrame,
    *,
    finer: pd.DataFrame | None = None,
    written: Written | None = None,
    absent: Collection[str] = (),
    reference: Mapping[str, drift.Partition] | None = None,
    max_drift: float = contract.MAX_DRIFT,
) -> Checked:
    """Run the contract's checkpoint on decoded records.

    Args:
        frame: (n, 14) float64 in UCI's codes, at the contract's resolution; the index is the row number in the source.
            A further column ``PATIENT`` is not checked: rows of different patients are no duplicates.
        unparseable: row, field, value, reason of each unparseable cell, which is missing in ``frame``; with an empty
            field, of each malformed row, which is not in ``frame``.
        written: how the source writes the records; single cells are checked and quoted as they stand in it. By default
            as in ``frame``.
        finer: row, field, value of the values that were rounded to the contract's resolution, for a warning.
        absent: columns that the source lacks.
        reference: the distributions of production's snapshot; without it drift is not checked.
        max_drift: the largest accepted divergence from them.

    Raises:
        RuntimeError: the rows do not add up, which is a bug in this function.
    """
    written = written or Written()
    frame, as_found, unparseable = _without_fractions(frame, written.cells(frame), unparseable)
    cells, malformed = unparseable[unparseable["field"] != ""], unparseable[unparseable["field"] == ""]
    present = [name for name in contract.COLUMN_NAMES if name not in absent]
    expectations = suite.build(
        present=present,
        unparseable=set(cells["field"]),
        empty=[name for name in present if frame[name].isna().all()] if reference else (),
        written=written,
        reference=reference,
        max_drift=max_drift,
    )
    order, repeats = _distinct(frame, _unreadable(frame, as_found, cells, written))
    # copies of a row are no further evidence of a change
    divergences = drift.divergences(frame[~repeats] if repeats.any() else frame, reference or {})
    recoded = written.recoded if reference else ()
    batch = _batch(frame, as_found, cells, present, repeats, recoded=recoded, finer=_shown_finer(finer))
    run = _Run(expectations, batch)
    failed: list[Any] = [one for one in run.result.results if not one.success]
    offenders = [run.offenders(one, cells, written) for one in failed if _layer(one) == "row"]
    quarantine = pd.concat([malformed, *offenders])[QUARANTINE]
    quarantine = quarantine.sort_values([ROW, "field"], ignore_index=True, kind="stable")
    good = frame
    if offenders:  # a row may be equal to a quarantined row, and is no duplicate then
        good = frame[~frame.index.isin(quarantine[ROW])]
        order, repeats = record_identity.distinct(good)
    rows = len(frame) + len(malformed)
    found = [*findings.of_malformed(malformed, written.fields), *findings.of_results(failed, rows, written)]
    stopping = {one.column for one in found if one.expectation == findings.DRIFT}
    compared = [one for one in divergences if one.column not in stopping]
    checked = Checked(
        records=record_identity.canonical(good, order) if not absent else record_identity.canonical(good.iloc[:0]),
        used=int(len(good) - repeats.sum()),
        quarantine=quarantine.assign(field=quarantine["field"].map(written.name)),
        duplicates=good.index[repeats].tolist(),
        result=run.result,
        findings=[*found, *findings.of_drift(compared, written, max_drift=max_drift)],
        rows=rows,
    )
    _expect_that_rows_add_up(checked, len(checked.records) if not absent else checked.used)
    return checked


def _layer(result: Any) -> str:
    return str(result.expectation_config.meta["layer"])


def _unreadable(frame: pd.DataFrame, as_found: pd.DataFrame, cells: pd.DataFrame, written: Written) -> Flags:
    """Return which rows (n,) have a cell that is no number, or a code that the source's encoding lacks."""
    found = np.asarray(frame.index.isin(cells[ROW]), dtype=np.bool_)
    for name in written.recoded:
        found |= as_found[name].notna().to_numpy() & frame[name].isna().to_numpy()
    return found


def _distinct(frame: pd.DataFrame, unreadable: Flags) -> tuple[Positions | None, Flags]:
    """Return the order and the duplicates of the records; rows that cannot be read are not compared."""
    if not unreadable.any():
        return record_identity.distinct(frame)
    repeats = np.zeros(len(frame), dtype=np.bool_)
    repeats[~unreadable] = record_identity.distinct(frame[~unreadable])[1]
    return None, repeats


def reasons_to_stop(checked: Checked, max_quarantine: float) -> list[str]:
    """Return the reasons, in words, why no model may be trained on these records; empty if there are none."""
    reasons = [f"{one.subject}: expected {one.expected}" for one in checked.findings if one.layer == "set"]
    share = checked.quarantined / checked.rows
    if share > max_quarantine:
        of = f"{checked.quarantined} of {checked.rows} rows ({share:.1%})"
        reasons.insert(0, f"all records: {of} are in quarantine, at most {max_quarantine:.1%} may be")
    return reasons


def _expect_that_rows_add_up(checked: Checked, records: int) -> None:
    counts = f"{checked.used} used, {len(checked.duplicates)} duplicates, {checked.quarantined} quarantined"
    if checked.used + len(checked.duplicates) + checked.quarantined != checked.rows or records != checked.used:
        raise RuntimeError(f"{checked.rows} rows in, but {counts}, {records} records out")


def _without_fractions(
    frame: pd.DataFrame, as_found: pd.DataFrame, unparseable: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Move fractions in integer columns, and infinite values, to the unparseable cells.

    Args:
        frame: the decoded records.
        as_found: the numbers of the source; the same object if its codes are the contract's.
        unparseable: row, field, value, reason.
    """
    moved = []
    same = as_found is frame
    for column in contract.COLUMNS:
        values = as_found[column.name].to_numpy()
        wrong = np.isinf(values)
        if column.whole:  # NaN differs from itself and is not a fraction
            wrong |= (np.trunc(values) != values) & ~np.isnan(values)
        if not wrong.any():
            continue
        rows = as_found.index[wrong]
        reason = "not a whole number" if column.whole else "not a number"
        shown = [source.shown(value) for value in values[wrong]]
        moved.append(pd.DataFrame({ROW: rows, "field": column.name, "value": shown, "reason": reason}))
        frame = frame.assign(**{column.name: frame[column.name].mask(wrong)})
        as_found = frame if same else as_found.assign(**{column.name: as_found[column.name].mask(wrong)})
    return frame, as_found, pd.concat([unparseable, *moved], ignore_index=True) if moved else unparseable


def _shown_finer(finer: pd.DataFrame | None) -> pd.DataFrame:
    """Return the values that were rounded as texts: row, field, value."""
    if finer is None or finer.empty:
        return pd.DataFrame(columns=[ROW, "field", "value"])
    return finer.assign(value=[source.shown(value) for value in finer["value"]])


def _batch(
    frame: pd.DataFrame,
    as_found: pd.DataFrame,
    cells: pd.DataFrame,
    present: Collection[str],
    repeats: Flags,
    *,
    recoded: Collection[str],
    finer: pd.DataFrame,
) -> pd.DataFrame:
    """Return the batch for the expectations: the present columns, and helper columns about each row and the dataset."""
    columns: dict[str, Any] = {name: as_found[name] for name in present}
    columns |= {suite.decoded(name): frame[name] for name in recoded if name in present}
    texts = dict(iter(cells.groupby("field")))
    nothing = _texts(frame.index, cells.iloc[:0])
    for name in present:
        columns[suite.not_a_number(name)] = _texts(frame.index, texts[name]) if name in texts else nothing
        if name in texts:
            columns[suite.with_a_value(name)] = as_found[name].mask(as_found.index.isin(texts[name][ROW]), 0.0)
    for column in contract.COLUMNS:
        if column.decimals and column.name in present:
            columns[suite.finer(column)] = _texts(frame.index, finer[finer["field"] == column.name])
    columns[suite.REPEATS] = repeats.view("int8")
    if contract.LABEL.name in present:
        label = frame[contract.LABEL.name].to_numpy()
        disease, unknown = label > 0, np.isnan(label)
        columns[suite.DISEASE] = np.where(unknown, np.nan, disease) if unknown.any() else disease.view("int8")
        against = len(label_polarity.contradictions(label_polarity.aucs(frame)))
        columns[suite.CONTRADICTIONS] = np.full(len(frame), against, dtype="int8")
    # with a named index, Great Expectations returns a dictionary for each row
    return pd.DataFrame(columns, index=frame.index, copy=False).rename_axis(None)


def _texts(rows: "pd.Index[int]", cells: pd.DataFrame) -> pd.Categorical:
    """Return the texts of a column's unparseable cells by row, as categories: one byte a row instead of eight."""
    numbers, texts = pd.factorize(cells["value"])
    codes = np.full(len(rows), -1, dtype="int8" if len(texts) < 127 else "int32")
    codes[rows.get_indexer(pd.Index(cells[ROW]))] = numbers
    return pd.Categorical.from_codes(codes, categories=texts)


class _Run:
    """One run of the checkpoint, and queries about the expectations that were not met."""

    def __init__(self, expectations: list[Expectation], batch: pd.DataFrame) -> None:
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        # without a Data Docs site: the default site leaves a folder in /tmp for each run
        defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = DataContextConfig(
            store_backend_defaults=defaults, progress_bars=ProgressBarsConfig(globally=False), analytics_enabled=False
        )
        self._context = gx.get_context(mode="ephemeral", project_config=config)
        self._sources = self._context.data_sources.add_pandas("records")
        self._whole = self._definition("")
        self._expectations = expectations
        self._batch = batch
        apart = _incomplete(batch)
        parts: dict[str, list[Expectation]] = {name: [] for name in ("", *apart)}
        for one in expectations:
            parts[name if (name := str(getattr(one, "column", ""))) in apart else ""].append(one)
        found = [self._part(name, part) for name, part in parts.items() if part]
        self.result: ExpectationSuiteValidationResult = found[0]
        if len(found) > 1:
            _merge(self.result, found[1:], expectations)

    def _part(self, name: str, expectations: list[Expectation]) -> ExpectationSuiteValidationResult:
        """Return the result of the expectations about the column ``name`` of the batch; "" for those of the batch."""
        title = f"heart-records {name}".rstrip()
        validation = gx.ValidationDefinition(
            name=f"contract {name}".rstrip(),
            data=self._definition(name) if name else self._whole,
            suite=self._context.suites.add(gx.ExpectationSuite(title, expectations=expectations)),
        )
        checkpoint = gx.Checkpoint(
            name=title,
            validation_definitions=[self._context.validation_definitions.add(validation)],
            # some values and rows for display; all of them are queried only if an expectation is not met
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": findings.SHOWN_ROWS},
        )
        rows = self._batch[name].to_frame() if name else self._batch
        outcome = self._context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": rows})
        return next(iter(outcome.run_results.values()))

    def _definition(self, name: str) -> Any:
        asset = self._sources.add_dataframe_asset(f"batch {name}".rstrip())
        return asset.add_batch_definition_whole_dataframe("all")

    def offenders(self, failed: Any, cells: pd.DataFrame, written: Written) -> pd.DataFrame:
        """Return each row that does not meet an expectation: row, field, value, reason."""
        config = failed.expectation_config
        (expectation,) = [
            one for one in self._expectations if (one.expectation_type, one.meta) == (config.type, config.meta)
        ]
        batch = self._whole.get_batch({"dataframe": self._batch})
        details = batch.validate(expectation, result_format={"result_format": "COMPLETE"}).result
        rows, name = pd.Index(details["unexpected_index_list"]), config.meta["column"]
        if config.kwargs["column"] == suite.not_a_number(name):
            return pd.DataFrame(cells[(cells["field"] == name) & cells[ROW].isin(rows)])
        values = [written.shown(row, name, value) for row, value in self._batch.loc[rows, name].items()]
        return pd.DataFrame(
            {ROW: rows, "field": name, "value": values, "reason": f"expected {config.meta['expected']}"}
        )


def _incomplete(batch: pd.DataFrame) -> list[str]:
    """Return the contract's columns that lack some values, but not all.

    To check such a column, Great Expectations copies all columns of its batch, for the rows that have a value. So each
    of them is a batch of its own.
    """
    return [
        name for name in contract.COLUMN_NAMES if name in batch and batch[name].hasnans and not batch[name].isna().all()
    ]


def _merge(
    whole: ExpectationSuiteValidationResult,
    others: list[ExpectationSuiteValidationResult],
    expectations: list[Expectation],
) -> None:
    """Add results to ``whole``, in Great Expectations' order: by column, those without a result first."""
    columns = list(dict.fromkeys(getattr(one, "column", "") for one in expectations))

    def place(one: Any) -> tuple[bool, int]:
        return bool(one.result), columns.index(one.expectation_config.kwargs.get("column", ""))

    results = sorted((one for part in (whole, *others) for one in part.results), key=place)
    whole.results = results
    whole.success = all(one.success for one in results)
    met = sum(bool(one.success) for one in results)
    whole.statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": met,
        "unsuccessful_expectations": len(results) - met,
        "success_percent": 100 * met / len(results),
    }

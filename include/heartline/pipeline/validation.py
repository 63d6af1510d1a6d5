"""Decides whether a set of records may be trained on, and publishes the evidence of that decision.

A refused set leaves the same evidence as an accepted one: quarantine, Data Docs page and MLflow run.
"""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from heartline import contract, origins, resolution, visible
from heartline.errors import DataError
from heartline.ingestion import encodings
from heartline.ingestion.mapping.file_mapping import NO_CODE, FileMapping
from heartline.pipeline.handovers import ValidationEvidence
from heartline.registry import mlflow_registry, runs
from heartline.reports import data_docs_page, data_docs_site
from heartline.storage import object_store, snapshots
from heartline.storage.record_identity import PATIENT
from heartline.validation import checkpoint, drift, findings, same_patient, written
from heartline.validation.checkpoint import Checked, Report
from heartline.validation.findings import Finding

PAGE = "data_docs.html"
SHOWN_FINDINGS = 12
TEXTS = ("field", "value", "reason")  # columns of the quarantine


@dataclass(frozen=True)
class CheckParameters:
    """The parameters of a run's checks.

    Attributes:
        encoding: ``auto``, ``uci`` or ``kaggle``.
        max_quarantine: the largest share of rows that may be quarantined, 0 to 1.
        max_drift: the largest Kullback-Leibler divergence of a column from production's snapshot.
    """

    encoding: str = encodings.AUTO
    max_quarantine: float = contract.MAX_QUARANTINE_SHARE
    max_drift: float = contract.MAX_DRIFT


@dataclass(frozen=True, eq=False)
class Raw:
    """Records as they were read from a source.

    Attributes:
        frame: (n, 14) float64, or words of a mapping as categories; the index is the row number in the source.
        unparseable: cells and rows that are not numbers: row, field, value, reason.
        names: the header as spelled; empty without one.
        missing_columns: columns of the contract that the source lacks.
        extra_columns: columns of the source that the contract lacks.
        origin: the kind of source.
        source: the source in words.
        mapping: how the records become those of the contract; None if an encoding says so.
        patients: (n,) the key of each row's patient, with the index of ``frame``; None without a column of patients.
        patient: the name of that column; "" without one.
    """

    frame: pd.DataFrame
    unparseable: pd.DataFrame
    names: list[str]
    missing_columns: list[str]
    extra_columns: list[str]
    origin: str
    source: str
    mapping: FileMapping | None = None
    patients: "pd.Series[int] | None" = None
    patient: str = ""


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """The result of the checks of a set of records.

    Attributes:
        checked: records, quarantine and Great Expectations' result.
        report: counts, findings and the reasons to stop.
        page: the Data Docs page, self-contained HTML.
    """

    checked: Checked
    report: Report
    page: bytes


def decide(raw: Raw, parameters: CheckParameters, *, run: str) -> ValidationResult:
    """Decide the encoding, run the checkpoint and render the page; the report says whether the run may continue.

    Args:
        raw: records as they were read.
        parameters: the run's parameters.
        run: Airflow's DAG run id, for the page.

    Raises:
        RegistryError: MLflow cannot be reached, which stores the alias ``production``.
    """
    decoded = _decoded(raw, parameters.encoding)
    decided, how = decoded.decision, decoded.how
    reference, note = _reference(raw.origin)
    checked = checkpoint.check(
        decoded.frame if raw.patients is None else decoded.frame.assign(**{PATIENT: raw.patients}),
        decoded.unparseable,
        written=how,
        finer=decoded.finer,
        absent=raw.missing_columns,
        reference=reference,
        max_drift=parameters.max_drift,
    )
    patients = same_patient.of_records(checked.records, raw.patient)
    extra = [f"columns that the contract does not have were left out: {visible.listed(raw.extra_columns)}"]
    undecided = [f"all records: {decided.problem}"] if decided.problem else []
    lacking = [f"all records: {_lacking(raw.missing_columns)}"] if raw.missing_columns else []
    report = Report(
        rows=checked.rows,
        used=checked.used,
        duplicates=len(checked.duplicates),
        quarantined=checked.quarantined,
        max_quarantine=parameters.max_quarantine,
        encoding=decided.encoding,
        evidence=decided.evidence,
        notes=[
            *patients.notes,
            *(extra if raw.extra_columns else []),
            *([note] if note else []),
            *_drifted(checked.findings),
        ],
        expectations=len(checked.result.results),
        findings=checked.findings,
        stopped=[*lacking, *undecided, *checkpoint.reasons_to_stop(checked, parameters.max_quarantine)],
        names=dict(how.names),
        mapping=raw.mapping.text() if raw.mapping else "",
        warnings=list(patients.warnings),
    )
    page = data_docs_page.render(checked.result, report, run=run, source=raw.source)
    return ValidationResult(checked, report, page)


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Records in the contract's codes and at its resolution, and how they were read.

    Attributes:
        decision: the encoding.
        frame: (n, 14) float64.
        finer: row, field, value of the values that were rounded.
        unparseable: row, field, value, reason of the cells that have no value in the frame.
        how: how the source writes the records.
    """

    decision: encodings.EncodingDecision
    frame: pd.DataFrame
    finer: pd.DataFrame
    unparseable: pd.DataFrame
    how: written.Written


def _decoded(raw: Raw, encoding: str) -> _Decoded:
    if raw.mapping:
        frame, unparseable = raw.mapping.decode(raw.frame, raw.unparseable)
        how = written.of_mapping(raw.mapping, raw.names, raw.extra_columns, raw.frame)
        # a number without a code is reported by the check of its column's codes
        numeric = (unparseable["reason"] == NO_CODE) & unparseable["field"].isin(list(how.recoded))
        records = resolution.frame_at_resolution(frame)
        decision = encodings.of_mapping(records, raw.mapping, how.names)
        return _Decoded(decision, records, resolution.finer_values(frame), unparseable[~numeric], how)
    as_read = resolution.frame_at_resolution(raw.frame)
    decision = encodings.decide_encoding(as_read, raw.names, encoding)
    # an undecided set is checked as UCI's: the page then shows which values do not fit
    frame = encodings.decode(as_read, decision.encoding or encodings.UCI)
    finer = {column.name: raw.frame[column.name] for column in contract.COLUMNS if not column.whole}
    how = written.of_source(raw.names, raw.extra_columns, as_read.assign(**finer), decision.encoding)
    return _Decoded(decision, frame, resolution.finer_values(raw.frame), raw.unparseable, how)


def _drifted(found: Sequence[Finding]) -> list[str]:
    """Return a sentence about the columns with a warning of drift, if there are any."""
    warned = [f"{one.subject} {one.found}" for one in found if one.layer == "drift"]
    if not warned:
        return []
    return [
        f"drift: {visible.listed(warned)} diverge from production's snapshot by more than chance. The run does not "
        f"stop for it. Without a change, {drift.FALSE_ALARM_RATE:.0%} of the runs have such a warning"
    ]


def _lacking(columns: Sequence[str]) -> str:
    """Return in one sentence what it means that a source lacks columns of the contract."""
    names = " and ".join([part for part in (", ".join(columns[:-1]), columns[-1]) if part])
    one = len(columns) == 1
    return (
        f"the source has no {'column' if one else 'columns'} {names}, and contract {contract.VERSION} needs "
        f"{'it' if one else 'them'}: such records can be trained only with a contract that does without "
        f"{'it' if one else 'them'}"
    )


def publish(
    result: ValidationResult, raw: Raw, parameters: CheckParameters, *, run: str, snapshot: str
) -> ValidationEvidence:
    """Publish the evidence: the page in the Data Docs, and an MLflow run with page, report and quarantine.

    Args:
        result: what ``decide`` returned.
        raw: records as they were read.
        parameters: the run's parameters.
        run: Airflow's DAG run id.
        snapshot: sha256 of the records that passed.

    Raises:
        RegistryError: MLflow cannot be reached.
        StoreError: the store cannot be written.
    """
    report = result.report
    name = data_docs_site.publish(result.page, run, report=report, source=raw.source)
    files = {
        PAGE: result.page,
        "validation.json": json.dumps(report.as_dict(), indent=1, sort_keys=True).encode(),
        "quarantine.csv": _csv(result.checked.quarantine),
        "quarantine.parquet": _parquet(result.checked.quarantine),
    }
    mapping = raw.mapping
    if mapping:
        files["mapping.yaml"] = mapping.text().encode()
    stated = [mapping.digest] if mapping else []
    key = hashlib.sha256(json.dumps([run, snapshot, vars(parameters), *stated]).encode()).hexdigest()
    run_id = mlflow_registry.log_run(
        runs.Run(
            key=key,
            title=run or raw.source,
            experiment=runs.DATA_EXPERIMENT,
            tags={"source": raw.source, "origin": raw.origin, "snapshot": snapshot, "airflow_run": run},
            parameters={
                **vars(parameters),
                "decided_encoding": report.encoding or "undecided",
                "mapping": f"{mapping.title} (sha256 {mapping.digest})" if mapping else "none",
                "patient": raw.patient or "none",
                "contract": contract.VERSION,
            },
            metrics={
                "rows": report.rows,
                "used": report.used,
                "duplicates": report.duplicates,
                "quarantined": report.quarantined,
                "expectations": report.expectations,
                "findings": len(report.findings),
            },
            files=files,
            failed=bool(report.stopped),
        )
    )
    return {
        "data_docs": address(name),
        "validation_run": run_id,
        "report": object_store.put(files["validation.json"], "reports", ".json"),
        "page": object_store.put(result.page, "pages", ".html"),
        "quarantine": object_store.put(files["quarantine.parquet"], "quarantine", ".parquet"),
        "quarantine_csv": object_store.put(files["quarantine.csv"], "quarantine", ".csv"),
    }


def address(name: str) -> str:
    """Return the address of a Data Docs page: below HEARTLINE_DATA_DOCS_URL, else in the store."""
    site = os.environ.get("HEARTLINE_DATA_DOCS_URL") or f"{object_store.default_uri().rstrip('/')}/data-docs"
    return f"{site.rstrip('/')}/{name}"


def stop_on(report: Report, raw: Raw, *, page: str) -> None:
    """Raise an error if the report has a reason to stop the run.

    Raises:
        DataError: names each finding with its expectation, column, count and up to ten rows, and the page; only the
            columns that the source lacks, if it lacks some, because no correction of values can help then.
    """
    if not report.stopped:
        return
    source = raw.source
    if raw.missing_columns:
        raise DataError(
            _lacking(raw.missing_columns),
            where=f"source {source}\n    page: {page}",
            expected=f"the columns {', '.join(contract.COLUMN_NAMES)}",
            hint=_advice_on_columns(raw),
        )
    # the largest first: a message that is cut off has named them
    by_size = sorted(report.findings, key=lambda finding: (finding.layer != "set", -finding.count))
    serious = [str(finding) for finding in by_size if finding.layer in ("set", "row")]
    others = [reason for reason in report.stopped if not any(line.startswith(reason) for line in serious)]
    shown = [*others, *serious[:SHOWN_FINDINGS]]
    if len(serious) > SHOWN_FINDINGS:
        shown.append(f"and {len(serious) - SHOWN_FINDINGS} more, on the page")
    if not report.encoding:
        shown += report.evidence
    raise DataError(
        f"these records are refused: {_reasons(report)}",
        where=f"source {source}" + "".join(f"\n    - {one}" for one in shown) + f"\n    page: {page}",
        expected=f"records as contract {contract.VERSION} describes them",
        hint=_advice(report, raw),
    )


def _reasons(report: Report) -> str:
    failed = sum(1 for one in report.findings if one.layer == "set")
    if failed and report.encoding:
        verb = "expectation about the dataset is" if failed == 1 else "expectations about the dataset are"
        return f"{failed} {verb} not met, of {report.expectations} in all"
    return report.stopped[0].removeprefix("all records: ")


def _advice_on_columns(raw: Raw) -> str:
    without = "take these columns out of include/heartline/contract.py and raise its version"
    if not raw.extra_columns:
        return f"get the columns, or {without}; nothing was trained"
    shown = written.guesses(raw.extra_columns, raw.missing_columns)
    return (
        f"if one of its further columns ({shown}) is meant, state so in a mapping: ./heartline mapping FILE writes a "
        f"draft; else {without}; nothing was trained"
    )


def _advice(report: Report, raw: Raw) -> str:
    if not report.encoding:
        return (
            "read the evidence, then set the parameter encoding=uci or encoding=kaggle; if the file has neither's "
            "codes, state them in a mapping: ./heartline mapping FILE writes a draft; nothing was trained"
        )
    drifted = all("divergence" in one for one in report.stopped)
    accept = "; if the change is intended, run with a larger max_drift" if drifted else ""
    correct = f"correct the source and run again{accept}; nothing was trained on these records"
    by_mapping = _advice_on_a_mapping(report, raw)
    return f"{by_mapping}; else {correct}" if by_mapping else correct


def _advice_on_a_mapping(report: Report, raw: Raw) -> str:
    """Return what a mapping can state of values that are too frequent to be slips; empty if it cannot help."""
    rows = [one for one in report.findings if one.layer == "row"]
    frequent = contract.MAX_QUARANTINE_SHARE * report.rows
    meanings = [one.subject for one in rows if findings.is_about_codes(one) and one.count > frequent]
    units = [
        one.subject
        for one in rows
        if findings.is_about_a_range(one) and one.count > report.rows / 2 and raw.frame[one.column].median()
    ]
    stated = [f"what the values of {visible.listed(dict.fromkeys(meanings))} mean"] if meanings else []
    if units:
        stated.append(f"the factor of another unit for {visible.listed(units)}")
    if not stated:
        return ""
    return (
        f"if the file is right, state {' and '.join(stated)} in a mapping, with encoding=auto: "
        "./heartline mapping FILE writes a draft"
    )


def _reference(origin: str) -> tuple[dict[str, drift.Partition] | None, str]:
    """Return the distributions in production's snapshot, or None and the reason."""
    production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
    if production is None:
        return None, "drift was not checked: no version is in production yet"
    if production.tags.get("origin") == origins.SAMPLE != origin:
        return None, f"drift was not checked: version {production.number} in production was trained on the sample"
    of_production = f"drift was not checked: the snapshot of version {production.number} in production"
    uri = object_store.address(production.tags.get("snapshot", ""), "snapshots", ".parquet")
    try:
        snapshot = snapshots.read_snapshot(uri)
    except object_store.StoreError:
        return None, f"{of_production} cannot be read from the store"
    if lacking := [name for name in contract.COLUMN_NAMES if name not in snapshot.columns]:
        return None, f"{of_production} is of another contract and lacks {', '.join(lacking)}"
    # a snapshot of contract 1.1 or older holds the noise of its source's types, which would move values between bins
    return drift.reference(resolution.frame_at_resolution(snapshot)), ""


def _csv(table: pd.DataFrame) -> bytes:
    """Return a table for people: no cell is a formula of a spreadsheet, and every character can be seen."""
    safe = {name: {text: visible.spreadsheet_cell(text) for text in table[name].unique()} for name in TEXTS}
    return table.assign(**{name: table[name].map(texts) for name, texts in safe.items()}).to_csv(index=False).encode()


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()

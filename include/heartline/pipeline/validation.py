"""What is decided about a set of records before anything is trained on it, and the evidence of that decision.

Encoding, checkpoint, quarantine, page and MLflow run belong together: a set that is refused leaves the same evidence
as one that passes.
"""

import hashlib
import io
import json
import os
from dataclasses import dataclass

import pandas as pd

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import encodings
from heartline.registry import mlflow_registry, runs
from heartline.reports import data_docs_page, data_docs_site
from heartline.storage import object_store, snapshots
from heartline.validation import checkpoint, drift
from heartline.validation.checkpoint import Checked, Report

PAGE = "data_docs.html"
SHOWN_FINDINGS = 12


@dataclass(frozen=True)
class Rules:
    """What a run may choose about its checks.

    Attributes:
        encoding: ``auto``, ``uci`` or ``kaggle``.
        max_quarantine: the share of rows that may be set aside, 0 to 1.
        max_drift: the largest Kullback-Leibler divergence of a column from production's snapshot.
    """

    encoding: str = encodings.AUTO
    max_quarantine: float = contract.MAX_QUARANTINE_SHARE
    max_drift: float = contract.MAX_DRIFT


@dataclass(frozen=True, eq=False)
class Raw:
    """Records as a source gave them.

    Attributes:
        frame: (n, 14) float64; the index is the row number in the source.
        odd: cells and rows that could not be read as numbers: row, field, value, reason.
        names: the header as spelled; empty without one.
        absent: columns of the contract that the source lacks.
        left_out: columns of the source that the contract lacks.
        origin: the kind of source.
        source: the source in words.
    """

    frame: pd.DataFrame
    odd: pd.DataFrame
    names: list[str]
    absent: list[str]
    left_out: list[str]
    origin: str
    source: str


@dataclass(frozen=True, eq=False)
class Validated:
    """What the checks made of a set of records.

    Attributes:
        checked: records, quarantine and what Great Expectations said.
        report: counts, findings and the decision.
        page: the Data Docs page, self-contained HTML.
    """

    checked: Checked
    report: Report
    page: bytes


def validate(raw: Raw, rules: Rules, *, run: str) -> Validated:
    """Decide the encoding, run the checkpoint, and write the page; whether the run may go on is in the report.

    Args:
        raw: records as they were read.
        rules: what this run chose.
        run: the orchestrator's name for this run, for the page.

    Raises:
        RegistryError: MLflow cannot be asked what is in production.
    """
    decision = encodings.judge(raw.frame, raw.names, rules.encoding)
    # where it is undecided, the checkpoint runs on UCI's reading: its page then shows what is strange about the set
    frame, unknown = encodings.decode(raw.frame, decision.encoding or encodings.UCI)
    reference, note = _reference(raw.origin)
    checked = checkpoint.check(
        frame,
        pd.concat([raw.odd, unknown], ignore_index=True),
        absent=raw.absent,
        reference=reference,
        max_drift=rules.max_drift,
    )
    left_out = [f"columns that the contract does not have were left out: {', '.join(raw.left_out)}"]
    undecided = [f"all records: {decision.problem}"] if decision.problem else []
    report = Report(
        rows=checked.rows,
        used=checked.used,
        duplicates=len(checked.duplicates),
        quarantined=checked.quarantined,
        max_quarantine=rules.max_quarantine,
        encoding=decision.encoding,
        evidence=decision.evidence,
        notes=[*(left_out if raw.left_out else []), *([note] if note else [])],
        expectations=len(checked.result.results),
        findings=checked.findings,
        stopped=[*undecided, *checkpoint.reasons_to_stop(checked, rules.max_quarantine)],
    )
    return Validated(checked, report, data_docs_page.render(checked.result, report, run=run, source=raw.source))


def publish(validated: Validated, raw: Raw, rules: Rules, *, run: str, snapshot: str) -> dict[str, str]:
    """Keep the evidence: the page in the Data Docs, and a run in MLflow with page, report and quarantine.

    Returns:
        the page's address, the MLflow run's id, and the URIs of report and quarantine.

    Raises:
        RegistryError: MLflow cannot be reached.
        StoreError: the store cannot be written.
    """
    report = validated.report
    name = data_docs_site.publish(validated.page, run, report=report, source=raw.source)
    files = {
        PAGE: validated.page,
        "validation.json": json.dumps(report.as_dict(), indent=1, sort_keys=True).encode(),
        "quarantine.csv": validated.checked.quarantine.to_csv(index=False).encode(),
        "quarantine.parquet": _parquet(validated.checked.quarantine),
    }
    key = hashlib.sha256(json.dumps([run, snapshot, vars(rules)]).encode()).hexdigest()
    run_id = mlflow_registry.log_run(
        runs.Run(
            key=key,
            title=run or raw.source,
            experiment=runs.DATA_EXPERIMENT,
            tags={"source": raw.source, "origin": raw.origin, "snapshot": snapshot, "airflow_run": run},
            parameters={
                **vars(rules),
                "decided_encoding": report.encoding or "undecided",
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
        "page": object_store.put(validated.page, "pages", ".html"),
        "quarantine": object_store.put(files["quarantine.parquet"], "quarantine", ".parquet"),
        "quarantine_csv": object_store.put(files["quarantine.csv"], "quarantine", ".csv"),
    }


def address(name: str) -> str:
    """Return where a person opens a page of the Data Docs: below HEARTLINE_DATA_DOCS_URL, else in the store."""
    site = os.environ.get("HEARTLINE_DATA_DOCS_URL") or f"{object_store.default_uri().rstrip('/')}/data-docs"
    return f"{site.rstrip('/')}/{name}"


def stop_on(report: Report, *, source: str, page: str) -> None:
    """Raise when the report has a reason to stop.

    Raises:
        DataError: names each finding with its expectation, column, count and up to ten rows, and the page.
    """
    if not report.stopped:
        return
    # the largest first: where a message ends early, it has said what matters
    by_size = sorted(report.findings, key=lambda one: (one.layer != "set", -one.count))
    serious = [str(one) for one in by_size if one.layer != "unusual"]
    others = [one for one in report.stopped if not any(line.startswith(one) for line in serious)]
    shown = [*others, *serious[:SHOWN_FINDINGS]]
    if len(serious) > SHOWN_FINDINGS:
        shown.append(f"and {len(serious) - SHOWN_FINDINGS} more, on the page")
    if not report.encoding:
        shown += report.evidence
    raise DataError(
        f"these records are refused: {_reasons(report)}",
        where=f"source {source}" + "".join(f"\n    - {one}" for one in shown) + f"\n    page: {page}",
        expected=f"records as contract {contract.VERSION} describes them",
        hint=_advice(report),
    )


def _reasons(report: Report) -> str:
    failed = sum(1 for one in report.findings if one.layer == "set")
    if failed and report.encoding:
        verb = "expectation about the whole set is" if failed == 1 else "expectations about the whole set are"
        return f"{failed} {verb} not met, of {report.expectations} in all"
    return report.stopped[0].removeprefix("all records: ")


def _advice(report: Report) -> str:
    if not report.encoding:
        return "look at the evidence, then say which it is: encoding=uci or encoding=kaggle; nothing was trained"
    drifted = all("divergence" in one for one in report.stopped)
    accept = "; where the change is meant, run with a larger max_drift" if drifted else ""
    return f"mend the source and run again{accept}; nothing was trained on these records"


def _reference(origin: str) -> tuple[dict[str, drift.Partition] | None, str]:
    """Return the distributions in production's snapshot, or why there are none."""
    production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
    if production is None:
        return None, "drift was not looked at: nothing is in production yet"
    if production.tags.get("origin") == "sample" != origin:
        return None, f"drift was not looked at: version {production.number} in production was trained on the sample"
    of_production = f"drift was not looked at: the snapshot of version {production.number} in production"
    uri = object_store.address(production.tags.get("snapshot", ""), "snapshots", ".parquet")
    try:
        snapshot = snapshots.read_snapshot(uri)
    except object_store.StoreError:
        return None, f"{of_production} cannot be read from the store"
    if lacking := [name for name in contract.COLUMN_NAMES if name not in snapshot.columns]:
        return None, f"{of_production} is of another contract and lacks {', '.join(lacking)}"
    return drift.reference(snapshot), ""


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()

"""The task ``validate``: validates the records against the contract; those that pass become the run's snapshot."""

import logging

from heartline import contract
from heartline.errors import memory_limit
from heartline.ingestion import encodings
from heartline.ingestion.mapping import parser as mapping_parser
from heartline.ingestion.mapping.file_mapping import FileMapping
from heartline.parameters import training as run_parameters
from heartline.pipeline import handovers, validation
from heartline.pipeline.handovers import Ingested, Validated
from heartline.storage import object_store, snapshots
from heartline.storage.record_identity import PATIENT
from heartline.validation import checkpoint

log = logging.getLogger(__name__)


@memory_limit("task validate")
def validate(
    ingested: Ingested,
    *,
    encoding: str = encodings.AUTO,
    max_quarantine: float = contract.MAX_QUARANTINE_SHARE,
    max_drift: float = contract.MAX_DRIFT,
    until: str = run_parameters.STAGES[-1],
    run: str = "",
) -> Validated:
    """Validate the records against the contract; those that pass become the run's snapshot.

    Args:
        ingested: what ``ingest`` returned.
        encoding: ``auto``, ``uci`` or ``kaggle``.
        max_quarantine: the largest share of rows that may be quarantined, 0 to 1.
        max_drift: the largest divergence of a column from production's snapshot.
        until: the last task of the run.
        run: Airflow's DAG run id, which also names its Data Docs page.

    Raises:
        OutOfMemoryError: the records do not fit in memory.
        HandoverError: another version of the code wrote ``ingested``.
        DataError: the records are refused; names expectations, columns, rows and the page.
        RegistryError: MLflow cannot be reached.
    """
    handovers.expect("ingest", ingested)
    frame = snapshots.read_snapshot(ingested["raw"]).set_index(checkpoint.ROW)
    patients = frame.pop(PATIENT) if PATIENT in frame else None
    raw = validation.Raw(
        frame=frame,
        unparseable=snapshots.read_snapshot(ingested["unparseable"]),
        names=ingested["names"],
        missing_columns=ingested["missing_columns"],
        extra_columns=ingested["extra_columns"],
        origin=ingested["origin"],
        source=ingested["source"],
        mapping=_mapping(ingested),
        patients=patients,
        patient=ingested.get("patient", ""),
    )
    parameters = validation.CheckParameters(encoding, max_quarantine, max_drift)
    result = validation.decide(raw, parameters, run=run)
    report = result.report
    snapshot = snapshots.write_snapshot(result.checked.records)
    evidence = validation.publish(result, raw, parameters, run=run, snapshot=object_store.digest_of(snapshot))
    for line in [*report.evidence, *report.notes, *(str(finding) for finding in report.findings)]:
        log.info("%s", line)
    for line in report.warnings:
        log.warning("%s", line)
    validation.stop_on(report, raw, page=evidence["data_docs"])
    log.info(
        "%d rows: %d used, %d duplicates, %d in quarantine (%s); %d expectations; %s",
        report.rows,
        report.used,
        report.duplicates,
        report.quarantined,
        evidence["quarantine_csv"],
        report.expectations,
        evidence["data_docs"],
    )
    validated: Validated = {
        "origin": ingested["origin"],
        "source": ingested["source"],
        "snapshot": snapshot,
        "encoding": report.encoding,
        "rows": report.rows,
        "used": report.used,
        "duplicates": report.duplicates,
        "quarantined": report.quarantined,
        "expectations": report.expectations,
        "data_docs": evidence["data_docs"],
        "validation_run": evidence["validation_run"],
        "report": evidence["report"],
        "page": evidence["page"],
        "quarantine": evidence["quarantine"],
        "quarantine_csv": evidence["quarantine_csv"],
        "note": f"{report.used:,} of {report.rows:,} rows passed the checks, {report.duplicates:,} duplicate, "
        f"{report.quarantined:,} in quarantine",
        "assets": {"snapshot": _about(snapshot, report, ingested, run)},
    }
    handovers.end_after(validated, "validate", until)
    if "mapping" in ingested:
        validated["mapping"], validated["mapping_title"] = ingested["mapping"], ingested["mapping_title"]
    if report.warnings:
        validated["about_patients"] = report.warnings
    return validated


def _about(snapshot: str, report: checkpoint.Report, ingested: Ingested, run: str) -> dict[str, object]:
    """Return what the event of the asset *snapshot* says."""
    return {
        "digest": object_store.digest_of(snapshot),
        "rows": report.used,
        "duplicates": report.duplicates,
        "quarantined": report.quarantined,
        "origin": ingested["origin"],
        "run_id": run,
    }


def _mapping(ingested: Ingested) -> FileMapping | None:
    """Return the mapping that ``ingest`` read the records with."""
    if "mapping" not in ingested:
        return None
    text = object_store.get(ingested["mapping"]).decode()
    return mapping_parser.parse(text, title=ingested["mapping_title"])

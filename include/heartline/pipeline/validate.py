"""The task ``validate``: validates the records against the contract; what passes becomes the run's snapshot."""

import logging
from collections.abc import Mapping
from typing import Any

from heartline import contract
from heartline.ingestion import encodings
from heartline.pipeline import validation
from heartline.storage import object_store, snapshots
from heartline.validation import checkpoint

log = logging.getLogger(__name__)


def validate(
    ingested: Mapping[str, Any],
    *,
    encoding: str = encodings.AUTO,
    max_quarantine: float = contract.MAX_QUARANTINE_SHARE,
    max_drift: float = contract.MAX_DRIFT,
    run: str = "",
) -> dict[str, Any]:
    """Hold the records against the contract; what passes becomes the run's snapshot.

    Args:
        ingested: what ``ingest`` returned.
        encoding: ``auto``, ``uci`` or ``kaggle``.
        max_quarantine: the share of rows that may be set aside, 0 to 1.
        max_drift: the largest divergence of a column from production's snapshot.
        run: the orchestrator's name for this run: the name of the page in the Data Docs.

    Raises:
        DataError: the records are refused; names expectations, columns, rows and the page.
        RegistryError: MLflow cannot be reached.
    """
    raw = validation.Raw(
        frame=snapshots.read_snapshot(ingested["raw"]).set_index(checkpoint.ROW),
        odd=snapshots.read_snapshot(ingested["odd"]),
        **{name: ingested[name] for name in ("names", "absent", "left_out", "origin", "source")},
    )
    rules = validation.Rules(encoding, max_quarantine, max_drift)
    validated = validation.validate(raw, rules, run=run)
    report = validated.report
    snapshot = snapshots.write_snapshot(validated.checked.records)
    evidence = validation.publish(validated, raw, rules, run=run, snapshot=object_store.digest_of(snapshot))
    for one in [*report.evidence, *report.notes, *(str(one) for one in report.findings)]:
        log.info("%s", one)
    validation.stop_on(report, source=ingested["source"], page=evidence["data_docs"])
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
    return {
        **{name: ingested[name] for name in ("origin", "source")},
        **evidence,
        "snapshot": snapshot,
        "encoding": report.encoding,
        **{name: getattr(report, name) for name in ("rows", "used", "duplicates", "quarantined", "expectations")},
    }

"""The task ``ingest``: parses a source and stores its values before validation."""

import logging
from collections.abc import Mapping

from heartline.errors import memory_limit
from heartline.ingestion import encodings, patients, sources
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.parameters import training as parameters
from heartline.pipeline import handovers
from heartline.pipeline.handovers import Ingested
from heartline.storage import object_store, snapshots
from heartline.storage.record_identity import PATIENT
from heartline.validation import checkpoint

log = logging.getLogger(__name__)


@memory_limit("task ingest")
def ingest(
    source: str,
    *,
    query: str | None = None,
    mapping: str | None = None,
    encoding: str = encodings.AUTO,
    patient: str | None = None,
    until: str = parameters.STAGES[-1],
    given: Mapping[str, object] | None = None,
) -> Ingested:
    """Check the run's parameters, parse a source, and store its values before validation.

    Args:
        source: one of the forms in ``ingestion.source_catalog``.
        query: SQL, for a source that takes a query.
        mapping: how the source's columns, words and units become the contract's: the name of a shipped mapping, the
            path of a file, or YAML or JSON. Without it that of the nightly runs applies to their source, and for
            others a shipped one is chosen where it fits exactly.
        encoding: ``uci`` and ``kaggle`` state that the source has known names and codes, so that no mapping applies.
        patient: the name of the source's column that identifies the patient. Without it that of the nightly runs
            applies to their source.
        until: the last task of the run.
        given: all that the run was given, to be checked before anything is read: Airflow passes unknown keys on.

    Raises:
        ParameterError: there is no such parameter or source, or a value is none that it takes.
        OutOfMemoryError: the records do not fit in memory.
        SourceError: the source cannot be reached or read.
        DataError: it holds no table of records, the mapping is not valid or does not fit it, or the patients' column
            is not in it or holds too few values.
    """
    if given is not None:
        parameters.check(given)
    settings = sources.Settings.from_environment()
    automatic = encoding == encodings.AUTO
    wanted = mapping or (mapping_catalog.of_nightly(source) if automatic else "")
    if wanted:
        mapping_catalog.expect_usable(wanted, source, encoding)
    stated = mapping_catalog.resolve(wanted, settings.folders) if wanted else None
    records = sources.read(
        source,
        query=query,
        settings=settings,
        mapping=stated,
        automatic=automatic,
        patient=patient or patients.of_nightly(source),
    )
    table = records.table
    frame = table.frame if table.patients is None else table.frame.assign(**{PATIENT: table.patients})
    log.info("%d rows from %s (origin %s)", len(table.frame), records.description, records.origin)
    used = table.mapping
    if used:
        log.info("read with the mapping %s (sha256 %s):\n%s", used.title, used.digest, used.text())
    ingested: Ingested = {
        "raw": snapshots.write_snapshot(frame.rename_axis(checkpoint.ROW).reset_index(), snapshots.RAW),
        "unparseable": snapshots.write_snapshot(table.unparseable, snapshots.RAW),
        "names": list(table.names),
        "missing_columns": list(table.absent),
        "extra_columns": list(table.dropped),
        "origin": records.origin,
        "source": records.description,
        "sha256": records.sha256,
        "note": f"{len(table.frame):,} rows were read from {records.description}",
    }
    handovers.end_after(ingested, "ingest", until)
    if used:
        ingested["mapping"] = object_store.put(used.text().encode(), "mappings", ".yaml")
        ingested["mapping_title"] = used.title
    if table.patients is not None:
        ingested["patient"] = table.patient
    return ingested

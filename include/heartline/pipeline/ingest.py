"""The task ``ingest``: parses a source and stores its values before validation."""

import logging
from collections.abc import Mapping

from heartline import parameters
from heartline.errors import memory_limit
from heartline.ingestion import sources
from heartline.pipeline.handovers import Ingested
from heartline.storage import snapshots
from heartline.validation import checkpoint

log = logging.getLogger(__name__)


@memory_limit("task ingest")
def ingest(source: str, *, query: str | None = None, given: Mapping[str, object] | None = None) -> Ingested:
    """Check the run's parameters, parse a source, and store its values before validation.

    Args:
        source: one of the forms in ``ingestion.source_catalog``.
        query: SQL, for a source that takes a query.
        given: all that the run was given, to be checked before anything is read: Airflow passes unknown keys on.

    Raises:
        ParameterError: there is no such parameter or source, or a value is none that it takes.
        OutOfMemoryError: the records do not fit in memory.
        SourceError: the source cannot be reached or read.
        DataError: it holds no table of records.
    """
    if given is not None:
        parameters.check(given)
    records = sources.read(source, query=query)
    table = records.table
    log.info("%d rows from %s (origin %s)", len(table.frame), records.description, records.origin)
    return {
        "raw": snapshots.write_snapshot(table.frame.rename_axis(checkpoint.ROW).reset_index(), snapshots.RAW),
        "unparseable": snapshots.write_snapshot(table.unparseable, snapshots.RAW),
        "names": list(table.names),
        "missing_columns": list(table.absent),
        "extra_columns": list(table.dropped),
        "origin": records.origin,
        "source": records.description,
        "sha256": records.sha256,
    }

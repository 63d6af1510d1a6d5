"""The task ``ingest``: reads a source into the store, as it is."""

import logging
from typing import Any

from heartline.ingestion import sources
from heartline.storage import snapshots
from heartline.validation import checkpoint

log = logging.getLogger(__name__)


def ingest(source: str, *, query: str | None = None) -> dict[str, Any]:
    """Read a source into the store, as it is.

    Args:
        source: one of the forms in ``ingestion.source_catalog``.
        query: SQL, for a source that takes a query.

    Raises:
        SourceError: it cannot be reached or read.
        DataError: it holds no table of records.
    """
    records = sources.read(source, query=query)
    table = records.table
    log.info("%d rows from %s (origin %s)", len(table.frame), records.description, records.origin)
    return {
        "raw": snapshots.write_snapshot(table.frame.rename_axis(checkpoint.ROW).reset_index(), snapshots.RAW),
        "odd": snapshots.write_snapshot(table.unparseable, snapshots.RAW),
        "names": list(table.names),
        "absent": list(table.absent),
        "left_out": list(table.dropped),
        "origin": records.origin,
        "source": records.description,
        "sha256": records.sha256,
    }

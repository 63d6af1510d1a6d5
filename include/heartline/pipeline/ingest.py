"""The task ``ingest``: parses a source and stores its values before validation."""

import logging

from heartline.errors import DataError
from heartline.ingestion import encodings, mapping_catalog, sources
from heartline.pipeline.handovers import Ingested
from heartline.storage import object_store, snapshots
from heartline.validation import checkpoint

log = logging.getLogger(__name__)


def ingest(
    source: str, *, query: str | None = None, mapping: str | None = None, encoding: str = encodings.AUTO
) -> Ingested:
    """Parse a source, and store its values before validation.

    Args:
        source: one of the forms in ``ingestion.source_catalog``.
        query: SQL, for a source that takes a query.
        mapping: how the source's columns, words and units become the contract's: the name of a shipped mapping, the
            path of a file, or YAML or JSON. Without it a shipped one is chosen where it fits exactly.
        encoding: ``uci`` and ``kaggle`` state that the source has known names and codes, so that no mapping applies.

    Raises:
        SourceError: the source cannot be reached or read.
        DataError: it holds no table of records, or the mapping is not valid or does not fit it.
    """
    stated = mapping_catalog.resolve(mapping) if mapping and mapping.strip() else None
    if stated and encoding != encodings.AUTO:
        raise DataError(
            f"encoding={encoding} and a mapping are both set",
            where="parameters encoding and mapping",
            expected="one of them: a mapping states the codes itself",
            hint=f"leave the mapping empty, or set encoding={encodings.AUTO}",
        )
    records = sources.read(source, query=query, mapping=stated, automatic=encoding == encodings.AUTO)
    table = records.table
    log.info("%d rows from %s (origin %s)", len(table.frame), records.description, records.origin)
    used = table.mapping
    if used:
        log.info("read with the mapping %s (sha256 %s):\n%s", used.title, used.digest, used.text())
    ingested: Ingested = {
        "raw": snapshots.write_snapshot(table.frame.rename_axis(checkpoint.ROW).reset_index(), snapshots.RAW),
        "unparseable": snapshots.write_snapshot(table.unparseable, snapshots.RAW),
        "names": list(table.names),
        "missing_columns": list(table.absent),
        "extra_columns": list(table.dropped),
        "origin": records.origin,
        "source": records.description,
        "sha256": records.sha256,
    }
    if used:
        ingested["mapping"] = object_store.put(used.text().encode(), "mappings", ".yaml")
        ingested["mapping_title"] = used.title
    return ingested

"""Snapshots of records: Parquet files that are named by the sha256 of their content."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heartline import contract
from heartline.storage import object_store

RAW = "raw"  # the kind of snapshot that holds records as a source gave them


def write_snapshot(frame: pd.DataFrame, kind: str = "snapshots") -> str:
    """Store ``frame`` as Parquet and return its URI, which is a function of the frame's content alone.

    The file says in ``heartline.contract`` which version of the contract it was written under.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({"heartline.contract": contract.VERSION})
    buffer = io.BytesIO()
    # what is kept for good is packed tightly, what only the next stage reads quickly
    pq.write_table(table, buffer, compression="lz4" if kind == RAW else "zstd")
    return object_store.put(buffer.getvalue(), kind, ".parquet")


def read_snapshot(uri: str) -> pd.DataFrame:
    """Return the frame stored at ``uri``, with the types that it was written with.

    Raises:
        StoreError: it is missing or damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(object_store.get(uri)))
    # column by column: otherwise everything is in memory twice, as Arrow's and as pandas'
    columns = {name: file.read([name]).to_pandas()[name] for name in file.schema_arrow.names}
    return pd.DataFrame(columns, copy=False)

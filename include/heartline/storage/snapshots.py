"""Snapshots of records: Parquet files named by the sha256 of their content."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heartline import contract
from heartline.storage import object_store

RAW = "raw"  # the kind of the snapshots that hold records before validation


def write_snapshot(frame: pd.DataFrame, kind: str = "snapshots") -> str:
    """Store ``frame`` as Parquet and return its URI, which depends on the content of the frame only.

    The file's metadata ``heartline.contract`` holds the version of the contract.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({"heartline.contract": contract.VERSION})
    buffer = io.BytesIO()
    # zstd is smaller, for permanent snapshots; lz4 is faster, for those that only the next task reads
    pq.write_table(table, buffer, compression="lz4" if kind == RAW else "zstd")
    return object_store.put(buffer.getvalue(), kind, ".parquet")


def read_snapshot(uri: str) -> pd.DataFrame:
    """Return the frame stored at ``uri``, with its original types.

    Raises:
        StoreError: it is missing or damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(object_store.get(uri)))
    # column by column: otherwise the data is in memory twice, in Arrow and in pandas
    columns = {name: file.read([name]).to_pandas()[name] for name in file.schema_arrow.names}
    return pd.DataFrame(columns, copy=False)

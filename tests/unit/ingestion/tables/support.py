"""Shared by the tests of tables: two records, helpers that write them, and a check of refusals."""

import io

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import tables
from tests.unit.messages import message

ROW = ["52.0", "0.0", "3.0", "124.0", "221.0", "0.0", "2.0", "148.0", "1.0", "0.6", "2.0", "?", "7.0", "1"]
OTHER = ["44", "1", "3", "118", "210", "0", "0", "165", "0", ".4", "1", "0", "3", "1"]
NAMES = list(contract.COLUMN_NAMES)
WANTED = pd.DataFrame(
    [[np.nan if cell == "?" else float(cell) for cell in row] for row in (ROW, OTHER)],
    columns=NAMES,
    index=pd.RangeIndex(1, 3, name="row"),
)
NO_RECORDS = message(
    "there are no records",
    where="some.csv",
    expected="at least one row below the header",
    hint="check how the source was made",
)


def csv(*rows: list[str], sep: str = ",", end: str = "\n") -> bytes:
    return "".join(sep.join(row) + end for row in rows).encode()


def table(data: bytes) -> tables.Table:
    return tables.parse(data, where="some.csv")


def parse(data: bytes) -> pd.DataFrame:
    return table(data).frame


def unparseable(data: bytes) -> list[tuple[object, ...]]:
    """Return the unparseable cells and malformed rows: row, field, value, reason."""
    return list(table(data).unparseable.itertuples(index=False, name=None))


def refused(data: bytes) -> DataError:
    with pytest.raises(DataError) as caught:
        parse(data)
    assert caught.value.where.startswith("some.csv")
    assert caught.value.expected
    assert caught.value.hint
    return caught.value


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()

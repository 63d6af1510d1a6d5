import datetime
from decimal import Decimal

import pandas as pd
import pytest

from heartline.errors import DataError
from heartline.ingestion import tables
from tests.unit.ingestion.tables.support import NAMES, WANTED


def test_a_table_in_memory_gives_the_same_records():
    frame = WANTED.set_axis(range(14), axis=1).reset_index(drop=True).astype(object)
    frame[0] = [Decimal("52.0"), 44]
    frame[11] = [None, "0"]
    frame[13] = [True, True]
    pd.testing.assert_frame_equal(tables.from_frame(frame, NAMES, where="a table").frame, WANTED)


def test_a_table_in_memory_reports_unparseable_cells():
    frame = WANTED.set_axis(range(14), axis=1).reset_index(drop=True).astype(object)
    frame[0] = [52, "old"]
    frame[1] = [Decimal("Infinity"), 1]
    frame[2] = [10**400, 3]
    frame[3] = pd.concat([pd.Series([text], dtype="str") for text in ("high", "118")], ignore_index=True)
    found = tables.from_frame(frame, NAMES, where="a table")
    assert found.unparseable.to_numpy().tolist() == [
        [1, "sex", "Infinity", "not a number"],
        [1, "cp", "1" + "0" * 198 + "…", "not a number"],
        [1, "trestbps", "high", "not a number"],
        [2, "age", "old", "not a number"],
    ]
    assert found.frame.loc[1, "age"] == 52


def test_a_table_in_memory_with_dates_is_refused():
    frame = WANTED.set_axis(range(14), axis=1).astype(object)
    frame[0] = [datetime.date(2020, 1, 1), None]
    with pytest.raises(DataError) as caught:
        tables.from_frame(frame, NAMES, where="a table")
    assert caught.value.where == "a table: age is date32[day]"

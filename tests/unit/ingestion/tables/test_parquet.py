import datetime
import io
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tests.unit.ingestion.tables.support import NAMES, NO_RECORDS, WANTED, parquet, parse, refused, table
from tests.unit.messages import message


def test_parquet_gives_the_same_records():
    small = WANTED[NAMES[::-1]].rename(columns=str.upper)
    small = small.astype({"SEX": "int8", "AGE": "Int16", "CHOL": "str", "FBS": "category"})
    small["THALACH"] = [Decimal("148"), Decimal("165.0")]
    found = table(parquet(small.assign(extra="x")))
    pd.testing.assert_frame_equal(found.frame, WANTED)
    assert found.names == (*small.columns, "extra")
    assert (len(found.unparseable), found.absent, found.dropped) == (0, (), ("extra",))


def test_an_index_stored_by_pandas_is_an_ordinary_column():
    pd.testing.assert_frame_equal(parse(parquet(WANTED.set_index("age"))), WANTED)


def test_words_and_infinity_in_parquet_are_unparseable():
    wrong = WANTED.assign(age=["63", " old "], chol=[np.inf, 210], fbs=pd.Categorical(["True", None]))
    found = table(parquet(wrong))
    assert found.unparseable.to_numpy().tolist() == [
        [1, "chol", "inf", "not a number"],
        [1, "fbs", "True", "not a number"],
        [2, "age", "old", "not a number"],
    ]
    assert found.frame["age"][1] == 63
    assert np.isnan(found.frame["chol"][1])
    assert found.frame["chol"][2] == 210
    assert found.frame["fbs"].isna().all()


def test_a_column_that_is_boolean_in_parquet_is_0_and_1():
    found = table(parquet(WANTED.assign(sex=[True, False], ca=[None, None])))
    assert (found.frame["sex"].tolist(), len(found.unparseable)) == ([1, 0], 0)
    assert found.frame["ca"].isna().all()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pd.to_datetime(["2020-01-01", None]).astype("datetime64[ms]"), "timestamp[ms]"),
        ([datetime.date(2020, 1, 1), None], "date32[day]"),
        ([[1, 2], [3]], "list<element: int64>"),
        ([{"a": 1}, {"a": 2}], "struct<a: int64>"),
        ([b"52", b"44"], "binary"),
    ],
)
def test_parquet_of_a_type_that_cannot_hold_numbers_is_refused(cells, kind):
    assert str(refused(parquet(WANTED.assign(chol=cells)))) == message(
        "the type of 1 column cannot hold numbers",
        where=f"some.csv: chol is {kind}",
        expected="numbers, or text that is numbers",
        hint="convert the column, or rename it if it is another quantity",
    )


def test_parquet_without_rows_or_columns_or_footer_is_refused():
    assert str(refused(parquet(WANTED.iloc[:0]))) == NO_RECORDS
    assert refused(parquet(WANTED[["age"]])).what == "this is not a table of records: it has 1 of the 14 columns"
    cut = refused(parquet(WANTED)[:200])
    assert cut.what.startswith("the Parquet file cannot be read: ")
    assert (cut.where, cut.expected, cut.hint) == ("some.csv", "a complete Parquet file", "write the file again")


def test_parquet_in_several_row_groups_is_one_table(cohort):
    buffer = io.BytesIO()
    cohort.to_parquet(buffer, row_group_size=100, index=False)
    pd.testing.assert_frame_equal(parse(buffer.getvalue()), cohort)

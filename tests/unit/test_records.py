import io

import numpy as np
import pandas as pd
import pytest

from heartline import contract, records
from heartline.errors import DataError

ROW = ["52.0", "0.0", "3.0", "124.0", "221.0", "0.0", "2.0", "148.0", "1.0", "0.6", "2.0", "?", "7.0", "1"]
OTHER = ["44", "1", "3", "118", "210", "0", "0", "165", "0", ".4", "1", "0", "3", "1"]
NAMES = list(contract.COLUMN_NAMES)
WANTED = pd.DataFrame(
    [[np.nan if cell == "?" else float(cell) for cell in row] for row in (ROW, OTHER)],
    columns=NAMES,
    index=pd.RangeIndex(1, 3, name="row"),
)


def csv(*rows: list[str], sep: str = ",", end: str = "\n") -> bytes:
    return "".join(sep.join(row) + end for row in rows).encode()


def parse(data: bytes) -> pd.DataFrame:
    return records.parse(data, where="some.csv")[0]


def refused(data: bytes) -> DataError:
    with pytest.raises(DataError) as caught:
        parse(data)
    assert "some.csv" in caught.value.where
    assert caught.value.expected
    assert caught.value.do
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(csv(ROW, OTHER), id="as UCI has it"),
        pytest.param(csv(NAMES, ROW, OTHER), id="with a header"),
        pytest.param(csv([name.upper() + " " for name in NAMES], ROW, OTHER), id="names in another case"),
        pytest.param(csv(NAMES[::-1], ROW[::-1], OTHER[::-1]), id="columns in another order"),
        pytest.param(b"\xef\xbb\xbf" + csv(NAMES, ROW, OTHER), id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf" + csv(ROW, OTHER), id="byte order mark, no header"),
        pytest.param(csv(ROW, OTHER, end="\r\n"), id="CRLF"),
        pytest.param(csv(NAMES, ROW, OTHER, end="\r"), id="CR"),
        pytest.param(csv(NAMES, ROW, OTHER, sep=";"), id="semicolons"),
        pytest.param(csv(NAMES, ROW, OTHER, sep="\t"), id="tabs"),
        pytest.param(csv(ROW, OTHER, sep="  "), id="spaces"),
        pytest.param(csv(NAMES, ROW, OTHER, sep=" , "), id="spaces around commas"),
        pytest.param(csv(NAMES, [f'"{cell}"' for cell in ROW], OTHER), id="quotes"),
        pytest.param(b"\n  \n" + csv(NAMES, ROW) + b"\n \n" + csv(OTHER) + b"\n\n", id="blank lines"),
        pytest.param(csv(NAMES, ROW, OTHER)[:-1], id="no line end at the end"),
        *(
            pytest.param(csv(NAMES, [cell if cell != "?" else word for cell in ROW], OTHER), id=f"missing as {word!r}")
            for word in ("", "NA", "NaN", "nan", "na", " ? ")
        ),
    ],
)
def test_every_way_of_writing_gives_the_same_records(data):
    pd.testing.assert_frame_equal(parse(data), WANTED, check_exact=True)


def test_the_real_file_is_read_as_pandas_reads_it(real_data, cleveland):
    found = parse((real_data / "processed.cleveland.data").read_bytes())
    pd.testing.assert_frame_equal(found, cleveland, check_names=False, check_exact=True)


def test_a_cell_that_is_no_number_stays_as_text_in_its_row():
    bad = [*OTHER[:3], "high", *OTHER[4:]]
    frame = parse(csv(ROW, bad, OTHER))
    assert list(frame["trestbps"]) == ["124.0", "high", "118"]
    assert (frame.drop(columns="trestbps").dtypes == "float64").all()


def test_a_bad_first_row_is_not_taken_for_a_header():
    frame = parse(csv(["old", *ROW[1:]], OTHER))
    assert list(frame["age"]) == ["old", "44"]


def test_words_for_truth_are_no_numbers():
    data = csv(NAMES, *([*row[:5], "True", *row[6:]] for row in (ROW, OTHER)))
    assert list(parse(data)["fbs"]) == ["True", "True"]


def test_latin_1_spoils_only_its_own_cell():
    data = csv(NAMES, ROW, OTHER).replace(b"52.0", "Müller".encode("latin-1"))
    frame = parse(data)
    assert frame["age"][1].startswith("M")
    assert frame["age"][2] == "44"


def test_columns_beyond_the_contract_are_left_out_and_reported():
    data = csv(["id", *NAMES, "Name", ""], ["a;7", *ROW, '"Doe, J."', ""], ["8", *OTHER, "Roe", ""])
    frame, dropped = records.parse(data, where="some.csv")
    pd.testing.assert_frame_equal(frame, WANTED)
    assert dropped == ("id", "Name", "column 17")


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf\n"], ids=["nothing", "blank lines", "only a mark"])
def test_an_empty_file_is_refused(data):
    assert refused(data).what == "the file is empty"


@pytest.mark.parametrize("rest", [b"", b"\n\n"])
def test_a_header_alone_is_refused(rest):
    assert refused(csv(NAMES) + rest).what == "there are no records"


def test_missing_columns_are_named():
    error = refused(csv([name for name in NAMES if name not in ("ca", "thal")], ROW[2:]))
    assert error.what == "2 columns are missing: ca, thal"
    assert "slope, num" in error.where


def test_a_column_that_occurs_twice_is_named():
    assert refused(csv([*NAMES, "Age"], [*ROW, "52"])).what == "1 column is there more than once: age"


@pytest.mark.parametrize("sep", [",", ";", "\t", " "])
def test_rows_with_too_few_or_too_many_fields_are_named(sep):
    error = refused(csv(NAMES, ROW, ROW[:-1], OTHER, [*OTHER, "1"], sep=sep))
    assert error.what == "2 rows are not of 14 fields"
    assert error.where == "some.csv: row 2 has 13, row 4 has 15"


def test_rows_are_counted_with_quotes_too():
    error = refused(csv([*NAMES, "note"], [*ROW, '"a, b\nc"'], ROW))
    assert error.where == "some.csv: row 2 has 14"


def test_of_many_bad_rows_ten_are_named():
    error = refused(csv(NAMES, *[ROW[:-1]] * 25))
    assert error.what == "25 rows are not of 14 fields"
    assert error.where.endswith("row 10 has 13, …")


@pytest.mark.parametrize("end", [b'"', b'"\n'])
def test_a_quote_that_is_never_closed_is_refused(end):
    refused(csv(NAMES, ROW) + end + csv(OTHER, ROW))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (csv(NAMES, ROW).decode().encode("utf-16"), "the file is binary, or text in UTF-16"),
        (b"\x1f\x8b\x08\0\0\0", "the file is binary, or text in UTF-16"),
        (b"  <!DOCTYPE html><html>", "this is a web page, not a table"),
    ],
)
def test_what_is_no_table_is_refused(data, problem):
    assert refused(data).what == problem


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def test_parquet_gives_the_same_records():
    small = WANTED[NAMES[::-1]].rename(columns=str.upper)
    small = small.astype({"SEX": "int8", "AGE": "Int16"}).assign(extra="x")
    frame, dropped = records.parse(parquet(small), where="some.parquet")
    pd.testing.assert_frame_equal(frame, WANTED)
    assert dropped == ("extra",)


def test_an_index_that_pandas_stored_is_a_column_as_any_other():
    pd.testing.assert_frame_equal(parse(parquet(WANTED.set_index("age"))), WANTED)


def test_parquet_with_words_dates_and_truths_keeps_them_as_text():
    wrong = WANTED.assign(age=["63", "old"], sex=[True, False], chol=pd.to_datetime(["2020-01-01", None]))
    frame = parse(parquet(wrong))
    assert list(frame["age"]) == ["63", "old"]
    assert list(frame["sex"]) == ["True", "False"]
    assert frame["chol"][1].startswith("2020-01-01")
    assert pd.isna(frame["chol"][2])


def test_parquet_without_rows_or_columns_or_end_is_refused():
    assert refused(parquet(WANTED.iloc[:0])).what == "there are no records"
    assert refused(parquet(WANTED.drop(columns="num"))).what == "1 column is missing: num"
    assert refused(parquet(WANTED)[:200]).what.startswith("the Parquet file cannot be read")

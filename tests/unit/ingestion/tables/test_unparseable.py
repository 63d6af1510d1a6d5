import numpy as np
import pandas as pd
import pytest

from tests.unit.ingestion.tables.support import NAMES, OTHER, ROW, csv, table, unparseable


def test_a_cell_that_is_not_a_number_is_unparseable_and_the_column_stays_numeric():
    bad = [*OTHER[:3], " high ", *OTHER[4:]]
    found = table(csv(ROW, bad, OTHER))
    assert found.unparseable.to_numpy().tolist() == [[2, "trestbps", "high", "not a number"]]
    assert found.unparseable.dtypes.astype(str).to_dict() == {
        "row": "int64",
        "field": "str",
        "value": "str",
        "reason": "str",
    }
    assert (found.frame.dtypes == "float64").all()
    pd.testing.assert_series_equal(
        found.frame["trestbps"], pd.Series([124.0, np.nan, 118.0], found.frame.index, name="trestbps")
    )


def test_a_first_row_with_an_unparseable_cell_is_not_a_header():
    assert unparseable(csv(["old", *ROW[1:]], OTHER)) == [(1, "age", "old", "not a number")]


@pytest.mark.parametrize(
    "word",
    [
        "True",
        "inf",
        "-Infinity",
        "1e999",
        "9" * 199 + "…",
        "0x1A",
        "1_000",
        "1 000",
        "1.000.000",
        "-nan",
        "5'",
        "−5",
        "+",
        ".",
        "e5",
    ],
)
def test_text_that_resembles_a_number_is_unparseable(word):
    written = word.replace("…", "9" * 200)
    assert unparseable(csv(NAMES, [written, *ROW[1:]], OTHER)) == [(1, "age", word, "not a number")]


@pytest.mark.parametrize("sep", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", [[NAMES], []], ids=["header", "no header"])
def test_malformed_rows_keep_their_row_number(sep, header):
    data = csv(*header, ROW, ROW[:-1], OTHER, [*OTHER, "1"], ["x"], ROW, sep=sep)
    found = table(data)
    assert list(found.frame.index) == [1, 3, 6]
    assert (found.frame.index.name, found.frame.index.dtype) == ("row", "int64")
    assert list(found.frame["age"]) == [52, 44, 52]
    assert found.unparseable.to_numpy().tolist() == [
        [2, "", sep.join(ROW[:-1]), "13 fields instead of 14"],
        [4, "", sep.join([*OTHER, "1"]), "15 fields instead of 14"],
        [5, "", "x", "1 field instead of 14"],
    ]


def test_malformed_rows_and_unparseable_cells_are_sorted_by_row():
    data = csv(["a", "b", *ROW[2:]], ROW[:-1], [*ROW[:-1], "c"], ROW[:-2], ["d", *ROW[1:]])
    data = csv(NAMES) + data
    assert [(row, field) for row, field, _, _ in unparseable(data)] == [
        (1, "age"),
        (1, "sex"),
        (2, ""),
        (3, "num"),
        (4, ""),
        (5, "age"),
    ]


def test_blank_lines_do_not_count_as_rows():
    data = b"\n" + csv(NAMES) + b"\n \n" + csv(ROW) + b"\t\n\n" + csv(ROW[:-1]) + b"\n  \n" + csv(OTHER, ["x"])
    found = table(data)
    assert list(found.frame.index) == [1, 3]
    assert list(found.unparseable["row"]) == [2, 4]


def test_row_numbers_are_right_in_a_long_file():
    rows = [[str(40 + number % 30), *ROW[1:]] for number in range(60_000)]  # three blocks of the reader
    for at in (0, 25_000, 59_999):
        rows[at] = ROW[:-1]
    rows[50_000] = ["old", *ROW[1:]]
    found = table(csv(*rows))
    assert list(found.unparseable["row"]) == [1, 25_001, 50_001, 60_000]
    assert (found.frame.index.to_numpy() == np.delete(np.arange(1, 60_001), [0, 25_000, 59_999])).all()
    wanted = 40 + (found.frame.index.to_numpy() - 1) % 30
    assert (found.frame["age"].drop(50_001).to_numpy() == np.delete(wanted, 49_998)).all()


def test_line_breaks_in_quoted_notes_are_accepted_in_a_long_file():
    found = table(csv([*NAMES, "note"], *[[*ROW, '"a\n\nb"']] * 40_000))  # more than two blocks of the reader
    assert (len(found.frame), len(found.unparseable)) == (40_000, 0)


def test_a_line_break_in_a_quoted_note_is_part_of_its_row():
    found = table(csv([*NAMES, "note"], [*ROW, '"a, ""b""\nc"'], ROW, [*OTHER, '5"']))
    assert list(found.frame.index) == [1, 3]
    assert found.unparseable.to_numpy().tolist() == [[2, "", ",".join(ROW), "14 fields instead of 15"]]
